//! The items of pages in formats 1 and 2: read when one is met, never written.
//!
//! A page is written anew in today's format with the first change in it; till then it stays as it is. The types stand
//! as they were then.

use super::encoding::put_behind;
use crate::clock::Time;
use crate::digest::Digests;
use crate::item::{Attributes, ItemState};
use serde::Deserialize;
use vedette_crds::record::{ContentState, ItemType};

/// Of format 1.
#[derive(Deserialize)]
pub(super) struct TwoDigests {
    md5: Option<[u8; 16]>,
    sha256: Option<[u8; 32]>,
}

impl From<TwoDigests> for Digests {
    fn from(TwoDigests { md5, sha256 }: TwoDigests) -> Self {
        Self { md5, sha256, ..Self::default() }
    }
}

#[derive(Deserialize)]
struct OldNamed<'a, D> {
    shared: u16,
    rest: &'a [u8],
    state: OldState<D>,
}

#[derive(Deserialize)]
struct OldState<D> {
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
    digests: D,
    looked: Time,
    read: Option<Time>,
}

impl<D: Into<Digests>> From<OldState<D>> for ItemState {
    fn from(old: OldState<D>) -> Self {
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
            digests: old.digests.into(),
            looked: old.looked,
            read: old.read,
        }
    }
}

/// The state of the next item, whose digests are stored as a `D`; its name takes the place of that of the one before.
pub(super) fn take<'b, D>(bytes: &mut &'b [u8], name: &mut Vec<u8>) -> Option<ItemState>
where
    D: Deserialize<'b> + Into<Digests>,
{
    let (OldNamed { shared, rest, state }, after) = postcard::take_from_bytes::<OldNamed<'_, D>>(bytes).ok()?;
    *bytes = after;
    put_behind(name, shared.into(), rest)?;
    Some(state.into())
}
