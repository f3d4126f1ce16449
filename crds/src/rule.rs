//! The `DataCollectionRule` resource as its author writes it: what to watch, on which nodes, how closely; and the
//! operator's status on it.
//!
//! The types say what the API server knows of a rule: types, enums, lengths, defaults and the sentences that
//! refuse what cannot be meant. Lists with a default are atomic: merged ones could never be narrowed by an apply.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use crate::condition::{Condition, conditions_schema};
use crate::node_config::Changes;
use crate::selector::NodeSelector;
use crate::sentences;
use crate::size::Size;

/// What to watch, and on which nodes.
#[derive(CustomResource, JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[kube(
    group = "vedette.dev",
    version = "v1alpha1",
    kind = "DataCollectionRule",
    plural = "datacollectionrules",
    shortname = "dcr",
    category = "vedette",
    status = "DataCollectionRuleStatus",
    doc = "What to watch on the nodes it selects: every change there is reported with what it was before and what it is now.",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name":"Programmed","type":"string","jsonPath":".status.conditions[?(@.type==\"Programmed\")].status"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Nodes","type":"integer","jsonPath":".status.nodes.selected"}"#,
    printcolumn = r#"{"name":"Added","type":"integer","jsonPath":".status.changes.added"}"#,
    printcolumn = r#"{"name":"Modified","type":"integer","jsonPath":".status.changes.modified"}"#,
    printcolumn = r#"{"name":"Removed","type":"integer","jsonPath":".status.changes.removed"}"#,
    printcolumn = r#"{"name":"Last-Change","type":"date","jsonPath":".status.lastChangeTime"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = sentences::SPEC))]
pub struct DataCollectionRuleSpec {
    /// Keep the rule and its state, collect nothing.
    #[serde(default)]
    pub suspend: bool,
    /// The nodes to watch; absent: every Linux node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic", "x-kubernetes-validations" = sentences::NODE_SELECTOR))]
    pub node_selector: Option<NodeSelector>,
    /// Copied onto every change record of this rule, for example the control that asks for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub tags: Vec<String>,
    /// Files and directories. A section that is present is on; a rule has at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = sentences::FILES))]
    pub files: Option<Files>,
    /// Not collected by this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daemons: Option<Inventory>,
    /// Not collected by this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software: Option<Inventory>,
}

/// The section on files and directories.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Files {
    /// Compare everything by metadata this often: 10s to 24h.
    #[serde(default = "default_interval")]
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = sentences::INTERVAL))]
    pub interval: String,
    /// Read all content again within this time, spread evenly: 1h to 720h, not shorter than interval.
    #[serde(default = "default_rehash_interval")]
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = sentences::REHASH_INTERVAL))]
    pub rehash_interval: String,
    /// Use kernel events between compares, where the agent has them.
    #[serde(default = "yes")]
    pub realtime: bool,
    /// What to watch, entry by entry.
    #[schemars(
        length(min = 1, max = 256),
        extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = ["name"],
            "x-kubernetes-validations" = sentences::PATHS
        )
    )]
    pub paths: Vec<PathEntry>,
}

/// One entry: the objects that a path names, what lies under them, and how they are watched.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = sentences::ENTRY))]
pub struct PathEntry {
    /// A name that is unique within the rule; records are reported under it.
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = sentences::ENTRY_NAME))]
    pub name: String,
    /// An absolute path. `*`, `?`, `[ab]`, `[!a]` and `{a,b}` match within a segment, `**` any number of segments.
    /// What lies under a selected directory is selected too.
    #[schemars(length(min = 1, max = 1024), extend("x-kubernetes-validations" = sentences::PATH))]
    pub path: String,
    /// false: the definition stays, nothing is tracked.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// false: maxDepth 1.
    #[serde(default = "yes")]
    pub recurse: bool,
    /// How many levels under a selected directory are selected; absent: all; 0: the object alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1024))]
    pub max_depth: Option<u32>,
    /// What is left out: names at any depth, for example *.swp, or absolute paths, with all that lies under them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "atomic"))]
    #[schemars(transform = exclude_sentences)]
    pub exclude: Vec<String>,
    /// What becomes of symbolic links that are met on the way.
    #[serde(default)]
    pub links: Links,
    /// Which file systems are entered.
    #[serde(default)]
    pub mounts: Mounts,
    /// Which differences are changes.
    #[serde(default = "default_compare")]
    #[schemars(length(min = 1, max = 12), extend("x-kubernetes-list-type" = "atomic"))]
    pub compare: Vec<Compare>,
    /// The digests of content.
    #[serde(default = "default_hashes")]
    #[schemars(
        length(min = 1, max = 4),
        extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = sentences::HASHES)
    )]
    pub hashes: Vec<Hash>,
    /// The content of larger files is not read, which the item says.
    #[serde(default = "default_max_content_size")]
    #[schemars(extend("x-kubernetes-validations" = sentences::MAX_CONTENT_SIZE))]
    pub max_content_size: Size,
    /// The severity of a change.
    #[serde(default)]
    pub severity: Severity,
}

/// What becomes of a symbolic link.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum Links {
    /// The link and its target are an item.
    #[default]
    Record,
    /// The link is an item, and what it leads to is one under its real path, with what lies below.
    Follow,
    /// Links are no items.
    Ignore,
}

/// Which file systems are entered.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum Mounts {
    /// All local ones.
    #[default]
    Local,
    /// The one that the entry's own root lies on.
    Same,
    /// Every one but those that the kernel makes up, such as proc. One that does not answer is left alone and named as unknown.
    All,
}

/// What of a file is compared, in the order in which lists of them are written.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum Compare {
    /// Content, size, and whether content could be read.
    Content,
    /// The type, and the number of a device.
    Type,
    /// The permission bits.
    Mode,
    /// Owner and group.
    Owner,
    /// POSIX access control lists.
    Acl,
    /// Extended attributes, capabilities among them.
    Xattrs,
    /// Attributes such as Immutable.
    Flags,
    /// Where a symbolic link leads.
    LinkTarget,
    /// The time of the last modification.
    ModifiedTime,
    /// The inode's number.
    Inode,
    /// The number of hard links.
    LinkCount,
    /// The time of birth.
    Created,
}

/// A digest of content, in the order in which lists of them are written.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum Hash {
    /// MD5, as other tools report it.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512. Not in this version.
    Sha512,
    /// BLAKE3. Not in this version.
    Blake3,
}

/// How much a change matters.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum Severity {
    /// For the record.
    Info,
    /// To be looked at some day.
    Low,
    /// To be looked at.
    #[default]
    Medium,
    /// To be looked at soon.
    High,
    /// To be looked at now.
    Critical,
}

/// A section on things with names. No version collects them yet.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Inventory {
    /// Compare this often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub interval: Option<String>,
    /// The names to watch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 256)), extend("x-kubernetes-list-type" = "atomic"))]
    pub include: Vec<String>,
    /// The names that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 256)), extend("x-kubernetes-list-type" = "atomic"))]
    pub exclude: Vec<String>,
}

/// What became of a rule.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DataCollectionRuleStatus {
    /// The generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Programmed, Ready and AllNodesCovered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// The nodes that the rule selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,
    /// How many items the rule has under watch on all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracked_items: Option<u64>,
    /// The change records that name this rule, on all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// When the last of them was detected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_change_time: Option<Time>,
}

/// The nodes that a rule selects: ready, degraded and unavailable ones are all of them.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct NodeCounts {
    /// Nodes that match.
    pub selected: u32,
    /// Nodes whose NodeConfig carries the rule's generation.
    pub programmed: u32,
    /// Nodes whose agent is available, has applied this generation and made its baseline.
    pub ready: u32,
    /// Nodes whose agent is available, but not ready for this rule.
    pub degraded: u32,
    /// Nodes without an available agent.
    pub unavailable: u32,
}

fn exclude_sentences(list: &mut Schema) {
    if let Some(items) = list.get_mut("items").and_then(|items| items.as_object_mut()) {
        items.insert("x-kubernetes-validations".into(), serde_json::json!(sentences::EXCLUDE));
    }
}

fn yes() -> bool {
    true
}

fn default_interval() -> String {
    "15m".into()
}

fn default_rehash_interval() -> String {
    "24h".into()
}

fn default_compare() -> Vec<Compare> {
    use Compare::{Acl, Content, Flags, LinkTarget, Mode, Owner, Type, Xattrs};
    vec![Content, Type, Mode, Owner, Acl, Xattrs, Flags, LinkTarget]
}

fn default_hashes() -> Vec<Hash> {
    vec![Hash::Md5, Hash::Sha256]
}

fn default_max_content_size() -> Size {
    Size::Text("4Gi".into())
}
