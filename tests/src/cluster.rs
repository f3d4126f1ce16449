//! A cluster with Vedette installed: the control plane, the product's manifests, and the nodes and pods that a kubelet and a
//! controller manager would make. Reads the manifests in this tree; produces objects, identities and running agents and operator.
//!
//! Identities are the real ones: operator and agents get pod-bound tokens of their own service accounts, so that RBAC and
//! admission judge them as they do in production. The administrator only sets the scene.
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::future::try_join_all;
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Node, Pod, ServiceAccount},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    control_plane::ControlPlane,
    daemon::{Agent, Daemon, Operator},
    error::{Doing as _, Error, Result},
    identity::Identity,
    installation::install,
    products::products,
};

/// The namespace the product lives in.
pub const NAMESPACE: &str = "vedette-system";
/// The service account, field manager and application name of agents.
pub const AGENT: &str = "vedette-agent";
/// The service account, field manager and application name of the operator.
pub const OPERATOR: &str = "vedette-operator";
/// What the operator is told that this cluster is called.
pub const CLUSTER_NAME: &str = "loopback";

const DAEMON_READY_WITHIN: Duration = Duration::from_secs(60);
/// Longer than anybody keeps a demo open; nothing here renews tokens as a kubelet does.
const TOKEN_SECONDS: i64 = 7 * 24 * 3600;

/// A control plane with Vedette installed. Everything ends and is removed when it is dropped.
pub struct Cluster {
    control_plane: ControlPlane,
    client: Client,
}

impl Cluster {
    /// Starts a control plane, installs the product's manifests and waits until the definitions are served and the
    /// admission policy denies. No node, no agent, no operator yet.
    ///
    /// # Errors
    /// When the control plane does not start, a manifest is refused, or the installation does not act within a minute.
    pub async fn start() -> Result<Self> {
        let control_plane = ControlPlane::start().await?;
        let client = control_plane.client();
        install(&client).await?;
        Ok(Self { control_plane, client })
    }

    /// The control plane: its URL, its folder, people with certificates.
    #[must_use]
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// A client of the administrator, for setting the scene and for looking.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Takes the API server away and keeps its data.
    ///
    /// # Errors
    /// When the system cannot kill it.
    pub async fn stop_apiserver(&self) -> Result<()> {
        self.control_plane.stop_apiserver().await
    }

    /// Stops the API server where it is: it accepts connections and answers nothing.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn pause_apiserver(&self) -> Result<()> {
        self.control_plane.pause_apiserver().await
    }

    /// Lets a paused API server go on.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn resume_apiserver(&self) -> Result<()> {
        self.control_plane.resume_apiserver().await
    }

    /// Brings the API server back on the same port and waits until it is ready. The admission policy is stored: from its first
    /// answer on it denies.
    ///
    /// # Errors
    /// When it ends or does not become ready.
    pub async fn start_apiserver(&self) -> Result<()> {
        self.control_plane.start_apiserver().await
    }

    /// The NodeConfigs, as the administrator sees them.
    #[must_use]
    pub fn node_configs(&self) -> Api<DynamicObject> {
        node_configs_as(self.client())
    }

    /// Makes a Linux node, ready, with these labels beside the usual ones.
    ///
    /// # Errors
    /// When the API server refuses it, for example because it exists.
    pub async fn add_node(&self, name: &str, labels: &[(&str, &str)]) -> Result<Node> {
        let mut all = json!({
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            // A kubelet too cuts what is too long for a label.
            "kubernetes.io/hostname": &name[..name.len().min(63)],
        });
        for (key, value) in labels {
            all[*key] = json!(value);
        }
        let node: Node = from_json(json!({ "metadata": { "name": name, "labels": all } }))?;
        let nodes: Api<Node> = Api::all(self.client());
        nodes.create(&PostParams::default(), &node).await.doing(|| format!("create node {name}"))?;
        let ready = json!({ "status": { "conditions": [condition("Ready", true)] } });
        nodes
            .patch_status(name, &PatchParams::default(), &Patch::Merge(ready))
            .await
            .doing(|| format!("make node {name} ready"))
    }

    /// Sets labels of a node; `None` removes one.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn label_node(&self, name: &str, labels: &[(&str, Option<&str>)]) -> Result<Node> {
        let changes: serde_json::Map<String, Value> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let change = json!({ "metadata": { "labels": changes } });
        Api::<Node>::all(self.client())
            .patch(name, &PatchParams::default(), &Patch::Merge(change))
            .await
            .doing(|| format!("label node {name}"))
    }

    /// Deletes a node and, as the garbage collector of pods would, the pods on it. A process that plays its agent goes on.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn remove_node(&self, name: &str) -> Result<()> {
        Api::<Node>::all(self.client())
            .delete(name, &DeleteParams::default())
            .await
            .doing(|| format!("delete node {name}"))?;
        let pods = self.pods();
        let on_node = ListParams::default().fields(&format!("spec.nodeName={name}"));
        let orphans = pods.list(&on_node).await.doing(|| format!("list the pods of node {name}"))?;
        for pod in orphans {
            pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
                .await
                .doing(|| format!("delete pod {}", pod.name_any()))?;
        }
        Ok(())
    }

    /// Makes the agent's pod of a node as its DaemonSet would, not ready yet. There is no process behind it.
    ///
    /// # Errors
    /// When the API server refuses it, for example because it exists.
    pub async fn add_agent_pod(&self, node: &str) -> Result<Pod> {
        self.add_pod(&agent_pod_name(node), AGENT, Some(node)).await
    }

    /// Says whether a node's agent pod is ready, as its kubelet would after probing it.
    ///
    /// # Errors
    /// When the node has no agent pod.
    pub async fn set_agent_ready(&self, node: &str, ready: bool) -> Result<Pod> {
        self.set_pod_ready(&agent_pod_name(node), ready).await
    }

    /// Makes nodes with ready agent pods and no process behind them: `{prefix}1` to `{prefix}{count}`.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub async fn add_nodes(&self, prefix: &str, count: usize, labels: &[(&str, &str)]) -> Result<Vec<String>> {
        try_join_all((1..=count).map(async |number| {
            let name = format!("{prefix}{number}");
            self.add_node(&name, labels).await?;
            self.add_agent_pod(&name).await?;
            self.set_agent_ready(&name, true).await?;
            Ok(name)
        }))
        .await
    }

    /// The agent of a node, with a token bound to its pod there. Its pod has to exist.
    ///
    /// # Errors
    /// When there is no such pod.
    pub async fn agent_identity(&self, node: &str) -> Result<Identity> {
        let pod = agent_pod_name(node);
        self.service_account(AGENT, Some(&pod)).await
    }

    /// The operator, with a token bound to its pod, which is made when it is not there.
    ///
    /// # Errors
    /// When the API server refuses the pod or the token.
    pub async fn operator_identity(&self) -> Result<Identity> {
        self.ensure_pod(OPERATOR, OPERATOR, None).await?;
        self.service_account(OPERATOR, Some(OPERATOR)).await
    }

    /// A service account of the product with a token bound to a pod, or to nothing.
    ///
    /// # Errors
    /// When there is no such account or pod.
    pub async fn service_account(&self, account: &str, pod: Option<&str>) -> Result<Identity> {
        let bound = match pod {
            Some(name) => Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: Some(name.into()),
                uid: self.pods().get(name).await.doing(|| format!("get pod {name}"))?.uid(),
            }),
            None => None,
        };
        let unbound = format!("{account}-unbound");
        let name = pod.unwrap_or(&unbound);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                bound_object_ref: bound,
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = Api::<ServiceAccount>::namespaced(self.client(), NAMESPACE)
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .doing(|| format!("get a token for {name}"))?;
        let token = answer.status.ok_or_else(|| Error::Unexpected(format!("no token for {name} in the answer")))?.token;
        let folder = self.control_plane.folder("tokens")?;
        let file = folder.join(name);
        replace(&file, &token)?;
        Ok(self.control_plane.service_account(name, &file))
    }

    /// Puts a token that soon expires where a node's agent reads its own. [`Cluster::agent_identity`] renews it, as a kubelet
    /// would.
    ///
    /// # Errors
    /// When the agent has no token yet.
    pub fn shorten_agent_token(&self, node: &str, valid_for: Duration) -> Result<()> {
        let file = self.control_plane.folder("tokens")?.join(agent_pod_name(node));
        let token = fs::read_to_string(&file).doing(|| format!("read {}", file.display()))?;
        replace(&file, &self.control_plane.retime(token.trim(), valid_for)?)
    }

    /// Runs the operator as the product's binary under its own account, and waits until it is ready.
    ///
    /// # Errors
    /// When the build fails, or the operator ends or is not ready in time: then with the end of its log.
    pub async fn start_operator(&self) -> Result<Operator> {
        self.start_replica(OPERATOR).await
    }

    /// Runs another replica of the operator, in a pod of this name, and waits until it is ready.
    ///
    /// # Errors
    /// As [`Cluster::start_operator`].
    pub async fn start_replica(&self, pod: &str) -> Result<Operator> {
        let mut operator = self.replica(pod).await?;
        operator.start().await?;
        operator.ready_within(DAEMON_READY_WITHIN).await?;
        self.set_pod_ready(pod, true).await?;
        Ok(operator)
    }

    /// A replica of the operator in a pod of this name, not started yet.
    ///
    /// # Errors
    /// When the build fails, or the API server refuses the pod or its token.
    pub async fn replica(&self, pod: &str) -> Result<Operator> {
        self.ensure_pod(pod, OPERATOR, None).await?;
        let identity = self.service_account(OPERATOR, Some(pod)).await?;
        let folder = self.control_plane.folder(pod)?;
        let kubeconfig = folder.join("kubeconfig");
        identity.write_kubeconfig(&kubeconfig)?;
        let mut daemon = Daemon::new(pod, &products().await?.operator, &folder.join("log"));
        daemon
            .argument("run")
            .option("--listen", "127.0.0.1:0")
            .option("--kubeconfig", &kubeconfig)
            .option("--cluster-name", CLUSTER_NAME)
            .option("--namespace", NAMESPACE);
        Ok(Operator(daemon))
    }

    /// Runs a node's agent as the product's binary under its own account on a host root, waits until it is ready, and says
    /// so in its pod, which is made when it is not there. Its state directory is the node's: it survives its agents.
    ///
    /// # Errors
    /// When the build fails, or the agent ends or is not ready in time: then with the end of its log.
    pub async fn start_agent(&self, node: &str, host_root: &Path) -> Result<Agent> {
        let mut agent = self.prepare_agent(node, host_root).await?;
        agent.start().await?;
        agent.ready_within(DAEMON_READY_WITHIN).await?;
        self.set_agent_ready(node, true).await?;
        Ok(agent)
    }

    /// All that a node's agent needs, and the agent, not started yet.
    ///
    /// # Errors
    /// When the build fails, or the API server refuses its pod or its token.
    pub async fn prepare_agent(&self, node: &str, host_root: &Path) -> Result<Agent> {
        let pod = agent_pod_name(node);
        let AgentFolder { folder, state_dir, kubeconfig } = self.agent_folder(node).await?;
        let records = folder.join("records.jsonl");
        let mut daemon = Daemon::new(&pod, &products().await?.agent, &folder.join("log"));
        daemon
            .argument("run")
            .option("--node", node)
            .option("--state-dir", &state_dir)
            .option("--host-root", host_root)
            .option("--listen", "127.0.0.1:0")
            .option("--kubeconfig", &kubeconfig)
            .option("--records", &records);
        Ok(Agent { daemon, node: node.to_owned(), state_dir, records })
    }

    /// A folder with what a node's agent needs: its pod's token behind a kubeconfig, and a place for its state. The pod is made
    /// when it is not there.
    ///
    /// # Errors
    /// When the API server refuses its pod or its token.
    pub async fn agent_folder(&self, node: &str) -> Result<AgentFolder> {
        let pod = agent_pod_name(node);
        self.ensure_pod(&pod, AGENT, Some(node)).await?;
        let identity = self.agent_identity(node).await?;
        let folder = self.control_plane.folder(&pod)?;
        let state_dir = self.control_plane.folder(Path::new(&pod).join("state"))?;
        let kubeconfig = folder.join("kubeconfig");
        identity.write_kubeconfig(&kubeconfig)?;
        Ok(AgentFolder { folder, state_dir, kubeconfig })
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client(), NAMESPACE)
    }

    async fn add_pod(&self, name: &str, account: &str, node: Option<&str>) -> Result<Pod> {
        let pod: Pod = from_json(json!({
            "metadata": { "name": name, "labels": { "app.kubernetes.io/name": account } },
            "spec": {
                "serviceAccountName": account,
                "nodeName": node,
                "containers": [{ "name": "main", "image": "none" }],
            },
        }))?;
        self.pods().create(&PostParams::default(), &pod).await.doing(|| format!("create pod {name}"))
    }

    async fn ensure_pod(&self, name: &str, account: &str, node: Option<&str>) -> Result<()> {
        match self.add_pod(name, account, node).await {
            Err(Error::Kube { source, .. }) if matches!(*source, kube::Error::Api(ref refusal) if refusal.code == 409) => {
                Ok(())
            }
            made => made.map(drop),
        }
    }

    async fn set_pod_ready(&self, name: &str, ready: bool) -> Result<Pod> {
        let conditions = [condition("Ready", ready), condition("ContainersReady", ready)];
        let status = json!({ "status": { "phase": "Running", "conditions": conditions } });
        self.pods()
            .patch_status(name, &PatchParams::default(), &Patch::Strategic(status))
            .await
            .doing(|| format!("say in pod {name} whether it is ready"))
    }
}

/// Where a node's agent has its things.
#[derive(Debug, Clone)]
pub struct AgentFolder {
    /// All of them.
    pub folder: PathBuf,
    /// Its state, which survives its agents.
    pub state_dir: PathBuf,
    /// How it reaches the API server, and as whom.
    pub kubeconfig: PathBuf,
}

/// NodeConfigs as somebody sees them.
#[must_use]
pub fn node_configs_as(client: Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("vedette.dev", "v1alpha1", "NodeConfig");
    Api::all_with(client, &ApiResource::from_gvk(&kind))
}

/// A NodeConfig, or the part of one that a server-side apply sends.
#[must_use]
pub fn node_config(name: &str, mut content: Value) -> Value {
    content["apiVersion"] = json!("vedette.dev/v1alpha1");
    content["kind"] = json!("NodeConfig");
    content["metadata"] = json!({ "name": name });
    content
}

/// The spec of a NodeConfig that watches nothing, for the Node of this uid.
#[must_use]
pub fn empty_spec(node_uid: &str) -> Value {
    json!({ "nodeUid": node_uid, "reporting": { "minInterval": "10s", "refreshInterval": "15m" }, "rules": [] })
}

/// A name for a pod, and for its folder. Those of a DaemonSet's pods do not carry the node's at all.
fn agent_pod_name(node: &str) -> String {
    const LONGEST: usize = 200;
    if node.len() <= LONGEST {
        return format!("{AGENT}-{node}");
    }
    let digest = Sha256::digest(node.as_bytes());
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{AGENT}-{digest}")
}

/// Replaced at once: who reads it meanwhile must not find it empty.
fn replace(file: &Path, content: &str) -> Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    tempfile::NamedTempFile::new_in(folder)
        .and_then(|mut new| new.write_all(content.as_bytes()).map(|()| new))
        .and_then(|new| Ok(new.persist(file)?))
        .doing(|| format!("write {}", file.display()))
        .map(drop)
}

fn condition(kind: &str, holds: bool) -> Value {
    let now = jiff::Timestamp::now().round(jiff::Unit::Second).map(|t| t.to_string());
    json!({
        "type": kind,
        "status": if holds { "True" } else { "False" },
        "lastTransitionTime": now.ok(),
    })
}

fn from_json<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::Unexpected(format!("an object of our own: {error}")))
}
