//! The items of a page in today's format.
//!
//! What most items of a directory share is written once: each is told by its difference from the one before. First come
//! bits that say its kind and which of the other values follow; then its name, without what it shares with the one
//! before; then the values, and the digests as they are.

use super::Named;
use super::bytes::{instant, put, put_instant, put_step, take, take_bytes, take_instant, take_short, take_step, time};
use crate::digest::Digests;
use crate::item::{Attributes, ItemState};
use vedette_crds::record::{ContentState, ItemType};

/// What stands in the lowest bits changes most from one item to the next.
mod shape {
    /// `modified`: as changed, as the one before, in whole seconds, any.
    pub(super) const MODIFIED: u32 = 0;
    /// `created`: none, as changed, as modified, any.
    pub(super) const CREATED: u32 = 2;
    pub(super) const HAS_LINKS: u32 = 4;
    pub(super) const HAS_OWNER: u32 = 5;
    pub(super) const HAS_DEVICE: u32 = 6;
    pub(super) const KIND: u32 = 7;
    pub(super) const CONTENT: u32 = 10;
    pub(super) const HAS_TARGET: u32 = 13;
    pub(super) const DIGESTS: u32 = 14;
    /// `read`: none, as looked, any.
    pub(super) const READ: u32 = 18;
    /// `attributes`: none, empty, any.
    pub(super) const ATTRIBUTES: u32 = 20;
    pub(super) const HAS_DEVICE_NUMBER: u32 = 22;
    pub(super) const MODE: u32 = 23;
    pub(super) const FLAGS: u32 = 39;
    pub(super) const END: u32 = 47;
}

const KINDS: [ItemType; 7] = [
    ItemType::Regular,
    ItemType::Directory,
    ItemType::Symlink,
    ItemType::Fifo,
    ItemType::Socket,
    ItemType::CharDevice,
    ItemType::BlockDevice,
];
const CONTENTS: [Option<ContentState>; 7] = [
    None,
    Some(ContentState::Read),
    Some(ContentState::TooLarge),
    Some(ContentState::Unstable),
    Some(ContentState::Unreadable),
    Some(ContentState::NotRegular),
    Some(ContentState::Pending),
];

fn kind_bits(kind: ItemType) -> u64 {
    match kind {
        ItemType::Regular => 0,
        ItemType::Directory => 1,
        ItemType::Symlink => 2,
        ItemType::Fifo => 3,
        ItemType::Socket => 4,
        ItemType::CharDevice => 5,
        ItemType::BlockDevice => 6,
    }
}

fn content_bits(content: Option<ContentState>) -> u64 {
    match content {
        None => 0,
        Some(ContentState::Read) => 1,
        Some(ContentState::TooLarge) => 2,
        Some(ContentState::Unstable) => 3,
        Some(ContentState::Unreadable) => 4,
        Some(ContentState::NotRegular) => 5,
        Some(ContentState::Pending) => 6,
    }
}

/// What the next item is told by.
#[derive(Clone, Copy, Default)]
pub(super) struct Before {
    shape: u64,
    changed: i128,
    modified: i128,
    looked: i128,
    inode: u64,
    owner: (u32, u32),
    device: (u32, u32),
}

impl Before {
    /// Appends an item, which becomes the one before; `previous` is the name of that.
    pub(super) fn put(&mut self, bytes: &mut Vec<u8>, previous: &[u8], item: &Named) {
        let Named { name, state } = item;
        let [changed, modified, looked] = [state.changed, state.modified, state.looked].map(instant);
        let (owner, device) = ((state.uid, state.gid), state.device);
        let modified_bits = match modified {
            same if same == changed => 0,
            same if same == self.modified => 1,
            _ if state.modified.nanos == 0 => 2,
            _ => 3,
        };
        let created = state.created.map(instant);
        let created_bits = match created {
            None => 0,
            Some(same) if same == changed => 1,
            Some(same) if same == modified => 2,
            Some(_) => 3,
        };
        let read = state.read.map(instant);
        let read_bits = match read {
            None => 0,
            Some(same) if same == looked => 1,
            Some(_) => 2,
        };
        let attributes = state.attributes.as_ref().filter(|attributes| **attributes != Attributes::default());
        let attributes_bits = u64::from(state.attributes.is_some()) + u64::from(attributes.is_some());
        let digests = digest_bytes(&state.digests);
        let digest_bits = digests.iter().enumerate().map(|(at, digest)| u64::from(digest.is_some()) << at).sum::<u64>();
        let shape = modified_bits << shape::MODIFIED
            | created_bits << shape::CREATED
            | u64::from(state.links != 1) << shape::HAS_LINKS
            | u64::from(owner != self.owner) << shape::HAS_OWNER
            | u64::from(device != self.device) << shape::HAS_DEVICE
            | kind_bits(state.kind) << shape::KIND
            | content_bits(state.content) << shape::CONTENT
            | u64::from(state.target.is_some()) << shape::HAS_TARGET
            | digest_bits << shape::DIGESTS
            | read_bits << shape::READ
            | attributes_bits << shape::ATTRIBUTES
            | u64::from(state.device_number.is_some()) << shape::HAS_DEVICE_NUMBER
            | u64::from(state.mode) << shape::MODE
            | u64::from(state.flags) << shape::FLAGS;
        put(bytes, shape ^ self.shape);
        let shared = name.iter().zip(previous).take_while(|(a, b)| a == b).count();
        put(bytes, shared as u64);
        put_text(bytes, &name[shared..]);
        put(bytes, state.size);
        put_instant(bytes, self.changed, changed);
        match modified_bits {
            2 => put_instant(bytes, self.modified >> 32, modified >> 32),
            3 => put_instant(bytes, self.modified, modified),
            _ => {}
        }
        if let Some(created) = created.filter(|_| created_bits == 3) {
            put_instant(bytes, changed, created);
        }
        put_instant(bytes, self.looked, looked);
        if let Some(read) = read.filter(|_| read_bits == 2) {
            put_instant(bytes, looked, read);
        }
        put_step(bytes, self.inode, state.inode);
        if state.links != 1 {
            put(bytes, state.links.into());
        }
        let owner_of = (owner != self.owner).then_some(owner);
        let device_of = (device != self.device).then_some(device);
        for (one, other) in [owner_of, device_of, state.device_number].into_iter().flatten() {
            put(bytes, one.into());
            put(bytes, other.into());
        }
        if let Some(target) = &state.target {
            put_text(bytes, target);
        }
        if let Some(attributes) = attributes {
            super::append(bytes, attributes);
        }
        digests.into_iter().flatten().for_each(|digest| bytes.extend_from_slice(digest));
        *self = Self { shape, changed, modified, looked, inode: state.inode, owner, device };
    }

    /// The state of the next item, which becomes the one before, its name in the place of that one's; `None` where the bytes
    /// are none.
    pub(super) fn take(&mut self, bytes: &mut &[u8], name: &mut Vec<u8>) -> Option<ItemState> {
        let shape = take(bytes)? ^ self.shape;
        if shape >> shape::END != 0 {
            return None;
        }
        let bits = |at: u32, count: u32| (shape >> at & ((1 << count) - 1)) as usize;
        let has = |at: u32| bits(at, 1) == 1;
        put_behind(name, take(bytes)?, take_text(bytes)?)?;
        let size = take(bytes)?;
        let changed = take_instant(bytes, self.changed)?;
        let modified = match bits(shape::MODIFIED, 2) {
            0 => changed,
            1 => self.modified,
            2 => i128::from(i64::try_from(take_instant(bytes, self.modified >> 32)?).ok()?) << 32,
            _ => take_instant(bytes, self.modified)?,
        };
        let created = match bits(shape::CREATED, 2) {
            0 => None,
            1 => Some(changed),
            2 => Some(modified),
            _ => Some(take_instant(bytes, changed)?),
        };
        let looked = take_instant(bytes, self.looked)?;
        let read = match bits(shape::READ, 2) {
            0 => None,
            1 => Some(looked),
            2 => Some(take_instant(bytes, looked)?),
            _ => return None,
        };
        let inode = take_step(bytes, self.inode)?;
        let links = if has(shape::HAS_LINKS) { take_short(bytes)? } else { 1 };
        let owner = if has(shape::HAS_OWNER) { take_pair(bytes)? } else { self.owner };
        let device = if has(shape::HAS_DEVICE) { take_pair(bytes)? } else { self.device };
        let device_number = if has(shape::HAS_DEVICE_NUMBER) { Some(take_pair(bytes)?) } else { None };
        let target = if has(shape::HAS_TARGET) { Some(take_text(bytes)?.to_vec()) } else { None };
        let attributes = match bits(shape::ATTRIBUTES, 2) {
            0 => None,
            1 => Some(Attributes::default()),
            2 => {
                let (attributes, rest) = postcard::take_from_bytes(bytes).ok()?;
                *bytes = rest;
                Some(attributes)
            }
            _ => return None,
        };
        let digests = take_digests(bytes, bits(shape::DIGESTS, 4))?;
        let (uid, gid) = owner;
        *self = Self { shape, changed, modified, looked, inode, owner, device };
        Some(ItemState {
            kind: *KINDS.get(bits(shape::KIND, 3))?,
            mode: bits(shape::MODE, 16) as u16,
            uid,
            gid,
            size,
            modified: time(modified)?,
            changed: time(changed)?,
            created: present(created.map(time))?,
            inode,
            device,
            links,
            device_number,
            target,
            flags: bits(shape::FLAGS, 8) as u8,
            attributes,
            content: *CONTENTS.get(bits(shape::CONTENT, 3))?,
            digests,
            looked: time(looked)?,
            read: present(read.map(time))?,
        })
    }
}

/// Makes of a name the one that shares so many bytes with it and goes on with these.
pub(super) fn put_behind(name: &mut Vec<u8>, shared: u64, rest: &[u8]) -> Option<()> {
    let shared = usize::try_from(shared).ok().filter(|shared| *shared <= name.len())?;
    name.truncate(shared);
    name.extend_from_slice(rest);
    Some(())
}

/// What is there has to be a time.
fn present<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    value.map_or(Some(None), |value| value.map(Some))
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    put(bytes, text.len() as u64);
    bytes.extend_from_slice(text);
}

fn take_text<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = take(bytes)?;
    take_bytes(bytes, length)
}

fn take_pair(bytes: &mut &[u8]) -> Option<(u32, u32)> {
    Some((take_short(bytes)?, take_short(bytes)?))
}

fn digest_bytes(digests: &Digests) -> [Option<&[u8]>; 4] {
    let Digests { md5, sha256, sha512, blake3 } = digests;
    let (md5, sha256) = (md5.as_ref().map(<[u8; 16]>::as_slice), sha256.as_ref().map(<[u8; 32]>::as_slice));
    [md5, sha256, sha512.as_ref().map(<[u8; 64]>::as_slice), blake3.as_ref().map(<[u8; 32]>::as_slice)]
}

fn take_digests(bytes: &mut &[u8], bits: usize) -> Option<Digests> {
    let has = |at: usize| bits >> at & 1 == 1;
    let mut digests = Digests::default();
    if has(0) {
        digests.md5 = Some(take_array(bytes)?);
    }
    if has(1) {
        digests.sha256 = Some(take_array(bytes)?);
    }
    if has(2) {
        digests.sha512 = Some(take_array(bytes)?);
    }
    if has(3) {
        digests.blake3 = Some(take_array(bytes)?);
    }
    Some(digests)
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*array)
}
