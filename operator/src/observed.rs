//! Objects as the API server hands them out in, facts out: what the model needs of a rule, a NodeConfig and a pod, and
//! nothing more. An object that this version cannot read is a fact too: it never ends a watch.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroI64;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::core::{Object, PartialObjectMeta};
use kube::{
    ResourceExt as _,
    api::{ApiResource, DynamicObject},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use vedette_crds::compile::NodeFacts;
use vedette_crds::condition::node::{AgentAvailable, BaselineReady, ConfigApplied, OPERATOR_CONDITIONS, Ready};
use vedette_crds::condition::{self, Reason};
use vedette_crds::node_config::{Changes, NodeConfigSpec, NodeConfigStatus};
use vedette_crds::rule::DataCollectionRuleStatus;

use crate::names::AGENT;
use crate::sentences::Explained;

/// A rule, as raw as it came: it is prepared once per generation, not once per event.
#[derive(Debug, Clone)]
pub(crate) struct ObservedRule {
    pub(crate) metadata: ObjectMeta,
    pub(crate) data: Value,
    pub(crate) status: DataCollectionRuleStatus,
    pub(crate) version: u64,
}

/// A NodeConfig.
#[derive(Debug, Clone, Default)]
pub(crate) struct ObservedConfig {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) version: u64,
    pub(crate) generation: i64,
    pub(crate) created: Option<Timestamp>,
    pub(crate) deleting: bool,
    /// The uid of the Node that owns it.
    pub(crate) owner: Option<String>,
    /// Absent when this version cannot read it.
    pub(crate) spec: Option<NodeConfigSpec>,
    /// The generation that the agent has applied; 0 is none.
    pub(crate) confirmed: i64,
    pub(crate) applied: bool,
    pub(crate) baseline: bool,
    pub(crate) reports: Vec<Report>,
    /// The id of the agent's journal.
    pub(crate) journal: Option<String>,
    pub(crate) ready: Option<Written<Ready>>,
    pub(crate) available: Option<Written<AgentAvailable>>,
    /// When the API server last stored something that the agent wrote.
    pub(crate) heard: Option<Timestamp>,
    /// Of all that the agent wrote.
    pub(crate) fingerprint: u64,
}

/// What the agent says about one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// The rule's uid.
    pub(crate) rule: String,
    /// The rule's name, as the agent has it.
    pub(crate) name: String,
    pub(crate) found: Found,
}

/// One rule's numbers on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// The generation whose baseline is made.
    pub(crate) generation: i64,
    pub(crate) tracked: u64,
    pub(crate) changes: Changes,
    /// In seconds since 1970: statuses are written in whole seconds.
    pub(crate) last_change: Option<NonZeroI64>,
}

/// A condition of ours as it stands in the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written<R> {
    pub(crate) reason: R,
    /// Whether status and message are what this version says with that reason.
    pub(crate) exact: bool,
    /// The generation that it speaks of; 0 is none.
    pub(crate) generation: i64,
    /// The second of its last transition.
    pub(crate) since: i64,
}

/// A pod of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObservedPod {
    pub(crate) name: String,
    pub(crate) node: String,
    /// Since when it is ready.
    pub(crate) ready: Option<Timestamp>,
}

/// A pod with what is read of it.
pub(crate) type SlimPod = Object<SlimPodSpec, SlimPodStatus>;

/// What is read of a pod's spec.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SlimPodSpec {
    node_name: Option<String>,
}

/// What is read of a pod's status.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct SlimPodStatus {
    #[serde(default)]
    conditions: Vec<SlimPodCondition>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimPodCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    last_transition_time: Option<Timestamp>,
}

/// The kind whose name and place a [`SlimPod`] has.
pub(crate) fn pod_resource() -> ApiResource {
    ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&())
}

pub(crate) fn rule(mut object: DynamicObject) -> ObservedRule {
    object.metadata.managed_fields = None;
    // What cannot be read of a status is written anew.
    let status = read(object.data["status"].take()).unwrap_or_default();
    ObservedRule { version: version(&object.metadata), metadata: object.metadata, data: object.data, status }
}

pub(crate) fn config(mut object: DynamicObject) -> ObservedConfig {
    let spec = read(object.data["spec"].take());
    let raw = object.data["status"].take();
    let fingerprint = fingerprint(&raw);
    let status: NodeConfigStatus = read(raw).unwrap_or_default();
    let conditions = &status.conditions;
    let metadata = object.metadata;
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.kind == "Node");
    let agents = metadata.managed_fields.iter().flatten().filter(|entry| entry.manager.as_deref() == Some(AGENT));
    ObservedConfig {
        version: version(&metadata),
        generation: metadata.generation.unwrap_or_default(),
        created: metadata.creation_timestamp.as_ref().map(|time| time.0),
        deleting: metadata.deletion_timestamp.is_some(),
        owner: owner.map(|owner| owner.uid.clone()),
        spec,
        confirmed: status.observed_generation.unwrap_or_default(),
        applied: condition::is_true::<ConfigApplied>(conditions),
        baseline: condition::is_true::<BaselineReady>(conditions),
        reports: reports(&status),
        journal: status.journal.as_ref().map(|journal| journal.id.clone()),
        ready: written(conditions),
        available: written(conditions),
        heard: agents.filter_map(|entry| entry.time.as_ref()).map(|time| time.0).max(),
        fingerprint,
        name: metadata.name.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
    }
}

pub(crate) fn node(object: PartialObjectMeta<k8s_openapi::api::core::v1::Node>) -> NodeFacts {
    let metadata = object.metadata;
    NodeFacts {
        name: metadata.name.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
        labels: metadata.labels.unwrap_or_default(),
    }
}

/// A pod that no node was found for yet is none.
pub(crate) fn pod(object: SlimPod) -> Option<ObservedPod> {
    let name = object.name_any();
    let terminating = object.metadata.deletion_timestamp.is_some();
    let created = object.metadata.creation_timestamp.map(|time| time.0);
    let conditions = object.status.unwrap_or_default().conditions;
    let ready = conditions.iter().find(|condition| condition.kind == "Ready" && condition.status == "True");
    let since = |condition: &SlimPodCondition| condition.last_transition_time.or(created).unwrap_or_default();
    Some(ObservedPod { name, node: object.spec.node_name?, ready: ready.map(since).filter(|_| !terminating) })
}

fn read<T: DeserializeOwned>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}

/// The server's own order of writes. One that is no number orders nothing.
fn version(metadata: &ObjectMeta) -> u64 {
    metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn reports(status: &NodeConfigStatus) -> Vec<Report> {
    let report = |rule: &vedette_crds::node_config::RuleProgress| Report {
        rule: rule.uid.clone(),
        name: rule.name.clone(),
        found: Found {
            generation: rule.generation,
            tracked: rule.tracked_items,
            changes: rule.changes,
            last_change: rule.last_change_time.as_ref().and_then(|time| NonZeroI64::new(time.0.as_second())),
        },
    };
    status.rules.iter().map(report).collect()
}

fn written<R: Reason + Explained>(conditions: &[Condition]) -> Option<Written<R>> {
    let condition = condition::find::<R>(conditions)?;
    let reason: R = condition::reason(conditions)?;
    Some(Written {
        reason,
        exact: condition.status == reason.status().as_str() && condition.message == reason.sentence(),
        generation: condition.observed_generation.unwrap_or_default(),
        since: condition.last_transition_time.0.as_second(),
    })
}

/// Differs when, and only when, the agent has written something else.
fn fingerprint(status: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (member, value) in status.as_object().into_iter().flatten() {
        member.hash(&mut hasher);
        match value.as_array().filter(|_| member == "conditions") {
            None => value.to_string().hash(&mut hasher),
            Some(conditions) => conditions
                .iter()
                .filter(|condition| !OPERATOR_CONDITIONS.iter().any(|own| condition["type"] == *own))
                .for_each(|condition| condition.to_string().hash(&mut hasher)),
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_the_operator_writes_does_not_look_like_the_agent() {
        let ours = json!({"type": "Ready", "status": "True", "reason": "Ready", "message": "",
            "lastTransitionTime": "2026-11-24T04:00:00Z"});
        let agents = json!({"type": "Complete", "status": "True", "reason": "Complete", "message": "",
            "lastTransitionTime": "2026-11-24T04:00:00Z"});
        let of = |conditions: Value| fingerprint(&json!({"trackedItems": 1, "conditions": conditions}));
        assert_eq!(of(json!([agents])), of(json!([ours, agents])));
        assert_ne!(of(json!([agents])), of(json!([])));
    }

    #[test]
    fn a_spec_that_cannot_be_read_does_not_hide_the_status() {
        let config = config(object(json!({
            "metadata": {"name": "n1", "uid": "u", "resourceVersion": "7", "generation": 2},
            "spec": {"nodeUid": 5},
            "status": {"observedGeneration": 2, "rules": [
                {"name": "etc", "uid": "r", "generation": 1, "trackedItems": 3, "lastChangeTime": "2026-11-24T04:00:00.9Z"}
            ]},
        })));
        assert_eq!((config.spec, config.version, config.confirmed), (None, 7, 2));
        assert_eq!(config.reports[0].found.tracked, 3);
        let whole: Timestamp = "2026-11-24T04:00:00Z".parse().unwrap();
        assert_eq!(config.reports[0].found.last_change, NonZeroI64::new(whole.as_second()));
    }

    #[test]
    fn a_pod_counts_as_ready_until_it_terminates() {
        let slim = |metadata: Value, status: &str| -> Option<ObservedPod> {
            let condition = json!({"type": "Ready", "status": status, "lastTransitionTime": "2026-11-24T04:00:00Z"});
            let value = json!({"metadata": metadata, "spec": {"nodeName": "n1", "containers": []},
                "status": {"conditions": [condition]}});
            pod(serde_json::from_value(value).unwrap())
        };
        assert!(slim(json!({"name": "p"}), "True").unwrap().ready.is_some());
        assert!(slim(json!({"name": "p"}), "False").unwrap().ready.is_none());
        let terminating = json!({"name": "p", "deletionTimestamp": "2026-11-24T04:00:00Z"});
        assert!(slim(terminating, "True").unwrap().ready.is_none());
    }
}
