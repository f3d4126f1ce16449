//! A cluster with real nodes: etcd and the API server, controller manager and scheduler, and nodes with containerd, kubelet and
//! kube-proxy that run real pods. Reads the built programs and the fetched packages; produces a cluster and its nodes for tests to
//! tamper with. Touches nothing of the machine that it runs on but cgroups of its own name.
//!
//! ```text
//! network (10.90.0.0/24, seen by nobody else; a port on this machine's loopback leads to the API server)
//!    ├── 10.90.0.1   etcd, kube-apiserver, kube-controller-manager, kube-scheduler
//!    ├── 10.90.0.11  machine n1: own root, processes, mounts, host name; pods 10.244.1.0/24
//!    └── 10.90.0.12  machine n2: …                                        pods 10.244.2.0/24
//! services 10.96.0.0/16, by kube-proxy in each node
//! ```
//! There is no DNS: what runs here dials `KUBERNETES_SERVICE_HOST`, which is an address. Nothing enforces a NetworkPolicy. Images come
//! from files ([`Node::import_image`]), so pods say `imagePullPolicy: Never` or `IfNotPresent`.
use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use futures::future::{join_all, try_join_all};
use k8s_openapi::api::core::v1::{Node as NodeObject, ServiceAccount};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::Mutex;

use crate::{
    binaries::ClusterBinaries,
    control_plane::ControlPlane,
    error::{Error, Result},
    ground::Ground,
    nodes::{
        cgroups::Cgroups,
        network::Network,
        node::Parts,
        settings::{CONTROL_PLANE, Place},
    },
    packages::{OF_NODES, find_or_fetch},
    process::Process,
    wait::{eventually, not_yet},
};

mod cgroups;
mod machine;
pub(crate) mod network;
mod node;
pub(crate) mod prerequisites;
mod root;
mod settings;

pub use node::Node;
pub use settings::PAUSE;

const NODES: u8 = 2;

/// An idle machine needs 7 s.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// How long the controller manager waits for a silent node: more than a loaded machine makes one late.
const SILENT_AFTER: &str = "--node-monitor-grace-period=40s";

/// A control plane and its nodes. Everything ends and is removed when it is dropped, and when this process ends in any way.
pub struct RealCluster {
    // In the order in which they have to go. A killed node's cgroups are empty.
    nodes: Vec<Node>,
    _cgroups: Cgroups,
    controllers: Mutex<Vec<Process>>,
    control_plane: ControlPlane,
    kubeconfig: PathBuf,
    hyperkube: PathBuf,
}

impl RealCluster {
    /// Starts one with two nodes and waits until they are ready for pods.
    ///
    /// # Errors
    /// [`Error::Prerequisite`] with the reason when no node can run on this machine; otherwise when something does not start.
    pub async fn start() -> Result<Self> {
        prerequisites::check()?;
        let (binaries, packages) = tokio::task::spawn_blocking(|| {
            Ok::<_, Error>((ClusterBinaries::find_or_build()?, find_or_fetch(&OF_NODES)?))
        })
        .await
        .map_err(|panic| Error::Unexpected(panic.to_string()))??;
        let network = Network::new()?;
        network.ip("link add nodes type bridge")?;
        network.ip(&format!("addr add {CONTROL_PLANE}/24 dev nodes"))?;
        network.ip("link set nodes up")?;
        network.forwards_packets()?;
        let ground = Ground::network(network.clone(), CONTROL_PLANE)?;
        let control_plane = ControlPlane::start_on(ground, &binaries.control_plane()).await?;
        let hyperkube = binaries.hyperkube();
        let controllers = Mutex::new(start_controllers(&control_plane, &hyperkube)?);
        let kubeconfig = control_plane.folder("")?.join("admin.kubeconfig");
        control_plane.admin().write_kubeconfig(&kubeconfig)?;

        let run = run_name(&control_plane)?;
        let places: Vec<Place> = (1..=NODES).map(|number| Place::new(number, &run)).collect();
        let names: Vec<String> = places.iter().map(|place| place.cgroup.clone()).collect();
        let log = control_plane.folder("")?.join("cgroups.log");
        let cgroups = Cgroups::new(&names, &binaries.holder(), &log)?;
        let parts = Parts { binaries: &binaries, packages: &packages, network: &network, pki: control_plane.pki() };
        let nodes = try_join_all(places.into_iter().map(async |place| {
            let folder = control_plane.folder(&place.name)?;
            Node::start(place, folder, parts.clone()).await
        }))
        .await?;
        let mut cluster = Self { nodes, _cgroups: cgroups, controllers, control_plane, kubeconfig, hyperkube };
        cluster.is_ready().await?;
        Ok(cluster)
    }

    /// Like [`RealCluster::start`]; `None`, and a line on standard error, where no node can run on this machine. With
    /// `VEDETTE_REQUIRE_REAL_NODES=1` that is an error.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start_or_skip() -> Result<Option<Self>> {
        prerequisites::or_skip(Self::start().await)
    }

    /// The control plane: its URL, people with certificates, who wrote what.
    #[must_use]
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// A client of the administrator.
    #[must_use]
    pub fn client(&self) -> Client {
        self.control_plane.client()
    }

    /// The administrator's kubeconfig file, for kubectl and helm as they run on this machine.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// kubectl, as the administrator.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.hyperkube);
        command.arg0("kubectl").env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// The nodes, n1 first.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes
            .iter()
            .find(|node| node.name() == name)
            .ok_or_else(|| Error::Unexpected(format!("this cluster has no node {name}")))
    }

    /// Ends controller manager and scheduler and starts them anew: they read only then what pods are told to trust.
    ///
    /// # Errors
    /// When one cannot be ended or started.
    pub async fn restart_controllers(&self) -> Result<()> {
        let mut controllers = self.controllers.lock().await;
        controllers.iter_mut().try_for_each(Process::kill)?;
        *controllers = start_controllers(&self.control_plane, &self.hyperkube)?;
        Ok(())
    }

    /// Gives a node's kubelet other certificates, as a server and as a client, and starts it anew. Pods go on.
    ///
    /// # Errors
    /// When there is no such node, or its kubelet cannot be started.
    pub async fn renew_kubelet(&self, name: &str) -> Result<()> {
        let node = self.node(name)?;
        node.stop_kubelet().await?;
        node.renew_certificates(self.control_plane.pki())?;
        node.start_kubelet().await
    }

    /// Waits until every node is ready and pods can get service accounts.
    ///
    /// # Errors
    /// When something that is needed has ended, and when it takes too long: then with the last words of the kubelets.
    async fn is_ready(&mut self) -> Result<()> {
        let nodes: Api<NodeObject> = Api::all(self.client());
        let accounts: Api<ServiceAccount> = Api::default_namespaced(self.client());
        let controllers = self.controllers.get_mut();
        let ready = eventually("every node is ready", READY_WITHIN, async || {
            if let Some(ended) = controllers.iter_mut().find_map(|controller| controller.still_runs().err()) {
                return Ok(Err(ended));
            }
            for node in &self.nodes {
                if let Err(ended) = node.still_runs().await {
                    return Ok(Err(ended));
                }
                let object = nodes.get(node.name()).await?;
                if !says_ready(&object) {
                    return Err(not_yet(format!("{} says {:?}", object.name_any(), object.status)));
                }
            }
            accounts.get("default").await?;
            Ok(Ok(()))
        })
        .await;
        match ready {
            Ok(outcome) => outcome,
            Err(Error::Expired { what, within, last }) => {
                let words = join_all(self.nodes.iter().map(Node::last_words)).await.join("\n");
                Err(Error::Expired { what, within, last: format!("{last}\nthe end of the kubelets' logs:\n{words}") })
            }
            Err(error) => Err(error),
        }
    }
}

fn says_ready(node: &NodeObject) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Unlike that of any other run on this machine.
fn run_name(control_plane: &ControlPlane) -> Result<String> {
    let folder = control_plane.folder("")?;
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
    name.ok_or_else(|| Error::Unexpected(format!("{} has no name", folder.display())))
}

fn start_controllers(control_plane: &ControlPlane, hyperkube: &Path) -> Result<Vec<Process>> {
    let start = |name: &str, flags: &[String]| {
        let user = format!("system:{name}");
        let kubeconfig = control_plane.folder(name)?.join("kubeconfig");
        control_plane.own_part(&user)?.write_kubeconfig(&kubeconfig)?;
        let kubeconfig = kubeconfig.display();
        let mut command = Command::new(hyperkube);
        command
            .arg0(name)
            .arg(format!("--kubeconfig={kubeconfig}"))
            .arg(format!("--authentication-kubeconfig={kubeconfig}"))
            .arg(format!("--authorization-kubeconfig={kubeconfig}"))
            .args(["--bind-address=127.0.0.1", "--leader-elect=false", "--v=1"])
            .args(flags);
        control_plane.ground().enter(&mut command);
        Process::start(name, command, &control_plane.folder(name)?.join("log"))
    };
    let manager = [
        format!("--service-account-private-key-file={}", control_plane.token_key_file().display()),
        format!("--root-ca-file={}", control_plane.trusted_file().display()),
        "--use-service-account-credentials=true".into(),
        SILENT_AFTER.into(),
    ];
    Ok(vec![start("kube-controller-manager", &manager)?, start("kube-scheduler", &[])?])
}
