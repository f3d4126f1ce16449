//! The fleet in memory: every rule, node, NodeConfig and agent pod, as much of them as decisions need. Reads events in
//! the order in which they come, produces what is to be looked at again ([`Dirty`]) and, when asked, what is to be done
//! about it ([`plan`]). It holds no client and asks no clock.
//!
//! ```text
//! events ──► rules, nodes ──► shares ──► tallies        one event moves the sums of the rules of one node
//!                 │                          │
//!               dirty ──► plan ──► Action ◄──┘          compiled against what is there; nothing when it is right
//! ```
//! Before the first lists of all four kinds are complete nothing is dirty, so nothing is done: a rule that has not been
//! listed yet must not look deleted. Nothing is dirty either while another operator leads: this one only knows.

mod belief;
mod examples;
mod id;
pub(crate) mod intern;
pub(crate) mod node;
mod pace;
pub(crate) mod plan;
pub(crate) mod rule;
mod take_in;
pub(crate) mod tally;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use vedette_crds::duration;
use vedette_crds::node_config::{ClusterRef, NodeRule};

use crate::event::Kind;
use crate::notice::{About, Notice};
use crate::queue::Key;
use crate::time::{Moment, Now};
use intern::Interner;
use node::{Common, Label, Node, NodeState};
use pace::Pace;
use rule::Rule;
use tally::Tally;

/// An object's name.
pub(crate) type Name = Arc<str>;
/// An object's uid.
pub(crate) type Uid = Arc<str>;
/// The rules by uid.
pub(crate) type Rules = HashMap<Uid, Rule>;

/// How long a node may be without a ready agent before this is said.
pub(crate) const AGENT_GRACE: Duration = Duration::from_secs(60);

/// A node's conditions wait this long: what changes several times in a moment is written once.
const SETTLE: Duration = Duration::from_secs(1);

/// As much as is told in a minute at most.
const UNTOLD: usize = 128;

/// A rule's status is written at most this often.
const BETWEEN_RULE_STATUSES: Duration = Duration::from_secs(10);

/// Something to look at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dirty {
    pub(crate) key: Key,
    pub(crate) due: Moment,
    /// What is wanted has changed, so that earlier failures say nothing.
    pub(crate) fresh: bool,
}

/// The model.
pub(crate) struct Fleet {
    cluster: ClusterRef,
    grace: Duration,
    rules: Rules,
    rule_uids: HashMap<Name, Uid>,
    nodes: HashMap<Name, Box<Node>>,
    tallies: HashMap<Uid, Tally>,
    states: HashMap<NodeState, usize>,
    pace: Pace,
    texts: Interner<str>,
    labels: Interner<Label>,
    forms: Interner<NodeRule>,
    commons: Interner<Common>,
    unlisted: BTreeSet<Kind>,
    wakes: BTreeSet<(Moment, Name)>,
    dirty: Vec<Dirty>,
    deselected: u64,
    leading: bool,
    notices: Vec<Notice>,
    /// What the leader tells, in case that nobody leads.
    untold: VecDeque<(Moment, Notice)>,
    /// When a rule's condition will have stood long enough to be told.
    rules_told: Option<Moment>,
}

impl Fleet {
    /// An empty model of this cluster. `grace` is [`AGENT_GRACE`] but in tests.
    pub(crate) fn new(cluster: ClusterRef, grace: Duration) -> Self {
        Self {
            cluster,
            grace,
            rules: HashMap::new(),
            rule_uids: HashMap::new(),
            nodes: HashMap::new(),
            tallies: HashMap::new(),
            states: HashMap::new(),
            pace: Pace::new(),
            texts: Interner::new(),
            labels: Interner::new(),
            forms: Interner::new(),
            commons: Interner::new(),
            unlisted: BTreeSet::from(Kind::ALL),
            wakes: BTreeSet::new(),
            dirty: Vec::new(),
            deselected: 0,
            leading: false,
            notices: Vec::new(),
            untold: VecDeque::new(),
            rules_told: None,
        }
    }

    /// Decides from now on. What the one that led before has left is looked at as a whole, and what came up since it was
    /// last heard of is told: rather twice than never.
    pub(crate) fn lead(&mut self, now: Now, unled: Duration) {
        self.leading = true;
        let untold = self.untold.drain(..).filter(|(came, _)| now.moment.since(*came) <= unled);
        self.notices.extend(untold.map(|(_, notice)| notice));
        if self.is_synced() {
            self.begin(now);
        }
    }

    /// Leaves the decisions to another.
    pub(crate) fn follow(&mut self, now: Now) {
        self.leading = false;
        let refused: Vec<_> = self.nodes.iter().filter(|(_, node)| node.schema_outdated).collect();
        let refused: Vec<_> = refused.into_iter().map(|(name, _)| name.clone()).collect();
        refused.iter().for_each(|name| self.forget_refusal(name, now));
        self.dirty.clear();
        self.notices.clear();
    }

    /// Takes in that time has passed.
    pub(crate) fn tick(&mut self, now: Now) {
        while let Some((wake, _)) = self.wakes.first()
            && *wake <= now.moment
            && let Some((_, name)) = self.wakes.pop_first()
        {
            if let Some(node) = self.nodes.get_mut(&name) {
                node.wake = None;
            }
            self.amend(&name, now, |_| {});
        }
        if self.rules_told.is_some_and(|due| due <= now.moment) {
            let uids: Vec<_> = self.rules.keys().cloned().collect();
            uids.iter().for_each(|uid| self.tell_rule(uid, now));
            self.schedule_rules();
        }
        if self.leading && self.is_synced() && self.pace.fit(self.present_nodes(), now.moment) {
            self.mark_every_config(now);
        }
    }

    /// When [`Fleet::tick`] will have something to do.
    pub(crate) fn next_wake(&self) -> Option<Moment> {
        self.wakes.first().map(|(wake, _)| *wake).into_iter().chain(self.rules_told).min()
    }

    /// What is to be looked at again since this was last asked.
    pub(crate) fn take_dirty(&mut self) -> Vec<Dirty> {
        std::mem::take(&mut self.dirty)
    }

    /// What is to be told since this was last asked.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Whether the first lists of all kinds are complete.
    pub(crate) fn is_synced(&self) -> bool {
        self.unlisted.is_empty()
    }

    /// The kinds whose first list is not complete yet.
    pub(crate) fn unlisted(&self) -> impl Iterator<Item = Kind> {
        self.unlisted.iter().copied()
    }

    /// How many nodes stand so.
    pub(crate) fn nodes_in(&self, state: NodeState) -> usize {
        self.states.get(&state).copied().unwrap_or_default()
    }

    /// The rules.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values()
    }

    /// How often a node left a rule because its own labels changed.
    pub(crate) fn deselected(&self) -> u64 {
        self.deselected
    }

    fn listed(&mut self, kind: Kind, now: Now) {
        if !self.unlisted.remove(&kind) || !self.is_synced() {
            return;
        }
        if self.leading {
            self.begin(now);
        }
        let names: Vec<_> = self.nodes.keys().cloned().collect();
        names.iter().for_each(|name| self.amend(name, now, |_| {}));
    }

    /// Looks at everything, by the interval that NodeConfigs carry already.
    fn begin(&mut self, now: Now) {
        let carried = self.nodes.values().filter_map(|node| node.config.as_ref()?.spec.as_ref());
        let intervals = carried.map(|spec| duration::parse(&spec.common.reporting.min_interval));
        self.pace.resume(intervals.filter_map(Result::ok));
        self.pace.fit(self.present_nodes(), now.moment);
        self.mark_every_config(now);
        let uids: Vec<_> = self.rules.keys().cloned().collect();
        uids.iter().for_each(|uid| self.mark_rule(uid, now, true));
        let names: Vec<_> = self.nodes.keys().cloned().collect();
        names.iter().for_each(|name| self.mark_conditions(name, now));
    }

    fn present_nodes(&self) -> usize {
        self.states.values().sum()
    }

    /// Changes a node, and with it what it adds to the sums, when it wants to be judged again, and what is dirty.
    fn amend(&mut self, name: &Name, now: Now, change: impl FnOnce(&mut Node)) {
        let node = self.nodes.entry(name.clone()).or_insert_with(|| Box::new(Node::new(now.moment)));
        let (shares, state, wake) = (node.shares.clone(), node.state(), node.wake);
        change(node);
        node.judge(&self.rules, now.moment, self.grace);
        // What is not known whole yet stands for nothing.
        let told = if self.unlisted.is_empty() { node.observe(now.moment) } else { Vec::new() };
        let told_of = node.config.as_ref().filter(|_| !told.is_empty()).map(|config| config.uid.to_uid());
        let changed: Vec<_> = if shares == node.shares { Vec::new() } else { differing(&shares, &node.shares) };
        if !changed.is_empty() {
            for share in &shares {
                if let Some(tally) = self.tallies.get_mut(&share.rule) {
                    tally.take_back(share);
                }
            }
            for share in &node.shares {
                self.tallies.entry(share.rule.clone()).or_default().add(share);
            }
            for uid in &changed {
                if self.tallies.get(uid).is_some_and(Tally::is_void) {
                    self.tallies.remove(uid);
                }
            }
        }
        let next = node.state();
        if state != next {
            if let Some(state) = state {
                *self.states.entry(state).or_default() -= 1;
            }
            if let Some(next) = next {
                *self.states.entry(next).or_default() += 1;
            }
        }
        if wake != node.wake {
            if let Some(wake) = wake {
                self.wakes.remove(&(wake, name.clone()));
            }
            if let Some(wake) = node.wake {
                self.wakes.insert((wake, name.clone()));
            }
        }
        if node.is_void() {
            if let Some(wake) = node.wake {
                self.wakes.remove(&(wake, name.clone()));
            }
            self.nodes.remove(name);
        }
        self.mark_conditions(name, now);
        changed.iter().for_each(|uid| self.mark_rule(uid, now, false));
        let Some(uid) = told_of else { return };
        for (subject, note) in told {
            let (about, node) = (About::NodeConfig, Some(name.clone()));
            self.tell(Notice { subject, about, name: name.clone(), uid: uid.clone(), node, note }, now);
        }
    }

    /// Looks whether a condition of a rule has stood long enough to be told.
    fn observe_rule(&mut self, uid: &Uid, now: Now) {
        self.tell_rule(uid, now);
        self.schedule_rules();
    }

    fn tell_rule(&mut self, uid: &Uid, now: Now) {
        let Some(rule) = self.rules.get_mut(uid) else { return };
        let (name, told) = (rule.name.clone(), rule.observe(now.moment));
        for (subject, note) in told {
            self.tell(
                Notice { subject, about: About::Rule, name: name.clone(), uid: uid.clone(), node: None, note },
                now,
            );
        }
    }

    fn schedule_rules(&mut self) {
        self.rules_told = self.rules.values().filter_map(Rule::told_next).min();
    }

    /// The leader tells; the others have seen it too.
    fn tell(&mut self, notice: Notice, now: Now) {
        if self.leading && self.is_synced() {
            self.notices.push(notice);
        } else if self.is_synced() {
            if self.untold.len() == UNTOLD {
                self.untold.pop_front();
            }
            self.untold.push_back((now.moment, notice));
        }
    }

    fn mark_every_config(&mut self, now: Now) {
        let names: Vec<_> = self.nodes.keys().cloned().collect();
        names.iter().for_each(|name| self.mark_config(name, now, true));
    }

    fn mark_config(&mut self, name: &Name, now: Now, fresh: bool) {
        self.mark(Key::Config(name.clone()), now.moment, fresh);
    }

    /// Has a node's conditions written if they do not stand, as soon as they have settled and are due.
    fn mark_conditions(&mut self, name: &Name, now: Now) {
        let patience = self.pace.answer();
        if let Some(due) = self.nodes.get(name).and_then(|node| node.conditions_due(patience)) {
            self.mark(Key::Conditions(name.clone()), due.max(now.moment + SETTLE), false);
        }
    }

    fn mark_rule(&mut self, uid: &Uid, now: Now, fresh: bool) {
        if let Some(rule) = self.rules.get(uid) {
            let due = rule.written.map_or(now.moment, |written| (written + BETWEEN_RULE_STATUSES).max(now.moment));
            self.mark(Key::Rule(uid.clone()), due, fresh);
        }
    }

    fn mark(&mut self, key: Key, due: Moment, fresh: bool) {
        if self.leading && self.is_synced() {
            self.dirty.push(Dirty { key, due, fresh });
        }
    }
}

/// The rules whose shares are not the same in both.
fn differing(before: &[tally::Share], after: &[tally::Share]) -> Vec<Uid> {
    let in_one = |left: &[tally::Share], right: &[tally::Share]| -> Vec<Uid> {
        left.iter().filter(|share| !right.contains(share)).map(|share| share.rule.clone()).collect()
    };
    let mut rules = in_one(before, after);
    rules.extend(in_one(after, before));
    rules.sort_unstable();
    rules.dedup();
    rules
}
