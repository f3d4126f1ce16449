//! An item as a record shows it: what applies to it, and nothing else.

use super::{ByteText, Nanos};
use serde::{Deserialize, Serialize};

/// The kind of a file-system object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ItemType {
    /// A file with content.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device node.
    CharDevice,
    /// A block device node.
    BlockDevice,
}

/// What is known of an item's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ContentState {
    /// Read to its end; the digests are of it.
    Read,
    /// Over the limit of the entries that cover it: not read.
    TooLarge,
    /// It changed during every try.
    Unstable,
    /// It could not be opened or read.
    Unreadable,
    /// Not a regular file.
    NotRegular,
    /// In the baseline, but not yet read.
    Pending,
}

/// An attribute that statx reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Flag {
    /// Only appending is allowed.
    Append,
    /// The file system compresses it.
    Compressed,
    /// The file system encrypts it.
    Encrypted,
    /// It cannot be changed, not even by root, until the flag is cleared.
    Immutable,
    /// Backups by dump pass over it.
    NoDump,
    /// The kernel verifies its content against a signed hash.
    Verity,
}

/// An extended attribute; the value is base64, or `sha256:…` where it is longer than 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Xattr {
    /// With its namespace, for example `user.origin`.
    pub name: ByteText,
    /// Base64, or `sha256:` and 64 hex digits.
    pub value: String,
}

/// What is mounted on an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MountInfo {
    /// The device or share.
    pub source: ByteText,
    /// The type of its file system.
    pub file_system: String,
    /// The part of that file system that shows here.
    pub root: ByteText,
}

/// `before` or `after` of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// The kind of object.
    #[serde(rename = "type")]
    pub item_type: ItemType,
    /// In bytes; of regular files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Four octal digits.
    pub mode: String,
    /// The numeric owner.
    pub uid: u32,
    /// The numeric group.
    pub gid: u32,
    /// The owner's name in the host's own passwd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The group's name in the host's own group file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// mtime.
    pub modified: Nanos,
    /// ctime.
    pub changed: Nanos,
    /// Birth time, where the file system keeps one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Nanos>,
    /// The inode's number.
    pub inode: u64,
    /// `major:minor` of the file system's device.
    pub device: String,
    /// How many names the inode has.
    pub link_count: u32,
    /// Where a symbolic link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_target: Option<ByteText>,
    /// The exact bytes of the target, base64, where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_target_bytes: Option<String>,
    /// `major:minor` of a device node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_number: Option<String>,
    /// The access list in short text form with numeric ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<String>,
    /// A directory's default access list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_acl: Option<String>,
    /// File capabilities, for example `cap_net_raw=ep`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<String>,
    /// Other extended attributes, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<Xattr>,
    /// Attributes that are set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
    /// What is mounted here, if something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<MountInfo>,
    /// Whether its content was read; absent where no entry asks for content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<ContentState>,
    /// 32 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}
