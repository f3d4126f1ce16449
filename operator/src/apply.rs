//! Writes: reads an action, produces what the API server made of it or why it refused. Every write is a server-side apply
//! under our field manager, with force: admission decides who may write what, not who was first. What others have added to
//! a spec, which an apply leaves alone, is taken out. Nothing is tried again here.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};
use thiserror::Error;
use tracing::warn;
use vedette_crds::node_config::NodeConfigSpec;

use crate::fleet::plan::Action;
use crate::fleet::{Name, Uid};
use crate::names::{API_VERSION, NODE_CONFIG, OPERATOR, RULE};
use crate::observed::{self, ObservedConfig, ObservedRule};
use crate::tolerant::Tolerant;

/// A connection that died without a word must not hold a write for ever.
const LONGEST_WRITE: Duration = Duration::from_secs(15);

/// What a write left behind.
#[derive(Debug)]
pub(crate) enum Applied {
    Config(Box<ObservedConfig>),
    ConfigGone { name: Name, uid: Uid },
    Rule(Box<ObservedRule>),
}

/// Why a write failed, as metrics say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The object is another one by now.
    Conflict,
    /// Somebody else's words stay in the spec.
    Contested,
    /// We lack the right, or our token is no good.
    Forbidden,
    /// The object is gone.
    NotFound,
    /// The API server's definition refuses it.
    Invalid,
    /// The API server's definition does not know a field of it.
    SchemaOutdated,
    /// The API server asks for patience.
    Throttled,
    /// The API server has a problem of its own.
    ServerError,
    /// No answer came in time.
    Timeout,
    /// No connection, or no sense in what came over it.
    Unreachable,
}

impl Trouble {
    pub(crate) const ALL: [Self; 10] = [
        Self::Conflict,
        Self::Contested,
        Self::Forbidden,
        Self::NotFound,
        Self::Invalid,
        Self::SchemaOutdated,
        Self::Throttled,
        Self::ServerError,
        Self::Timeout,
        Self::Unreachable,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "Conflict",
            Self::Contested => "Contested",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::Invalid => "Invalid",
            Self::SchemaOutdated => "SchemaOutdated",
            Self::Throttled => "Throttled",
            Self::ServerError => "ServerError",
            Self::Timeout => "Timeout",
            Self::Unreachable => "Unreachable",
        }
    }

    fn of_answer(code: u16, message: &str) -> Self {
        match code {
            401 | 403 => Self::Forbidden,
            404 => Self::NotFound,
            409 => Self::Conflict,
            429 => Self::Throttled,
            500 if message.contains("field not declared in schema") => Self::SchemaOutdated,
            500.. => Self::ServerError,
            _ => Self::Invalid,
        }
    }
}

/// A write that failed.
#[derive(Debug, Error)]
pub(crate) enum ApplyError {
    #[error("the API server refuses: {message}")]
    Refused { trouble: Trouble, message: String },
    #[error("the API server cannot be asked")]
    NotAsked { source: Box<kube::Error> },
    #[error("no answer within {LONGEST_WRITE:?}")]
    TimedOut,
    #[error("the API server stored another spec than it was given")]
    Contested,
}

impl ApplyError {
    pub(crate) fn trouble(&self) -> Trouble {
        match self {
            Self::Refused { trouble, .. } => *trouble,
            Self::NotAsked { .. } => Trouble::Unreachable,
            Self::TimedOut => Trouble::Timeout,
            Self::Contested => Trouble::Contested,
        }
    }
}

impl From<kube::Error> for ApplyError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let status = *status;
                Self::Refused { trouble: Trouble::of_answer(status.code, &status.message), message: status.message }
            }
            source => Self::NotAsked { source: Box::new(source) },
        }
    }
}

/// Who writes.
#[derive(Clone)]
pub(crate) struct Applier {
    configs: Api<Tolerant<DynamicObject>>,
    rules: Api<Tolerant<DynamicObject>>,
    how: PatchParams,
}

impl Applier {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            configs: objects(client.clone(), NODE_CONFIG),
            rules: objects(client, RULE),
            how: PatchParams::apply(OPERATOR).force(),
        }
    }

    /// Does what the action says.
    ///
    /// # Errors
    /// The API server refuses, does not answer in time, or cannot be reached.
    pub(crate) async fn run(&self, action: Action) -> Result<Applied, ApplyError> {
        match tokio::time::timeout(LONGEST_WRITE, self.write(action)).await {
            Ok(written) => written,
            Err(_) => Err(ApplyError::TimedOut),
        }
    }

    async fn write(&self, action: Action) -> Result<Applied, ApplyError> {
        match action {
            Action::ApplyConfig { name, uid, owner, spec } => {
                let mut object = object(NODE_CONFIG, &name, uid.as_deref());
                object["metadata"]["ownerReferences"] =
                    json!([{ "apiVersion": "v1", "kind": "Node", "name": &*name, "uid": &*owner }]);
                object["spec"] = json!(spec);
                let Tolerant(stored) = self.configs.patch(&name, &self.how, &Patch::Apply(object)).await?;
                match carries(stored, &spec) {
                    Ok(stored) => Ok(Applied::Config(stored)),
                    Err(contested) => self.take_back(&name, contested, &spec).await,
                }
            }
            Action::DeleteConfig { name, uid } => {
                let this_one = Preconditions { uid: Some(uid.as_ref().into()), resource_version: None };
                let how = DeleteParams { preconditions: Some(this_one), ..DeleteParams::default() };
                match self.configs.delete(&name, &how).await {
                    Ok(answer) => Ok(match answer.left() {
                        // It waits for somebody's finalizer.
                        Some(Tolerant(stored)) => Applied::Config(Box::new(observed::config(stored))),
                        None => Applied::ConfigGone { name, uid },
                    }),
                    Err(kube::Error::Api(status)) if status.code == 404 => Ok(Applied::ConfigGone { name, uid }),
                    Err(error) => Err(error.into()),
                }
            }
            Action::ApplyConditions { name, uid, conditions } => {
                let mut object = object(NODE_CONFIG, &name, Some(&uid));
                object["status"] = json!({ "conditions": conditions });
                let Tolerant(stored) = self.configs.patch_status(&name, &self.how, &Patch::Apply(object)).await?;
                Ok(Applied::Config(Box::new(observed::config(stored))))
            }
            Action::ApplyRuleStatus { name, uid, status } => {
                let mut object = object(RULE, &name, Some(&uid));
                object["status"] = json!(status);
                let Tolerant(stored) = self.rules.patch_status(&name, &self.how, &Patch::Apply(object)).await?;
                Ok(Applied::Rule(Box::new(observed::rule(stored))))
            }
        }
    }

    /// An apply leaves alone what others have added: this takes it out, and their claims with it, so that the next
    /// apply is enough again. The spec is the operator's, whole.
    async fn take_back(
        &self,
        name: &str,
        contested: Box<DynamicObject>,
        spec: &NodeConfigSpec,
    ) -> Result<Applied, ApplyError> {
        warn!(object = %name, "somebody else wrote into the spec of this NodeConfig: it is put right");
        let ours = |entry: &&ManagedFieldsEntry| {
            entry.manager.as_deref() == Some(OPERATOR) || entry.subresource.as_deref() == Some("status")
        };
        let metadata = contested.metadata;
        let change = json!({
            "metadata": {
                "uid": metadata.uid,
                "resourceVersion": metadata.resource_version,
                "managedFields": metadata.managed_fields.iter().flatten().filter(ours).collect::<Vec<_>>(),
            },
            "spec": spec,
        });
        let how = PatchParams { field_manager: Some(OPERATOR.into()), ..PatchParams::default() };
        let Tolerant(stored) = self.configs.patch(name, &how, &Patch::Merge(change)).await?;
        carries(stored, spec).map(Applied::Config).map_err(|_| ApplyError::Contested)
    }
}

/// A stored NodeConfig as facts, when its spec is this one.
fn carries(stored: DynamicObject, spec: &NodeConfigSpec) -> Result<Box<ObservedConfig>, Box<DynamicObject>> {
    let facts = observed::config(stored.clone());
    if facts.spec.as_ref() == Some(spec) { Ok(Box::new(facts)) } else { Err(Box::new(stored)) }
}

/// Objects of one of our kinds, as raw as they come.
pub(crate) fn objects(client: Client, kind: &str) -> Api<Tolerant<DynamicObject>> {
    let (group, version) = API_VERSION.split_once('/').unwrap_or(("", API_VERSION));
    Api::all_with(client, &ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)))
}

/// The head of an apply. With a uid it is refused where another object has the name by now, and makes none.
fn object(kind: &str, name: &str, uid: Option<&str>) -> Value {
    let mut object = json!({ "apiVersion": API_VERSION, "kind": kind, "metadata": { "name": name } });
    if let Some(uid) = uid {
        object["metadata"]["uid"] = json!(uid);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_definition_is_told_from_a_broken_server() {
        let older = "failed to create typed patch object (/n1; vedette.dev/v1alpha1, Kind=NodeConfig): .spec.mood: field \
                     not declared in schema";
        assert_eq!(Trouble::of_answer(500, older), Trouble::SchemaOutdated);
        assert_eq!(Trouble::of_answer(500, "etcdserver: request timed out"), Trouble::ServerError);
        assert_eq!(Trouble::of_answer(422, "spec.rules: Too many"), Trouble::Invalid);
    }
}
