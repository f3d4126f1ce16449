//! One control plane without an operator, nodes with agents on scratch hosts, and NodeConfigs as the operator would write
//! them.

use std::time::Duration;

use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use vedette_tests::{
    Agent, Cluster, NotYet, ScratchHost,
    cluster::{OPERATOR, node_config},
    eventually, not_yet,
};

/// Generous: pauses between tries are up to 30 s, and the machine is shared.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// Control planes at once: more would only wait for each other.
static PLACES: Semaphore = Semaphore::const_new(2);

/// A control plane of a test's own.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    _place: SemaphorePermit<'static>,
}

/// A node, its host and its agent.
pub(crate) struct Watched {
    pub(crate) node: String,
    pub(crate) uid: String,
    pub(crate) host: ScratchHost,
    pub(crate) agent: Agent,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let place = PLACES.acquire().await.unwrap();
        Self { cluster: Cluster::start().await.unwrap(), _place: place }
    }

    /// A node with a host that has one file, and its agent, which is not started yet.
    pub(crate) async fn node(&self, name: &str) -> Watched {
        let uid = self.cluster.add_node(name, &[]).await.unwrap().uid().unwrap();
        let root = self.cluster.control_plane().folder(format!("hosts/{}", &name[..name.len().min(200)])).unwrap();
        let host = ScratchHost::empty(root);
        host.write("/etc/a.conf", "1").unwrap();
        let agent = self.cluster.prepare_agent(name, host.root()).await.unwrap();
        Watched { node: name.to_owned(), uid, host, agent }
    }

    /// A node whose agent has made its baseline of /etc.
    pub(crate) async fn watched(&self, name: &str) -> Watched {
        let mut watched = self.node(name).await;
        self.configure(&watched, "rule-1", "/etc").await;
        watched.start().await;
        self.status(&watched, "has its baseline", |status| holds(status, "BaselineReady")).await;
        watched
    }

    /// Writes a node's NodeConfig: one rule of this uid, which watches what is under a path, compared each second.
    pub(crate) async fn configure(&self, watched: &Watched, rule: &str, path: &str) -> i64 {
        let defaults = json!({"recurse": true, "links": "Record", "mounts": "Local", "compare": ["Content", "Type"],
            "hashes": ["Md5", "Sha256"], "maxContentSize": 4_294_967_296_u64, "severity": "Medium"});
        let files = json!({"interval": "1s", "rehashInterval": "24h", "realtime": false, "defaults": defaults,
            "paths": [{"name": "all", "path": path}]});
        let spec = json!({
            "nodeUid": watched.uid,
            "reporting": {"minInterval": "1s", "refreshInterval": "15m"},
            "rules": [{"name": "watched", "uid": rule, "generation": 1, "hash": rule, "files": files}],
        });
        let object = node_config(&watched.node, json!({ "spec": spec }));
        let how = PatchParams::apply(OPERATOR).force();
        let stored = self.cluster.node_configs().patch(&watched.node, &how, &Patch::Apply(object)).await.unwrap();
        stored.metadata.generation.unwrap()
    }

    pub(crate) async fn unconfigure(&self, watched: &Watched) {
        self.cluster.node_configs().delete(&watched.node, &DeleteParams::default()).await.unwrap();
    }

    /// The node's status, once it is as wanted.
    pub(crate) async fn status(&self, watched: &Watched, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("the status of {} {what}", watched.node), SOON, async || {
            let config = self.cluster.node_configs().get(&watched.node).await?;
            let status = &config.data["status"];
            if is(status) { Ok(status.clone()) } else { Err(not_yet(format!("{status:#}\n{}", watched.tail()))) }
        })
        .await
        .unwrap()
    }

    /// Records in the journal == counts in status == counts in metrics, and the journal has no gap.
    pub(crate) async fn agree(&self, watched: &Watched) {
        eventually(&format!("records, status and metrics of {} agree", watched.node), SOON, async || {
            let config = self.cluster.node_configs().get(&watched.node).await?;
            agreement(watched, &config.data["status"]).await
        })
        .await
        .unwrap();
        let lines = watched.agent.lines().unwrap();
        let sequences: Vec<u64> = lines.iter().map(|line| line["sequence"].as_u64().unwrap()).collect();
        assert_eq!(sequences, (1..=lines.len() as u64).collect::<Vec<_>>(), "each line once, and no gap");
    }
}

async fn agreement(watched: &Watched, status: &Value) -> Result<(), NotYet> {
    let metrics = watched.agent.metrics().await?;
    let changes = watched.agent.changes()?;
    for (member, change_type) in [("added", "Added"), ("modified", "Modified"), ("removed", "Removed")] {
        let records = changes.iter().filter(|change| change["changeType"] == change_type).count();
        let counted = metrics.sum("vedette_agent_records_total", &[("change_type", change_type)]);
        let reported = status["changes"][member].as_u64();
        if reported != Some(records as u64) || counted != records as f64 {
            let seen = format!("{change_type}: {records} records, {reported:?} in status, {counted} in metrics");
            return Err(not_yet(seen));
        }
    }
    let sequence = metrics.get("vedette_agent_journal_sequence", &[]);
    let last = watched.agent.lines()?.last().map(|line| line["sequence"].clone());
    if status["journal"]["sequence"].as_f64() == sequence && last.and_then(|last| last.as_f64()) == sequence {
        Ok(())
    } else {
        Err(not_yet(format!("{sequence:?} {}", status["journal"])))
    }
}

impl Watched {
    /// Starts the agent and waits until it is ready.
    pub(crate) async fn start(&mut self) {
        self.agent.start().await.unwrap();
        self.agent.ready_within(SOON).await.unwrap();
    }

    /// Waits until so many change records are in the journal, by the agent's own metrics, and says them in words.
    pub(crate) async fn counts(&self, records: usize) {
        eventually(&format!("{} has {records} records", self.node), SOON, async || {
            let counted = self.agent.metrics().await?.sum("vedette_agent_records_total", &[]);
            if counted == records as f64 { Ok(()) } else { Err(not_yet(format!("{counted}\n{}", self.tail()))) }
        })
        .await
        .unwrap();
    }

    /// Waits until the log of all starts says this.
    pub(crate) async fn says(&self, sentence: &str) {
        eventually(&format!("{} says {sentence}", self.node), SOON, async || {
            if self.agent.log()?.contains(sentence) { Ok(()) } else { Err(not_yet(self.tail())) }
        })
        .await
        .unwrap();
    }

    /// How many lines of the log have this in them.
    pub(crate) fn lines_with(&self, words: &str) -> usize {
        self.agent.log().unwrap().lines().filter(|line| line.contains(words)).count()
    }

    /// Whether it is ready by its own page.
    pub(crate) async fn is_ready(&self) -> bool {
        self.agent.get("/readyz").await.unwrap().status == 200
    }

    /// Ends it as a kubelet would, and holds it to the exit code of an agent that was told to end.
    pub(crate) async fn terminate(&mut self) {
        let status = self.agent.terminate().await.unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.tail());
    }

    /// The end of the log, without what it says of every compare.
    fn tail(&self) -> String {
        let log = self.agent.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| !line.contains("compared items")).collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// A condition of a status.
pub(crate) fn condition(status: &Value, name: &str) -> Value {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == name).unwrap_or_default()
}

/// Whether a condition of a status is there and true.
pub(crate) fn holds(status: &Value, name: &str) -> bool {
    condition(status, name)["status"] == "True"
}
