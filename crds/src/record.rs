//! Records and notices: the one JSON object a line that is the same in the journal, on standard output and everywhere else.
//!
//! It reads nothing and writes nothing: it holds the shapes (DESIGN 4), their rendering, and the chain that makes a copy
//! checkable against the head that was anchored. The journal stores the rendered bytes, so rendering happens once. Its
//! comments on members are the descriptions in the JSON Schemas that [`schema`] makes of the types.

mod bytes;
mod chain;
mod item;
pub mod schema;

pub use bytes::{ByteText, escape_controls, is_control};
pub use chain::{Chain, ChainError, ChainedLine, chain_of, render, unchain, visible_json, without_place};
pub use item::{ContentState, Flag, Item, ItemType, MountInfo, Xattr};

use crate::rule::Severity;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The `schema` member of a change record.
pub const CHANGE_SCHEMA: &str = "vedette.dev/change/v1";
const BASE64: &str = "^[A-Za-z0-9+/]*={0,2}$";
/// The `schema` member of a notice.
pub const NOTICE_SCHEMA: &str = "vedette.dev/notice/v1";

/// What of a node changed.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Category {
    /// A file, directory, link or other object of a file system.
    File,
    /// A unit of the service manager.
    Daemon,
    /// A package.
    Software,
}

/// How an item changed.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Detection {
    /// A kernel event.
    Realtime,
    /// A periodic compare.
    Scan,
    /// The first compare after a start: it changed while the agent was away.
    Startup,
    /// Content differs though no metadata does: the strongest sign of tampering.
    Rehash,
    /// It is watched again: its rule was suspended, or it had left watch, at most seven days ago.
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
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[schemars(
    with = "String",
    inline,
    extend("format" = "date-time", "pattern" = r"^(\d{4}|-\d{6})-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$")
)]
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
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The cluster's name: the operator's --cluster-name. Absent where there is no cluster, or it has no name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The node's name; without a cluster, --node or the host's own name.
    pub node: String,
    /// The uid of the Node object. Absent where there is no cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_uid: Option<String>,
    /// The journal's id, 32 lower-case hex digits, made with the state directory. With sequence it identifies a line,
    /// everywhere and for good.
    #[schemars(extend("pattern" = "^[0-9a-f]{32}$"))]
    pub journal: String,
    /// Counts lines, records and notices together: from 1, without gaps within a journal.
    #[schemars(range(min = 1))]
    pub sequence: u64,
}

/// One item that differs, found by one compare. Members stand in the order they are written.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// What this line is, and in which version.
    pub schema: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: Origin,
    /// When the change was detected, not when it was made: RFC 3339, UTC, nanoseconds.
    pub time: Nanos,
    /// The beginning of the latest look that found the item as before, or found no such name for Added, or of the latest
    /// complete compare that it was part of: the change was made between since and time. RFC 3339, UTC, nanoseconds. Absent
    /// where no such look is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Nanos>,
    /// What kind of item it is.
    pub category: Category,
    /// How it changed.
    pub change_type: ChangeType,
    /// What made the change visible.
    pub detection: Detection,
    /// The item's path on the host, of category File. Control characters are escaped; what is not UTF-8 became U+FFFD.
    pub path: ByteText,
    /// The exact bytes of path, base64. Absent where path is exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("contentEncoding" = "base64", "pattern" = BASE64))]
    pub path_bytes: Option<String>,
    /// Where the file is now, by its path on the host: the Added record of that path names this one. On Removed only, of a
    /// regular file that is gone here and there again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_to: Option<ByteText>,
    /// The exact bytes of movedTo, base64. Absent where movedTo is exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("contentEncoding" = "base64", "pattern" = BASE64))]
    pub moved_to_bytes: Option<String>,
    /// Where the file was before, by its path on the host: the Removed record of that path names this one. On Added only,
    /// of a regular file that is there again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<ByteText>,
    /// The exact bytes of movedFrom, base64. Absent where movedFrom is exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("contentEncoding" = "base64", "pattern" = BASE64))]
    pub moved_from_bytes: Option<String>,
    /// The values that differ between before and after and that a reporting entry compares, sorted. On Modified only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
    /// What the item was when it was last looked at. Absent on Added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Item>,
    /// What the item is. Absent on Removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Item>,
    /// The entries of rules that report the change, each rule/entry, sorted.
    #[schemars(length(min = 1), inner(regex(pattern = "^[^/]+/[^/]+$")))]
    pub rules: Vec<String>,
    /// The highest severity of these entries.
    pub severity: Severity,
    /// The tags of these entries' rules, sorted. Absent where they have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// Something that readers of the records must know of the journal itself.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// What this line is, and in which version.
    pub schema: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: Origin,
    /// When it happened: RFC 3339, UTC, nanoseconds.
    pub time: Nanos,
    /// What happened.
    #[serde(flatten)]
    pub kind: NoticeKind,
}

/// What a notice says, by its kind. More kinds may come within this version.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum NoticeKind {
    /// The agent began to watch.
    Started {
        /// When the state was last written before this start, which is not the moment at which the agent ended: RFC 3339, UTC,
        /// nanoseconds. Absent on a new journal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stopped_since: Option<Nanos>,
        /// The kernel's boot id, a UUID: another one means that the machine was booted anew.
        boot_id: String,
        /// The host's own /etc/machine-id. Absent where it has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        machine_id: Option<String>,
        /// The release of the running kernel, as uname -r gives it.
        kernel: String,
        /// The agent's version.
        agent_version: String,
    },
    /// The first complete compare under a changed configuration ended.
    ConfigurationApplied {
        /// The names of the rules in force.
        rules: Vec<String>,
        /// How many items came under watch: baselined, or compared with what they were when they left.
        items_added: u64,
        /// How many items left watch, without a record of each. They are kept as they were for seven days.
        items_forgotten: u64,
    },
    /// Lines left the journal that a sink had not delivered: with that sink they are lost.
    Gap {
        /// Why they left.
        reason: GapReason,
        /// The sequence of the first of them.
        from: u64,
        /// The sequence of the last of them.
        to: u64,
    },
    /// The first baseline of this journal is complete: from here on, what is new is Added.
    BaselineMade {
        /// How many items are tracked.
        items: u64,
    },
    /// The node's clock went back: times before and after this notice do not follow each other. All content is read again.
    ClockStepped {
        /// What it showed before, and would show now: RFC 3339, UTC, nanoseconds. After a restart, what it showed last.
        from: Nanos,
        /// What it shows: RFC 3339, UTC, nanoseconds.
        to: Nanos,
    },
    /// The state is not the one that this node was known by elsewhere. This journal, whose first line this is, takes the place
    /// of the one that was expected. The host is compared with the state that was found; where none was, it is baselined.
    BaselineReset {
        /// What is wrong with the state.
        reason: ResetReason,
        /// The id of the journal that was expected. Absent where nothing but that there was one was known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected_journal: Option<String>,
        /// A sequence that it had reached. Absent where only its id was known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected_sequence: Option<u64>,
        /// The chain at that sequence. Absent with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected_head: Option<String>,
        /// The id of the journal in the state that was found. Absent where none was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found_journal: Option<String>,
        /// The last sequence of that journal. Absent where none was found.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found_sequence: Option<u64>,
    },
}

/// What is wrong with a state that is not the expected one.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResetReason {
    /// There is none.
    StateMissing,
    /// It is of the expected journal, but older.
    StateRolledBack,
    /// It is of the expected journal, but another line stands at that sequence.
    StateDiverged,
    /// It is of another journal.
    StateReplaced,
}

/// Why lines are missing.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GapReason {
    /// The journal was at its size, and the oldest lines made room for new ones.
    JournalFull,
}
