//! What is not well about a rule, a node or the operator: reads conditions, produces findings. Pure.

use jiff::Timestamp;
use serde::Serialize;
use vedette_crds::condition::node::{
    AgentAvailable, BaselineReady, Complete, ConfigApplied, Confined, Ready, StorageHealthy,
};
use vedette_crds::condition::{Condition, Reason, Status, find, rule};
use vedette_crds::node_config::NodeConfigStatus;
use vedette_crds::rule::DataCollectionRuleStatus;

/// A Lease that was not renewed for its duration and this long is nobody's: an election takes some seconds.
const ELECTION_SECONDS: i64 = 30;

/// Something to say about an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    /// The condition that it is read off, or what else is looked at.
    pub(crate) condition: String,
    pub(crate) reason: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Timestamp>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
    /// Whether it keeps the object from being well.
    pub(crate) is_bad: bool,
}

impl Finding {
    fn of(condition: &Condition, is_bad: bool) -> Self {
        Self {
            condition: condition.type_.clone(),
            reason: condition.reason.clone(),
            since: Some(condition.last_transition_time.0),
            message: condition.message.clone(),
            is_bad,
        }
    }

    fn bad(condition: &str, reason: &str, message: &str) -> Self {
        let (condition, reason, message) = (condition.to_owned(), reason.to_owned(), message.to_owned());
        Self { condition, reason, since: None, message, is_bad: true }
    }
}

/// What keeps a rule from being in force on all its nodes. That somebody suspended it is said, and is no fault.
pub(crate) fn rule_findings(generation: i64, status: &DataCollectionRuleStatus) -> Vec<Finding> {
    let conditions = &status.conditions;
    if conditions.is_empty() {
        return vec![Finding::bad("Accepted", "NotSeen", "the operator has said nothing of it yet: does it run?")];
    }
    let mut findings = Vec::new();
    if status.observed_generation.is_none_or(|observed| observed < generation) {
        let message = "the operator has not looked at this generation yet: does it run?";
        findings.push(Finding::bad("Accepted", "NotSeen", message));
    }
    let suspended = rule::Ready::Suspended.as_str();
    let lacking = [
        find::<rule::Accepted>(conditions),
        find::<rule::Programmed>(conditions),
        find::<rule::Ready>(conditions),
        find::<rule::AllNodesCovered>(conditions),
    ];
    for condition in lacking.into_iter().flatten().filter(|condition| condition.status != Status::True.as_str()) {
        // NoNodes stands in three conditions.
        if !findings.iter().any(|finding: &Finding| finding.reason == condition.reason) {
            findings.push(Finding::of(condition, condition.reason != suspended));
        }
    }
    findings
}

/// What keeps a node from being watched as its NodeConfig says, all of it.
pub(crate) fn node_findings(status: &NodeConfigStatus, unreadable: Option<String>) -> Vec<Finding> {
    if let Some(error) = unreadable {
        let message = format!("this version of kubectl-vedette cannot read its status: {error}");
        return vec![Finding::bad("Status", "Unreadable", &message)];
    }
    let conditions = &status.conditions;
    let lacks = |condition: &&Condition| condition.status != Status::True.as_str();
    let mut findings: Vec<Finding> = [
        find::<AgentAvailable>(conditions),
        find::<ConfigApplied>(conditions),
        find::<BaselineReady>(conditions),
        find::<StorageHealthy>(conditions),
        find::<Complete>(conditions),
    ]
    .into_iter()
    .flatten()
    .filter(lacks)
    .map(|condition| Finding::of(condition, true))
    .collect();
    match find::<Ready>(conditions) {
        // What it is made of says more.
        Some(ready) if lacks(&ready) && findings.is_empty() => findings.push(Finding::of(ready, true)),
        Some(_) => {}
        None => findings.push(Finding::bad(
            Ready::CONDITION,
            "NotSeen",
            "the operator has said nothing of this node yet: does it run?",
        )),
    }
    findings.extend(find::<Confined>(conditions).filter(lacks).map(|condition| Finding::of(condition, false)));
    findings
}

/// Whether somebody leads: without an operator the statuses of rules and nodes stay as they were.
pub(crate) fn operator_findings(
    leader: Option<&str>,
    renewed: Option<Timestamp>,
    duration: Option<i32>,
    namespace: &str,
    now: Timestamp,
) -> Vec<Finding> {
    let Some(renewed) = renewed.filter(|_| leader.is_some()) else {
        let message =
            format!("no operator leads in the namespace {namespace}: does one run, and is it there (--namespace)?");
        return vec![Finding::bad("Operator", "NoLeader", &message)];
    };
    let silent = now.as_second() - renewed.as_second();
    if silent <= i64::from(duration.unwrap_or_default()) + ELECTION_SECONDS {
        return Vec::new();
    }
    let leader = leader.unwrap_or_default();
    let message = format!("{leader} led and is not heard of any more: what is said of rules and nodes is as old");
    vec![Finding { since: Some(renewed), ..Finding::bad("Operator", "Silent", &message) }]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use vedette_crds::condition::set;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn told(findings: &[Finding]) -> Vec<(&str, &str, bool)> {
        findings.iter().map(|one| (one.condition.as_str(), one.reason.as_str(), one.is_bad)).collect()
    }

    fn node(change: impl FnOnce(&mut Vec<Condition>)) -> Vec<Finding> {
        let mut conditions = Vec::new();
        set(&mut conditions, Ready::Ready, "", None, at(1));
        set(&mut conditions, AgentAvailable::Available, "", None, at(1));
        set(&mut conditions, StorageHealthy::Healthy, "", None, at(1));
        set(&mut conditions, Complete::Complete, "3 entries select nothing", None, at(1));
        set(&mut conditions, Confined::Confined, "", None, at(1));
        change(&mut conditions);
        node_findings(&NodeConfigStatus { conditions, ..NodeConfigStatus::default() }, None)
    }

    #[test]
    fn a_node_is_not_well_by_what_its_readiness_is_made_of_by_its_disk_and_by_what_it_cannot_see() {
        assert_eq!(node(|_| {}), []);
        let absent = node(|conditions| {
            set(conditions, Ready::AgentUnavailable, "", None, at(2));
            set(conditions, AgentAvailable::NoPod, "", None, at(2));
        });
        assert_eq!(told(&absent), [("AgentAvailable", "NoPod", true)], "Ready only repeats it");
        let waiting = node(|conditions| {
            set(conditions, Ready::BaselineNotReady, "", None, at(2));
        });
        assert_eq!(told(&waiting), [("Ready", "BaselineNotReady", true)]);
        let blind = node(|conditions| {
            set(conditions, StorageHealthy::DiskFull, "", None, at(2));
            set(conditions, Complete::ItemsUnknown, "", None, at(2));
            set(conditions, Confined::NotSupported, "an old kernel", None, at(2));
        });
        assert_eq!(
            told(&blind),
            [
                ("StorageHealthy", "DiskFull", true),
                ("Complete", "ItemsUnknown", true),
                ("Confined", "NotSupported", false)
            ]
        );
        assert_eq!(told(&node(Vec::clear)), [("Ready", "NotSeen", true)]);
    }

    #[test]
    fn a_rule_without_nodes_says_so_once_and_a_suspended_one_is_well() {
        let mut status =
            DataCollectionRuleStatus { observed_generation: Some(3), ..DataCollectionRuleStatus::default() };
        assert_eq!(told(&rule_findings(3, &status)), [("Accepted", "NotSeen", true)]);
        let conditions = &mut status.conditions;
        set(conditions, rule::Accepted::Accepted, "", None, at(1));
        set(conditions, rule::Programmed::NoNodes, "", None, at(1));
        set(conditions, rule::Ready::NoNodes, "", None, at(1));
        set(conditions, rule::AllNodesCovered::NoNodes, "", None, at(1));
        assert_eq!(told(&rule_findings(3, &status)), [("Programmed", "NoNodes", true)]);
        let conditions = &mut status.conditions;
        set(conditions, rule::Programmed::Suspended, "", None, at(1));
        set(conditions, rule::Ready::Suspended, "", None, at(1));
        set(conditions, rule::AllNodesCovered::Covered, "", None, at(1));
        assert_eq!(told(&rule_findings(3, &status)), [("Ready", "Suspended", false)]);
        assert_eq!(told(&rule_findings(4, &status))[0], ("Accepted", "NotSeen", true));
    }

    #[test]
    fn an_operator_that_does_not_renew_its_lease_is_missed() {
        let findings =
            |leader: Option<&str>, renewed: i64| operator_findings(leader, Some(at(renewed)), Some(15), "v", at(1_000));
        assert_eq!(findings(Some("a"), 960), []);
        assert_eq!(told(&findings(Some("a"), 950)), [("Operator", "Silent", true)]);
        assert_eq!(told(&findings(None, 999)), [("Operator", "NoLeader", true)]);
        assert_eq!(told(&operator_findings(None, None, None, "v", at(1))), [("Operator", "NoLeader", true)]);
    }
}
