//! The product as a release of its chart on real nodes: images, helm, pods. Builds the images as they are shipped; produces an
//! installation, and what people ask of it with kubectl. Changes nothing in what the chart says but that images are not pulled.
use std::{fs, path::Path, process::Command};

use serde_json::Value;
use vedette_image::{archive, build, image, program::Program};

use crate::{
    RealCluster,
    cluster::NAMESPACE,
    error::{Doing as _, Error, Result},
    helm::{Helm, chart},
    metrics::Metrics,
    nodes::prerequisites,
};

/// The release's name.
pub const NAME: &str = "vedette";

/// Both images, as a container runtime takes them: tars of OCI layouts.
pub struct Images(Vec<Vec<u8>>);

impl Images {
    /// Builds them as they are shipped, which takes minutes where that was not done before; `None`, and a line on standard error, where
    /// this machine lacks something for it. With `VEDETTE_REQUIRE_REAL_NODES=1` that is an error. Blocks.
    ///
    /// # Errors
    /// When the build fails.
    pub fn build_or_skip() -> Result<Option<Self>> {
        prerequisites::or_skip(Self::build())
    }

    /// Builds them as they are shipped, which takes minutes where that was not done before. Blocks.
    ///
    /// # Errors
    /// When something is missing, or the build fails.
    pub fn build() -> Result<Self> {
        if let Some(missing) = missing() {
            return Err(Error::Prerequisite(format!("images cannot be built: {missing}")));
        }
        let failed = |error: vedette_image::error::Error| Error::Unexpected(format!("{error:?}"));
        let built = build::build(&target(), "image").map_err(failed)?;
        let version = env!("CARGO_PKG_VERSION");
        let archives = [(image::OPERATOR, built.operator), (image::AGENT, built.agent)].map(|(kind, program)| {
            let program = Program::read(&program).map_err(failed)?;
            let image = image::Image::of(kind, &program, version, None).map_err(failed)?;
            archive::bytes(&image, kind.name, version).map_err(failed)
        });
        archives.into_iter().collect::<Result<_>>().map(Self)
    }
}

/// What is missing on this machine to build images, as what to run.
fn missing() -> Option<String> {
    let printed = Command::new("rustc").args(["--print", "target-libdir", "--target", &target()]).output();
    let libraries = printed.map(|printed| String::from_utf8_lossy(&printed.stdout).trim().to_owned());
    if !libraries.is_ok_and(|libraries| Path::new(&libraries).is_dir()) {
        return Some(format!("rustup target add {}", target()));
    }
    let has_compiler = Command::new("musl-gcc").arg("--version").output().is_ok();
    (!has_compiler).then(|| "apt-get install musl-tools".to_owned())
}

fn target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// A cluster whose nodes have the images, and the helm that installs.
pub struct Release {
    /// The cluster.
    pub cluster: RealCluster,
    helm: Helm,
}

impl Release {
    /// Gives the nodes the images. Installs nothing yet.
    ///
    /// # Errors
    /// When a node refuses an image.
    pub async fn prepare(cluster: RealCluster, helm: Helm, images: &Images) -> Result<Self> {
        for node in cluster.nodes() {
            for image in &images.0 {
                node.import_image(image.clone()).await?;
            }
        }
        Ok(Self { cluster, helm })
    }

    /// Installs the chart with agents that demand to be bound, and waits until all pods are ready. Blocks.
    ///
    /// # Errors
    /// With what helm says.
    pub fn install(&self) -> Result<()> {
        let chart = chart().display().to_string();
        let values = "image.pullPolicy=Never,agent.requireConfinement=true";
        let release = ["install", NAME, &chart, "--namespace", NAMESPACE, "--create-namespace", "--set", values];
        self.helm(&[&release[..], &["--wait", "--timeout", "180s"]].concat())
    }

    /// Runs helm as the administrator. Blocks.
    ///
    /// # Errors
    /// With what helm says.
    pub fn helm(&self, arguments: &[&str]) -> Result<()> {
        let ran = self.helm.run_as(self.cluster.kubeconfig(), arguments)?;
        if ran.success { Ok(()) } else { Err(said("helm", arguments, &ran.errors)) }
    }

    /// What kubectl prints, as the administrator. Blocks.
    ///
    /// # Errors
    /// With what kubectl says.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.cluster.kubectl().args(arguments).output().doing(|| "run kubectl".into())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(said("kubectl", arguments, &text(&output.stderr)))
        }
    }

    /// An object, or a list of them, as `kubectl get` names it.
    ///
    /// # Errors
    /// As [`Release::kubectl`].
    pub fn get(&self, what: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[&["get", "--output=json"], what].concat())?;
        serde_json::from_str(&text).map_err(|error| Error::Unexpected(format!("kubectl get: {error}: {text}")))
    }

    /// The name of the agent's pod on a node.
    ///
    /// # Errors
    /// When there is none.
    pub fn agent_on(&self, node: &str) -> Result<String> {
        let selector = format!("--field-selector=spec.nodeName={node}");
        let label = "--selector=app.kubernetes.io/name=vedette-agent";
        let pods = self.get(&["pods", "--namespace", NAMESPACE, label, &selector])?;
        let name = pods["items"][0]["metadata"]["name"].as_str();
        name.map(str::to_owned).ok_or_else(|| Error::Unexpected(format!("no agent on {node}: {pods}")))
    }

    /// The process of the agent on a node, as this machine numbers it.
    ///
    /// # Errors
    /// When there is none.
    pub fn agent_process(&self, node: &str) -> Result<i32> {
        let pod = self.get(&["pod", "--namespace", NAMESPACE, &self.agent_on(node)?])?;
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
        let processes = fs::read_dir("/proc").doing(|| "list /proc".into())?;
        let mut found = processes.filter_map(|entry| {
            let path = entry.ok()?.path();
            // The names of a pod's cgroups hold its uid.
            let is_its = fs::read_to_string(path.join("cgroup")).ok()?.contains(uid);
            let is_agent = fs::read(path.join("cmdline")).ok()?.starts_with(b"/vedette-agent\0");
            (is_its && is_agent).then(|| path.file_name()?.to_str()?.parse().ok()).flatten()
        });
        found.next().ok_or_else(|| Error::Unexpected(format!("no process of the agent on {node}: {}", pod["status"])))
    }

    /// The lines that the agent on a node has written: records and notices, since its pod began.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn lines(&self, node: &str) -> Result<Vec<Value>> {
        let log = self.kubectl(&["logs", "--namespace", NAMESPACE, &self.agent_on(node)?])?;
        Ok(log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// The metrics of the agent on a node.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn metrics(&self, node: &str) -> Result<Metrics> {
        let pod = self.agent_on(node)?;
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8080/proxy/metrics");
        Metrics::parse(&self.kubectl(&["get", "--raw", &path])?)
    }

    /// What stands in the namespace, for who reads why something is not as it should be.
    #[must_use]
    pub fn state(&self) -> String {
        let pods = self.kubectl(&["get", "pods", "--namespace", NAMESPACE, "--output=wide"]);
        let logs = self.kubectl(&["logs", "--namespace", NAMESPACE, "--selector=app.kubernetes.io/part-of=vedette"]);
        format!("{pods:?}\n{logs:?}")
    }
}

fn said(program: &str, arguments: &[&str], errors: &str) -> Error {
    Error::Unexpected(format!("{program} {}: {}", arguments.join(" "), errors.trim()))
}
