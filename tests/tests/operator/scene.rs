//! What the tests of the operator have in common: one cluster with one operator, rules to apply, looks at what becomes of
//! them, and agents to play.
use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use vedette_crds::{
    condition::Condition,
    node_config::{NodeConfig, NodeRule},
    rule::{DataCollectionRule, DataCollectionRuleStatus},
};
use vedette_tests::{
    Cluster, NotYet, Operator, SharedCluster,
    cluster::{AGENT, node_config, node_configs_as},
    eventually, not_yet,
};

/// Generous: a loaded machine is not what is tested.
pub(crate) const SOON: Duration = Duration::from_secs(60);

static CLUSTER: SharedCluster = SharedCluster::new();
static OPERATOR: OnceCell<Operator> = OnceCell::const_new();

/// Runs a test on the shared cluster, where the shared operator is ready.
pub(crate) fn test(test: impl AsyncFnOnce(Scene<'static>)) {
    CLUSTER.test(async |cluster| {
        OPERATOR.get_or_try_init(async || cluster.start_operator().await).await.unwrap();
        test(Scene::new(cluster)).await;
    });
}

/// The shared operator.
pub(crate) fn operator() -> &'static Operator {
    OPERATOR.get().unwrap()
}

/// A cluster as the administrator sees it.
pub(crate) struct Scene<'c> {
    pub(crate) cluster: &'c Cluster,
    pub(crate) rules: Api<DataCollectionRule>,
    pub(crate) configs: Api<NodeConfig>,
}

impl<'c> Scene<'c> {
    pub(crate) fn new(cluster: &'c Cluster) -> Self {
        let client: Client = cluster.client();
        Self { cluster, rules: Api::all(client.clone()), configs: Api::all(client) }
    }

    /// Nodes of this test alone: `{group}1`… with the label `group={group}` and ready agent pods.
    pub(crate) async fn nodes(&self, group: &str, count: usize) -> Vec<String> {
        self.cluster.add_nodes(group, count, &[("group", group)]).await.unwrap()
    }

    /// Applies a rule as a user would.
    pub(crate) async fn apply_rule(&self, name: &str, spec: Value) -> DataCollectionRule {
        let rule = json!({
            "apiVersion": "vedette.dev/v1alpha1", "kind": "DataCollectionRule", "metadata": { "name": name }, "spec": spec
        });
        let how = PatchParams::apply("kubectl").force();
        self.rules.patch(name, &how, &Patch::Apply(rule)).await.unwrap()
    }

    pub(crate) async fn delete_rule(&self, name: &str) {
        self.rules.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// The NodeConfigs of these nodes, those that exist.
    pub(crate) async fn existing(&self, nodes: &[String]) -> kube::Result<BTreeMap<String, NodeConfig>> {
        let all = self.configs.list(&ListParams::default()).await?;
        let named = all.into_iter().map(|config| (config.name_any(), config));
        Ok(named.filter(|(name, _)| nodes.contains(name)).collect())
    }

    /// Waits until the NodeConfigs of these nodes exist and are as `holds` says.
    pub(crate) async fn configs_where(
        &self,
        what: &str,
        nodes: &[String],
        within: Duration,
        holds: impl Fn(&NodeConfig) -> bool,
    ) -> BTreeMap<String, NodeConfig> {
        eventually(what, within, async || {
            let found = self.existing(nodes).await?;
            let wrong: Vec<_> = found.values().filter(|config| !holds(config)).collect();
            if found.len() == nodes.len() && wrong.is_empty() {
                return Ok(found);
            }
            let first = wrong.first().map(|config| serde_json::to_string(config).unwrap());
            Err(not_yet(format!("{} of {}, {} not so: {first:?}", found.len(), nodes.len(), wrong.len())))
        })
        .await
        .unwrap()
    }

    pub(crate) async fn config_where(&self, what: &str, node: &str, holds: impl Fn(&NodeConfig) -> bool) -> NodeConfig {
        let nodes = [node.to_owned()];
        self.configs_where(what, &nodes, SOON, holds).await.remove(node).unwrap()
    }

    pub(crate) async fn no_config(&self, node: &str) {
        eventually(&format!("no NodeConfig {node}"), SOON, async || match self.configs.get_opt(node).await? {
            None => Ok(()),
            Some(config) => Err(not_yet(serde_json::to_string(&config).unwrap())),
        })
        .await
        .unwrap();
    }

    /// Waits until a rule's status is as `holds` says.
    pub(crate) async fn rule_where(
        &self,
        what: &str,
        name: &str,
        holds: impl Fn(&DataCollectionRuleStatus) -> bool,
    ) -> DataCollectionRuleStatus {
        eventually(what, SOON, async || {
            let status = self.rules.get(name).await?.status.unwrap_or_default();
            if holds(&status) { Ok(status) } else { Err(seen(&status)) }
        })
        .await
        .unwrap()
    }

    /// Waits until a rule's condition has this status and reason.
    pub(crate) async fn rule_says(&self, rule: &str, condition: &str, expected: &str) -> DataCollectionRuleStatus {
        let what = format!("{condition} of {rule} is {expected}");
        self.rule_where(&what, rule, |status| says(&status.conditions, condition) == expected).await
    }

    /// Plays the agent of a node.
    pub(crate) async fn agent(&self, node: &str) -> PlayedAgent {
        let client = self.cluster.agent_identity(node).await.unwrap().client().await.unwrap();
        PlayedAgent { node: node.to_owned(), client, configs: self.configs.clone() }
    }

    pub(crate) async fn agents(&self, nodes: &[String]) -> Vec<PlayedAgent> {
        join_all(nodes.iter().map(async |node| self.agent(node).await)).await
    }
}

/// What was written, by resource version: of rules and of NodeConfigs.
pub(crate) async fn versions(scene: &Scene<'_>) -> BTreeMap<String, Option<String>> {
    let configs = scene.configs.list(&ListParams::default()).await.unwrap();
    let rules = scene.rules.list(&ListParams::default()).await.unwrap();
    let configs =
        configs.into_iter().map(|object| (format!("NodeConfig {}", object.name_any()), object.resource_version()));
    let rules = rules.into_iter().map(|object| (format!("rule {}", object.name_any()), object.resource_version()));
    configs.chain(rules).collect()
}

/// Waits until an operator has looked at so many objects and has nothing left to look at.
pub(crate) async fn has_looked_at(operator: &Operator, objects: f64) {
    eventually("it has looked at everything", SOON, async || {
        let metrics = operator.metrics().await?;
        let looked = metrics.sum("vedette_operator_reconciles_total", &[]);
        let left = metrics.sum("vedette_operator_queue_length", &[]);
        if looked >= objects && left == 0.0 { Ok(()) } else { Err(not_yet(format!("{looked} looked at, {left} left"))) }
    })
    .await
    .unwrap();
}

/// Waits until an operator leads.
pub(crate) async fn leads(operator: &Operator) {
    eventually("it leads", SOON, async || {
        let leader = operator.metrics().await?.get("vedette_operator_leader", &[]);
        if leader == Some(1.0) { Ok(()) } else { Err(not_yet(format!("{leader:?}"))) }
    })
    .await
    .unwrap();
}

/// How many writes an operator has tried.
pub(crate) async fn writes(operator: &Operator) -> f64 {
    operator.metrics().await.unwrap().sum("vedette_operator_reconcile_duration_seconds_count", &[])
}

/// Waits until an operator has logged all of this, and returns its log.
pub(crate) async fn has_said(operator: &Operator, all: &[&str]) -> String {
    eventually(&format!("it says {all:?}"), SOON, async || {
        let log = operator.log()?;
        if all.iter().all(|part| log.contains(part)) { Ok(log) } else { Err(not_yet(log)) }
    })
    .await
    .unwrap()
}

fn seen(status: &DataCollectionRuleStatus) -> NotYet {
    not_yet(serde_json::to_string(status).unwrap())
}

/// An agent that says what a test lets it say.
pub(crate) struct PlayedAgent {
    pub(crate) node: String,
    client: Client,
    configs: Api<NodeConfig>,
}

impl PlayedAgent {
    /// Applies a status as the agent does.
    pub(crate) async fn say(&self, status: Value) {
        self.tries_to_say(status).await.unwrap();
    }

    /// The same; an error is the API server's.
    pub(crate) async fn tries_to_say(&self, status: Value) -> kube::Result<()> {
        let object = node_config(&self.node, json!({ "status": status }));
        let how = PatchParams::apply(AGENT).force();
        node_configs_as(self.client.clone()).patch_status(&self.node, &how, &Patch::Apply(object)).await.map(drop)
    }

    /// Confirms the NodeConfig as it is now, baseline made, with these numbers for every rule in it.
    pub(crate) async fn confirm(&self, tracked: u64, modified: u64, last_change: Option<&str>) {
        let config = self.configs.get(&self.node).await.unwrap();
        let rule = |rule: &NodeRule| {
            let mut progress = json!({ "name": rule.name, "uid": rule.uid, "generation": rule.generation,
                "trackedItems": tracked, "changes": { "added": 0, "modified": modified, "removed": 0 } });
            if let Some(time) = last_change {
                progress["lastChangeTime"] = json!(time);
            }
            progress
        };
        self.say(json!({
            "observedGeneration": config.metadata.generation,
            "conditions": [condition("ConfigApplied", "Applied"), condition("BaselineReady", "BaselineMade")],
            "trackedItems": tracked,
            "rules": config.spec.rules.iter().map(rule).collect::<Vec<_>>(),
        }))
        .await;
    }

    /// A status as large as an agent's may be.
    pub(crate) async fn say_as_much_as_possible(&self) {
        let config = self.configs.get(&self.node).await.unwrap();
        let time = "2026-11-24T04:00:00Z";
        let changes = json!({ "added": 1_000_000, "modified": 1_000_000, "removed": 1_000_000 });
        let rule = |rule: &NodeRule| {
            json!({ "name": rule.name, "uid": rule.uid, "generation": rule.generation, "trackedItems": 1_000_000,
                "changes": changes, "lastChangeTime": time })
        };
        let recent = |sequence: u64| {
            json!({ "sequence": sequence, "time": time, "category": "File", "changeType": "Modified",
                "detection": "Startup", "path": "/etc/kubernetes/manifests/kube-apiserver.yaml", "fields": ["Content", "Size"],
                "severity": "Critical" })
        };
        let conditions = [
            condition("ConfigApplied", "Applied"),
            condition("BaselineReady", "BaselineMade"),
            message(condition("Realtime", "NotSupported"), 80),
            condition("StorageHealthy", "Healthy"),
            message(condition("Complete", "Complete"), 100),
        ];
        self.say(json!({
            "observedGeneration": config.metadata.generation,
            "conditions": conditions,
            "agent": { "version": "0.1.0", "bootId": "0f8fad5b-d9cb-469f-a165-70867728950e" },
            "trackedItems": 1_000_000, "unknownItems": 1_000,
            "changes": changes, "lastChangeTime": time,
            "rules": config.spec.rules.iter().map(rule).collect::<Vec<_>>(),
            "collectors": [{ "name": "Files", "lastCompleted": time, "durationSeconds": 1.875, "items": 1_000_000 }],
            "journal": { "id": "0f8fad5b-d9cb-469f-a165-70867728950e", "sequence": 1_000_000,
                "head": format!("sha256:{}", "0".repeat(64)) },
            "recentChanges": (1..=4).map(recent).collect::<Vec<_>>(),
        }))
        .await;
    }
}

fn message(mut condition: Value, bytes: usize) -> Value {
    condition["message"] = json!("x".repeat(bytes));
    condition
}

pub(crate) fn condition(kind: &str, reason: &str) -> Value {
    json!({ "type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": "2026-11-24T04:00:00Z" })
}

/// A rule's spec: these nodes, one entry a path.
pub(crate) fn watch(group: &str, paths: &[&str]) -> Value {
    let entry = |path: &&str| json!({ "name": path.trim_matches('/').replace('/', "-"), "path": path });
    json!({
        "nodeSelector": { "matchLabels": { "group": group } },
        "files": { "interval": "10s", "paths": paths.iter().map(entry).collect::<Vec<_>>() },
    })
}

/// The names of the rules that a NodeConfig carries.
pub(crate) fn carried(config: &NodeConfig) -> Vec<&str> {
    config.spec.rules.iter().map(|rule| rule.name.as_str()).collect()
}

/// The one form that a NodeConfig carries.
#[track_caller]
pub(crate) fn form(config: &NodeConfig) -> &NodeRule {
    let [form] = &config.spec.rules[..] else { panic!("{:?}", carried(config)) };
    form
}

/// Status and reason of a condition, as in `True Programmed`.
pub(crate) fn says(conditions: &[Condition], kind: &str) -> String {
    let found = conditions.iter().find(|condition| condition.type_ == kind);
    found.map_or("absent".into(), |condition| format!("{} {}", condition.status, condition.reason))
}
