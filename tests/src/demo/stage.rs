//! Where the story plays: nodes whose hosts are folders, or real nodes that run the chart's pods. What is done to a node, and what
//! is read of it, is the same in both.
use kube::Client;
use serde_json::Value;

use crate::{
    Agent, Cluster, Metrics, Operator, RealCluster, Result, ScratchHost,
    cluster::NAMESPACE,
    control_plane::ControlPlane,
    demo::show,
    error::Error,
    helm::Helm,
    release::{Images, Release},
};

/// A change to a host.
pub(super) type Act = fn(&ScratchHost) -> Result<()>;

/// Everything that runs. It ends when this is dropped.
pub(super) enum Stage {
    Folders { cluster: Box<Cluster>, operator: Box<Operator>, nodes: Vec<(Agent, ScratchHost)> },
    Nodes(Box<Release>),
}

impl Stage {
    /// A control plane, an operator, and an agent on each of three nodes that are folders.
    pub(super) async fn folders() -> Result<Self> {
        show::step(
            "A control plane: etcd and kube-apiserver on loopback, with Vedette's CRDs, RBAC and admission policy",
        );
        let cluster = Cluster::start().await?;
        show::step("The operator, and an agent on each of three nodes (their hosts are folders)");
        let operator = cluster.start_operator().await?;
        let mut nodes = Vec::new();
        for node in ["node-1", "node-2", "node-3"] {
            cluster.add_node(node, &[("node-role.kubernetes.io/worker", "")]).await?;
            let host = ScratchHost::install(cluster.control_plane().folder(format!("hosts/{node}"))?)?;
            nodes.push((cluster.start_agent(node, host.root()).await?, host));
        }
        Ok(Self::Folders { cluster: Box::new(cluster), operator: Box::new(operator), nodes })
    }

    /// A control plane with two nodes that run pods, and the chart installed on them.
    pub(super) async fn nodes() -> Result<Self> {
        show::step("The images as they are shipped, and helm (built once: minutes)");
        let built = tokio::task::spawn_blocking(|| Ok::<_, Error>((Helm::find_or_build()?, Images::build()?))).await;
        let (helm, images) = built.map_err(|panic| Error::Unexpected(panic.to_string()))??;
        show::step("A control plane and two nodes with containerd and kubelet, which get the images");
        let release = Release::prepare(RealCluster::start().await?, helm, &images).await?;
        for node in release.cluster.nodes() {
            node.inside(|| ScratchHost::complete("/".into()).map(drop))??;
        }
        show::step("helm install vedette charts/vedette --namespace vedette-system --create-namespace --wait");
        release.install()?;
        for line in release.kubectl(&["get", "pods", "--namespace", NAMESPACE, "--output=wide"])?.lines() {
            show::line(line);
        }
        Ok(Self::Nodes(Box::new(release)))
    }

    pub(super) fn control_plane(&self) -> &ControlPlane {
        match self {
            Self::Folders { cluster, .. } => cluster.control_plane(),
            Self::Nodes(release) => release.cluster.control_plane(),
        }
    }

    pub(super) fn client(&self) -> Client {
        self.control_plane().client()
    }

    /// The names of the nodes.
    pub(super) fn names(&self) -> Vec<&str> {
        match self {
            Self::Folders { nodes, .. } => nodes.iter().map(|(agent, _)| agent.node()).collect(),
            Self::Nodes(release) => release.cluster.nodes().iter().map(crate::Node::name).collect(),
        }
    }

    /// Where one finds the host of each node.
    pub(super) fn hosts(&self) -> Vec<String> {
        match self {
            Self::Folders { nodes, .. } => nodes
                .iter()
                .map(|(agent, host)| format!("{}'s host: {}", agent.node(), host.root().display()))
                .collect(),
            Self::Nodes(release) => {
                let nodes = release.cluster.nodes().iter();
                nodes.map(|node| format!("{}'s host: {}", node.name(), node.root().display())).collect()
            }
        }
    }

    /// Does something to the host of a node.
    pub(super) fn act(&self, node: usize, act: Act) -> Result<()> {
        match self {
            Self::Folders { nodes, .. } => act(&nodes[node].1),
            Self::Nodes(release) => {
                release.cluster.nodes()[node].inside(move || act(&ScratchHost::empty("/".into())))?
            }
        }
    }

    /// The change records of a node's agent, in their order.
    pub(super) fn changes(&self, node: usize) -> Result<Vec<Value>> {
        match self {
            Self::Folders { nodes, .. } => nodes[node].0.changes(),
            Self::Nodes(release) => {
                let mut lines = release.lines(release.cluster.nodes()[node].name())?;
                lines.retain(|line| line["schema"] == "vedette.dev/change/v1");
                Ok(lines)
            }
        }
    }

    /// The metrics of a node's agent.
    pub(super) async fn metrics(&self, node: usize) -> Result<Metrics> {
        match self {
            Self::Folders { nodes, .. } => nodes[node].0.metrics().await,
            Self::Nodes(release) => release.metrics(release.cluster.nodes()[node].name()),
        }
    }

    /// What the operator, and on real nodes the agents too, have logged.
    pub(super) fn log(&self) -> Result<String> {
        match self {
            Self::Folders { operator, .. } => operator.log(),
            Self::Nodes(release) => Ok(release.state()),
        }
    }
}
