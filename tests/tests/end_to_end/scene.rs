//! One node, its scratch host, its agent, and rules that select this node alone.

use std::time::Duration;

use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};
use vedette_crds::{node_config::NodeConfig, rule::DataCollectionRule};
use vedette_tests::{Agent, Cluster, Operator, ScratchHost, SharedCluster, control_plane::Write, eventually, not_yet};

static CLUSTER: SharedCluster = SharedCluster::new();
static OPERATOR: OnceCell<Mutex<Operator>> = OnceCell::const_new();

/// Generous: an interval and a minInterval are 20 s, and the machine is shared.
pub(crate) const SOON: Duration = Duration::from_secs(120);
const LABEL: &str = "scene";

/// Runs a test on the cluster of this file, with the operator at work.
pub(crate) fn on_cluster(test: impl AsyncFnOnce(&'static Cluster)) {
    CLUSTER.test(async |cluster| {
        operator(cluster).await;
        test(cluster).await;
    });
}

async fn operator(cluster: &Cluster) -> &'static Mutex<Operator> {
    OPERATOR.get_or_init(async || Mutex::new(cluster.start_operator().await.unwrap())).await
}

/// A rule of this name for the node whose scene has the same name, compared every 10 s.
pub(crate) fn rule(name: &str, paths: Value) -> Value {
    json!({
        "apiVersion": "vedette.dev/v1alpha1",
        "kind": "DataCollectionRule",
        "metadata": {"name": name},
        "spec": {
            "nodeSelector": {"matchLabels": {LABEL: name}},
            "files": {"interval": "10s", "paths": paths},
        },
    })
}

/// An entry with all defaults.
pub(crate) fn entry(name: &str, path: &str) -> Value {
    json!({"name": name, "path": path})
}

/// A record in words: `Modified /etc/passwd Content,Size`.
pub(crate) fn tell(change: &Value) -> String {
    let fields: Vec<&str> = change["fields"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let text = |member: &str| change[member].as_str().unwrap_or("-").to_owned();
    format!("{} {} {}", text("changeType"), text("path"), fields.join(","))
}

/// A condition of an object.
pub(crate) fn condition(object: &Value, name: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == name).unwrap_or_default()
}

/// A node with its host and, once started, its agent.
pub(crate) struct Scene {
    cluster: &'static Cluster,
    name: String,
    pub(crate) node: String,
    pub(crate) node_uid: String,
    pub(crate) host: ScratchHost,
    pub(crate) agent: Slot,
}

/// The agent, once it is started.
pub(crate) struct Slot(Option<Agent>);

impl std::ops::Deref for Slot {
    type Target = Agent;
    fn deref(&self) -> &Agent {
        self.0.as_ref().unwrap()
    }
}

impl std::ops::DerefMut for Slot {
    fn deref_mut(&mut self) -> &mut Agent {
        self.0.as_mut().unwrap()
    }
}

impl Scene {
    /// A node with the scene's label, and an empty host.
    pub(crate) async fn new(cluster: &'static Cluster, name: &str) -> Self {
        let node = format!("node-{name}");
        let node_uid = cluster.add_node(&node, &[(LABEL, name)]).await.unwrap().uid().unwrap();
        let root = cluster.control_plane().folder(format!("hosts/{name}")).unwrap();
        std::fs::create_dir_all(root.join("etc")).unwrap();
        let host = ScratchHost::empty(root);
        Self { cluster, name: name.to_owned(), node, node_uid, host, agent: Slot(None) }
    }

    pub(crate) async fn start(&mut self) {
        self.agent = Slot(Some(self.cluster.start_agent(&self.node, self.host.root()).await.unwrap()));
    }

    /// The agent's lines, each once: after a kill a sink may deliver lines again, the same to the byte.
    fn lines(&self) -> vedette_tests::Result<Vec<Value>> {
        let mut lines: Vec<Value> = Vec::new();
        for line in self.agent.lines()? {
            match lines.iter().find(|known| known["sequence"] == line["sequence"]) {
                Some(known) => assert_eq!(*known, line, "delivered again, and another"),
                None => {
                    crate::schemas::check(&line);
                    lines.push(line);
                }
            }
        }
        Ok(lines)
    }

    /// The change records among them.
    pub(crate) fn changes(&self) -> vedette_tests::Result<Vec<Value>> {
        let mut lines = self.lines()?;
        lines.retain(|line| line["schema"] == "vedette.dev/change/v1");
        Ok(lines)
    }

    fn rules(&self) -> Api<DynamicObject> {
        Api::all_with(self.cluster.client(), &ApiResource::erase::<DataCollectionRule>(&()))
    }

    /// A second rule for the same node.
    pub(crate) fn rule_named(&self, name: &str, paths: Value) -> Value {
        let mut rule = rule(&self.name, paths);
        rule["metadata"]["name"] = json!(name);
        rule
    }

    pub(crate) async fn apply(&self, rule: Value) {
        self.try_apply(rule).await.unwrap();
    }

    pub(crate) async fn try_apply(&self, rule: Value) -> Result<(), String> {
        let name = rule["metadata"]["name"].as_str().unwrap();
        let how = PatchParams::apply("kubectl").force();
        let applied = self.rules().patch(name, &how, &Patch::Apply(&rule)).await;
        applied.map(drop).map_err(|error| error.to_string())
    }

    pub(crate) async fn delete(&self, rule: &str) {
        self.rules().delete(rule, &DeleteParams::default()).await.unwrap();
    }

    /// The rule, once it is as wanted.
    pub(crate) async fn rule(&self, what: &str, name: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("rule {name} {what}"), SOON, async || {
            let rule = self.rules().get(name).await?;
            if is(&rule.data) { Ok(rule.data) } else { Err(not_yet(&rule.data["status"])) }
        })
        .await
        .unwrap()
    }

    pub(crate) async fn rule_counts(&self, name: &str, changes: Value) {
        self.rule("counts", name, |rule| rule["status"]["changes"] == changes).await;
    }

    /// The node's status, once it is as wanted.
    pub(crate) async fn status(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{} {what}", self.node), SOON, async || {
            let config = self.cluster.node_configs().get(&self.node).await?;
            let status = &config.data["status"];
            if is(status) { Ok(status.clone()) } else { Err(not_yet(status)) }
        })
        .await
        .unwrap()
    }

    /// The agent has applied this generation of a rule.
    pub(crate) async fn confirmed(&self, rule: &str, generation: i64) {
        let what = format!("has applied generation {generation} of {rule}");
        self.status(&what, |status| {
            let rules = status["rules"].as_array();
            rules.into_iter().flatten().any(|found| found["name"] == rule && found["generation"] == generation)
        })
        .await;
    }

    /// The node is ready with this generation of a rule: its baseline is made.
    pub(crate) async fn baseline(&self, rule: &str, generation: i64) {
        let what = format!("is ready with generation {generation} of {rule}");
        eventually(&what, SOON, async || {
            let config = self.cluster.node_configs().get(&self.node).await?;
            let status = &config.data["status"];
            let current = status["observedGeneration"].as_i64() == config.metadata.generation;
            let mut rules = status["rules"].as_array().into_iter().flatten();
            let has = rules.any(|found| found["name"] == rule && found["generation"] == generation);
            let ready = condition(&config.data, "Ready")["status"] == "True";
            if current && has && ready { Ok(()) } else { Err(not_yet(status)) }
        })
        .await
        .unwrap();
    }

    /// The records in words, once there are so many; each compare's own sorted.
    pub(crate) async fn told(&self, count: usize) -> Vec<String> {
        let mut changes = eventually(&format!("{count} records of {}", self.node), SOON, async || {
            let changes = self.changes()?;
            if changes.len() >= count { Ok(changes) } else { Err(not_yet(json!(changes))) }
        })
        .await
        .unwrap();
        assert_eq!(changes.len(), count, "{changes:#?}");
        changes.sort_by_key(|change| (change["time"].as_str().unwrap().to_owned(), tell(change)));
        changes.iter().map(tell).collect()
    }

    /// The NodeConfig as it is.
    pub(crate) async fn config(&self) -> kube::Result<NodeConfig> {
        Api::all(self.cluster.client()).get(&self.node).await
    }

    /// Who has written this node's NodeConfig.
    pub(crate) fn writes(&self) -> Vec<Write> {
        let mut writes = self.cluster.control_plane().writes().unwrap();
        writes.retain(|write| write.name == self.node);
        writes
    }

    /// The NodeConfig is not there any more.
    pub(crate) async fn config_is_gone(&self) {
        eventually(&format!("the NodeConfig of {} is gone", self.node), SOON, async || {
            match self.cluster.node_configs().get_opt(&self.node).await? {
                None => Ok(()),
                Some(config) => Err(not_yet(json!(config))),
            }
        })
        .await
        .unwrap();
    }

    /// A deleted rule has left status and metrics of the node.
    pub(crate) async fn gone_from_node(&self, rule: &str) {
        let label = [("rule", rule)];
        eventually(&format!("{rule} has left {}", self.node), SOON, async || {
            let series = self.agent.metrics().await?.sum("vedette_agent_config_generation", &label);
            let config = self.cluster.node_configs().get_opt(&self.node).await?;
            let status = config.map(|config| config.data["status"]["rules"].to_string()).unwrap_or_default();
            if series == 0.0 && !status.contains(rule) { Ok(()) } else { Err(not_yet(format!("{series} {status}"))) }
        })
        .await
        .unwrap();
    }

    /// Records in the journal == counts in status == counts in metrics.
    pub(crate) async fn agree(&self) {
        eventually(&format!("records, status and metrics of {} agree", self.node), SOON, async || {
            let metrics = self.agent.metrics().await?;
            let config = self.cluster.node_configs().get(&self.node).await?;
            let status = &config.data["status"];
            let changes = self.changes()?;
            for (member, change_type) in [("added", "Added"), ("modified", "Modified"), ("removed", "Removed")] {
                let records = changes.iter().filter(|change| change["changeType"] == change_type).count();
                let counted = metrics.sum("vedette_agent_records_total", &[("change_type", change_type)]);
                let reported = status["changes"][member].as_u64();
                if reported != Some(records as u64) || counted != records as f64 {
                    let seen =
                        format!("{change_type}: {records} records, {reported:?} in status, {counted} in metrics");
                    return Err(not_yet(seen));
                }
            }
            let sequence = metrics.get("vedette_agent_journal_sequence", &[]);
            let last = self.lines()?.last().map(|line| line["sequence"].clone());
            if status["journal"]["sequence"].as_f64() == sequence && last.and_then(|last| last.as_f64()) == sequence {
                Ok(())
            } else {
                Err(not_yet(format!("{sequence:?} {}", status["journal"])))
            }
        })
        .await
        .unwrap();
        let lines = self.lines().unwrap();
        let sequences: Vec<u64> = lines.iter().map(|line| line["sequence"].as_u64().unwrap()).collect();
        assert_eq!(sequences, (1..=lines.len() as u64).collect::<Vec<_>>(), "the journal has no gap");
    }

    pub(crate) async fn label(&self, value: Option<&str>) {
        self.cluster.label_node(&self.node, &[(LABEL, value)]).await.unwrap();
    }

    pub(crate) async fn remove_node(&self) {
        self.cluster.remove_node(&self.node).await.unwrap();
    }

    /// Deletes the Node and makes it anew under the same name, with an agent's pod; the agent's process goes on.
    pub(crate) async fn recreate_node(&mut self) {
        self.remove_node().await;
        self.config_is_gone().await;
        let node = self.cluster.add_node(&self.node, &[(LABEL, &self.name)]).await.unwrap();
        self.node_uid = node.uid().unwrap();
        self.agent.terminate().await.unwrap();
        self.start().await;
    }

    pub(crate) async fn restart_operator_and_agent(&mut self) {
        let mut operator = operator(self.cluster).await.lock().await;
        operator.kill().unwrap();
        operator.start().await.unwrap();
        self.agent.terminate().await.unwrap();
        self.agent.start().await.unwrap();
    }
}
