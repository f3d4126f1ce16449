//! The node's NodeConfig: watched in the API server, kept on disk for a start without it.
//!
//! A missing NodeConfig is no instruction: the agent goes on by its last plan and says so.

use crate::Trouble;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vedette_crds::node_config::{NodeConfig, NodeConfigSpec};
use vedette_crds::settings::unknown_fields;
use vedette_engine::{Engine, Identity};
use vedette_service::{ApiServer, Broken};

/// The form of what is kept on disk. 1 had no uid.
const VERSION: u32 = 2;
const OLDEST_VERSION: u32 = 1;

/// A configuration of this node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodePlan {
    /// The NodeConfig's uid; empty when it is not known.
    pub(crate) uid: String,
    /// The NodeConfig's generation: another object of the same name counts from 1 again.
    pub(crate) generation: i64,
    /// What the engine is told that this plan is, so that it can be told from every other one of this process.
    pub(crate) revision: i64,
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
    #[serde(default)]
    uid: String,
    generation: i64,
    spec: Value,
}

impl NodePlan {
    /// The plan in a NodeConfig.
    ///
    /// # Errors
    /// When the spec lacks what every version has.
    pub(crate) fn of(uid: &str, generation: i64, spec: &Value) -> Result<Self, serde_json::Error> {
        let mut unknown = unknown_fields(spec);
        let spec = NodeConfigSpec::deserialize(spec)?;
        unknown.extend(Engine::unknown_values(&spec.rules));
        Ok(Self { uid: uid.to_owned(), generation, revision: 0, spec, unknown })
    }

    /// Whether two say the same and are from the same object.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (&self.uid, self.generation, &self.spec) == (&other.uid, other.generation, &other.spec)
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
pub(crate) fn keep(plan: &NodePlan, spec: Value) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Kept { version: VERSION, uid: plan.uid.clone(), generation: plan.generation, spec })
}

/// The plan in kept bytes.
///
/// # Errors
/// When a newer version wrote them, or they are no plan.
pub(crate) fn kept(bytes: &[u8]) -> Result<NodePlan, Trouble> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let unreadable = |error| Trouble::because("it is no plan", error);
    let Versioned { version } = serde_json::from_slice(bytes).map_err(unreadable)?;
    if !(OLDEST_VERSION..=VERSION).contains(&version) {
        return Err(Trouble::new(format!("it has version {version}, this agent reads up to {VERSION}")));
    }
    let Kept { uid, generation, spec, .. } = serde_json::from_slice(bytes).map_err(unreadable)?;
    NodePlan::of(&uid, generation, &spec).map_err(unreadable)
}

/// The NodeConfigs of a cluster, as they are in the API server.
pub(crate) fn api(client: Client) -> Api<DynamicObject> {
    Api::all_with(client, &ApiResource::erase::<NodeConfig>(&()))
}

/// What the API server says of one node's NodeConfig, for as long as it is asked.
pub(crate) struct Watch {
    events: vedette_service::Watch<DynamicObject>,
    is_listed: bool,
}

impl Watch {
    /// `meanwhile` says what the agent does while the API server cannot be asked.
    pub(crate) fn new(server: &ApiServer, node: &str, meanwhile: impl Fn() -> String + Send + 'static) -> Self {
        let only = watcher::Config::default().fields(&format!("metadata.name={node}"));
        let what = format!("the NodeConfig {node}");
        let events = vedette_service::Watch::new(server, api(server.client()), only, what, meanwhile);
        Self { events, is_listed: false }
    }

    /// What it says next.
    ///
    /// # Errors
    /// When it cannot be asked; the next call tries again.
    pub(crate) async fn next(&mut self) -> Result<Seen, Broken> {
        loop {
            match self.events.next().await? {
                Event::Init => self.is_listed = false,
                Event::InitApply(object) => {
                    self.is_listed = true;
                    return Ok(Seen::Present(Box::new(object)));
                }
                Event::InitDone if self.is_listed => {}
                Event::InitDone | Event::Delete(_) => return Ok(Seen::Absent),
                Event::Apply(object) => return Ok(Seen::Present(Box::new(object))),
            }
        }
    }
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

    fn spec() -> Value {
        json!({"nodeUid": "n", "reporting": {"minInterval": "10s", "refreshInterval": "15m"}, "rules": []})
    }

    #[test]
    fn a_plan_survives_on_disk() {
        let plan = NodePlan::of("u", 7, &spec()).unwrap();
        let read = kept(&keep(&plan, spec()).unwrap()).unwrap();
        assert!(read.is(&plan), "{read:?}");
        assert_eq!(read.identity("n1").node_uid.as_deref(), Some("n"));
    }

    #[test]
    fn a_plan_that_the_first_version_kept_is_read_and_is_of_no_object_in_particular() {
        let first = json!({"version": 1, "generation": 7, "spec": spec()});
        let read = kept(&serde_json::to_vec(&first).unwrap()).unwrap();
        assert_eq!((read.uid.as_str(), read.generation, read.spec.node_uid.as_str()), ("", 7, "n"));
        assert!(!read.is(&NodePlan::of("u", 7, &spec()).unwrap()));
    }

    #[test]
    fn another_object_or_another_spec_at_the_same_generation_is_another_plan() {
        let plan = NodePlan::of("u", 1, &spec()).unwrap();
        let mut other = spec();
        other["nodeUid"] = json!("m");
        assert!(plan.is(&NodePlan::of("u", 1, &spec()).unwrap()));
        assert!(!plan.is(&NodePlan::of("v", 1, &spec()).unwrap()));
        assert!(!plan.is(&NodePlan::of("u", 1, &other).unwrap()));
    }

    #[test]
    fn a_field_of_a_newer_operator_is_named_and_the_rest_goes_on() {
        let mut newer = spec();
        newer["sampling"] = json!(3);
        let plan = NodePlan::of("u", 1, &newer).unwrap();
        assert_eq!(plan.unknown.len(), 1);
        assert!(plan.unknown[0].contains("sampling"), "{:?}", plan.unknown);
    }

    #[test]
    fn a_plan_of_a_newer_version_is_refused_by_name() {
        let error = kept(br#"{"version":3,"plan":"of another form"}"#).unwrap_err();
        assert!(error.to_string().contains("version 3"), "{error}");
        kept(b"\x00\xff").unwrap_err();
    }
}
