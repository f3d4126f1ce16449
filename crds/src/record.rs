//! Records and notices: the one JSON object a line that is the same in the journal, on standard output and everywhere else.
//!
//! It reads nothing and writes nothing: it holds the shapes (DESIGN 4), their rendering, and the chain that makes a copy
//! checkable against the head that was anchored. The journal stores the rendered bytes, so rendering happens once.

mod bytes;
mod chain;
mod item;

pub use bytes::{ByteText, escape_controls};
pub use chain::{Chain, ChainError, ChainedLine, render, unchain};
pub use item::{ContentState, Flag, Item, ItemType, MountInfo, Xattr};

use crate::rule::Severity;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The `schema` member of a change record.
pub const CHANGE_SCHEMA: &str = "vedette.dev/change/v1";
/// The `schema` member of a notice.
pub const NOTICE_SCHEMA: &str = "vedette.dev/notice/v1";

/// What of a node changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Category {
    /// A file, directory, link or other object of a file system.
    File,
    /// A unit of the service manager.
    Daemon,
    /// A package.
    Software,
}

/// How an item changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ChangeType {
    /// It was not there under the plan that last looked for it.
    Added,
    /// A compared value differs.
    Modified,
    /// It is gone: seen twice to be absent.
    Removed,
}

impl ChangeType {
    /// All of them, in the order that statuses and metrics use.
    pub const ALL: [Self; 3] = [Self::Added, Self::Modified, Self::Removed];

    /// The word that records, statuses and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "Added",
            Self::Modified => "Modified",
            Self::Removed => "Removed",
        }
    }
}

/// What made the difference visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Detection {
    /// A kernel event.
    Realtime,
    /// A periodic compare.
    Scan,
    /// The first compare after a start: it changed while the agent was away.
    Startup,
    /// Content differs though no metadata does: the strongest sign of tampering.
    Rehash,
    /// The first compare after a suspension ended.
    Resumed,
}

impl Detection {
    /// All of them, in the order that metrics use.
    pub const ALL: [Self; 5] = [Self::Realtime, Self::Scan, Self::Startup, Self::Rehash, Self::Resumed];

    /// The word that records and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Realtime => "Realtime",
            Self::Scan => "Scan",
            Self::Startup => "Startup",
            Self::Rehash => "Rehash",
            Self::Resumed => "Resumed",
        }
    }
}

/// A value that differs between `before` and `after` of a Modified record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Field {
    /// The access list, or a directory's default access list.
    Acl,
    /// File capabilities.
    Capabilities,
    /// A digest of the content, or whether there is content at all.
    Content,
    /// The content could be read before and cannot be now.
    ContentState,
    /// The birth time.
    Created,
    /// The number of a device node.
    DeviceNumber,
    /// An attribute such as Immutable.
    Flags,
    /// The numeric group.
    Group,
    /// The inode's number.
    Inode,
    /// How many names the inode has.
    LinkCount,
    /// Where a symbolic link points.
    LinkTarget,
    /// The permission bits.
    Mode,
    /// mtime.
    ModifiedTime,
    /// What is mounted on it.
    Mount,
    /// The numeric owner.
    Owner,
    /// The size of a regular file.
    Size,
    /// The kind of object.
    Type,
    /// Extended attributes other than access lists and capabilities.
    Xattrs,
}

impl Field {
    /// All fields, sorted by name.
    pub const ALL: [Self; 18] = [
        Self::Acl,
        Self::Capabilities,
        Self::Content,
        Self::ContentState,
        Self::Created,
        Self::DeviceNumber,
        Self::Flags,
        Self::Group,
        Self::Inode,
        Self::LinkCount,
        Self::LinkTarget,
        Self::Mode,
        Self::ModifiedTime,
        Self::Mount,
        Self::Owner,
        Self::Size,
        Self::Type,
        Self::Xattrs,
    ];
}

/// An instant in UTC with nanoseconds, always written with nine digits: `2026-11-24T04:00:00.100000000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub Timestamp);

impl std::fmt::Display for Nanos {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.9}", self.0)
    }
}

impl Serialize for Nanos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nanos {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Timestamp::deserialize(deserializer).map(Self)
    }
}

/// Where a line comes from: the same members in records and notices. Standalone, `cluster` and `node_uid` are absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The operator's `--cluster-name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The node's name.
    pub node: String,
    /// The uid of the Node object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_uid: Option<String>,
    /// The journal's id; with `sequence` the identity of a line.
    pub journal: String,
    /// Counts from 1 without gaps within a journal.
    pub sequence: u64,
}

/// One item that differs, found by one compare. Members stand in the order they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// [`CHANGE_SCHEMA`].
    pub schema: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: Origin,
    /// When it was detected.
    pub time: Nanos,
    /// The beginning of the latest look that found it as `before` (for Added: that found the name absent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Nanos>,
    /// What kind of item it is.
    pub category: Category,
    /// How it changed.
    pub change_type: ChangeType,
    /// What made the change visible.
    pub detection: Detection,
    /// The host's own path.
    pub path: ByteText,
    /// The exact bytes, base64, where `path` is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
    /// On Modified, what differs; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
    /// What it was; absent on Added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Item>,
    /// What it is; absent on Removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Item>,
    /// The entries that report it, `rule/entry`, sorted.
    pub rules: Vec<String>,
    /// The highest severity of those entries.
    pub severity: Severity,
    /// All tags of those entries' rules, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// Something that readers of the records must know of the journal itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// [`NOTICE_SCHEMA`].
    pub schema: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: Origin,
    /// When it happened.
    pub time: Nanos,
    /// What happened.
    #[serde(flatten)]
    pub kind: NoticeKind,
}

/// What a notice says, by its `kind` member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum NoticeKind {
    /// The agent began to watch.
    Started {
        /// When it was last known to run; absent on a new journal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stopped_since: Option<Nanos>,
        /// The kernel's boot id.
        boot_id: String,
        /// The host's own machine id; absent where the host has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        machine_id: Option<String>,
        /// The kernel's release.
        kernel: String,
        /// The agent's version.
        agent_version: String,
    },
    /// The first complete compare under a changed configuration ended.
    ConfigurationApplied {
        /// The names of the rules in force.
        rules: Vec<String>,
        /// Items that came under watch and were baselined.
        items_added: u64,
        /// Items that left watch.
        items_forgotten: u64,
    },
    /// The first baseline of this journal is complete.
    BaselineMade {
        /// How many items are tracked.
        items: u64,
    },
}
