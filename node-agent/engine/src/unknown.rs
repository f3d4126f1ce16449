//! What could not be seen: counted and named, never taken for removed.

use crate::path::HostPath;
use crate::plan::Due;
use std::collections::BTreeMap;
use std::time::Duration;

/// What of an item is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Aspect {
    /// A directory could not be listed: all below it.
    Listing,
    /// Type, mode, owner, size and times.
    Metadata,
    /// The content.
    Content,
    /// Access lists, capabilities and other attributes.
    Attributes,
    /// The file system that it lies on is not mounted, or is not entered.
    Volume,
    /// The host has a mount there that this process does not see.
    HiddenMount,
}

impl Aspect {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Listing, Self::Metadata, Self::Content, Self::Attributes, Self::Volume, Self::HiddenMount];

    /// Whether items may be missed for it, not only what one holds.
    fn misses_items(self) -> bool {
        !matches!(self, Self::Content | Self::Attributes)
    }

    /// The word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listing => "Listing",
            Self::Metadata => "Metadata",
            Self::Content => "Content",
            Self::Attributes => "Attributes",
            Self::Volume => "Volume",
            Self::HiddenMount => "HiddenMount",
        }
    }
}

/// One path of which something is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The item, or the directory above all unknown items.
    pub path: HostPath,
    /// What is unknown of it.
    pub aspect: Aspect,
    /// Why, in words.
    pub reason: String,
    /// The interval of the entries that asked.
    pub interval: Duration,
    /// How many items it stands for.
    pub items: u64,
}

/// More places than this that were not seen are not held: then nothing of the compare counts.
pub(crate) const MAX_UNSEEN: usize = 256;
/// Enough to find the cause; the rest is counted.
const NAMED: usize = 64;

/// What one compare could not see: as many are named as find the cause, all are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    named: Vec<Unknown>,
    unnamed: BTreeMap<Duration, u64>,
    /// What went away before it was looked at: not unknown, and not seen.
    went: Vec<HostPath>,
    /// Whether it may have missed an item, not only what one holds.
    pub(crate) misses_items: bool,
}

impl Found {
    pub(crate) fn add(&mut self, unknown: Unknown) {
        self.misses_items |= unknown.aspect.misses_items();
        // Never crowded out: a condition has a reason of its own for it.
        let at = if unknown.aspect == Aspect::HiddenMount { 0 } else { self.named.len() };
        self.named.insert(at, unknown);
        if self.named.len() > NAMED
            && let Some(last) = self.named.pop()
        {
            *self.unnamed.entry(last.interval).or_default() += last.items;
        }
    }

    /// A place that went away before it was looked at.
    pub(crate) fn unseen_place(&mut self, path: HostPath) {
        if self.went.len() <= MAX_UNSEEN {
            self.went.push(path);
        }
    }

    /// The places that were not seen; `None` when not all of them are named.
    pub(crate) fn unseen(&self) -> Option<Vec<HostPath>> {
        if self.misses_items && !self.unnamed.is_empty() {
            return None;
        }
        let unseen = self.named.iter().filter(|unknown| unknown.aspect.misses_items());
        Some(unseen.map(|unknown| &unknown.path).chain(&self.went).cloned().collect())
    }

    /// Whether it names this path.
    pub(crate) fn has(&self, path: &HostPath) -> bool {
        self.named.iter().any(|unknown| unknown.path == *path)
    }

    pub(crate) fn extend(&mut self, other: Self) {
        other.named.into_iter().for_each(|unknown| self.add(unknown));
        for (interval, items) in other.unnamed {
            *self.unnamed.entry(interval).or_default() += items;
        }
        self.misses_items |= other.misses_items;
        other.went.into_iter().for_each(|path| self.unseen_place(path));
    }
}

/// What is unknown after the latest compare of each interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknowns {
    named: Vec<Unknown>,
    unnamed: BTreeMap<Duration, u64>,
}

impl Unknowns {
    /// Replaces what was unknown of the due intervals.
    pub(crate) fn update(&mut self, due: &Due, found: Found) {
        self.named.retain(|unknown| !due.contains(unknown.interval));
        self.unnamed.retain(|interval, _| !due.contains(*interval));
        // Of another interval it was named by that one's own compare.
        for unknown in found.named.into_iter().filter(|unknown| due.contains(unknown.interval)) {
            if self.named.len() < NAMED {
                self.named.push(unknown);
            } else {
                *self.unnamed.entry(unknown.interval).or_default() += unknown.items;
            }
        }
        for (interval, items) in found.unnamed.into_iter().filter(|(interval, _)| due.contains(*interval)) {
            *self.unnamed.entry(interval).or_default() += items;
        }
    }

    /// How many items are unknown.
    pub fn items(&self) -> u64 {
        self.named.iter().map(|unknown| unknown.items).sum::<u64>() + self.unnamed.values().sum::<u64>()
    }

    /// Why an item is unknown: what is named at its path, or above it where that stands for all below.
    pub(crate) fn of(&self, path: &HostPath) -> impl Iterator<Item = &Unknown> {
        self.named.iter().filter(move |unknown| match unknown.aspect.misses_items() {
            true => path.starts_with(&unknown.path),
            false => *path == unknown.path,
        })
    }

    /// Some of them.
    pub fn named(&self) -> &[Unknown] {
        &self.named
    }
}
