//! A page: up to 64 items of one directory in one checked block of bytes, and its key.
//!
//! Pure. A page is `checksum (8) | format (1) | body`; the checksum is verified at every read, because the database
//! below returns a flipped byte without an error. Key: volume, each component of the directory followed by 00, then 00
//! and the first name that the page had, so that a directory's own pages come first and its subtree is one key range.

mod version1;

use self::version1::OldState;
use crate::item::ItemState;
use crate::path::HostPath;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// What this version writes.
const FORMAT: u8 = 2;
/// What it reads beside that.
const OLD_FORMAT: u8 = 1;
/// A page holds at most this many items,
pub(crate) const MAX_ITEMS: usize = 64;
/// and its names, targets and attributes about this many bytes.
pub(crate) const MAX_BYTES: usize = 8 * 1024;

/// Which file system an item lies on; an index into the `volumes` table.
pub(crate) type Volume = u32;
/// Which resolved plan; an index into the `plans` table, growing with time.
pub(crate) type PlanId = u32;

/// The plan of a directory that no compare has seen yet.
pub(crate) const NEVER: PlanId = 0;

/// An item with its name in the directory of its page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: Vec<u8>,
    pub(crate) state: ItemState,
}

/// The decoded page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// The plan that it was last written under, or [`NEVER`].
    pub(crate) plan: PlanId,
    /// Sorted by name; none in the one page of a directory that was never seen.
    pub(crate) items: Vec<Named>,
}

/// Why bytes are no page.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PageError {
    /// Not what was written.
    #[error("its checksum does not match")]
    Checksum,
    /// Written by another version.
    #[error("its format is {0}, this version reads {FORMAT}")]
    Format(u8),
    /// The checksum holds but the content makes no sense.
    #[error("its content is malformed")]
    Malformed,
}

#[derive(Serialize, Deserialize)]
struct Encoded<'a, S> {
    shared: u16,
    rest: &'a [u8],
    state: S,
}

impl Page {
    /// The bytes to store.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; 8];
        bytes.push(FORMAT);
        append(&mut bytes, &self.plan);
        append(&mut bytes, &u32::try_from(self.items.len()).unwrap_or(u32::MAX));
        let mut previous: &[u8] = &[];
        for item in &self.items {
            let shared = item.name.iter().zip(previous).take_while(|(a, b)| a == b).count().min(usize::from(u16::MAX));
            append(&mut bytes, &Encoded { shared: shared as u16, rest: &item.name[shared..], state: &item.state });
            previous = &item.name;
        }
        let checksum = xxh3_64(&bytes[8..]);
        bytes[..8].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The page in stored bytes.
    ///
    /// # Errors
    /// When they are not what was written, or were written by a version that this one does not know.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, PageError> {
        let (checksum, body) = bytes.split_first_chunk::<8>().ok_or(PageError::Checksum)?;
        if u64::from_le_bytes(*checksum) != xxh3_64(body) {
            return Err(PageError::Checksum);
        }
        let (format, rest) = body.split_first().ok_or(PageError::Malformed)?;
        let item = match *format {
            FORMAT => take_item::<ItemState>,
            OLD_FORMAT => take_item::<OldState>,
            other => return Err(PageError::Format(other)),
        };
        let (plan, rest) = postcard::take_from_bytes(rest).map_err(|_| PageError::Malformed)?;
        let (count, mut rest): (u32, _) = postcard::take_from_bytes(rest).map_err(|_| PageError::Malformed)?;
        let mut items: Vec<Named> = Vec::with_capacity(MAX_ITEMS.min(count as usize));
        for _ in 0..count {
            let previous = items.last().map_or(&[][..], |item| &item.name);
            let (named, after) = item(rest, previous).ok_or(PageError::Malformed)?;
            rest = after;
            items.push(named);
        }
        if rest.is_empty() { Ok(Self { plan, items }) } else { Err(PageError::Malformed) }
    }
}

/// The next item, whose state is stored as an `S`, and the bytes after it.
fn take_item<'b, S: Deserialize<'b> + Into<ItemState>>(bytes: &'b [u8], previous: &[u8]) -> Option<(Named, &'b [u8])> {
    let (encoded, after) = postcard::take_from_bytes::<Encoded<'_, S>>(bytes).ok()?;
    let mut name = previous.get(..usize::from(encoded.shared))?.to_vec();
    name.extend_from_slice(encoded.rest);
    Some((Named { name, state: encoded.state.into() }, after))
}

/// The items of both, sorted; of two under one name the one that was looked at later.
pub(crate) fn merge(mut items: Vec<Named>, others: Vec<Named>) -> Vec<Named> {
    for other in others {
        match items.binary_search_by(|item| item.name.cmp(&other.name)) {
            Ok(at) if items[at].state.looked < other.state.looked => items[at] = other,
            Ok(_) => {}
            Err(at) => items.insert(at, other),
        }
    }
    items
}

/// The state of a name in a directory's pages.
pub(crate) fn find<'p>(pages: &'p [Page], name: &[u8]) -> Option<&'p ItemState> {
    let may_hold = |page: &&Page| page.items.last().is_some_and(|last| last.name.as_slice() >= name);
    let items = &pages.iter().find(may_hold)?.items;
    let at = items.binary_search_by(|item| item.name.as_slice().cmp(name)).ok()?;
    Some(&items[at].state)
}

/// Cuts a directory's sorted items into pages.
pub(crate) fn paginate(items: Vec<Named>) -> Vec<Vec<Named>> {
    let mut pages: Vec<Vec<Named>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let weight = weight(&item);
        match pages.last_mut() {
            Some(page) if page.len() < MAX_ITEMS && bytes + weight <= MAX_BYTES => {
                bytes += weight;
                page.push(item);
            }
            _ => {
                bytes = weight;
                pages.push(vec![item]);
            }
        }
    }
    pages
}

fn weight(item: &Named) -> usize {
    let attributes = item.state.attributes.as_ref().map_or(0, |attributes| {
        let texts =
            [&attributes.acl, &attributes.default_acl, &attributes.capabilities].into_iter().flatten().map(String::len);
        texts.sum::<usize>() + attributes.others.iter().map(|attribute| attribute.name.len() + 256).sum::<usize>()
    });
    71 + item.state.digests.stored_len() + item.name.len() + item.state.target.as_ref().map_or(0, Vec::len) + attributes
}

/// The part of a key that all pages of a directory and of its subtree share.
pub(crate) fn subtree_prefix(volume: Volume, directory: &HostPath) -> Vec<u8> {
    let mut key = volume.to_be_bytes().to_vec();
    for component in directory.components() {
        key.extend_from_slice(component);
        key.push(0);
    }
    key
}

/// The part of a key that the pages of a directory itself share.
pub(crate) fn directory_prefix(volume: Volume, directory: &HostPath) -> Vec<u8> {
    let mut key = subtree_prefix(volume, directory);
    key.push(0);
    key
}

/// The key of the directory's page that begins with `first`.
pub(crate) fn key(volume: Volume, directory: &HostPath, first: &[u8]) -> Vec<u8> {
    let mut key = directory_prefix(volume, directory);
    key.extend_from_slice(first);
    key
}

/// The volume and directory that a key belongs to.
pub(crate) fn parse_key(key: &[u8]) -> Option<(Volume, HostPath)> {
    let (volume, mut rest) = key.split_first_chunk::<4>()?;
    let mut directory = HostPath::root();
    loop {
        let end = rest.iter().position(|byte| *byte == 0)?;
        if end == 0 {
            return Some((Volume::from_be_bytes(*volume), directory));
        }
        directory = directory.join(&rest[..end]);
        rest = &rest[end + 1..];
    }
}

/// Appends any value in the page's encoding.
fn append(bytes: &mut Vec<u8>, value: &impl Serialize) {
    postcard::to_io(value, bytes).expect("a Vec takes all, and the types have known lengths");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clock::Time;
    use crate::digest::Digests;
    use crate::item::Attributes;
    use proptest::prelude::*;
    use vedette_crds::record::{ContentState, ItemType};

    fn state(inode: u64) -> ItemState {
        ItemState {
            kind: ItemType::Regular,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 3,
            modified: Time { secs: 1_760_000_000, nanos: 123_456_789 },
            changed: Time { secs: 1_760_000_000, nanos: 123_456_789 },
            created: Some(Time { secs: 1_760_000_000, nanos: 123_456_789 }),
            inode,
            device: (8, 1),
            links: 1,
            device_number: None,
            target: None,
            flags: 0,
            attributes: Some(Attributes::default()),
            content: Some(ContentState::Read),
            digests: Digests { md5: Some([1; 16]), sha256: Some([2; 32]), ..Digests::default() },
            looked: Time { secs: 1_760_000_000, nanos: 5 },
            read: Some(Time { secs: 1_760_000_000, nanos: 5 }),
        }
    }

    proptest! {
        #[test]
        fn a_page_survives_being_stored(names in proptest::collection::btree_set(proptest::collection::vec(1u8.., 1..40), 1..64), plan in any::<u32>()) {
            let items = names.into_iter().enumerate().map(|(at, name)| Named { name, state: state(at as u64) }).collect();
            let page = Page { plan, items };
            prop_assert_eq!(Page::decode(&page.encode()), Ok(page));
        }

        #[test]
        fn no_flipped_byte_goes_unnoticed(at in 0usize..400, flip in 1u8..) {
            let page = Page { plan: 3, items: vec![Named { name: b"passwd".to_vec(), state: state(1) }, Named { name: b"passwd-".to_vec(), state: state(2) }] };
            let mut bytes = page.encode();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            prop_assert!(Page::decode(&bytes).is_err());
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut sealed = xxh3_64(&bytes).to_le_bytes().to_vec();
            sealed.extend_from_slice(&bytes);
            let _ = Page::decode(&sealed);
        }
    }

    #[test]
    fn a_directory_comes_before_its_subtree_and_siblings_stay_apart() {
        let etc = HostPath::from("/etc");
        let ssh = HostPath::from("/etc/ssh");
        let mut keys = [
            key(1, &ssh, b"a"),
            key(1, &HostPath::from("/etc-old"), b"a"),
            key(1, &etc, b"zz"),
            key(1, &HostPath::root(), b"x"),
        ];
        keys.sort();
        let directories: Vec<_> = keys.iter().map(|key| parse_key(key).unwrap().1).collect();
        assert_eq!(directories, [HostPath::root(), etc.clone(), ssh, HostPath::from("/etc-old")]);
        assert_eq!(keys.iter().filter(|key| key.starts_with(&subtree_prefix(1, &etc))).count(), 2);
    }

    #[test]
    fn an_item_with_both_digests_takes_at_most_150_bytes() {
        let items: Vec<_> = (0..64)
            .map(|at| Named { name: format!("libexample-{at:03}.so").into_bytes(), state: state(1_000_000 + at) })
            .collect();
        let size = Page { plan: 3, items }.encode().len();
        assert!(size <= 64 * 150, "{} bytes an item", size / 64);
    }

    #[test]
    fn pages_are_cut_by_count_and_by_bytes() {
        let items = |length: usize| {
            (0..100u64)
                .map(|at| Named { name: [vec![b'x'; length], at.to_be_bytes().to_vec()].concat(), state: state(at) })
                .collect()
        };
        assert_eq!(paginate(items(4)).iter().map(Vec::len).collect::<Vec<_>>(), [62, 38]);
        assert!(paginate(items(240)).iter().all(|page| page.len() < 30));
    }
}
