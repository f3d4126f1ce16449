//! The items of pages in format 1: read when one is met, never written.
//!
//! A page is written anew in today's format with the first change in it; till then it stays as it is. The types stand
//! as they were then.

use crate::clock::Time;
use crate::digest::Digests;
use crate::item::{Attributes, ItemState};
use serde::Deserialize;
use vedette_crds::record::{ContentState, ItemType};

#[derive(Deserialize)]
struct OldDigests {
    md5: Option<[u8; 16]>,
    sha256: Option<[u8; 32]>,
}

#[derive(Deserialize)]
pub(super) struct OldState {
    kind: ItemType,
    mode: u16,
    uid: u32,
    gid: u32,
    size: u64,
    modified: Time,
    changed: Time,
    created: Option<Time>,
    inode: u64,
    device: (u32, u32),
    links: u32,
    device_number: Option<(u32, u32)>,
    target: Option<Vec<u8>>,
    flags: u8,
    attributes: Option<Attributes>,
    content: Option<ContentState>,
    digests: OldDigests,
    looked: Time,
    read: Option<Time>,
}

impl From<OldState> for ItemState {
    fn from(old: OldState) -> Self {
        let OldDigests { md5, sha256 } = old.digests;
        Self {
            kind: old.kind,
            mode: old.mode,
            uid: old.uid,
            gid: old.gid,
            size: old.size,
            modified: old.modified,
            changed: old.changed,
            created: old.created,
            inode: old.inode,
            device: old.device,
            links: old.links,
            device_number: old.device_number,
            target: old.target,
            flags: old.flags,
            attributes: old.attributes,
            content: old.content,
            digests: Digests { md5, sha256, ..Digests::default() },
            looked: old.looked,
            read: old.read,
        }
    }
}
