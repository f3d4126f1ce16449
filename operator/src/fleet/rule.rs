//! One rule in the model, and the status it gets: reads its prepared form and the sums of its nodes, never a node.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use vedette_crds::compile::{MAX_SPEC_BYTES, PreparedRule, Unusable};
use vedette_crds::condition::rule::{Accepted, AllNodesCovered, Programmed, Ready};
use vedette_crds::condition::{self, Condition, Reason, Status};
use vedette_crds::node_config::MAX_RULES;
use vedette_crds::rule::DataCollectionRuleStatus;

use super::Name;
use super::examples::Examples;
use super::tally::Tally;
use crate::hold::Held;
use crate::names::NODE_CONFIG;
use crate::notice::{Subject, Told};
use crate::sentences::schema_outdated;
use crate::time::Moment;

/// A rule that exists.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: Name,
    pub(crate) prepared: PreparedRule,
    /// The status as it was last seen.
    pub(crate) status: DataCollectionRuleStatus,
    pub(crate) version: u64,
    /// When its status was last written.
    pub(crate) written: Option<Moment>,
    /// The conditions, as far as they are told.
    pub(crate) held: HeldConditions,
}

/// What stood of a rule's conditions.
#[derive(Debug, Default)]
pub(crate) struct HeldConditions {
    accepted: Held<Accepted>,
    programmed: Held<Programmed>,
    ready: Held<Ready>,
    covered: Held<AllNodesCovered>,
}

/// A condition of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RuleCondition {
    Accepted,
    Programmed,
    Ready,
    AllNodesCovered,
}

impl RuleCondition {
    pub(crate) const ALL: [Self; 4] = [Self::Accepted, Self::Programmed, Self::Ready, Self::AllNodesCovered];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => Accepted::CONDITION,
            Self::Programmed => Programmed::CONDITION,
            Self::Ready => Ready::CONDITION,
            Self::AllNodesCovered => AllNodesCovered::CONDITION,
        }
    }
}

impl Rule {
    /// Whether this version can read it at all: if not, nobody knows what it selects.
    pub(crate) fn is_readable(&self) -> bool {
        !matches!(self.prepared.form(), Err(Unusable::Undecodable { .. }))
    }

    /// Whether its status, as last seen, says that a condition holds.
    pub(crate) fn holds(&self, condition: RuleCondition) -> bool {
        let holds = |seen: &Condition| seen.type_ == condition.as_str() && seen.status == Status::True.as_str();
        self.status.conditions.iter().any(holds)
    }

    /// Takes in its status for the first time: what stands there is not told.
    pub(crate) fn begin(&mut self) {
        let (conditions, held) = (&self.status.conditions, &mut self.held);
        held.accepted.begin(condition::reason(conditions));
        held.programmed.begin(condition::reason(conditions));
        held.ready.begin(condition::reason(conditions));
        held.covered.begin(condition::reason(conditions));
    }

    /// Looks at the conditions as they were last seen, and says which of them have stood long enough to be told, each
    /// subject once.
    pub(crate) fn observe(&mut self, now: Moment) -> Vec<(Subject, String)> {
        let (conditions, held) = (&self.status.conditions, &mut self.held);
        let all = [
            told(&mut held.accepted, conditions, now),
            told(&mut held.programmed, conditions, now),
            told(&mut held.ready, conditions, now),
            told(&mut held.covered, conditions, now),
        ];
        let mut different: Vec<(Subject, String)> = Vec::new();
        for (subject, note) in all.into_iter().flatten() {
            if different.iter().all(|(told, _)| *told != subject) {
                different.push((subject, note));
            }
        }
        different
    }

    /// When [`Rule::observe`] will have something to tell if nothing changes.
    pub(crate) fn told_next(&self) -> Option<Moment> {
        let held = &self.held;
        let due = [held.accepted.due(), held.programmed.due(), held.ready.due(), held.covered.due()];
        due.into_iter().flatten().min()
    }

    /// The status that it should have, and `None` when it has it.
    pub(crate) fn next_status(
        &self,
        tally: &Tally,
        examples: &Examples,
        now: Timestamp,
    ) -> Option<DataCollectionRuleStatus> {
        let ours = |condition: &&Condition| RuleCondition::ALL.iter().any(|own| own.as_str() == condition.type_);
        let conditions: Vec<_> = self.status.conditions.iter().filter(ours).cloned().collect();
        let before = DataCollectionRuleStatus { conditions, ..self.status.clone() };
        let next = self.status(tally, examples, before.conditions.clone(), now);
        (next != before).then_some(next)
    }

    fn status(
        &self,
        tally: &Tally,
        examples: &Examples,
        mut conditions: Vec<Condition>,
        now: Timestamp,
    ) -> DataCollectionRuleStatus {
        let generation = self.prepared.generation();
        let mut set = Setter { conditions: &mut conditions, generation, now };
        let (reason, message) = self.accepted();
        set.to(reason, &message);
        let (reason, message) = self.programmed(tally, examples);
        set.to(reason, &message);
        let (reason, message) = self.ready(tally, examples);
        set.to(reason, &message);
        let (reason, message) = self.covered(tally, examples);
        set.to(reason, &message);
        DataCollectionRuleStatus {
            observed_generation: Some(generation),
            conditions,
            nodes: Some(tally.nodes),
            tracked_items: Some(tally.tracked()),
            changes: Some(tally.changes()),
            last_change_time: tally
                .last_change()
                .and_then(|second| Timestamp::from_second(second.get()).ok())
                .map(Time),
        }
    }

    fn accepted(&self) -> (Accepted, String) {
        match self.prepared.form() {
            Ok(_) => (Accepted::Accepted, String::new()),
            Err(unusable @ Unusable::TooLarge { .. }) => (Accepted::TooLarge, unusable.to_string()),
            Err(unusable) => (Accepted::Refused, unusable.to_string()),
        }
    }

    fn programmed(&self, tally: &Tally, examples: &Examples) -> (Programmed, String) {
        let nodes = &tally.nodes;
        let (selected, programmed) = (nodes.selected, nodes.programmed);
        match self.prepared.form() {
            _ if selected == 0 => (Programmed::NoNodes, self.no_nodes()),
            Ok(form) if programmed == selected => {
                (if form.suspend { Programmed::Suspended } else { Programmed::Programmed }, String::new())
            }
            Ok(_) if tally.schema_outdated > 0 => (Programmed::SchemaOutdated, schema_outdated(NODE_CONFIG)),
            Ok(_) if tally.no_room > 0 => {
                let message = format!(
                    "older rules fill the NodeConfigs of {}: a node takes {MAX_RULES} rules and {} KiB; merge rules, or \
                     let their nodeSelectors select fewer nodes",
                    examples.no_room,
                    MAX_SPEC_BYTES / 1024
                );
                (Programmed::NodeConfigTooLarge, message)
            }
            Ok(_) => {
                let message = format!("the NodeConfigs of {programmed} of {} carry this generation", count(selected));
                (Programmed::Pending, message)
            }
            Err(_) => {
                let message = "this generation is not accepted: nodes keep the last good form, where they have one";
                (Programmed::Pending, message.into())
            }
        }
    }

    fn ready(&self, tally: &Tally, examples: &Examples) -> (Ready, String) {
        let nodes = &tally.nodes;
        match self.prepared.form() {
            Ok(form) if form.suspend => (Ready::Suspended, String::new()),
            _ if nodes.selected == 0 => (Ready::NoNodes, self.no_nodes()),
            _ if nodes.degraded > 0 => {
                let message = format!(
                    "{} with an available agent not watching by this generation yet: {}",
                    count(nodes.degraded),
                    examples.degraded
                );
                (Ready::NodesNotReady, message)
            }
            _ if nodes.ready == 0 => (Ready::NoAgents, "no selected node has an available agent".into()),
            _ => (Ready::Ready, String::new()),
        }
    }

    fn covered(&self, tally: &Tally, examples: &Examples) -> (AllNodesCovered, String) {
        let nodes = &tally.nodes;
        match nodes.unavailable {
            _ if nodes.selected == 0 => (AllNodesCovered::NoNodes, self.no_nodes()),
            0 => (AllNodesCovered::Covered, String::new()),
            missing => {
                let (selected, which) = (count(nodes.selected), &examples.unavailable);
                (
                    AllNodesCovered::NodesUnavailable,
                    format!("{missing} of {selected} without an available agent: {which}"),
                )
            }
        }
    }

    fn no_nodes(&self) -> String {
        match self.prepared.selector() {
            _ if !self.is_readable() => "no node carries a form of this rule".into(),
            None => "the cluster has no Linux node".into(),
            Some(selector) => format!("no Linux node matches the nodeSelector: {selector}"),
        }
    }
}

fn told<R: Told>(held: &mut Held<R>, conditions: &[Condition], now: Moment) -> Option<(Subject, String)> {
    let message = &condition::find::<R>(conditions)?.message;
    let transition = held.observe(condition::reason(conditions)?, now)?;
    Some((transition.to.subject(), transition.note(message)))
}

fn count(nodes: u32) -> String {
    if nodes == 1 { "1 node".into() } else { format!("{nodes} nodes") }
}

struct Setter<'c> {
    conditions: &'c mut Vec<Condition>,
    generation: i64,
    now: Timestamp,
}

impl Setter<'_> {
    fn to<R: Reason>(&mut self, reason: R, message: &str) {
        // Statuses are written in whole seconds.
        let now = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
        condition::set(self.conditions, reason, message, Some(self.generation), now);
    }
}
