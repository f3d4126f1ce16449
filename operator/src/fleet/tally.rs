//! The sums behind a rule's status. A node adds its share and takes it back when it changes: one status change costs
//! what the rules of that node cost, whatever the fleet's size.

use std::collections::BTreeMap;
use std::num::NonZeroI64;
use std::sync::Arc;

use vedette_crds::node_config::Changes;
use vedette_crds::rule::NodeCounts;

use crate::observed::Found;

/// What one node adds to one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    /// The rule's uid.
    pub(crate) rule: Arc<str>,
    /// Whether the rule selects the node.
    pub(crate) selected: bool,
    /// Whether the node's NodeConfig carries the rule's generation.
    pub(crate) programmed: bool,
    pub(crate) standing: Standing,
    pub(crate) obstacle: Option<Obstacle>,
    /// What the agent says; it counts as long as the NodeConfig exists, selected or not.
    pub(crate) found: Option<Found>,
}

/// How a node stands to a rule that selects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its agent watches by the rule's generation, baseline included.
    Ready,
    /// Its agent is available, and does not do that.
    Degraded,
    /// Its agent is not available.
    Unavailable,
}

/// Why a node's NodeConfig cannot carry a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Older rules fill it.
    NoRoom,
    /// The API server's definition does not know a field of it.
    SchemaOutdated,
}

impl Share {
    pub(crate) fn new(rule: Arc<str>) -> Self {
        Self { rule, selected: false, programmed: false, standing: Standing::Unavailable, obstacle: None, found: None }
    }

    /// Whether it adds anything.
    pub(crate) fn counts(&self) -> bool {
        self.selected || self.found.is_some()
    }
}

/// One rule's sums.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) nodes: NodeCounts,
    pub(crate) no_room: u32,
    pub(crate) schema_outdated: u32,
    /// Tracked items, records of additions, modifications and removals: wide enough for any number of any fleet, so
    /// that what one agent makes up is gone again with its share.
    sums: [u128; 4],
    /// How many nodes saw their last change in which second.
    last_changes: BTreeMap<NonZeroI64, u32>,
    shares: u32,
}

impl Tally {
    pub(crate) fn add(&mut self, share: &Share) {
        self.shares += 1;
        for count in self.counts(share) {
            *count += 1;
        }
        if let Some(found) = &share.found {
            self.sums.iter_mut().zip(numbers(found)).for_each(|(sum, number)| *sum += number);
            if let Some(second) = found.last_change {
                *self.last_changes.entry(second).or_default() += 1;
            }
        }
    }

    /// Takes back what was added: the same share, to the last bit, or the sums are wrong for ever.
    pub(crate) fn take_back(&mut self, share: &Share) {
        self.shares -= 1;
        for count in self.counts(share) {
            *count -= 1;
        }
        if let Some(found) = &share.found {
            self.sums.iter_mut().zip(numbers(found)).for_each(|(sum, number)| *sum -= number);
            if let Some(second) = found.last_change
                && let Some(nodes) = self.last_changes.get_mut(&second)
            {
                *nodes -= 1;
                if *nodes == 0 {
                    self.last_changes.remove(&second);
                }
            }
        }
    }

    /// How many items are tracked on all nodes.
    pub(crate) fn tracked(&self) -> u64 {
        stored(self.sums[0])
    }

    /// The records on all nodes.
    pub(crate) fn changes(&self) -> Changes {
        let [_, added, modified, removed] = self.sums.map(stored);
        Changes { added, modified, removed }
    }

    /// The second of the last change on any node.
    pub(crate) fn last_change(&self) -> Option<NonZeroI64> {
        self.last_changes.keys().next_back().copied()
    }

    /// Whether no node adds to it.
    pub(crate) fn is_void(&self) -> bool {
        self.shares == 0
    }

    /// The counters that a share moves by one.
    fn counts(&mut self, share: &Share) -> impl Iterator<Item = &mut u32> {
        let NodeCounts { selected, programmed, ready, degraded, unavailable } = &mut self.nodes;
        let standing = match share.standing {
            Standing::Ready => ready,
            Standing::Degraded => degraded,
            Standing::Unavailable => unavailable,
        };
        let obstacle = match share.obstacle {
            Some(Obstacle::NoRoom) => Some(&mut self.no_room),
            Some(Obstacle::SchemaOutdated) => Some(&mut self.schema_outdated),
            None => None,
        };
        let programmed = share.programmed.then_some(programmed);
        let all = [Some(selected), programmed, Some(standing), obstacle];
        all.into_iter().flatten().filter(|_| share.selected)
    }
}

fn numbers(found: &Found) -> [u128; 4] {
    let Changes { added, modified, removed } = found.changes;
    [found.tracked, added, modified, removed].map(u128::from)
}

/// The largest number that the API server stores stands for all that are larger.
fn stored(sum: u128) -> u64 {
    sum.min(i64::MAX.unsigned_abs().into()).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(standing: Standing, tracked: u64, last_change: i64) -> Share {
        let changes = Changes { added: 1, modified: 2, removed: u64::MAX };
        let found = Found { generation: 1, tracked, changes, last_change: NonZeroI64::new(last_change) };
        Share { selected: true, programmed: true, standing, found: Some(found), ..Share::new("uid".into()) }
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace() {
        let mut tally = Tally::default();
        tally.add(&share(Standing::Ready, 5, 10));
        let before = tally.clone();
        for other in [share(Standing::Degraded, u64::MAX, 20), share(Standing::Unavailable, 7, 5)] {
            tally.add(&other);
            assert_ne!(tally, before);
            tally.take_back(&other);
            assert_eq!(tally, before);
        }
        tally.take_back(&share(Standing::Ready, 5, 10));
        assert_eq!(tally, Tally::default());
        assert!(tally.is_void());
    }

    #[test]
    fn a_number_that_no_api_server_stores_is_cut_and_goes_with_its_node() {
        let mut tally = Tally::default();
        let (honest, liar) = (share(Standing::Ready, 5, 10), share(Standing::Ready, u64::MAX, 10));
        [&honest, &liar, &liar].into_iter().for_each(|share| tally.add(share));
        assert_eq!(tally.tracked(), i64::MAX.unsigned_abs());
        [&liar, &liar].into_iter().for_each(|share| tally.take_back(share));
        assert_eq!((tally.tracked(), tally.changes().modified), (5, 2));
    }

    #[test]
    fn the_last_change_is_the_latest_of_those_that_are_left() {
        let mut tally = Tally::default();
        let (early, late) = (share(Standing::Ready, 1, 10), share(Standing::Ready, 1, 20));
        tally.add(&early);
        tally.add(&late);
        tally.add(&late);
        tally.take_back(&late);
        assert_eq!(tally.last_change(), NonZeroI64::new(20));
        tally.take_back(&late);
        assert_eq!(tally.last_change(), NonZeroI64::new(10));
    }

    #[test]
    fn a_node_that_is_selected_no_more_still_adds_what_its_agent_found() {
        let mut tally = Tally::default();
        tally.add(&Share { selected: false, ..share(Standing::Ready, 5, 10) });
        assert_eq!((tally.nodes, tally.tracked()), (NodeCounts::default(), 5));
    }
}
