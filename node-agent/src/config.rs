//! The node's NodeConfig: watched in the API server, kept on disk for a start without it.
//!
//! A missing NodeConfig is no instruction: the agent goes on by its last plan and says so.

use crate::Trouble;
use futures::{Stream, StreamExt, TryStreamExt};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vedette_crds::node_config::{NodeConfig, NodeConfigSpec};
use vedette_crds::settings::unknown_fields;
use vedette_engine::{Engine, Identity};

/// The form of what is kept on disk.
const VERSION: u32 = 1;

/// A configuration of this node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodePlan {
    /// The NodeConfig's generation.
    pub(crate) generation: i64,
    pub(crate) spec: NodeConfigSpec,
    /// Fields and values that this version does not know, by name.
    pub(crate) unknown: Vec<String>,
}

/// What the agent works by.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum PlanState {
    /// Nothing yet: no NodeConfig was ever seen.
    #[default]
    Waiting,
    /// The last plan, from disk or from a NodeConfig that is gone.
    Stored(NodePlan),
    /// The NodeConfig as it is.
    Current(NodePlan),
}

impl PlanState {
    /// The plan, wherever it is from.
    pub(crate) fn plan(&self) -> Option<&NodePlan> {
        match self {
            Self::Waiting => None,
            Self::Stored(plan) | Self::Current(plan) => Some(plan),
        }
    }

    /// The same plan without the object that it came from.
    pub(crate) fn without_object(self) -> Self {
        match self {
            Self::Current(plan) => Self::Stored(plan),
            other => other,
        }
    }
}

/// What the API server said of the NodeConfig.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    Present(Box<DynamicObject>),
    Absent,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    generation: i64,
    spec: Value,
}

impl NodePlan {
    /// The plan in a NodeConfig.
    ///
    /// # Errors
    /// When the spec lacks what every version has.
    pub(crate) fn of(generation: i64, spec: &Value) -> Result<Self, serde_json::Error> {
        let mut unknown = unknown_fields(spec);
        let spec = NodeConfigSpec::deserialize(spec)?;
        unknown.extend(Engine::unknown_values(&spec.rules));
        Ok(Self { generation, spec, unknown })
    }

    /// Whom records name.
    pub(crate) fn identity(&self, node: &str) -> Identity {
        let cluster = self.spec.cluster.as_ref().map(|cluster| cluster.name.clone());
        Identity {
            cluster: cluster.filter(|name| !name.is_empty()),
            node: node.to_owned(),
            node_uid: Some(self.spec.node_uid.clone()).filter(|uid| !uid.is_empty()),
        }
    }
}

/// The bytes to keep for a start without the API server.
pub(crate) fn keep(generation: i64, spec: &Value) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Kept { version: VERSION, generation, spec: spec.clone() })
}

/// The plan in kept bytes.
///
/// # Errors
/// When another version wrote them, or they are no plan.
pub(crate) fn kept(bytes: &[u8]) -> Result<NodePlan, Trouble> {
    let unreadable = |error| Trouble::because("the plan in the state directory cannot be read", error);
    let Kept { version, generation, spec } = serde_json::from_slice(bytes).map_err(unreadable)?;
    if version != VERSION {
        let message = format!("the plan in the state directory has version {version}, this agent reads {VERSION}");
        return Err(Trouble::new(message));
    }
    NodePlan::of(generation, &spec).map_err(unreadable)
}

/// The NodeConfigs of a cluster, as they are in the API server.
pub(crate) fn api(client: Client) -> Api<DynamicObject> {
    Api::all_with(client, &ApiResource::erase::<NodeConfig>(&()))
}

/// What the API server says of one node's NodeConfig, for as long as the stream is read; the watch backs off by itself.
pub(crate) fn watch(api: Api<DynamicObject>, node: &str) -> impl Stream<Item = Result<Seen, watcher::Error>> + use<> {
    let only = watcher::Config::default().fields(&format!("metadata.name={node}"));
    let mut listed = false;
    watcher::watcher(api, only)
        .default_backoff()
        .try_filter_map(move |event| {
            let seen = match event {
                Event::Init => {
                    listed = false;
                    None
                }
                Event::InitApply(object) => {
                    listed = true;
                    Some(Seen::Present(Box::new(object)))
                }
                Event::InitDone => (!listed).then_some(Seen::Absent),
                Event::Apply(object) => Some(Seen::Present(Box::new(object))),
                Event::Delete(_) => Some(Seen::Absent),
            };
            std::future::ready(Ok(seen))
        })
        .boxed()
}

/// The generation of an object that the API server made.
pub(crate) fn generation(object: &DynamicObject) -> i64 {
    object.meta().generation.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plan_survives_on_disk() {
        let spec = json!({"nodeUid": "u", "reporting": {"minInterval": "10s", "refreshInterval": "15m"}, "rules": []});
        let plan = kept(&keep(7, &spec).unwrap()).unwrap();
        assert_eq!((plan.generation, plan.spec.node_uid.as_str()), (7, "u"));
        assert_eq!(plan.identity("n1").node_uid.as_deref(), Some("u"));
    }

    #[test]
    fn a_field_of_a_newer_operator_is_named_and_the_rest_goes_on() {
        let spec = json!({
            "nodeUid": "u", "reporting": {"minInterval": "10s", "refreshInterval": "15m"}, "rules": [], "sampling": 3
        });
        let plan = NodePlan::of(1, &spec).unwrap();
        assert_eq!(plan.unknown.len(), 1);
        assert!(plan.unknown[0].contains("sampling"), "{:?}", plan.unknown);
    }

    #[test]
    fn a_plan_of_another_version_is_refused_by_name() {
        let error = kept(br#"{"version":2,"generation":1,"spec":{}}"#).unwrap_err();
        assert!(error.to_string().contains("version 2"), "{error}");
    }
}
