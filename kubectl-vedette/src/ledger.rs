//! What of the changes was told already: reads statuses as they come, in any number and again and again, produces each change
//! once, and how many there were that no status has shown. Pure.
//!
//! A status counts every record of its journal and holds the newest few: the difference is what is missing.

use std::collections::{BTreeMap, VecDeque};
use vedette_crds::node_config::{NodeConfigStatus, RecentChange};

/// Nodes that are gone are remembered for as long as one may come back with the same journal; a cluster that makes and deletes
/// nodes all day is not remembered for ever.
const GONE: usize = 4_096;
/// A node comes back to a journal that it had when its disk is put back to what it was, and perhaps to and fro.
const JOURNALS: usize = 8;

/// What is known of each node.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    nodes: BTreeMap<String, Seen>,
    gone: VecDeque<String>,
}

/// What was told of a node.
#[derive(Debug, Default)]
struct Seen {
    /// The one that it has now is the last.
    journals: VecDeque<Journal>,
    is_gone: bool,
}

/// What was told of a journal.
#[derive(Clone, Debug)]
struct Journal {
    id: String,
    /// Of the newest change that was told.
    sequence: u64,
    /// The changes that the journal had.
    total: u64,
}

/// What a status says that was not said before.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// The journal that they are of.
    pub(crate) journal: String,
    /// The oldest first.
    pub(crate) changes: Vec<RecentChange>,
    /// Changes before the first of these that no status has shown.
    pub(crate) missing: u64,
    /// Whether the node was not known before, so that what is missing is older than this program.
    pub(crate) is_first: bool,
    /// The journal that the node had before, when it has another one now.
    pub(crate) lost_journal: Option<String>,
}

impl Ledger {
    /// Takes in what a node's status says now.
    pub(crate) fn take(&mut self, node: &str, status: &NodeConfigStatus) -> News {
        let Some(journal) = &status.journal else { return News::default() };
        let changes = status.changes.unwrap_or_default();
        // An agent may write any number.
        let total = changes.added.saturating_add(changes.modified).saturating_add(changes.removed);
        let is_first = !self.nodes.contains_key(node);
        let seen = self.nodes.entry(node.to_owned()).or_default();
        seen.is_gone = false;
        let before = seen.journals.back().map(|last| last.id.clone()).filter(|last| *last != journal.id);
        let known = seen.journals.iter().position(|one| one.id == journal.id).and_then(|at| seen.journals.remove(at));
        let Journal { id, sequence, total: told } =
            known.unwrap_or_else(|| Journal { id: journal.id.clone(), sequence: 0, total: 0 });
        let mut fresh: Vec<RecentChange> =
            status.recent_changes.iter().filter(|change| change.sequence > sequence).cloned().collect();
        fresh.sort_by_key(|change| change.sequence);
        let news = News {
            journal: journal.id.clone(),
            missing: total.saturating_sub(told).saturating_sub(fresh.len() as u64),
            is_first,
            lost_journal: before,
            changes: fresh,
        };
        let sequence = news.changes.last().map_or(sequence, |change| change.sequence);
        seen.journals.push_back(Journal { id, sequence, total: total.max(told) });
        if seen.journals.len() > JOURNALS {
            seen.journals.pop_front();
        }
        news
    }

    /// A NodeConfig is gone; its node may come back.
    pub(crate) fn forget(&mut self, node: &str) {
        let Some(seen) = self.nodes.get_mut(node) else { return };
        seen.is_gone = true;
        self.gone.push_back(node.to_owned());
        if self.gone.len() > GONE
            && let Some(oldest) = self.gone.pop_front()
            && self.nodes.get(&oldest).is_some_and(|seen| seen.is_gone)
        {
            self.nodes.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use vedette_crds::node_config::{Changes, JournalHead};

    fn change(sequence: u64) -> RecentChange {
        serde_json::from_value(serde_json::json!({
            "sequence": sequence, "time": "2026-11-24T04:00:00Z", "category": "File", "changeType": "Modified",
        }))
        .unwrap()
    }

    /// A status of so many changes that holds those of these sequences.
    fn status(journal: &str, total: u64, held: &[u64]) -> NodeConfigStatus {
        NodeConfigStatus {
            journal: Some(JournalHead { id: journal.into(), ..JournalHead::default() }),
            changes: Some(Changes { modified: total, ..Changes::default() }),
            recent_changes: held.iter().map(|sequence| change(*sequence)).collect(),
            ..NodeConfigStatus::default()
        }
    }

    fn told(news: &News) -> (Vec<u64>, u64) {
        (news.changes.iter().map(|change| change.sequence).collect(), news.missing)
    }

    #[test]
    fn each_change_is_told_once_and_what_no_status_has_shown_is_counted() {
        let mut ledger = Ledger::default();
        let first = ledger.take("n", &status("j", 5, &[12, 10, 9]));
        assert_eq!((told(&first), first.is_first), ((vec![9, 10, 12], 2), true));
        assert_eq!(told(&ledger.take("n", &status("j", 5, &[12, 10, 9]))), (vec![], 0), "listed again");
        assert_eq!(told(&ledger.take("n", &status("j", 6, &[14, 12, 10]))), (vec![14], 0));
        let burst = ledger.take("n", &status("j", 30, &[40, 39, 38]));
        assert_eq!((told(&burst), burst.is_first), ((vec![38, 39, 40], 21), false));
        assert_eq!(told(&ledger.take("n", &status("j", 31, &[]))), (vec![], 1), "no room for any");
        assert_eq!(told(&ledger.take("n", &status("j", 32, &[42, 41]))), (vec![41, 42], 0), "one of them late");
    }

    #[test]
    fn another_journal_is_said_and_told_from_its_beginning() {
        let mut ledger = Ledger::default();
        ledger.take("n", &status("j", 5, &[12]));
        let news = ledger.take("n", &status("k", 2, &[3, 2]));
        assert_eq!((told(&news), news.lost_journal.as_deref()), ((vec![2, 3], 0), Some("j")));
        assert_eq!(ledger.take("n", &status("k", 2, &[3, 2])).lost_journal, None);
    }

    #[test]
    fn a_journal_that_comes_back_is_said_and_tells_nothing_again() {
        let mut ledger = Ledger::default();
        ledger.take("n", &status("j", 2, &[3, 2]));
        ledger.take("n", &status("k", 1, &[1]));
        let back = ledger.take("n", &status("j", 3, &[4, 3, 2]));
        assert_eq!((told(&back), back.lost_journal.as_deref()), ((vec![4], 0), Some("k")));
        let again = ledger.take("n", &status("k", 1, &[1]));
        assert_eq!((told(&again), again.lost_journal.as_deref()), ((vec![], 0), Some("j")));
        for journal in 0..100 {
            ledger.take("n", &status(&journal.to_string(), 1, &[1]));
        }
        assert_eq!(ledger.nodes["n"].journals.len(), JOURNALS);
    }

    #[test]
    fn numbers_that_no_journal_can_have_end_nothing() {
        let mut ledger = Ledger::default();
        let mut many = status("j", u64::MAX, &[u64::MAX]);
        many.changes = Some(Changes { added: u64::MAX, modified: u64::MAX, removed: 1 });
        assert_eq!(told(&ledger.take("n", &many)), (vec![u64::MAX], u64::MAX - 1));
        assert_eq!(told(&ledger.take("n", &many)), (vec![], 0));
    }

    #[test]
    fn a_node_that_comes_back_with_its_journal_tells_nothing_again() {
        let mut ledger = Ledger::default();
        ledger.take("n", &status("j", 2, &[3, 2]));
        ledger.forget("n");
        assert_eq!(ledger.take("n", &NodeConfigStatus::default()), News::default(), "no agent has written yet");
        assert_eq!(told(&ledger.take("n", &status("j", 3, &[4, 3, 2]))), (vec![4], 0));
    }

    #[test]
    fn nodes_that_are_gone_are_forgotten_in_the_end() {
        let mut ledger = Ledger::default();
        for node in 0..GONE + 10 {
            let node = node.to_string();
            ledger.take(&node, &status("j", 1, &[1]));
            ledger.forget(&node);
        }
        assert_eq!(ledger.nodes.len(), GONE);
    }
}
