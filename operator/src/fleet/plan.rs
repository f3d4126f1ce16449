//! What is to be done about one object: reads the model, produces one write or none. It decides by what is there now,
//! never by what happened, so that it may be asked at any time and any number of times.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use tracing::warn;
use vedette_crds::compile::{Compiled, Context, Outcome, compile};
use vedette_crds::condition::Condition;
use vedette_crds::node_config::NodeConfigSpec;
use vedette_crds::rule::DataCollectionRuleStatus;

use super::examples::Examples;
use super::node::Node;
use super::tally::Obstacle;
use super::{Fleet, Name, Uid};
use crate::observed::Written;
use crate::queue::Key;
use crate::sentences::Explained;
use crate::time::Now;

/// An object as it was when something was decided about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Existing {
    pub(crate) uid: Uid,
    /// Its resource version.
    pub(crate) version: u64,
}

/// A write. Where it names a uid, it is meant for that object and no other of the same name; where it names a version
/// too, for that object as it was.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Make a NodeConfig so, or make it.
    ApplyConfig {
        name: Name,
        /// Absent: it does not exist yet.
        existing: Option<Existing>,
        /// The uid of the Node that owns it.
        owner: Uid,
        spec: Box<NodeConfigSpec>,
    },
    /// Delete a NodeConfig.
    DeleteConfig { name: Name, existing: Existing },
    /// Write the operator's conditions of a NodeConfig.
    ApplyConditions { name: Name, uid: Uid, conditions: Vec<Condition> },
    /// Write a rule's status.
    ApplyRuleStatus { name: Name, existing: Existing, status: Box<DataCollectionRuleStatus> },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApplyConfig { name, .. } => write!(f, "apply NodeConfig {name}"),
            Self::DeleteConfig { name, .. } => write!(f, "delete NodeConfig {name}"),
            Self::ApplyConditions { name, .. } => write!(f, "write the conditions of NodeConfig {name}"),
            Self::ApplyRuleStatus { name, .. } => write!(f, "write the status of DataCollectionRule {name}"),
        }
    }
}

impl Fleet {
    /// What is to be done about an object; nothing when it is as it should be, or is not there any more.
    pub(crate) fn plan(&mut self, key: &Key, now: Now) -> Option<Action> {
        match key {
            Key::Config(name) => self.plan_config(name, now),
            Key::Conditions(name) => self.plan_conditions(name, now),
            Key::Rule(uid) => self.plan_rule_status(uid, now),
        }
    }

    /// Takes in that the API server's definition of NodeConfig does, or does not, know what we apply to this one.
    pub(crate) fn schema_outdated(&mut self, name: &Name, outdated: bool, now: Now) {
        if self.nodes.get(name).is_none_or(|node| node.schema_outdated == outdated) {
            return;
        }
        if !outdated {
            // The definition is newer now: the others need not wait until their turn comes.
            let others: Vec<_> = self.nodes.iter().filter(|(_, node)| node.schema_outdated).collect();
            let others: Vec<_> = others.into_iter().map(|(name, _)| name.clone()).collect();
            others.iter().filter(|other| *other != name).for_each(|other| self.mark_config(other, now, true));
        }
        self.amend(name, now, |node| {
            node.schema_outdated = outdated;
            for share in &mut node.shares {
                share.obstacle = match share.obstacle {
                    Some(Obstacle::NoRoom) => Some(Obstacle::NoRoom),
                    _ => outdated.then_some(Obstacle::SchemaOutdated),
                };
            }
        });
    }

    /// What was refused is wanted no more, or is another operator's to try.
    pub(super) fn forget_refusal(&mut self, name: &Name, now: Now) {
        if self.nodes.get(name).is_some_and(|node| node.schema_outdated) {
            self.amend(name, now, |node| {
                node.schema_outdated = false;
                let refused = node.shares.iter_mut().filter(|share| share.obstacle == Some(Obstacle::SchemaOutdated));
                refused.for_each(|share| share.obstacle = None);
            });
        }
    }

    fn plan_config(&mut self, name: &Name, now: Now) -> Option<Action> {
        let node = self.nodes.get(name)?;
        let Some(present) = &node.present else {
            let config = node.config.as_ref().filter(|config| !config.deleting)?;
            return Some(Action::DeleteConfig { name: name.clone(), existing: config.existing() });
        };
        if node.config.as_ref().is_some_and(|config| config.deleting) {
            return None;
        }
        if self.hides_a_kept_form(node) {
            warn!(
                "NodeConfig {name} cannot be read and may hold the last good form of a rule that cannot be used: it is \
                 left alone"
            );
            return None;
        }
        let owner = present.uid.to_uid();
        let Compiled { spec, verdicts } = self.compile(name, node)?;
        let crowded: Vec<_> = verdicts
            .into_iter()
            .filter(|verdict| matches!(verdict.outcome, Outcome::TooMany | Outcome::TooLarge))
            .map(|verdict| verdict.uid)
            .collect();
        self.note_crowded(name, &crowded, now);
        let node = self.nodes.get(name)?;
        let Some(config) = &node.config else {
            let action = Action::ApplyConfig { name: name.clone(), existing: None, owner, spec: Box::new(spec) };
            return (!self.watches_nothing(&action)).then_some(action);
        };
        let existing = config.existing();
        if spec.rules.is_empty() && config.is_emptied() {
            return Some(Action::DeleteConfig { name: name.clone(), existing });
        }
        let stands = config.owned && config.spec.as_ref().is_some_and(|held| held.says(&spec));
        let spec = Box::new(spec);
        if stands {
            self.forget_refusal(name, now);
        }
        (!stands).then(|| Action::ApplyConfig { name: name.clone(), existing: Some(existing), owner, spec })
    }

    /// Whether a spec that this version cannot read may hold the only form of a rule that it cannot use.
    fn hides_a_kept_form(&self, node: &Node) -> bool {
        let unreadable = node.config.as_ref().is_some_and(|config| config.spec.is_none());
        unreadable && self.rules.values().any(|rule| rule.prepared.form().is_err())
    }

    fn compile(&self, name: &Name, node: &Node) -> Option<Compiled> {
        let present = node.present.as_ref()?;
        let unusable = |uid: &str| self.rules.get(uid).is_some_and(|rule| rule.prepared.form().is_err());
        let kept = node.forms().iter().filter(|form| unusable(&form.uid)).map(|form| form.as_ref().clone());
        let previous = NodeConfigSpec { rules: kept.collect(), ..NodeConfigSpec::default() };
        let rules = self.rules.iter().filter(|(uid, rule)| rule.prepared.form().is_err() || node.is_selected_by(uid));
        let context = Context { cluster: Some(self.cluster.clone()), reporting: self.pace.reporting() };
        let rules = rules.map(|(_, rule)| &rule.prepared);
        Some(compile(rules, Some(&previous), &present.facts(name), &context))
    }

    fn note_crowded(&mut self, name: &Name, crowded: &[String], now: Now) {
        let obstacle = |uid: &str, outdated: bool| match crowded.iter().any(|crowded| crowded == uid) {
            true => Some(Obstacle::NoRoom),
            false => outdated.then_some(Obstacle::SchemaOutdated),
        };
        let stands = self.nodes.get(name).is_none_or(|node| {
            node.shares.iter().all(|share| share.obstacle == obstacle(&share.rule, node.schema_outdated))
        });
        if !stands {
            self.amend(name, now, |node| {
                let outdated = node.schema_outdated;
                node.shares.iter_mut().for_each(|share| share.obstacle = obstacle(&share.rule, outdated));
            });
        }
    }

    fn watches_nothing(&self, action: &Action) -> bool {
        matches!(action, Action::ApplyConfig { spec, .. } if spec.rules.is_empty())
    }

    fn plan_conditions(&mut self, name: &Name, now: Now) -> Option<Action> {
        let node = self.nodes.get(name)?;
        if node.conditions_due(self.pace.answer())? > now.moment {
            // What made them due has passed.
            self.mark_conditions(name, now);
            return None;
        }
        let config = node.config.as_ref()?;
        let ready = condition(node.ready(), config.ready, Some(config.generation), now.wall);
        let available = condition(node.available, config.available, None, now.wall);
        Some(Action::ApplyConditions {
            name: name.clone(),
            uid: config.uid.to_uid(),
            conditions: vec![ready, available],
        })
    }

    fn plan_rule_status(&mut self, uid: &Uid, now: Now) -> Option<Action> {
        let nothing = super::Tally::default();
        let tally = self.tallies.get(uid).unwrap_or(&nothing);
        let examples = Examples::of(uid, tally, &self.nodes);
        let rule = self.rules.get_mut(uid)?;
        let status = Box::new(rule.next_status(tally, &examples, now.wall)?);
        rule.written = Some(now.moment);
        let existing = Existing { uid: uid.clone(), version: rule.version };
        Some(Action::ApplyRuleStatus { name: rule.name.clone(), existing, status })
    }
}

/// A condition of ours, whose time of transition is kept while its status stays.
fn condition<R: Explained>(
    reason: R,
    written: Option<Written<R>>,
    observed_generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let kept = written.filter(|written| written.reason.status() == reason.status());
    let since = kept.and_then(|written| Timestamp::from_second(written.since).ok());
    Condition {
        type_: R::CONDITION.into(),
        status: reason.status().as_str().into(),
        reason: reason.as_str().into(),
        message: reason.sentence().into(),
        observed_generation,
        last_transition_time: Time(since.unwrap_or(now)),
    }
}
