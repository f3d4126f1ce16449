//! The fleet as the API server has it: lists in pages, each object reduced to what is shown of it as it comes, so that memory
//! does not grow with what is not shown.

use crate::connect::Cluster;
use crate::health::{Finding, node_findings, operator_findings, rule_findings};
use crate::trouble::Trouble;
use jiff::Timestamp;
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use vedette_crds::condition;
use vedette_crds::condition::node::Ready;
use vedette_crds::node_config::{Changes, JournalHead, NodeConfigSpec, NodeConfigStatus};
use vedette_crds::rule::{DataCollectionRuleSpec, DataCollectionRuleStatus, NodeCounts};
use vedette_crds::selector::NodeSelector;

/// A NodeConfig has some 10 kB, and at most some 100.
const PAGE: u32 = 200;
/// The name of the operator's Lease.
const OPERATOR: &str = "vedette-operator";

/// One rule, and what became of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) is_well: bool,
    /// Why not, and what else there is to say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) findings: Vec<Finding>,
    pub(crate) is_suspended: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_selector: Option<NodeSelector>,
    pub(crate) nodes: NodeCounts,
    pub(crate) tracked_items: u64,
    pub(crate) changes: Changes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_change_time: Option<Timestamp>,
}

/// One node, and what its agent says.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) is_well: bool,
    pub(crate) is_ready: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) findings: Vec<Finding>,
    pub(crate) rules: usize,
    pub(crate) tracked_items: u64,
    pub(crate) unknown_items: u64,
    pub(crate) changes: Changes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_change_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_compared: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) journal: Option<JournalHead>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) agent_version: String,
}

/// Who leads among the operator's replicas.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Operator {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) renewed: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) findings: Vec<Finding>,
}

/// Every object of a kind, in pages. A list whose pages have expired is begun again, once.
pub(crate) async fn list<K, T>(
    cluster: &Cluster,
    api: &Api<K>,
    what: &str,
    only: ListParams,
    read: impl Fn(K) -> T,
) -> Result<Vec<T>, Trouble>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let mut has_expired = false;
    let mut all = Vec::new();
    let mut page = only.limit(PAGE);
    loop {
        match cluster.ask(&format!("list {what}"), api.list(&page)).await {
            Ok(listed) => {
                let next = listed.metadata.continue_.filter(|next| !next.is_empty());
                all.extend(listed.items.into_iter().map(&read));
                match next {
                    Some(next) => page.continue_token = Some(next),
                    None => return Ok(all),
                }
            }
            Err(Trouble::Asked { source, .. })
                if !has_expired && matches!(&*source, kube::Error::Api(status) if status.code == 410) =>
            {
                has_expired = true;
                all.clear();
                page.continue_token = None;
            }
            Err(trouble) => return Err(trouble),
        }
    }
}

/// The rules, sorted by name.
pub(crate) async fn rules(cluster: &Cluster) -> Result<Vec<Rule>, Trouble> {
    let mut rules = list(cluster, &cluster.rules(), "rules", ListParams::default(), |object| Rule::of(&object)).await?;
    rules.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(rules)
}

/// The nodes that have a NodeConfig, sorted by name.
pub(crate) async fn nodes(cluster: &Cluster) -> Result<Vec<Node>, Trouble> {
    let read = |object| Node::of(&object);
    let mut nodes = list(cluster, &cluster.node_configs(), "NodeConfigs", ListParams::default(), read).await?;
    nodes.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(nodes)
}

/// Who leads; `None` when we may not know.
pub(crate) async fn operator(cluster: &Cluster, now: Timestamp) -> Result<Option<Operator>, Trouble> {
    let lease = match cluster.ask("read the operator's Lease", cluster.leases().get_opt(OPERATOR)).await {
        Ok(lease) => lease,
        Err(Trouble::Asked { source, .. }) if matches!(&*source, kube::Error::Api(status) if status.code == 403) => {
            return Ok(None);
        }
        Err(trouble) => return Err(trouble),
    };
    let spec = lease.and_then(|lease| lease.spec).unwrap_or_default();
    let leader = spec.holder_identity.filter(|holder| !holder.is_empty());
    let renewed = spec.renew_time.map(|time| time.0);
    let findings = operator_findings(leader.as_deref(), renewed, spec.lease_duration_seconds, &cluster.namespace, now);
    Ok(Some(Operator { leader, renewed, findings }))
}

impl Rule {
    fn of(object: &DynamicObject) -> Self {
        let spec = DataCollectionRuleSpec::deserialize(&object.data["spec"]);
        let status: DataCollectionRuleStatus = part(object, "status").unwrap_or_default();
        let generation = object.metadata.generation.unwrap_or_default();
        let findings = rule_findings(generation, &status);
        let spec = spec.unwrap_or_default();
        Self {
            name: object.name_any(),
            is_well: !findings.iter().any(|finding| finding.is_bad),
            findings,
            is_suspended: spec.suspend,
            created: object.metadata.creation_timestamp.as_ref().map(|time| time.0),
            tags: spec.tags,
            node_selector: spec.node_selector,
            nodes: status.nodes.unwrap_or_default(),
            tracked_items: status.tracked_items.unwrap_or_default(),
            changes: status.changes.unwrap_or_default(),
            last_change_time: status.last_change_time.map(|time| time.0),
        }
    }
}

impl Node {
    pub(crate) fn of(object: &DynamicObject) -> Self {
        let rules = part::<NodeConfigSpec>(object, "spec").map_or(0, |spec| spec.rules.len());
        let (status, unreadable) = match part::<NodeConfigStatus>(object, "status") {
            Ok(status) => (status, None),
            Err(error) => (NodeConfigStatus::default(), Some(error.to_string())),
        };
        let findings = node_findings(&status, unreadable);
        Self {
            name: object.name_any(),
            is_well: !findings.iter().any(|finding| finding.is_bad),
            is_ready: condition::is_true::<Ready>(&status.conditions),
            findings,
            rules,
            tracked_items: status.tracked_items.unwrap_or_default(),
            unknown_items: status.unknown_items.unwrap_or_default(),
            changes: status.changes.unwrap_or_default(),
            last_change_time: status.last_change_time.map(|time| time.0),
            last_compared: status
                .collectors
                .iter()
                .filter_map(|one| one.last_completed.as_ref())
                .map(|time| time.0)
                .max(),
            journal: status.journal,
            agent_version: status.agent.map(|agent| agent.version).unwrap_or_default(),
        }
    }
}

/// A part of an object; one that is not there says nothing.
pub(crate) fn part<T: DeserializeOwned + Default>(object: &DynamicObject, member: &str) -> serde_json::Result<T> {
    match &object.data[member] {
        serde_json::Value::Null => Ok(T::default()),
        value => T::deserialize(value),
    }
}
