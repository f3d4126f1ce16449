//! Events in, the model as it is then out: one place for each kind of object. Reads what was observed; anything that
//! changes a node goes through [`Fleet::amend`], which keeps the sums right. An event that is older than what the model
//! knows from its own writes is dropped.

use std::collections::HashSet;

use vedette_crds::compile::{NodeFacts, prepare_object};
use vedette_crds::node_config::NodeConfigSpec;

use super::id::Id;
use super::node::{Common, Config, Node, Pod, Present, Spec};
use super::rule::Rule;
use super::{Fleet, Name, Uid};
use crate::event::{Change, Event, Kind};
use crate::notice::{About, Notice, Subject};
use crate::observed::{ObservedConfig, ObservedPod, ObservedRule};
use crate::time::{Moment, Now};

impl Fleet {
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
                self.observe_rule(&uid, now);
                return;
            }
        }
        let prepared = prepare_object(metadata, &observed.data);
        let before = self.rules.remove(&uid);
        let first = before.is_none();
        let (written, held) = before.map(|rule| (rule.written, rule.held)).unwrap_or_default();
        let (status, version) = (observed.status, observed.version);
        let mut rule = Rule { name: name.clone(), prepared, status, version, written, held };
        if first {
            rule.begin();
        }
        self.rule_uids.insert(name, uid.clone());
        self.rules.insert(uid.clone(), rule);
        self.mark_rule(&uid, now, true);
        self.observe_rule(&uid, now);
        self.reselect_rule(&uid, now);
    }

    fn rule_deleted(&mut self, uid: &str, now: Now) {
        let Some((uid, rule)) = self.rules.remove_entry(uid) else { return };
        self.rule_uids.remove(&rule.name);
        self.schedule_rules();
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
        let present = Present::new(facts.uid.as_str().into(), labels);
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
        let left: Vec<_> = selections.iter().filter(left).map(|(uid, _)| uid.clone()).collect();
        if same_node {
            self.deselected = self.deselected.saturating_add(u64::try_from(left.len()).unwrap_or(u64::MAX));
            for uid in left {
                let note = format!(
                    "node {name} is selected no more: its own labels have changed. What it reported for this rule ends \
                     here; if nobody meant that, ask who changed them"
                );
                let Some(rule) = self.rules.get(&uid) else { continue };
                let (rule, node) = (rule.name.clone(), Some(name.clone()));
                self.tell(
                    Notice { subject: Subject::NodeDeselected, about: About::Rule, name: rule, uid, node, note },
                    now,
                );
            }
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
        if present.is_none_or(|present| uid.is_some_and(|uid| present.uid != uid.into())) {
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
            journal: held.journal.clone(),
            same: held.uid == observed.uid.as_str().into(),
            generation: held.generation,
            confirmed: held.confirmed,
            fingerprint: held.fingerprint,
            heard: held.heard,
            asked: held.asked,
            fresh_from: held.fresh_from,
            node_uid: held.spec.as_ref().map(|spec| spec.node_uid.clone()),
        });
        let (reports, misreports) = self.believe(&name, &observed, now);
        let first = self.nodes.get(&name).is_none_or(|node| node.config.is_none());
        let before = held.as_ref().filter(|held| held.same).and_then(|held| held.journal.clone());
        let after = observed.journal.as_deref().map(Id::from);
        let journals = before.zip(after).filter(|(before, after)| before != after);
        let uid: Uid = observed.uid.as_str().into();
        let config = self.config(observed, held, now);
        let asks_for_work = moved || config.is_emptied();
        let unreadable: Vec<_> =
            self.rules.iter().filter(|(_, rule)| !rule.is_readable()).map(|(uid, _)| uid.clone()).collect();
        self.amend(&name, now, |node| {
            if let Some(written) = config.available.filter(|_| first) {
                node.available = written.reason;
            }
            node.config = Some(config);
            node.misreports |= misreports;
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
        if let Some((before, after)) = journals {
            let note = format!(
                "the journal of node {name} was {} and is {}: its history was lost or reset. Records of the former one \
                 that were not exported are gone",
                before.readable(),
                after.readable()
            );
            let node = Some(name.clone());
            self.tell(
                Notice { subject: Subject::JournalChanged, about: About::NodeConfig, name, uid, node, note },
                now,
            );
        }
    }

    fn config(&mut self, observed: ObservedConfig, held: Option<Held>, now: Now) -> Config {
        let owned = owned(&observed);
        let spec = observed.spec.map(|spec| self.spec(spec));
        let held = held.filter(|held| held.same);
        let node_uid = spec.as_ref().map(|spec| spec.node_uid.clone());
        let journal = held.as_ref().and_then(|held| held.journal.clone());
        let fresh_from = match &held {
            Some(held) if held.node_uid == node_uid => held.fresh_from,
            Some(_) => observed.generation,
            None => 0,
        };
        // Who has not answered yet is not given more time by each further question.
        let awaits = |held: &&Held| held.generation == observed.generation || held.confirmed < held.generation;
        let asked = held.as_ref().filter(awaits).map_or(now.moment, |held| held.asked);
        let heard = match held {
            Some(held) if (held.fingerprint, held.generation) == (observed.fingerprint, observed.generation) => {
                held.heard
            }
            Some(_) => now.moment,
            None => observed.heard.max(observed.created).map_or(now.moment, |wall| now.moment_of(wall)),
        };
        Config {
            uid: observed.uid.as_str().into(),
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
            // A status without one does not make the next one the first.
            journal: observed.journal.as_deref().map(Id::from).or(journal),
            heard,
            asked,
            fresh_from,
        }
    }

    fn spec(&mut self, spec: NodeConfigSpec) -> Spec {
        let NodeConfigSpec { cluster, node_uid, reporting, rules } = spec;
        Spec {
            node_uid: node_uid.as_str().into(),
            common: self.commons.intern(Common { cluster, reporting }),
            rules: rules.into_iter().map(|rule| self.forms.intern(rule)).collect(),
        }
    }

    fn config_deleted(&mut self, name: &str, uid: Option<&str>, now: Now) {
        let name = self.texts.intern(name);
        let config = self.nodes.get(&name).and_then(|node| node.config.as_ref());
        if config.is_none_or(|config| uid.is_some_and(|uid| config.uid != uid.into())) {
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
}

/// What is remembered of a NodeConfig when it is seen again.
struct Held {
    same: bool,
    journal: Option<Id>,
    generation: i64,
    confirmed: i64,
    fingerprint: u64,
    heard: Moment,
    asked: Moment,
    fresh_from: i64,
    node_uid: Option<Id>,
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

fn missing<'n, T>(held: impl Iterator<Item = (&'n Name, T)>, listed: &HashSet<String>) -> Vec<T> {
    held.filter(|(name, _)| !listed.contains(name.as_ref())).map(|(_, value)| value).collect()
}
