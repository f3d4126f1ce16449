//! Writes: reads an action, produces what the API server made of it or why it refused. Every write is a server-side apply
//! under our field manager, with force: admission decides who may write what, not who was first. What others have added to
//! a spec, which an apply leaves alone, is taken out. Nothing is tried again here.
//!
//! Right before each request the leadership is asked for, and nothing is sent without it. A process can be stopped between
//! that question and the request, and wake up when another one leads: so a write names the resource version it was decided
//! on, and one that makes an object is refused where there is one already. Only a node's conditions name none: their
//! status is written by an agent too, which could else hold off its own judgment by writing often.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};
use thiserror::Error;
use tracing::warn;
use vedette_crds::node_config::NodeConfigSpec;
use vedette_service::{Refusal, reason, refusal};

use crate::fleet::plan::{Action, Existing};
use crate::fleet::{Name, Uid};
use crate::leadership::Leadership;
use crate::names::{API_VERSION, NODE_CONFIG, OPERATOR, RULE};
use crate::observed::{self, ObservedConfig, ObservedRule};
use crate::sentences;
use crate::tolerant::Tolerant;

/// A connection that died without a word must not hold a write for ever.
const LONGEST_WRITE: Duration = Duration::from_secs(15);

/// No object has it: etcd begins to count below every object. A server-side apply that names it makes an object, and is
/// refused with a conflict where there is one.
const NOT_THERE: &str = "1";

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
    /// This operator leads no more.
    NotLeading,
}

impl Trouble {
    pub(crate) const ALL: [Self; 11] = [
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
        Self::NotLeading,
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
            Self::NotLeading => "NotLeading",
        }
    }

    /// What kind of trouble an error of the client is.
    pub(crate) fn of(error: &kube::Error) -> Self {
        match (refusal(error), error) {
            (_, kube::Error::Api(status)) if status.code == 409 => Self::Conflict,
            (_, kube::Error::Api(status)) if status.code == 429 => Self::Throttled,
            (Refusal::Unauthorized | Refusal::Forbidden, _) => Self::Forbidden,
            (Refusal::NotFound, _) => Self::NotFound,
            (Refusal::SchemaOutdated, _) => Self::SchemaOutdated,
            (Refusal::Unavailable, _) => Self::ServerError,
            (Refusal::Unreachable, _) => Self::Unreachable,
            _ => Self::Invalid,
        }
    }
}

/// A write that failed.
#[derive(Debug, Error)]
pub(crate) enum ApplyError {
    #[error("the API server did not take it: {said}")]
    NotTaken { trouble: Trouble, said: String },
    #[error("{}: {message}", sentences::schema_outdated(kind))]
    SchemaOutdated { kind: &'static str, message: String },
    #[error("no answer in time")]
    TimedOut,
    #[error("this operator leads no more")]
    NotLeading,
    #[error("the API server stored another spec than it was given")]
    Contested,
}

impl ApplyError {
    pub(crate) fn trouble(&self) -> Trouble {
        match self {
            Self::NotTaken { trouble, .. } => *trouble,
            Self::SchemaOutdated { .. } => Trouble::SchemaOutdated,
            Self::TimedOut => Trouble::Timeout,
            Self::NotLeading => Trouble::NotLeading,
            Self::Contested => Trouble::Contested,
        }
    }
}

/// What an error of the client means for a write to an object of this kind.
fn not_taken(kind: &'static str) -> impl Fn(kube::Error) -> ApplyError {
    move |error| match (Trouble::of(&error), error) {
        (Trouble::SchemaOutdated, kube::Error::Api(status)) => {
            ApplyError::SchemaOutdated { kind, message: status.message }
        }
        (trouble, error) => ApplyError::NotTaken { trouble, said: reason(&error) },
    }
}

/// Who writes.
#[derive(Clone)]
pub(crate) struct Applier {
    configs: Api<Tolerant<DynamicObject>>,
    rules: Api<Tolerant<DynamicObject>>,
    how: PatchParams,
    leadership: Leadership,
}

impl Applier {
    pub(crate) fn new(client: Client, leadership: Leadership) -> Self {
        Self {
            configs: objects(client.clone(), NODE_CONFIG),
            rules: objects(client, RULE),
            how: PatchParams::apply(OPERATOR).force(),
            leadership,
        }
    }

    /// Does what the action says.
    ///
    /// # Errors
    /// This operator leads no more; the API server refuses, does not answer in time, or cannot be reached.
    pub(crate) async fn run(&self, action: Action) -> Result<Applied, ApplyError> {
        match action {
            Action::ApplyConfig { name, existing, owner, spec } => {
                let mut object = object(NODE_CONFIG, &name);
                match existing {
                    Some(existing) => existing.pin(&mut object),
                    None => object["metadata"]["resourceVersion"] = json!(NOT_THERE),
                }
                object["metadata"]["ownerReferences"] =
                    json!([{ "apiVersion": "v1", "kind": "Node", "name": &*name, "uid": &*owner }]);
                object["spec"] = json!(spec);
                let patch = Patch::Apply(object);
                let Tolerant(stored) = self.send(NODE_CONFIG, self.configs.patch(&name, &self.how, &patch)).await?;
                match carries(stored, &spec) {
                    Ok(stored) => Ok(Applied::Config(stored)),
                    Err(contested) => self.take_back(&name, contested, &spec).await,
                }
            }
            Action::DeleteConfig { name, existing } => {
                let uid = existing.uid.clone();
                let how = DeleteParams { preconditions: Some(existing.preconditions()), ..DeleteParams::default() };
                let deleted = async {
                    match self.configs.delete(&name, &how).await {
                        Ok(answer) => Ok(answer.left()),
                        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
                        Err(error) => Err(error),
                    }
                };
                Ok(match self.send(NODE_CONFIG, deleted).await? {
                    // It waits for somebody's finalizer.
                    Some(Tolerant(stored)) => Applied::Config(Box::new(observed::config(stored))),
                    None => Applied::ConfigGone { name, uid },
                })
            }
            Action::ApplyConditions { name, uid, conditions } => {
                let mut object = object(NODE_CONFIG, &name);
                object["metadata"]["uid"] = json!(&*uid);
                object["status"] = json!({ "conditions": conditions });
                let patch = Patch::Apply(object);
                let written = self.configs.patch_status(&name, &self.how, &patch);
                let Tolerant(stored) = self.send(NODE_CONFIG, written).await?;
                Ok(Applied::Config(Box::new(observed::config(stored))))
            }
            Action::ApplyRuleStatus { name, existing, status } => {
                let mut object = object(RULE, &name);
                existing.pin(&mut object);
                object["status"] = json!(status);
                let patch = Patch::Apply(object);
                let Tolerant(stored) = self.send(RULE, self.rules.patch_status(&name, &self.how, &patch)).await?;
                Ok(Applied::Rule(Box::new(observed::rule(stored))))
            }
        }
    }

    /// Sends a request if this operator leads, and gives it up by the time at which another one may lead.
    async fn send<T>(
        &self,
        kind: &'static str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ApplyError> {
        let patience = self.leadership.time_to_write().ok_or(ApplyError::NotLeading)?.min(LONGEST_WRITE);
        match tokio::time::timeout(patience, request).await {
            Ok(answer) => answer.map_err(not_taken(kind)),
            Err(_) => Err(ApplyError::TimedOut),
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
        let change = Patch::Merge(json!({
            "metadata": {
                "uid": metadata.uid,
                "resourceVersion": metadata.resource_version,
                "managedFields": metadata.managed_fields.iter().flatten().filter(ours).collect::<Vec<_>>(),
            },
            "spec": spec,
        }));
        let how = PatchParams { field_manager: Some(OPERATOR.into()), ..PatchParams::default() };
        let Tolerant(stored) = self.send(NODE_CONFIG, self.configs.patch(name, &how, &change)).await?;
        carries(stored, spec).map(Applied::Config).map_err(|_| ApplyError::Contested)
    }
}

impl Existing {
    /// Refuses an apply where another object has the name by now, or this one has changed.
    fn pin(&self, object: &mut Value) {
        object["metadata"]["uid"] = json!(&*self.uid);
        if let Some(version) = self.resource_version() {
            object["metadata"]["resourceVersion"] = json!(version);
        }
    }

    fn preconditions(&self) -> Preconditions {
        Preconditions { uid: Some(self.uid.as_ref().into()), resource_version: self.resource_version() }
    }

    /// A version that is no number is known as 0, and cannot be asked for.
    fn resource_version(&self) -> Option<String> {
        (self.version > 0).then(|| self.version.to_string())
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

/// The head of an apply.
fn object(kind: &str, name: &str) -> Value {
    json!({ "apiVersion": API_VERSION, "kind": kind, "metadata": { "name": name } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn answer(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, "").with_code(code).boxed())
    }

    #[test]
    fn an_older_definition_is_told_from_a_broken_server() {
        let older = "failed to create typed patch object (/n1; vedette.dev/v1alpha1, Kind=NodeConfig): .spec.mood: field \
                     not declared in schema";
        assert_eq!(Trouble::of(&answer(500, older)), Trouble::SchemaOutdated);
        assert_eq!(Trouble::of(&answer(500, "etcdserver: request timed out")), Trouble::ServerError);
        assert_eq!(Trouble::of(&answer(422, "spec.rules: Too many")), Trouble::Invalid);
    }

    #[test]
    fn who_writes_on_what_it_has_read_tells_a_conflict_and_a_plea_for_patience_from_the_rest() {
        assert_eq!(Trouble::of(&answer(409, "the object has been modified")), Trouble::Conflict);
        assert_eq!(Trouble::of(&answer(429, "too many requests")), Trouble::Throttled);
        assert_eq!(Trouble::of(&answer(503, "")), Trouble::ServerError);
        assert_eq!(Trouble::of(&answer(401, "Unauthorized")), Trouble::Forbidden);
    }

    #[test]
    fn a_write_without_the_right_to_it_says_what_to_do() {
        let denied = "nodeconfigs.vedette.dev \"n1\" is forbidden: User \"o\" cannot patch resource \"nodeconfigs\" in API group \
                      \"vedette.dev\" at the cluster scope";
        assert_eq!(
            not_taken(NODE_CONFIG)(answer(403, denied)).to_string(),
            "the API server did not take it: o may not patch nodeconfigs.vedette.dev at the cluster scope: is \
             charts/manifests/vedette.yaml applied?"
        );
    }
}
