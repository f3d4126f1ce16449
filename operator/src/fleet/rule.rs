//! One rule in the model, and the status it gets: reads its prepared form and the sums of its nodes, never a node.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use vedette_crds::compile::{PreparedRule, Unusable};
use vedette_crds::condition::rule::{Accepted, AllNodesCovered, Programmed, Ready};
use vedette_crds::condition::{self, Condition, Reason, Status};
use vedette_crds::rule::DataCollectionRuleStatus;

use super::Name;
use super::tally::Tally;
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

    /// The status that it should have, and `None` when it has it.
    pub(crate) fn next_status(&self, tally: &Tally, now: Timestamp) -> Option<DataCollectionRuleStatus> {
        let ours = |condition: &&Condition| RuleCondition::ALL.iter().any(|own| own.as_str() == condition.type_);
        let conditions: Vec<_> = self.status.conditions.iter().filter(ours).cloned().collect();
        let before = DataCollectionRuleStatus { conditions, ..self.status.clone() };
        let next = self.status(tally, before.conditions.clone(), now);
        (next != before).then_some(next)
    }

    fn status(&self, tally: &Tally, mut conditions: Vec<Condition>, now: Timestamp) -> DataCollectionRuleStatus {
        let generation = self.prepared.generation();
        let mut set = Setter { conditions: &mut conditions, generation, now };
        let (reason, message) = self.accepted();
        set.to(reason, &message);
        let (reason, message) = self.programmed(tally);
        set.to(reason, &message);
        let (reason, message) = self.ready(tally);
        set.to(reason, &message);
        let (reason, message) = covered(tally);
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

    fn programmed(&self, tally: &Tally) -> (Programmed, String) {
        let nodes = &tally.nodes;
        let (selected, programmed) = (nodes.selected, nodes.programmed);
        match self.prepared.form() {
            _ if selected == 0 => (Programmed::NoNodes, NO_NODES.into()),
            Ok(form) if programmed == selected => {
                (if form.suspend { Programmed::Suspended } else { Programmed::Programmed }, String::new())
            }
            Ok(_) if tally.schema_outdated > 0 => (
                Programmed::SchemaOutdated,
                "the API server's definition of NodeConfig is older than this operator: apply the definitions that \
                 came with it"
                    .into(),
            ),
            Ok(_) if tally.no_room > 0 => {
                let message = format!("older rules fill the NodeConfigs of {}", count(tally.no_room));
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

    fn ready(&self, tally: &Tally) -> (Ready, String) {
        let nodes = &tally.nodes;
        match self.prepared.form() {
            Ok(form) if form.suspend => (Ready::Suspended, String::new()),
            _ if nodes.selected == 0 => (Ready::NoNodes, NO_NODES.into()),
            _ if nodes.degraded > 0 => {
                let message =
                    format!("{} with an available agent not watching by this generation", count(nodes.degraded));
                (Ready::NodesNotReady, message)
            }
            _ if nodes.ready == 0 => (Ready::NoAgents, "no selected node has an available agent".into()),
            _ => (Ready::Ready, String::new()),
        }
    }
}

const NO_NODES: &str = "no node is selected";

fn covered(tally: &Tally) -> (AllNodesCovered, String) {
    let nodes = &tally.nodes;
    match nodes.unavailable {
        _ if nodes.selected == 0 => (AllNodesCovered::NoNodes, NO_NODES.into()),
        0 => (AllNodesCovered::Covered, String::new()),
        missing => {
            let message = format!("{missing} of {} without an available agent", count(nodes.selected));
            (AllNodesCovered::NodesUnavailable, message)
        }
    }
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
