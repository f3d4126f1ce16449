//! A cluster of real nodes with the product's images on them; what people and tests ask it.
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command, sync::LazyLock, time::Duration};
use tokio::sync::{Mutex, MutexGuard};
use vedette_image::{archive, build, image, program::Program};
use vedette_tests::{
    RealCluster, Result, eventually,
    helm::{Helm, chart},
    metrics::Metrics,
    not_yet,
};

pub(crate) const WITHIN: Duration = Duration::from_secs(180);
pub(crate) const NAMESPACE: &str = "vedette-system";
pub(crate) const NODES: [&str; 2] = ["n1", "n2"];

fn target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// What is missing to build static programs, as what to run.
fn missing() -> Option<String> {
    let printed = Command::new("rustc").args(["--print", "target-libdir", "--target", &target()]).output().unwrap();
    let libraries = String::from_utf8_lossy(&printed.stdout).trim().to_owned();
    if !Path::new(&libraries).is_dir() {
        return Some(format!("rustup target add {}", target()));
    }
    let has_compiler = Command::new("musl-gcc").arg("--version").output().is_ok();
    (!has_compiler).then(|| "apt-get install musl-tools".to_owned())
}

/// One at a time: two of them take longer side by side than one after the other.
static TURN: Mutex<()> = Mutex::const_new(());

/// Both images as a container runtime takes them. Built as they are shipped, which takes minutes where that was not done before.
static IMAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let built = build::build(&target(), "image").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let archives = [(image::OPERATOR, built.operator), (image::AGENT, built.agent)].map(|(kind, program)| {
        let (program, path) = (Program::read(&program).unwrap(), folder.path().join(kind.name));
        let image = image::Image::of(kind, &program, env!("CARGO_PKG_VERSION"), None).unwrap();
        archive::write(&image, kind.name, env!("CARGO_PKG_VERSION"), &path).unwrap();
        fs::read(path).unwrap()
    });
    archives.into()
});

pub(crate) struct Scene {
    pub(crate) cluster: RealCluster,
    helm: Helm,
    _turn: MutexGuard<'static, ()>,
}

impl Scene {
    /// A cluster with nothing but the images; `None` where no node can run.
    pub(crate) async fn new() -> Option<Self> {
        if let Some(missing) = missing() {
            eprintln!("SKIPPED without images: {missing}");
            return None;
        }
        let turn = TURN.lock().await;
        let cluster = RealCluster::start_or_skip().await.unwrap()?;
        let (helm, images) = tokio::task::spawn_blocking(|| (Helm::find_or_build().unwrap(), &*IMAGES)).await.unwrap();
        for node in cluster.nodes() {
            for image in images {
                node.import_image(image.clone()).await.unwrap();
            }
        }
        Some(Self { cluster, helm, _turn: turn })
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> std::result::Result<String, String> {
        let output = self.cluster.kubectl().args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    pub(crate) fn does(&self, arguments: &[&str]) -> String {
        self.kubectl(arguments).unwrap_or_else(|error| panic!("kubectl {}: {error}", arguments.join(" ")))
    }

    pub(crate) fn helm(&self, arguments: &[&str]) {
        let ran = self.helm.run_as(self.cluster.kubeconfig(), arguments).unwrap();
        assert!(ran.success, "helm {}: {}", arguments.join(" "), ran.errors);
    }

    /// Installs the chart with agents that demand to be bound, and waits until all pods are ready.
    pub(crate) fn install(&self) {
        let chart = chart().display().to_string();
        let values = "image.pullPolicy=Never,agent.requireConfinement=true";
        let release = ["install", "vedette", &chart, "--namespace", NAMESPACE, "--create-namespace", "--set", values];
        self.helm(&[&release[..], &["--wait", "--timeout", "180s"]].concat());
    }

    pub(crate) fn get(&self, what: &[&str]) -> Value {
        serde_json::from_str(&self.does(&[&["get", "--output=json"], what].concat())).unwrap()
    }

    /// The name of the agent's pod on a node.
    pub(crate) fn agent_on(&self, node: &str) -> String {
        let selector = format!("--field-selector=spec.nodeName={node}");
        let label = "--selector=app.kubernetes.io/name=vedette-agent";
        let pods = self.get(&["pods", "--namespace", NAMESPACE, label, &selector]);
        pods["items"][0]["metadata"]["name"].as_str().unwrap_or_else(|| panic!("no agent on {node}")).to_owned()
    }

    pub(crate) fn metrics_of(&self, pod: &str) -> Result<Metrics> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8080/proxy/metrics");
        Metrics::parse(&self.does(&["get", "--raw", &path]))
    }

    /// Applies the preset, looked at every few seconds, and waits until both nodes are watched by it.
    pub(crate) async fn is_watched(&self) {
        let preset = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/presets/linux-baseline.yaml");
        // A definition that was just made is not served at once.
        eventually("the preset is taken", WITHIN, async || {
            self.kubectl(&["apply", "--filename", preset.to_str().unwrap()]).map(drop).map_err(not_yet)
        })
        .await
        .unwrap();
        let often = json!({"spec": {"files": {"interval": "10s"}}}).to_string();
        self.does(&["patch", "datacollectionrule", "linux-baseline", "--type=merge", "--patch", &often]);
        let rule = self.get(&["datacollectionrule", "linux-baseline"]);
        eventually("the rule is ready on both nodes", WITHIN, async || {
            let now = self.get(&["datacollectionrule", "linux-baseline"]);
            let is_ready = conditions(&now).iter().any(|one| {
                one["type"] == "Ready"
                    && one["status"] == "True"
                    && one["observedGeneration"] == rule["metadata"]["generation"]
            });
            if is_ready { Ok(()) } else { Err(not_yet(format!("{}\n{}", now["status"], self.state()))) }
        })
        .await
        .unwrap();
    }

    /// Each agent refuses itself what its pod does not need; every kernel that runs this test lets it.
    pub(crate) fn is_confined(&self) {
        for node in NODES {
            let said = conditions(&self.get(&["nodeconfig", node]));
            let confined = said.iter().find(|one| one["type"] == "Confined").unwrap_or_else(|| panic!("{said:?}"));
            assert_eq!(confined["status"], "True", "{confined}");
        }
    }

    /// What stands in the namespace, for who reads why something is not as it should be.
    pub(crate) fn state(&self) -> String {
        let pods = self.kubectl(&["get", "pods", "--namespace", NAMESPACE, "--output=wide"]);
        let logs = self.kubectl(&["logs", "--namespace", NAMESPACE, "--selector=app.kubernetes.io/part-of=vedette"]);
        format!("{pods:?}\n{logs:?}")
    }

    /// Changes a file on n1: the status of its NodeConfig, its agent's records and metrics say so, and those of n2 do not.
    pub(crate) async fn tells(&self, content: &str) {
        const PATH: &str = "/etc/passwd";
        let changes = |node: &str| {
            let status = self.get(&["nodeconfig", node])["status"].clone();
            let recent = status["recentChanges"].as_array().cloned().unwrap_or_default();
            (recent.into_iter().filter(|change| change["path"] == PATH).count(), status)
        };
        let before = NODES.map(|node| changes(node).0);
        self.cluster.node("n1").unwrap().write(PATH, content).unwrap();
        let status = eventually("the change stands in the status", WITHIN, async || {
            let (count, status) = changes("n1");
            if count == before[0] + 1 { Ok(status) } else { Err(not_yet(status)) }
        })
        .await
        .unwrap();
        let last = status["recentChanges"].as_array().unwrap().iter().find(|change| change["path"] == PATH).unwrap();
        assert_eq!((&last["changeType"], &last["severity"]), (&json!("Modified"), &json!("High")), "{last}");
        assert_eq!(changes("n2").0, before[1], "n2 has a file of its own there");
        let pod = self.agent_on("n1");
        let lines = self.does(&["logs", "--namespace", NAMESPACE, &pod]);
        let record = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).rfind(|record| {
            record["schema"] == "vedette.dev/change/v1" && record["path"] == PATH && record["node"] == "n1"
        });
        let record = record.unwrap_or_else(|| panic!("{lines}"));
        assert_eq!((&record["sequence"], &record["after"]["size"]), (&last["sequence"], &json!(content.len())));
        let metrics = self.metrics_of(&pod).unwrap();
        let labels = [("rule", "linux-baseline"), ("change_type", "Modified"), ("severity", "High")];
        assert!(metrics.sum("vedette_agent_changes_total", &labels) >= 1.0);
    }

    pub(crate) async fn has_ready_pods(&self) {
        for workload in ["daemonset/vedette-agent", "deployment/vedette-operator"] {
            let done = self.kubectl(&["rollout", "status", workload, "--namespace", NAMESPACE, "--timeout=180s"]);
            assert!(done.is_ok(), "{done:?}\n{}", self.state());
        }
    }
}

pub(crate) fn conditions(object: &Value) -> Vec<Value> {
    object["status"]["conditions"].as_array().cloned().unwrap_or_default()
}
