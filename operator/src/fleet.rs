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
//! listed yet must not look deleted.

pub(crate) mod intern;
pub(crate) mod node;
mod pace;
pub(crate) mod plan;
pub(crate) mod rule;
pub(crate) mod tally;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use vedette_crds::compile::{NodeFacts, prepare_object};
use vedette_crds::duration;
use vedette_crds::node_config::{ClusterRef, NodeConfigSpec, NodeRule};

use crate::event::{Change, Event, Kind};
use crate::observed::{ObservedConfig, ObservedPod, ObservedRule};
use crate::queue::Key;
use crate::time::{Moment, Now};
use intern::Interner;
use node::{Common, Config, Label, Node, NodeState, Pod, Present, Spec};
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
        }
    }

    /// Takes in what happened.
    pub(crate) fn apply(&mut self, event: Event, now: Now) {
        match event {
            Event::Rule(Change::Applied(rule)) => self.rule_applied(*rule, now),
            Event::Rule(Change::Deleted(rule)) => {
                self.rule_deleted(&rule.metadata.uid.unwrap_or_default(), now);
            }
            Event::Rule(Change::Listed(names)) => {
                let gone: Vec<_> = missing(self.rule_uids.iter().map(|(name, uid)| (name, uid.clone())), &names);
                gone.iter().for_each(|uid| self.rule_deleted(uid, now));
                self.listed(Kind::Rule, now);
            }
            Event::Node(Change::Applied(node)) => self.node_applied(node, now),
            Event::Node(Change::Deleted(node)) => self.node_deleted(&node.name, Some(&node.uid), now),
            Event::Node(Change::Listed(names)) => {
                let present = self.nodes.iter().filter(|(_, node)| node.present.is_some());
                let gone: Vec<_> = missing(present.map(|(name, _)| (name, name.clone())), &names);
                gone.iter().for_each(|name| self.node_deleted(name, None, now));
                self.listed(Kind::Node, now);
            }
            Event::Config(Change::Applied(config)) => self.config_applied(*config, now),
            Event::Config(Change::Deleted(config)) => self.config_deleted(&config.name, Some(&config.uid), now),
            Event::Config(Change::Listed(names)) => {
                let present = self.nodes.iter().filter(|(_, node)| node.config.is_some());
                let gone: Vec<_> = missing(present.map(|(name, _)| (name, name.clone())), &names);
                gone.iter().for_each(|name| self.config_deleted(name, None, now));
                self.listed(Kind::Config, now);
            }
            Event::Pod(Change::Applied(pod)) => self.pod_applied(pod, now),
            Event::Pod(Change::Deleted(pod)) => self.pods_retained(&pod.node, now, |held| *held.name != *pod.name),
            Event::Pod(Change::Listed(names)) => {
                let holders: Vec<_> =
                    self.nodes.iter().filter(|(_, node)| !node.pods.is_empty()).map(|(name, _)| name.clone()).collect();
                for name in holders {
                    self.pods_retained(&name, now, |held| names.contains(held.name.as_ref()));
                }
                self.listed(Kind::Pod, now);
            }
        }
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
        if self.is_synced() && self.pace.fit(self.present_nodes(), now.moment) {
            self.mark_every_config(now);
        }
    }

    /// When [`Fleet::tick`] will have something to do.
    pub(crate) fn next_wake(&self) -> Option<Moment> {
        self.wakes.first().map(|(wake, _)| *wake)
    }

    /// What is to be looked at again since this was last asked.
    pub(crate) fn take_dirty(&mut self) -> Vec<Dirty> {
        std::mem::take(&mut self.dirty)
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
        let carried = self.nodes.values().filter_map(|node| node.config.as_ref()?.spec.as_ref());
        let intervals = carried.map(|spec| duration::parse(&spec.common.reporting.min_interval));
        self.pace.resume(intervals.filter_map(Result::ok));
        self.pace.fit(self.present_nodes(), now.moment);
        self.mark_every_config(now);
        let uids: Vec<_> = self.rules.keys().cloned().collect();
        uids.iter().for_each(|uid| self.mark_rule(uid, now, true));
        let names: Vec<_> = self.nodes.keys().cloned().collect();
        names.iter().for_each(|name| self.amend(name, now, |_| {}));
    }

    fn present_nodes(&self) -> usize {
        self.states.values().sum()
    }

    fn rule_applied(&mut self, observed: ObservedRule, now: Now) {
        let metadata = &observed.metadata;
        let name = self.texts.intern(metadata.name.as_deref().unwrap_or_default());
        let uid = self.texts.intern(metadata.uid.as_deref().unwrap_or_default());
        match self.rule_uids.get(&name) {
            Some(held) if *held != uid => {
                if self.rules.get(held).is_some_and(|rule| observed.version < rule.version) {
                    return;
                }
                let former = held.clone();
                self.rule_deleted(&former, now);
            }
            _ => {}
        }
        if let Some(held) = self.rules.get_mut(&uid) {
            if observed.version < held.version {
                return;
            }
            if Some(held.prepared.generation()) == metadata.generation {
                held.version = observed.version;
                held.status = observed.status;
                self.mark_rule(&uid, now, false);
                return;
            }
        }
        let prepared = prepare_object(metadata, &observed.data);
        let written = self.rules.get(&uid).and_then(|rule| rule.written);
        let rule = Rule { name: name.clone(), prepared, status: observed.status, version: observed.version, written };
        self.rule_uids.insert(name, uid.clone());
        self.rules.insert(uid.clone(), rule);
        self.mark_rule(&uid, now, true);
        self.reselect_rule(&uid, now);
    }

    fn rule_deleted(&mut self, uid: &str, now: Now) {
        let Some((uid, rule)) = self.rules.remove_entry(uid) else { return };
        self.rule_uids.remove(&rule.name);
        self.reselect_rule(&uid, now);
    }

    /// Finds out anew which nodes a rule selects; those it had, has or is carried by are looked at.
    fn reselect_rule(&mut self, uid: &Uid, now: Now) {
        let names: Vec<_> = self.nodes.keys().cloned().collect();
        for name in names {
            let node = &self.nodes[&name];
            let selected = self.rules.get(uid).is_some_and(|rule| selects(rule, node));
            let concerned = selected || node.is_selected_by(uid) || node.carries(uid);
            if concerned || node.shares.iter().any(|share| share.rule == *uid) {
                self.amend(&name, now, |node| node.share(uid).selected = selected);
            }
            if concerned {
                self.mark_config(&name, now, true);
            }
        }
    }

    fn node_applied(&mut self, facts: NodeFacts, now: Now) {
        let name = self.texts.intern(facts.name.as_str());
        let labels = facts.labels.iter().map(|(key, value)| {
            let label = (self.texts.intern(key.as_str()), self.texts.intern(value.as_str()));
            self.labels.intern(label)
        });
        let labels = labels.collect();
        let present = Present::new(self.texts.intern(facts.uid.as_str()), labels);
        let held = self.nodes.get(&name);
        let before = held.and_then(|node| node.present.as_ref());
        if before == Some(&present) {
            return;
        }
        let same_node = before.is_some_and(|before| before.uid == present.uid);
        let selections: Vec<_> = self
            .rules
            .iter()
            .map(|(uid, rule)| {
                let readable = rule.is_readable();
                let selected = if readable {
                    rule.prepared.selects(&facts.labels)
                } else {
                    held.is_some_and(|node| node.carries(uid))
                };
                (uid.clone(), selected)
            })
            .collect();
        let left = |(uid, selected): &&(Uid, bool)| !selected && held.is_some_and(|node| node.is_selected_by(uid));
        let deselected = selections.iter().filter(left).count();
        if same_node {
            self.deselected = self.deselected.saturating_add(u64::try_from(deselected).unwrap_or(u64::MAX));
        }
        self.amend(&name, now, |node| {
            node.present = Some(present);
            for (uid, selected) in &selections {
                node.share(uid).selected = *selected;
            }
        });
        self.mark_config(&name, now, true);
    }

    fn node_deleted(&mut self, name: &str, uid: Option<&str>, now: Now) {
        let name = self.texts.intern(name);
        let present = self.nodes.get(&name).and_then(|node| node.present.as_ref());
        if present.is_none_or(|present| uid.is_some_and(|uid| *present.uid != *uid)) {
            return;
        }
        self.amend(&name, now, |node| {
            node.present = None;
            node.shares.iter_mut().for_each(|share| share.selected = false);
        });
        self.mark_config(&name, now, true);
    }

    fn config_applied(&mut self, observed: ObservedConfig, now: Now) {
        let name = self.texts.intern(observed.name.as_str());
        let held = self.nodes.get(&name).and_then(|node| node.config.as_ref());
        if held.is_some_and(|held| observed.version < held.version) {
            return;
        }
        let moved = held.is_none_or(|held| (held.generation, held.owned) != (observed.generation, owned(&observed)));
        let held = held.map(|held| Held {
            same: *held.uid == *observed.uid,
            generation: held.generation,
            fingerprint: held.fingerprint,
            heard: held.heard,
            fresh_from: held.fresh_from,
            node_uid: held.spec.as_ref().map(|spec| spec.node_uid.clone()),
        });
        let reports: Vec<_> =
            observed.reports.iter().map(|report| (self.texts.intern(report.rule.as_str()), report.found)).collect();
        let first = self.nodes.get(&name).is_none_or(|node| node.config.is_none());
        let config = self.config(observed, held, now);
        let asks_for_work = moved || config.is_emptied();
        let unreadable: Vec<_> =
            self.rules.iter().filter(|(_, rule)| !rule.is_readable()).map(|(uid, _)| uid.clone()).collect();
        self.amend(&name, now, |node| {
            if let Some(written) = config.available.filter(|_| first) {
                node.available = written.reason;
            }
            node.config = Some(config);
            node.shares.iter_mut().for_each(|share| share.found = None);
            for (rule, found) in reports {
                node.share(&rule).found = Some(found);
            }
            for uid in unreadable {
                let carries = node.carries(&uid);
                node.share(&uid).selected = carries && node.present.is_some();
            }
        });
        if asks_for_work {
            self.mark_config(&name, now, false);
        }
    }

    fn config(&mut self, observed: ObservedConfig, held: Option<Held>, now: Now) -> Config {
        let owned = owned(&observed);
        let spec = observed.spec.map(|spec| self.spec(spec));
        let held = held.filter(|held| held.same);
        let node_uid = spec.as_ref().map(|spec| spec.node_uid.clone());
        let fresh_from = match &held {
            Some(held) if held.node_uid == node_uid => held.fresh_from,
            Some(_) => observed.generation,
            None => 0,
        };
        let heard = match held {
            Some(held) if (held.fingerprint, held.generation) == (observed.fingerprint, observed.generation) => {
                held.heard
            }
            Some(_) => now.moment,
            None => observed.heard.max(observed.created).map_or(now.moment, |wall| now.moment_of(wall)),
        };
        Config {
            uid: observed.uid.into(),
            version: observed.version,
            generation: observed.generation,
            deleting: observed.deleting,
            owned,
            spec,
            confirmed: observed.confirmed,
            applied: observed.applied,
            baseline: observed.baseline,
            ready: observed.ready,
            available: observed.available,
            fingerprint: observed.fingerprint,
            heard,
            fresh_from,
        }
    }

    fn spec(&mut self, spec: NodeConfigSpec) -> Spec {
        let NodeConfigSpec { cluster, node_uid, reporting, rules } = spec;
        Spec {
            node_uid: self.texts.intern(node_uid),
            common: self.commons.intern(Common { cluster, reporting }),
            rules: rules.into_iter().map(|rule| self.forms.intern(rule)).collect(),
        }
    }

    fn config_deleted(&mut self, name: &str, uid: Option<&str>, now: Now) {
        let name = self.texts.intern(name);
        let config = self.nodes.get(&name).and_then(|node| node.config.as_ref());
        if config.is_none_or(|config| uid.is_some_and(|uid| *config.uid != *uid)) {
            return;
        }
        let unreadable: HashSet<_> =
            self.rules.iter().filter(|(_, rule)| !rule.is_readable()).map(|(uid, _)| uid.clone()).collect();
        self.amend(&name, now, |node| {
            node.config = None;
            for share in &mut node.shares {
                share.found = None;
                share.selected &= !unreadable.contains(&share.rule);
            }
        });
        self.mark_config(&name, now, true);
    }

    fn pod_applied(&mut self, observed: ObservedPod, now: Now) {
        let name = self.texts.intern(observed.node.as_str());
        let pod = Pod { name: observed.name.as_str().into(), ready: observed.ready.map(|since| now.moment_of(since)) };
        self.amend(&name, now, |node| {
            let was_ready = has_ready(node);
            match node.pods.iter_mut().find(|held| held.name == pod.name) {
                // The moment was computed from the wall clock, and must not move with it.
                Some(held) if held.ready.is_some() && pod.ready.is_some() => {}
                Some(held) => *held = pod,
                None => {
                    node.pods.reserve_exact(1);
                    node.pods.push(pod);
                }
            }
            if was_ready && !has_ready(node) {
                node.without_agent = now.moment;
            }
        });
    }

    fn pods_retained(&mut self, node: &str, now: Now, keep: impl Fn(&Pod) -> bool) {
        let name = self.texts.intern(node);
        if self.nodes.get(&name).is_none_or(|node| node.pods.iter().all(&keep)) {
            return;
        }
        self.amend(&name, now, |node| {
            let was_ready = has_ready(node);
            node.pods.retain(keep);
            if was_ready && !has_ready(node) {
                node.without_agent = now.moment;
            }
        });
    }

    /// Changes a node, and with it what it adds to the sums, when it wants to be judged again, and what is dirty.
    fn amend(&mut self, name: &Name, now: Now, change: impl FnOnce(&mut Node)) {
        let node = self.nodes.entry(name.clone()).or_insert_with(|| Box::new(Node::new(now.moment)));
        let (shares, state, wake) = (node.shares.clone(), node.state(), node.wake);
        change(node);
        node.judge(&self.rules, now.moment, self.grace);
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
        let (void, stand) = (node.is_void(), node.conditions_stand());
        if void {
            if let Some(wake) = node.wake {
                self.wakes.remove(&(wake, name.clone()));
            }
            self.nodes.remove(name);
        }
        if !stand {
            self.mark(Key::Conditions(name.clone()), now.moment + SETTLE, false);
        }
        changed.iter().for_each(|uid| self.mark_rule(uid, now, false));
    }

    fn mark_every_config(&mut self, now: Now) {
        let names: Vec<_> = self.nodes.keys().cloned().collect();
        names.iter().for_each(|name| self.mark_config(name, now, true));
    }

    fn mark_config(&mut self, name: &Name, now: Now, fresh: bool) {
        self.mark(Key::Config(name.clone()), now.moment, fresh);
    }

    fn mark_rule(&mut self, uid: &Uid, now: Now, fresh: bool) {
        if let Some(rule) = self.rules.get(uid) {
            let due = rule.written.map_or(now.moment, |written| (written + BETWEEN_RULE_STATUSES).max(now.moment));
            self.mark(Key::Rule(uid.clone()), due, fresh);
        }
    }

    fn mark(&mut self, key: Key, due: Moment, fresh: bool) {
        if self.is_synced() {
            self.dirty.push(Dirty { key, due, fresh });
        }
    }
}

/// What is remembered of a NodeConfig when it is seen again.
struct Held {
    same: bool,
    generation: i64,
    fingerprint: u64,
    heard: Moment,
    fresh_from: i64,
    node_uid: Option<Uid>,
}

/// Whether the Node that the spec names owns the NodeConfig.
fn owned(observed: &ObservedConfig) -> bool {
    let named = observed.spec.as_ref().map(|spec| &spec.node_uid);
    named.is_some() && named == observed.owner.as_ref()
}

/// Whether a rule selects a node. A rule that cannot be read is taken to select the nodes that carry it.
fn selects(rule: &Rule, node: &Node) -> bool {
    let Some(present) = &node.present else { return false };
    if rule.is_readable() { rule.prepared.selects(&present.labels()) } else { node.carries(rule.prepared.uid()) }
}

fn has_ready(node: &Node) -> bool {
    node.pods.iter().any(|pod| pod.ready.is_some())
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

fn missing<'n, T>(held: impl Iterator<Item = (&'n Name, T)>, listed: &HashSet<String>) -> Vec<T> {
    held.filter(|(name, _)| !listed.contains(name.as_ref())).map(|(_, value)| value).collect()
}
