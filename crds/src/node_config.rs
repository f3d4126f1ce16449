//! The `NodeConfig` resource: what one node is to watch (`spec`, the operator's) and what its agent found
//! (`status`, the agent's, but for the conditions `Ready` and `AgentAvailable`, which are the operator's).
//!
//! Both sides write by server-side apply. A member that says nothing is left out: an object of the shipped
//! presets stays under 10 kB, managed fields included. The spec holds plain strings where the rule has
//! enums, so that an older custom resource definition never refuses a newer operator's value.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::{Condition, conditions_schema};

/// How many rules one node carries at most.
pub const MAX_RULES: usize = 32;

/// What one node is to watch.
#[derive(CustomResource, JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[kube(
    group = "vedette.dev",
    version = "v1alpha1",
    kind = "NodeConfig",
    plural = "nodeconfigs",
    shortname = "nc",
    category = "vedette",
    status = "NodeConfigStatus",
    doc = "What one node is to watch, and what its agent found there: named after the node and owned by it.",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Agent","type":"string","jsonPath":".status.conditions[?(@.type==\"AgentAvailable\")].status"}"#,
    printcolumn = r#"{"name":"Items","type":"integer","jsonPath":".status.trackedItems"}"#,
    printcolumn = r#"{"name":"Unknown","type":"integer","jsonPath":".status.unknownItems","priority":1}"#,
    printcolumn = r#"{"name":"Added","type":"integer","jsonPath":".status.changes.added"}"#,
    printcolumn = r#"{"name":"Modified","type":"integer","jsonPath":".status.changes.modified"}"#,
    printcolumn = r#"{"name":"Removed","type":"integer","jsonPath":".status.changes.removed"}"#,
    printcolumn = r#"{"name":"Last-Change","type":"date","jsonPath":".status.lastChangeTime"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct NodeConfigSpec {
    /// The cluster that the node belongs to, copied onto every record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterRef>,
    /// The Node's uid: a node that comes back under its old name is another one.
    #[schemars(length(max = 64))]
    pub node_uid: String,
    /// How often the agent writes its status.
    pub reporting: Reporting,
    /// The rules that select this node, sorted by name.
    // Not required: a server-side apply that takes the last rule away leaves the list out, and the default puts it back.
    #[serde(default)]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub rules: Vec<NodeRule>,
}

/// The cluster that a node belongs to.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct ClusterRef {
    /// The operator's `--cluster-name`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub name: String,
    /// The uid of the namespace kube-system.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub uid: String,
}

/// How often an agent writes its status.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reporting {
    /// The shortest time between two writes while things change, for example 10s.
    #[schemars(length(max = 32))]
    pub min_interval: String,
    /// The time between two writes while nothing changes, for example 15m.
    #[schemars(length(max = 32))]
    pub refresh_interval: String,
}

impl Default for Reporting {
    fn default() -> Self {
        Self { min_interval: "10s".into(), refresh_interval: "15m".into() }
    }
}

/// One DataCollectionRule as it stands for this node.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("self.uid != oldSelf.uid || self.generation >= oldSelf.generation")
        .message("a rule's generation does not go back: this writer has an old copy of the rule")
]))]
pub struct NodeRule {
    /// The rule's name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The rule's uid.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// The rule's generation that this form was compiled from.
    pub generation: i64,
    /// A digest of all that follows, so that a change is one comparison.
    #[schemars(length(max = 80))]
    pub hash: String,
    /// Keep the state as it is and collect nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspend: bool,
    /// Copied onto every change record of this rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 64)), extend("x-kubernetes-list-type" = "atomic"))]
    pub tags: Vec<String>,
    /// The files to watch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub files: Option<NodeFiles>,
}

/// The files that one rule watches on this node.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFiles {
    /// The time between two compares by metadata, for example 15m.
    #[schemars(length(max = 32))]
    pub interval: String,
    /// All content is read again within this time, for example 24h.
    #[schemars(length(max = 32))]
    pub rehash_interval: String,
    /// Use kernel events between compares where the agent has them.
    pub realtime: bool,
    /// What holds for every entry that does not say otherwise.
    #[serde(default, skip_serializing_if = "FileSettings::is_empty")]
    pub defaults: FileSettings,
    /// The enabled entries, in the rule's order.
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub paths: Vec<NodePath>,
}

/// One entry: a path pattern, and the settings in which it differs from the defaults.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodePath {
    /// The entry's name within its rule.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The path pattern.
    #[schemars(length(max = 1024))]
    pub path: String,
    /// What differs from the defaults.
    #[serde(flatten)]
    pub settings: FileSettings,
}

/// How files are looked at; what is absent is taken from the defaults.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileSettings {
    /// Whether what lies under a selected directory is selected; false is maxDepth 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurse: Option<bool>,
    /// How many levels under a selected directory are selected; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_depth: Option<u32>,
    /// Names and absolute paths that are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(length(max = 256)), extend("x-kubernetes-list-type" = "atomic"))]
    pub exclude: Option<Vec<String>>,
    /// What becomes of symbolic links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub links: Option<String>,
    /// Which file systems are entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub mounts: Option<String>,
    /// What is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(length(max = 32)), extend("x-kubernetes-list-type" = "atomic"))]
    pub compare: Option<Vec<String>>,
    /// The digests of content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(max = 32)), extend("x-kubernetes-list-type" = "atomic"))]
    pub hashes: Option<Vec<String>>,
    /// In bytes; the content of larger files is not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_content_size: Option<u64>,
    /// The severity of a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub severity: Option<String>,
}

impl FileSettings {
    /// Whether no setting is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What the agent of one node found, and the operator's conditions.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeConfigStatus {
    /// The generation of the spec that the agent has applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready and AgentAvailable are the operator's, all others the agent's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// The agent that wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub agent: Option<AgentInfo>,
    /// How many items are under watch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracked_items: Option<u64>,
    /// How many of them could not be read at the last look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_items: Option<u64>,
    /// The records of this journal by kind of change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub changes: Option<Changes>,
    /// When the last change was detected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_change_time: Option<Time>,
    /// The rules that the agent has applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub rules: Vec<RuleProgress>,
    /// The last compare of each collector; written with the refresh, or with a change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub collectors: Vec<CollectorProgress>,
    /// Where the journal stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub journal: Option<JournalHead>,
    /// The newest changes, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub recent_changes: Vec<RecentChange>,
}

/// The agent that wrote a status.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentInfo {
    /// The agent's version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub version: String,
    /// The boot id of the host's kernel.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub boot_id: String,
}

/// Change records by kind.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Changes {
    /// Records of items that appeared.
    pub added: u64,
    /// Records of items that differ from what they were.
    pub modified: u64,
    /// Records of items that are gone.
    pub removed: u64,
}

impl Changes {
    /// Whether there is no record at all.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// One rule as the agent has applied it.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleProgress {
    /// The rule's name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The rule's uid.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// The rule's generation that the agent has applied and made its baseline for.
    pub generation: i64,
    /// How many items the rule has under watch.
    pub tracked_items: u64,
    /// The records that name this rule, since it came to this journal.
    #[serde(default, skip_serializing_if = "Changes::is_zero")]
    pub changes: Changes,
    /// When the last change of this rule was detected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_change_time: Option<Time>,
}

/// The last compare of one collector.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectorProgress {
    /// The collector: Files.
    #[schemars(length(max = 32))]
    pub name: String,
    /// When its last compare ended, as of the last write of this status: a compare that finds nothing new writes none
    /// before the refresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_completed: Option<Time>,
    /// How long that compare took, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<f64>,
    /// How many items it looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
}

/// Where a journal stands.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct JournalHead {
    /// The journal's id: another id is another journal.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// The sequence of the last record; 0: none yet.
    pub sequence: u64,
    /// `sha256:` and the chain of the record at that sequence.
    #[schemars(length(max = 80))]
    pub head: String,
}

/// One of the newest changes: enough to see what happened; the record tells the rest.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecentChange {
    /// The record's sequence in the journal.
    pub sequence: u64,
    /// When the change was detected.
    pub time: Time,
    /// File, Daemon or Software.
    #[schemars(length(max = 32))]
    pub category: String,
    /// Added, Modified or Removed.
    #[schemars(length(max = 32))]
    pub change_type: String,
    /// Realtime, Scan, Startup, Rehash or Resumed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 32))]
    pub detection: String,
    /// The path, shortened in its middle where it is long.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub path: String,
    /// What differs, on Modified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 32)), extend("x-kubernetes-list-type" = "atomic"))]
    pub fields: Vec<String>,
    /// The highest severity among the entries that report it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 32))]
    pub severity: String,
}

fn is_false(value: &bool) -> bool {
    !value
}
