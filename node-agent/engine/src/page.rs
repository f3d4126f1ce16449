//! A page: up to 64 items of one directory in one checked block of bytes, and its key.
//!
//! Pure. A page is `checksum (8) | format (1) | plan | count | items`; the checksum is verified at every read, because the database
//! below returns a flipped byte without an error. Key: volume, each component of the directory followed by 00, then 00
//! and the first name that the page had, so that a directory's own pages come first and its subtree is one key range.

mod bytes;
mod cut;
mod encoder;
mod encoding;
mod old;
mod stored;

pub(crate) use self::cut::{Leaf, fill, spread};
use self::encoder::Encoder;
use self::stored::Head;
pub(crate) use self::stored::{Items, StoredPage};
use crate::item::ItemState;
use crate::path::HostPath;
use serde::Serialize;

/// What this version writes; it reads the ones before too.
const FORMAT: u8 = 3;
/// A page holds at most this many items.
pub(crate) const MAX_ITEMS: usize = 64;
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

impl Page {
    /// The bytes to store.
    pub(crate) fn encode(&self) -> Vec<u8> {
        Encoder::of(self.plan, &self.items).finish()
    }

    /// The page in stored bytes.
    ///
    /// # Errors
    /// When they are not what was written, or were written by a version that this one does not know.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, PageError> {
        let head = Head::of(bytes)?;
        let mut items: Vec<Named> = Vec::with_capacity(MAX_ITEMS.min(head.count as usize));
        let mut decoder = head.decoder(bytes);
        let mut name = Vec::new();
        while let Some(state) = decoder.next(&mut name)? {
            items.push(Named { name: name.clone(), state });
        }
        Ok(Self { plan: head.plan, items })
    }

    /// Whether stored bytes are a page without items.
    ///
    /// # Errors
    /// When they are no page.
    pub(crate) fn is_mark(bytes: &[u8]) -> Result<bool, PageError> {
        Ok(Head::of(bytes)?.count == 0)
    }
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
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clock::Time;
    use crate::digest::Digests;
    use crate::item::{Attribute, AttributeValue, Attributes};
    use proptest::prelude::*;
    use vedette_crds::record::{ContentState, ItemType};
    use xxhash_rust::xxh3::xxh3_64;

    pub(super) fn state(inode: u64) -> ItemState {
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

    fn any_time() -> impl Strategy<Value = Time> {
        let secs = prop_oneof![Just(1_760_000_000), 1_760_000_000..1_760_000_009i64, any::<i64>()];
        (secs, prop_oneof![Just(0), 0..1_000_000_000u32, any::<u32>()]).prop_map(|(secs, nanos)| Time { secs, nanos })
    }

    fn any_attributes() -> impl Strategy<Value = Attributes> {
        let text = || proptest::option::of("[a-z]{0,9}");
        let value = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..9).prop_map(AttributeValue::Short),
            any::<[u8; 32]>().prop_map(AttributeValue::Long),
        ];
        let other =
            (proptest::collection::vec(any::<u8>(), 0..9), value).prop_map(|(name, value)| Attribute { name, value });
        let others = proptest::collection::vec(other, 0..3);
        (text(), text(), text(), others).prop_map(|(acl, default_acl, capabilities, others)| Attributes {
            acl,
            default_acl,
            capabilities,
            others,
        })
    }

    fn any_digests() -> impl Strategy<Value = Digests> {
        let some = || proptest::option::of(any::<u8>());
        (some(), some(), some(), some()).prop_map(|(md5, sha256, sha512, blake3)| Digests {
            md5: md5.map(|byte| [byte; 16]),
            sha256: sha256.map(|byte| [byte; 32]),
            sha512: sha512.map(|byte| [byte; 64]),
            blake3: blake3.map(|byte| [byte; 32]),
        })
    }

    /// Values that are usual next to each other and such as no file system gives.
    fn any_state() -> impl Strategy<Value = ItemState> {
        use ContentState::{NotRegular, Pending, Read, TooLarge, Unreadable, Unstable};
        use ItemType::{BlockDevice, CharDevice, Directory, Fifo, Regular, Socket, Symlink};
        let kind = proptest::sample::select(vec![Regular, Directory, Symlink, Fifo, Socket, CharDevice, BlockDevice]);
        let content = vec![Read, TooLarge, Unstable, Unreadable, NotRegular, Pending];
        let content = proptest::option::of(proptest::sample::select(content));
        let times = (any_time(), any_time(), any_time(), any_time(), any_time());
        let same = proptest::collection::vec(any::<bool>(), 8);
        let number = || prop_oneof![Just(0u32), Just(1), any::<u32>()];
        let pair = || (number(), number());
        let target = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300));
        let rare =
            (proptest::option::of(pair()), target, any::<u8>(), proptest::option::of(any_attributes()), any_digests());
        let numbers = (any::<u16>(), pair(), pair(), number(), any::<u64>(), any::<u64>());
        (kind, content, times, same, rare, numbers).prop_map(|(kind, content, times, same, rare, numbers)| {
            let (changed, modified, created, looked, read) = times;
            let (device_number, target, flags, attributes, digests) = rare;
            let (mode, (uid, gid), device, links, size, inode) = numbers;
            let like = |at: usize, other: Time, own: Time| if same[at] { other } else { own };
            let modified = like(0, changed, modified);
            let created = (same[1] || same[2]).then(|| like(3, changed, like(4, modified, created)));
            let read = (same[5] || same[6]).then(|| like(7, looked, read));
            ItemState {
                kind,
                mode,
                uid,
                gid,
                size,
                modified,
                changed,
                created,
                inode,
                device,
                links,
                device_number,
                target,
                flags,
                attributes,
                content,
                digests,
                looked,
                read,
            }
        })
    }

    proptest! {
        #[test]
        fn a_page_survives_being_stored(names in proptest::collection::btree_set(proptest::collection::vec(1u8.., 1..40), 1..64), plan in any::<u32>()) {
            let items = names.into_iter().enumerate().map(|(at, name)| Named { name, state: state(at as u64) }).collect();
            let page = Page { plan, items };
            prop_assert_eq!(Page::decode(&page.encode()), Ok(page));
        }

        #[test]
        fn every_state_survives_being_stored(states in proptest::collection::vec(any_state(), 0..12)) {
            let items = states.into_iter().enumerate().map(|(at, state)| Named { name: format!("n{at:03}").into_bytes(), state });
            let page = Page { plan: 1, items: items.collect() };
            let stored = page.encode();
            prop_assert_eq!(Page::is_mark(&stored), Ok(page.items.is_empty()));
            prop_assert_eq!(Page::decode(&stored), Ok(page));
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
    fn an_item_with_both_digests_takes_at_most_90_bytes() {
        let items: Vec<_> = (0..64)
            .map(|at| Named { name: format!("libexample-{at:03}.so").into_bytes(), state: state(1_000_000 + at) })
            .collect();
        let size = Page { plan: 3, items }.encode().len();
        assert!(size <= 64 * 90, "{} bytes an item", size / 64);
    }
}
