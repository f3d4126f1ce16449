//! What stands in the cluster: reads objects by name where there is one, and produces what is to be judged. Whatever is not there
//! is a fact too; only what may not or cannot be read is an error.

use jiff::Timestamp;
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

use super::policy::Policy;
use crate::names::{AGENT, AGENT_PODS, API_VERSION, NODE_CONFIG, OPERATOR, RULE};

const POLICY: &str = "nodeconfig-status.vedette.dev";
const ADMISSION: &str = "admissionregistration.k8s.io/v1";

/// Of objects that are read at a time: a NodeConfig has some 10 kB, and at most some 100.
const PAGE: u32 = 200;

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
    pub(super) policy: Policy,
    /// Operators: asked for, and available.
    pub(super) operators: Option<(i32, i32)>,
    pub(super) leader: Option<Leader>,
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

/// Who holds the Lease.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) name: String,
    /// Seconds since it was renewed; absent where it never was.
    pub(super) silent: Option<i64>,
    /// Seconds that it holds without being renewed.
    pub(super) holds: i64,
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
    /// Its generation, and the one that the conditions speak of.
    pub(super) generation: i64,
    pub(super) observed: Option<i64>,
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
    let mut facts = Facts {
        server: format!("{} at {}", version.git_version, server.url()),
        namespace: namespace.to_owned(),
        definitions: reader.definitions().await?,
        policy: Policy {
            policy: reader.spec("ValidatingAdmissionPolicy", POLICY).await?,
            binding: reader.spec("ValidatingAdmissionPolicyBinding", POLICY).await?,
        },
        operators: operator.map(|operator| {
            let asked = operator.spec.and_then(|spec| spec.replicas).unwrap_or(1);
            (asked, operator.status.and_then(|status| status.available_replicas).unwrap_or(0))
        }),
        leader: lease.and_then(leader),
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

    /// What an object of admission says, fields of tomorrow included.
    async fn spec(&self, kind: &str, name: &str) -> Result<Option<Value>, LookError> {
        let object = self.of_kind(ADMISSION, kind).get_opt(name).await;
        let object = object.map_err(|error| self.failed(&format!("the {kind} {name}"), &error))?;
        Ok(object.map(|object| object.data["spec"].clone()))
    }

    fn of_kind(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::all_with(self.client.clone(), &resource)
    }

    /// Every object, page by page, each reduced as it comes: memory does not grow with what is not looked at. A list whose
    /// pages have expired is begun again, once.
    async fn list<K, T>(
        &self,
        api: &Api<K>,
        what: &str,
        only: ListParams,
        reduced: impl Fn(K) -> T,
    ) -> Result<Vec<T>, LookError>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let (mut all, mut page, mut has_expired) = (Vec::new(), only.limit(PAGE), false);
        loop {
            match api.list(&page).await {
                Ok(listed) => {
                    all.extend(listed.items.into_iter().map(&reduced));
                    match listed.metadata.continue_.filter(|next| !next.is_empty()) {
                        Some(next) => page.continue_token = Some(next),
                        None => return Ok(all),
                    }
                }
                Err(kube::Error::Api(status)) if status.code == 410 && !has_expired => {
                    has_expired = true;
                    all.clear();
                    page.continue_token = None;
                }
                Err(error) => return Err(self.failed(what, &error)),
            }
        }
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
        self.list(&self.all::<Node>(), "nodes", linux, |node| node.name_any()).await
    }

    async fn pods(&self) -> Result<Vec<AgentPod>, LookError> {
        let pods: Api<Pod> = self.own();
        let alive = |pod: Pod| pod.metadata.deletion_timestamp.is_none().then_some(pod);
        let pods = self.list(&pods, "the agents' pods", ListParams::default().labels(AGENT_PODS), |pod| {
            alive(pod).and_then(agent_pod)
        });
        Ok(pods.await?.into_iter().flatten().collect())
    }

    async fn told(&self, kind: &str) -> Result<Vec<Told>, LookError> {
        let objects = self.of_kind(API_VERSION, kind);
        self.list(&objects, &format!("every {kind}"), ListParams::default(), told).await
    }
}

fn told(object: DynamicObject) -> Told {
    let conditions = object.data.pointer("/status/conditions").cloned();
    let conditions = conditions.and_then(|conditions| serde_json::from_value(conditions).ok());
    Told {
        name: object.name_any(),
        conditions: conditions.unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        observed: object.data.pointer("/status/observedGeneration").and_then(Value::as_i64),
    }
}

/// Who holds a Lease that somebody holds.
fn leader(lease: Lease) -> Option<Leader> {
    let spec = lease.spec?;
    let silent = spec.renew_time.map(|renewed| Timestamp::now().as_second() - renewed.0.as_second());
    Some(Leader {
        name: spec.holder_identity.filter(|holder| !holder.is_empty())?,
        silent,
        holds: spec.lease_duration_seconds.unwrap_or_default().into(),
    })
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
