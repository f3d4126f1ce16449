//! What stands in the cluster: reads objects by name where there is one, and produces what is to be judged. Whatever is not there
//! is a fact too; only what may not or cannot be read is an error.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;
use thiserror::Error;
use vedette_crds::definition;
use vedette_service::{ApiServer, reason};

use crate::names::{AGENT, AGENT_PODS, API_VERSION, NODE_CONFIG, OPERATOR, RULE};

const POLICY: &str = "nodeconfig-status.vedette.dev";

/// What could not be read.
#[derive(Debug, Error)]
#[error("cannot read {what} at {url}: {said}")]
pub struct LookError {
    what: String,
    url: String,
    said: String,
}

/// What stands in the cluster.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Its version and where it is.
    pub(super) server: String,
    pub(super) namespace: String,
    pub(super) definitions: Vec<Definition>,
    pub(super) policy: bool,
    /// The policy's binding denies.
    pub(super) denies: bool,
    /// Operators: asked for, and available.
    pub(super) operators: Option<(i32, i32)>,
    pub(super) leader: Option<String>,
    pub(super) agents: Option<Agents>,
    /// The Linux nodes.
    pub(super) nodes: Vec<String>,
    pub(super) pods: Vec<AgentPod>,
    pub(super) rules: Vec<Told>,
    pub(super) configs: Vec<Told>,
}

/// A definition, as this program knows it and as the API server has it.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) expected: Value,
    pub(super) found: Option<Value>,
}

/// What the DaemonSet says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Agents {
    /// Nodes that its selector and tolerations name.
    pub(super) desired: i32,
    pub(super) updated: i32,
}

/// An agent's pod.
#[derive(Debug)]
pub(super) struct AgentPod {
    pub(super) node: String,
    /// Why it is not ready; absent when it is.
    pub(super) waits: Option<String>,
}

/// An object of ours and what its conditions say.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) name: String,
    pub(super) conditions: Vec<Condition>,
}

struct Reader<'s> {
    server: &'s ApiServer,
    client: Client,
    namespace: &'s str,
}

/// Looks at everything once.
pub(super) async fn look(server: &ApiServer, namespace: &str) -> Result<Facts, LookError> {
    let reader = Reader { server, client: server.client(), namespace };
    let version = reader.client.apiserver_version().await;
    let version = version.map_err(|error| reader.failed("the version", &error))?;
    let operator = reader.named::<Deployment>(reader.own(), OPERATOR).await?;
    let lease = reader.named::<Lease>(reader.own(), OPERATOR).await?;
    let agents = reader.named::<DaemonSet>(reader.own(), AGENT).await?.and_then(|set| set.status);
    let binding = reader.named::<ValidatingAdmissionPolicyBinding>(reader.all(), POLICY).await?;
    let mut facts = Facts {
        server: format!("{} at {}", version.git_version, server.url()),
        namespace: namespace.to_owned(),
        definitions: reader.definitions().await?,
        policy: reader.named::<ValidatingAdmissionPolicy>(reader.all(), POLICY).await?.is_some(),
        denies: binding
            .and_then(|binding| binding.spec?.validation_actions)
            .is_some_and(|actions| actions.iter().any(|action| action == "Deny")),
        operators: operator.map(|operator| {
            let asked = operator.spec.and_then(|spec| spec.replicas).unwrap_or(1);
            (asked, operator.status.and_then(|status| status.available_replicas).unwrap_or(0))
        }),
        leader: lease.and_then(|lease| lease.spec?.holder_identity).filter(|holder| !holder.is_empty()),
        agents: agents.map(|status| Agents {
            desired: status.desired_number_scheduled,
            updated: status.updated_number_scheduled.unwrap_or(0),
        }),
        nodes: reader.nodes().await?,
        pods: reader.pods().await?,
        ..Facts::default()
    };
    // What is not defined cannot be listed.
    if facts.definitions.iter().all(|definition| definition.found.is_some()) {
        facts.rules = reader.told(RULE).await?;
        facts.configs = reader.told(NODE_CONFIG).await?;
    }
    Ok(facts)
}

impl Reader<'_> {
    fn failed(&self, what: &str, error: &kube::Error) -> LookError {
        LookError { what: what.to_owned(), url: self.server.url().to_owned(), said: reason(error) }
    }

    fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    fn own<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    async fn named<K>(&self, api: Api<K>, name: &str) -> Result<Option<K>, LookError>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let what = || format!("the {} {name}", K::kind(&()));
        api.get_opt(name).await.map_err(|error| self.failed(&what(), &error))
    }

    async fn definitions(&self) -> Result<Vec<Definition>, LookError> {
        let mut definitions = Vec::new();
        for expected in [definition::data_collection_rules(), definition::node_configs()] {
            let name = expected["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let found = self.named::<CustomResourceDefinition>(self.all(), &name).await?;
            let found = found.and_then(|found| serde_json::to_value(found).ok());
            definitions.push(Definition { expected, found });
        }
        Ok(definitions)
    }

    async fn nodes(&self) -> Result<Vec<String>, LookError> {
        let linux = ListParams::default().labels("kubernetes.io/os=linux");
        let nodes = self.all::<Node>().list_metadata(&linux).await.map_err(|error| self.failed("nodes", &error))?;
        Ok(nodes.iter().map(|node| node.name_any()).collect())
    }

    async fn pods(&self) -> Result<Vec<AgentPod>, LookError> {
        let pods: Api<Pod> = self.own();
        let pods = pods.list(&ListParams::default().labels(AGENT_PODS)).await;
        let pods = pods.map_err(|error| self.failed("the agents' pods", &error))?;
        let alive = pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(alive.filter_map(agent_pod).collect())
    }

    async fn told(&self, kind: &str) -> Result<Vec<Told>, LookError> {
        let (group, version) = API_VERSION.split_once('/').unwrap_or(("", API_VERSION));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let objects: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let objects = objects.list(&ListParams::default()).await;
        let objects = objects.map_err(|error| self.failed(&format!("every {kind}"), &error))?;
        Ok(objects.items.into_iter().map(told).collect())
    }
}

fn told(object: DynamicObject) -> Told {
    let conditions = object.data.pointer("/status/conditions").cloned();
    let conditions = conditions.and_then(|conditions| serde_json::from_value(conditions).ok());
    Told { name: object.name_any(), conditions: conditions.unwrap_or_default() }
}

/// Of a pod that has a node.
fn agent_pod(pod: Pod) -> Option<AgentPod> {
    // One that waits for its node is bound to it by an affinity: the scheduler says why it waits.
    let node = pod.spec.and_then(|spec| spec.node_name)?;
    let status = pod.status.unwrap_or_default();
    let ready = status.conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    if ready.as_ref().is_some_and(|ready| ready.status == "True") {
        return Some(AgentPod { node, waits: None });
    }
    let waiting = status.container_statuses.into_iter().flatten().find_map(|container| {
        let waiting = container.state?.waiting?;
        Some([waiting.reason, waiting.message].into_iter().flatten().collect::<Vec<_>>().join(": "))
    });
    let waits = waiting.or_else(|| ready.and_then(|ready| ready.message)).filter(|said| !said.is_empty());
    Some(AgentPod { node, waits: Some(waits.unwrap_or_else(|| "it is not ready".to_owned())) })
}
