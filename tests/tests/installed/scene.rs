//! A cluster of real nodes with the product's images on them, and the states that tests bring it to.
use serde_json::{Value, json};
use std::{ops::Deref, path::Path, sync::LazyLock, time::Duration};
use tokio::sync::{Mutex, MutexGuard};
use vedette_tests::{
    RealCluster, eventually,
    helm::Helm,
    not_yet,
    release::{Images, Release},
};

pub(crate) const WITHIN: Duration = Duration::from_secs(180);
pub(crate) const NODES: [&str; 2] = ["n1", "n2"];

/// One at a time: two of them take longer side by side than one after the other.
static TURN: Mutex<()> = Mutex::const_new(());
static IMAGES: LazyLock<Option<Images>> = LazyLock::new(|| Images::build_or_skip().unwrap());

pub(crate) struct Scene {
    release: Release,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Scene {
    type Target = Release;

    fn deref(&self) -> &Release {
        &self.release
    }
}

impl Scene {
    /// A cluster with nothing but the images; `None` where no node can run.
    pub(crate) async fn new() -> Option<Self> {
        let turn = TURN.lock().await;
        let built = tokio::task::spawn_blocking(|| (Helm::find_or_build().unwrap(), IMAGES.as_ref()));
        let (helm, images) = built.await.unwrap();
        let images = images?;
        let cluster = RealCluster::start_or_skip().await.unwrap()?;
        Some(Self { release: Release::prepare(cluster, helm, images).await.unwrap(), _turn: turn })
    }

    /// Applies the preset, looked at every few seconds, and waits until both nodes are watched by it.
    pub(crate) async fn is_watched(&self) {
        let preset = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/presets/linux-baseline.yaml");
        // A definition that was just made is not served at once.
        eventually("the preset is taken", WITHIN, async || {
            self.kubectl(&["apply", "--filename", preset.to_str().unwrap()]).map(drop).map_err(Into::into)
        })
        .await
        .unwrap();
        let often = json!({"spec": {"files": {"interval": "10s"}}}).to_string();
        self.kubectl(&["patch", "datacollectionrule", "linux-baseline", "--type=merge", "--patch", &often]).unwrap();
        let rule = self.get(&["datacollectionrule", "linux-baseline"]).unwrap();
        eventually("the rule is ready on both nodes", WITHIN, async || {
            let now = self.get(&["datacollectionrule", "linux-baseline"])?;
            let ready = condition(&now, "Ready");
            let is_ready = ready["status"] == "True" && ready["observedGeneration"] == rule["metadata"]["generation"];
            if is_ready { Ok(()) } else { Err(not_yet(format!("{}\n{}", now["status"], self.state()))) }
        })
        .await
        .unwrap();
    }

    /// Each agent refuses itself what its pod does not need, which every kernel that runs this test lets it, and sees all of
    /// its node.
    pub(crate) fn is_confined_and_sees_all(&self) {
        for node in NODES {
            let config = self.get(&["nodeconfig", node]).unwrap();
            for kind in ["Confined", "Complete"] {
                let said = condition(&config, kind);
                assert_eq!(said["status"], "True", "{said}");
            }
        }
    }

    /// Changes a file on n1: the status of its NodeConfig, its agent's records and metrics say so, and those of n2 do not.
    pub(crate) async fn tells(&self, content: &str) {
        const PATH: &str = "/etc/passwd";
        let changes = |node: &str| -> vedette_tests::Result<(usize, Value)> {
            let status = self.get(&["nodeconfig", node])?["status"].clone();
            let recent = status["recentChanges"].as_array().cloned().unwrap_or_default();
            Ok((recent.into_iter().filter(|change| change["path"] == PATH).count(), status))
        };
        let before = NODES.map(|node| changes(node).unwrap().0);
        self.cluster.node("n1").unwrap().write(PATH, content).unwrap();
        let status = eventually("the change stands in the status", WITHIN, async || {
            let (count, status) = changes("n1")?;
            if count == before[0] + 1 { Ok(status) } else { Err(not_yet(status)) }
        })
        .await
        .unwrap();
        let last = status["recentChanges"].as_array().unwrap().iter().find(|change| change["path"] == PATH).unwrap();
        assert_eq!((&last["changeType"], &last["severity"]), (&json!("Modified"), &json!("High")), "{last}");
        assert_eq!(changes("n2").unwrap().0, before[1], "n2 has a file of its own there");
        let is_it = |line: &&Value| line["sequence"] == last["sequence"] && line["path"] == PATH;
        let record = eventually("its record is written", WITHIN, async || {
            let lines = self.lines("n1")?;
            lines.iter().find(is_it).cloned().ok_or_else(|| not_yet(format!("{lines:?}")))
        })
        .await
        .unwrap();
        assert_eq!(
            (&record["schema"], &record["node"], &record["after"]["size"]),
            (&json!("vedette.dev/change/v1"), &json!("n1"), &json!(content.len()))
        );
        let labels = [("rule", "linux-baseline"), ("change_type", "Modified"), ("severity", "High")];
        assert!(self.metrics("n1").unwrap().sum("vedette_agent_changes_total", &labels) >= 1.0);
    }

    pub(crate) fn has_ready_pods(&self) {
        for workload in ["daemonset/vedette-agent", "deployment/vedette-operator"] {
            let namespace = vedette_tests::cluster::NAMESPACE;
            let done = self.kubectl(&["rollout", "status", workload, "--namespace", namespace, "--timeout=180s"]);
            assert!(done.is_ok(), "{done:?}\n{}", self.state());
        }
    }
}

/// A condition of an object; nothing where it has none of this type.
pub(crate) fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
}
