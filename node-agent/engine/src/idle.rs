//! Entries that select nothing on this host: most often a path with a typing mistake in it, sometimes one for other hosts.
//!
//! Pure. Walkers note which entries they met something for; what could not be seen counts as something, for nobody knows.

use crate::plan::{Due, Plan};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use vedette_crds::node_config::NodeRule;

/// An entry that selected nothing at its last compare.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdleEntry {
    /// The rule's name.
    pub rule: String,
    /// The entry's name.
    pub entry: String,
    /// The path as the rule has it.
    pub path: String,
    /// The interval at which it is compared.
    pub interval: Duration,
}

impl fmt::Display for IdleEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}, entry {}: {} selects nothing on this host", self.rule, self.entry, self.path)
    }
}

/// The entries that something was met for, by their indices in the plan.
#[derive(Clone, Debug, Default)]
pub(crate) struct Met(Vec<bool>);

impl Met {
    pub(crate) fn mark(&mut self, entries: impl IntoIterator<Item = u16>) {
        for entry in entries.into_iter().map(usize::from) {
            if self.0.len() <= entry {
                self.0.resize(entry + 1, false);
            }
            self.0[entry] = true;
        }
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        self.mark((0..).zip(&other.0).filter(|(_, met)| **met).map(|(entry, _)| entry));
    }

    fn has(&self, entry: u16) -> bool {
        self.0.get(usize::from(entry)).copied().unwrap_or(false)
    }
}

/// What is idle after a complete compare of the due intervals; `before` is what was, under the same plan.
pub(crate) fn idle(plan: &Plan, due: &Due, met: &Met, before: &[IdleEntry]) -> Arc<[IdleEntry]> {
    let judged = plan.entry_numbers().filter(|entry| !plan.is_suspended(*entry));
    let judged = judged.filter(|entry| due.contains(plan.entries[usize::from(*entry)].interval) && !met.has(*entry));
    let now = judged.filter_map(|entry| {
        let (interval, name) = (plan.entries[usize::from(entry)].interval, &plan.entries[usize::from(entry)].name);
        let rule = &plan.source.rules[plan.rule_of(entry)];
        let (rule, entry, path) = (rule.name.clone(), name.clone(), path(rule, name)?);
        Some(IdleEntry { rule, entry, path, interval })
    });
    before.iter().filter(|idle| !due.contains(idle.interval)).cloned().chain(now).collect()
}

fn path(rule: &NodeRule, entry: &str) -> Option<String> {
    let mut paths = rule.files.iter().flat_map(|files| &files.paths);
    paths.find(|path| path.name == entry).map(|path| path.path.clone())
}
