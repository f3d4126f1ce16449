//! A plan: rules with their links resolved, and what its entries ask of the items that they select.
//!
//! Pure. A plan's source, rules and resolution, is what the store keeps, so that an older plan can be asked what it
//! selected. How a walk asks stands in `select`.

use crate::follow::{Follows, of_entry};
use crate::gate::Want;
use crate::item::{Fields, fields_of};
use crate::page::PlanId;
use crate::path::HostPath;
use crate::select::{Excluded, Places, Selector, SelectorId, Step};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use vedette_crds::node_config::NodeRule;
use vedette_crds::pattern::PathPattern;
use vedette_crds::record::Field;
use vedette_crds::rule::Severity;
use vedette_crds::settings::{Compare, Exclude, FileEntry, HashSet, resolve};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// As many entries as their numbers can tell apart; no node has a hundredth of them.
const MAX_ENTRIES: usize = u16::MAX as usize;

/// Where the literal parts of one entry's patterns really lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryResolution {
    /// `rule/entry`: a later version may make entries of what this one leaves out.
    pub(crate) name: String,
    /// The literal prefix of the path, free of links.
    pub(crate) real: Vec<Vec<u8>>,
    /// Links that were met on its way; they stay items when they stop being links.
    pub(crate) links: Vec<Vec<Vec<u8>>>,
    /// The literal prefixes of the excludes that are paths, in their order.
    pub(crate) excludes: Vec<Vec<Vec<u8>>>,
}

/// All that decides what a plan selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PlanSource {
    /// As the operator compiled them.
    pub(crate) rules: Vec<NodeRule>,
    /// One for each entry.
    pub(crate) resolutions: Vec<EntryResolution>,
    /// What lies behind links that entries follow.
    pub(crate) follows: Follows,
}

impl PlanSource {
    /// Leaves out the rules that a later plan does not have as they are here: some of their items have left with it.
    pub(crate) fn forget_what_left_with(&mut self, later: &Self) {
        let Self { rules, resolutions, follows } = self;
        let resolved = |of: &[EntryResolution], rule: &NodeRule| -> Vec<EntryResolution> {
            let prefix = format!("{}/", rule.name);
            of.iter().filter(|resolution| resolution.name.starts_with(&prefix)).cloned().collect()
        };
        let followed = |of: &Follows, rule: &NodeRule| -> Follows {
            let prefix = format!("{}/", rule.name);
            let own = of.iter().filter(|(target, _)| target.entry.starts_with(&prefix));
            own.map(|(target, reach)| (target.clone(), reach.clone())).collect()
        };
        rules.retain(|rule| {
            let same = later.rules.iter().any(|other| other.uid == rule.uid && other.files == rule.files);
            let follows_same = followed(follows, rule) == followed(&later.follows, rule);
            same && follows_same && resolved(resolutions, rule) == resolved(&later.resolutions, rule)
        });
    }
}

/// A rule as reports need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedRule {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) generation: i64,
    pub(crate) tags: Vec<String>,
    pub(crate) suspended: bool,
}

/// A plan that can be walked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) id: PlanId,
    pub(crate) source: PlanSource,
    pub(crate) rules: Vec<PlannedRule>,
    pub(crate) entries: Vec<FileEntry>,
    pub(crate) selectors: Vec<Selector>,
    /// Which of them is an entry's own pattern, by entry.
    pub(crate) patterns: Vec<Option<SelectorId>>,
    /// Where the others begin.
    pub(crate) places: Places,
}

/// The entries that cover one item, and what they ask for together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Of rules that are not suspended; sorted.
    pub(crate) entries: Vec<u16>,
    /// The union of what their `compare` can produce.
    pub(crate) fields: Fields,
    pub(crate) interval: Duration,
    hashes: HashSet,
    max_content_size: u64,
    rehash_interval: Duration,
}

/// `rule/entry`, the name that records give an entry.
pub(crate) fn entry_name(rules: &[NodeRule], entry: &FileEntry) -> String {
    format!("{}/{}", rules[entry.rule].name, entry.name)
}

/// The rules of a plan as entries, and the values in them that this version does not know.
pub(crate) fn entries(rules: &[NodeRule]) -> (Vec<FileEntry>, Vec<String>) {
    let mut resolved = resolve(rules);
    for entry in resolved.entries.drain(resolved.entries.len().min(MAX_ENTRIES)..) {
        resolved.unknown.push(format!("{}: it is over {MAX_ENTRIES} entries", entry_name(rules, &entry)));
    }
    (resolved.entries, resolved.unknown)
}

impl Plan {
    /// The plan of this source.
    pub(crate) fn new(id: PlanId, source: PlanSource) -> Self {
        let (entries, _) = entries(&source.rules);
        let rules = source.rules.iter().map(|rule| PlannedRule {
            name: rule.name.clone(),
            uid: rule.uid.clone(),
            generation: rule.generation,
            tags: rule.tags.clone(),
            suspended: rule.suspend,
        });
        let (selectors, patterns, places) = Default::default();
        let mut plan = Self { id, rules: rules.collect(), entries, selectors, patterns, places, source };
        let (entries, source) = (plan.entries.clone(), plan.source.clone());
        for (number, entry) in plan.entry_numbers().zip(&entries) {
            let name = entry_name(&source.rules, entry);
            let Some(resolution) = source.resolutions.iter().find(|resolution| resolution.name == name) else {
                continue;
            };
            let pattern = entry.path.with_prefix(&resolution.real);
            let prefix = length(resolution.real.len());
            let selector = Selector {
                entry: number,
                pattern,
                excluded: Arc::new(excluded(entry, resolution)),
                max_depth: entry.max_depth.unwrap_or(u32::MAX),
                is_prefix_link: false,
                is_followed: false,
                prefix,
            };
            plan.add_pattern(selector.clone());
            let place = |at: &HostPath| Selector {
                pattern: PathPattern::literal(&[b""; 0]),
                prefix: length(at.components().count()),
                ..selector.clone()
            };
            let link = |at: &HostPath, is_followed| Selector {
                excluded: Arc::default(),
                max_depth: 0,
                is_prefix_link: true,
                is_followed,
                ..place(at)
            };
            let own: BTreeSet<HostPath> = resolution.links.iter().map(HostPath::from_components).collect();
            own.iter().for_each(|at| plan.add_place(at, link(at, false)));
            let mut links = BTreeSet::new();
            for (target, reach) in of_entry(&source.follows, &name) {
                let behind = Selector { max_depth: reach.depth, is_followed: true, ..place(&target.real) };
                plan.add_place(&target.real, behind);
                links.extend(reach.links.iter().filter(|link| !own.contains(*link)));
            }
            links.into_iter().for_each(|at| plan.add_place(at, link(at, true)));
        }
        plan
    }

    /// The entries' numbers.
    pub(crate) fn entry_numbers(&self) -> impl Iterator<Item = u16> + use<> {
        (0..=u16::MAX).take(self.entries.len())
    }

    /// The entries that a mount at a path concerns: those that select the path, else those that may select below it; and
    /// whether they select it.
    pub(crate) fn concerned(&self, step: &Step) -> (Vec<u16>, bool) {
        let mut entries = self.selecting(step, false);
        let is_item = !entries.is_empty();
        if !is_item {
            entries.extend(self.alive(&step.context));
            entries.sort_unstable();
            entries.dedup();
        }
        (entries, is_item)
    }

    /// What the entries of running rules ask of an item together; `None` when all of them are suspended.
    pub(crate) fn ask(&self, selecting: &[u16]) -> Option<Ask> {
        let entries: Vec<u16> = selecting.iter().copied().filter(|entry| !self.is_suspended(*entry)).collect();
        let of = |at: &u16| &self.entries[usize::from(*at)];
        let interval = entries.iter().map(|at| of(at).interval).min()?;
        let reads = |at: &&u16| of(at).compare.contains(Compare::Content);
        // The kinds that a suspended rule asks for are computed with the others: they are compared when it is resumed.
        let hashing = if entries.iter().any(|at| reads(&at)) { selecting } else { &[] };
        Some(Ask {
            fields: entries.iter().fold(Fields::NONE, |fields, at| fields.or(self.fields(*at, true))),
            interval,
            hashes: hashing.iter().filter(reads).fold(HashSet::empty(), |hashes, at| hashes.union(of(at).hashes)),
            max_content_size: entries.iter().filter(reads).map(|at| of(at).max_content_size).max().unwrap_or(0),
            rehash_interval: entries
                .iter()
                .filter(reads)
                .map(|at| of(at).rehash_interval)
                .min()
                .unwrap_or(Duration::MAX),
            entries,
        })
    }

    /// The fields that an entry reports; `by_time` when the modification time stands in for content.
    pub(crate) fn fields(&self, entry: u16, by_time: bool) -> Fields {
        let compare = self.entries[usize::from(entry)].compare;
        let fields = compare.iter().fold(Fields::NONE, |fields, member| fields.or(fields_of(member)));
        if by_time && compare.contains(Compare::Content) {
            fields.or(Fields::of(&[Field::ModifiedTime]))
        } else {
            fields
        }
    }

    /// `rule/entry`.
    pub(crate) fn entry_name(&self, entry: u16) -> String {
        entry_name(&self.source.rules, &self.entries[usize::from(entry)])
    }

    /// The severity of an entry.
    pub(crate) fn severity(&self, entry: u16) -> Severity {
        self.entries[usize::from(entry)].severity
    }

    /// The index of the rule that an entry stands in.
    pub(crate) fn rule_of(&self, entry: u16) -> usize {
        self.entries[usize::from(entry)].rule
    }

    /// Whether an entry's rule keeps its state and collects nothing.
    pub(crate) fn is_suspended(&self, entry: u16) -> bool {
        self.rules[self.rule_of(entry)].suspended
    }

    /// Whether one of these entries stands in a rule that is not suspended.
    pub(crate) fn any_running(&self, entries: &[u16]) -> bool {
        entries.iter().any(|entry| !self.is_suspended(*entry))
    }

    /// The intervals of running entries, shortest first.
    pub(crate) fn intervals(&self) -> Vec<Duration> {
        let running = self.entry_numbers().filter(|entry| !self.is_suspended(*entry));
        let mut intervals: Vec<Duration> = running.map(|entry| self.entries[usize::from(entry)].interval).collect();
        intervals.sort_unstable();
        intervals.dedup();
        intervals
    }

    /// Whether one of these entries is due.
    pub(crate) fn any_due(&self, entries: &[u16], due: &Due) -> bool {
        entries.iter().any(|entry| due.contains(self.entries[usize::from(*entry)].interval))
    }
}

impl Ask {
    /// The same, with all content due.
    pub(crate) fn at_once(self) -> Self {
        Self { rehash_interval: Duration::ZERO, ..self }
    }

    /// What a look at an item of this phase has to find out.
    pub(crate) fn want(&self, phase: u64) -> Want {
        let Self { hashes, max_content_size, rehash_interval, .. } = *self;
        Want { hashes, max_content_size, rehash_interval, phase, leaves_large: false }
    }

    /// The kinds of digests that are stored.
    pub(crate) fn hashes(&self) -> HashSet {
        self.hashes
    }
}

/// An exclude holds for paths as it names them, and for where its links lead.
fn excluded(entry: &FileEntry, resolution: &EntryResolution) -> Excluded {
    let mut prefixes = resolution.excludes.iter();
    let Excluded { mut names, mut paths, mut by } = Excluded::default();
    for (at, exclude) in entry.exclude.iter().enumerate() {
        match exclude {
            Exclude::Name(_) => names.push(at),
            Exclude::Path(pattern) => {
                let resolved = prefixes.next().map(|real| pattern.with_prefix(real));
                paths.extend(resolved.filter(|resolved| resolved != pattern));
                paths.push(pattern.clone());
                by.resize(paths.len(), at);
            }
        }
    }
    Excluded { names, paths, by }
}

fn length(components: usize) -> u32 {
    u32::try_from(components).unwrap_or(u32::MAX)
}

/// Where in its interval an item is hashed again: the same for one path forever.
pub(crate) fn phase(directory: &HostPath, name: &[u8]) -> u64 {
    phase_in(xxh3_64(directory.as_bytes()), name)
}

/// The same, for a directory's own phase.
pub(crate) fn phase_in(directory: u64, name: &[u8]) -> u64 {
    xxh3_64_with_seed(name, directory)
}

/// Which entries a compare is for: those whose interval has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// All of them.
    All,
    /// Those with one of these intervals.
    Intervals(Vec<Duration>),
}

impl Due {
    /// Whether entries of this interval are due.
    pub fn contains(&self, interval: Duration) -> bool {
        match self {
            Self::All => true,
            Self::Intervals(intervals) => intervals.contains(&interval),
        }
    }
}
