//! An item as a record shows it: what applies to it, and nothing else.

use super::{BASE64, ByteText, Nanos};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of a file-system object.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// An extended attribute other than access lists and capabilities. Those of trusted.* are never shown.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Xattr {
    /// The name with its namespace, for example user.origin.
    pub name: ByteText,
    /// The exact bytes of name, base64. Absent where name is exact.
    #[serde(default, rename = "nameBytes", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("contentEncoding" = "base64", "pattern" = BASE64))]
    pub name_bytes: Option<String>,
    /// The value in base64; of one that is longer than 256 bytes, sha256: and the 64 lower-case hex digits of its SHA-256.
    #[schemars(extend("pattern" = "^([A-Za-z0-9+/]*={0,2}|sha256:[0-9a-f]{64})$"))]
    pub value: String,
}

/// What is mounted on an item.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MountInfo {
    /// The device or share.
    pub source: ByteText,
    /// The type of its file system, for example ext4.
    pub file_system: String,
    /// The directory of that file system that shows here.
    pub root: ByteText,
}

/// What an item was or is. A member is absent where it does not apply, or is not known.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// The kind of object.
    #[serde(rename = "type")]
    pub item_type: ItemType,
    /// The size in bytes. Of regular files only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The permission bits with setuid, setgid and sticky: four octal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[0-7]{4}$"))]
    pub mode: Option<String>,
    /// The owner's numeric id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The group's numeric id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// The owner's name in the host's own /etc/passwd. Absent where that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The group's name in the host's own /etc/group. Absent where that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// When the content was last modified (mtime), as the file system says it: RFC 3339, UTC, nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<Nanos>,
    /// When content or metadata last changed (ctime), as the file system says it: RFC 3339, UTC, nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Nanos>,
    /// When it was made (birth time), as the file system says it: RFC 3339, UTC, nanoseconds. Absent where that keeps none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Nanos>,
    /// The inode's number, of 64 bits: more than a reader that takes numbers for floats keeps exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// The device that the file system is on, major:minor. It may change when the machine boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = r"^\d+:\d+$"))]
    pub device: Option<String>,
    /// How many names the inode has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_count: Option<u32>,
    /// Where a symbolic link points, as it is written there. Control characters are escaped; what is not UTF-8 became U+FFFD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_target: Option<ByteText>,
    /// The exact bytes of linkTarget, base64. Absent where linkTarget is exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("contentEncoding" = "base64", "pattern" = BASE64))]
    pub link_target_bytes: Option<String>,
    /// The device that a device node stands for, major:minor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = r"^\d+:\d+$"))]
    pub device_number: Option<String>,
    /// The access list in short text form with numeric ids; one that is not as the kernel writes it: invalid: and its hex
    /// digits. Absent where the mode says all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<String>,
    /// The access list that new files in a directory get, in the same form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_acl: Option<String>,
    /// File capabilities in text form; such that are not as the kernel writes them: invalid: and their hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<String>,
    /// Other extended attributes, sorted by name. Absent where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<Xattr>,
    /// The attributes that are set, sorted. Absent where none is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
    /// What is mounted here. Where it was not looked at, nothing but type and mount is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<MountInfo>,
    /// What is known of the content; of what is no regular file, NotRegular. Absent of a regular file whose content no entry
    /// compares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<ContentState>,
    /// The MD5 of the content: 32 lower-case hex digits. Where content is Read and an
    /// entry asks for it, or did at the look before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[0-9a-f]{32}$"))]
    pub md5: Option<String>,
    /// The SHA-256 of the content: 64 lower-case hex digits. Where content is Read and an
    /// entry asks for it, or did at the look before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
    pub sha256: Option<String>,
    /// The SHA-512 of the content: 128 lower-case hex digits. Where content is Read and an
    /// entry asks for it, or did at the look before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[0-9a-f]{128}$"))]
    pub sha512: Option<String>,
    /// The BLAKE3 of the content: 64 lower-case hex digits. Where content is Read and an
    /// entry asks for it, or did at the look before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
    pub blake3: Option<String>,
}

impl Item {
    /// An item of which only the kind is known.
    pub fn unseen(item_type: ItemType) -> Self {
        Self {
            item_type,
            size: None,
            mode: None,
            uid: None,
            gid: None,
            owner: None,
            group: None,
            modified: None,
            changed: None,
            created: None,
            inode: None,
            device: None,
            link_count: None,
            link_target: None,
            link_target_bytes: None,
            device_number: None,
            acl: None,
            default_acl: None,
            capabilities: None,
            xattrs: Vec::new(),
            flags: Vec::new(),
            mount: None,
            content: None,
            md5: None,
            sha256: None,
            sha512: None,
            blake3: None,
        }
    }
}
