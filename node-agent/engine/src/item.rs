//! The state of an item as it is stored, and the pure comparison of two states.
//!
//! Free of the operating system: what fills a state in stands in `look`.

use crate::clock::Time;
use crate::digest::Digests;
use serde::{Deserialize, Serialize};
use vedette_crds::record::{ContentState, Field, Flag, ItemType};
use vedette_crds::settings::Compare;

/// An extended attribute: the value itself up to 256 bytes, else its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Attribute {
    /// With its namespace.
    pub(crate) name: Vec<u8>,
    /// What it holds.
    pub(crate) value: AttributeValue,
}

/// The value of an extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum AttributeValue {
    /// At most 256 bytes.
    Short(Vec<u8>),
    /// SHA-256 of a longer one.
    Long([u8; 32]),
}

/// What statx does not give: access lists, capabilities and the other extended attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attributes {
    /// Short text form.
    pub(crate) acl: Option<String>,
    /// A directory's default access list, short text form.
    pub(crate) default_acl: Option<String>,
    /// Text form.
    pub(crate) capabilities: Option<String>,
    /// Sorted by name.
    pub(crate) others: Vec<Attribute>,
}

/// One item's state, with when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ItemState {
    /// The kind of object.
    pub(crate) kind: ItemType,
    /// The twelve permission bits.
    pub(crate) mode: u16,
    /// The numeric owner.
    pub(crate) uid: u32,
    /// The numeric group.
    pub(crate) gid: u32,
    /// In bytes, as stat gives it for any kind.
    pub(crate) size: u64,
    /// mtime.
    pub(crate) modified: Time,
    /// ctime.
    pub(crate) changed: Time,
    /// Birth time.
    pub(crate) created: Option<Time>,
    /// The inode's number.
    pub(crate) inode: u64,
    /// Device of the file system, major and minor; never compared, it moves at reboot.
    pub(crate) device: (u32, u32),
    /// How many names the inode has.
    pub(crate) links: u32,
    /// Of a device node, major and minor.
    pub(crate) device_number: Option<(u32, u32)>,
    /// Of a symbolic link.
    pub(crate) target: Option<Vec<u8>>,
    /// statx attributes, one bit for each of [`FLAGS`].
    pub(crate) flags: u8,
    /// `None` until they could be read once.
    pub(crate) attributes: Option<Attributes>,
    /// Whether the content was read at the last look; `None` when no entry asks for content.
    pub(crate) content: Option<ContentState>,
    /// Of the last good read; they stay behind a later failure.
    pub(crate) digests: Digests,
    /// When the look began that found this state.
    pub(crate) looked: Time,
    /// When the content was last read to its end.
    pub(crate) read: Option<Time>,
}

/// The flags and their bits in [`ItemState::flags`].
pub(crate) const FLAGS: [(Flag, u8); 6] = [
    (Flag::Append, 1),
    (Flag::Compressed, 2),
    (Flag::Encrypted, 4),
    (Flag::Immutable, 8),
    (Flag::NoDump, 16),
    (Flag::Verity, 32),
];

/// A set of record fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Fields(u32);

impl Fields {
    /// No field.
    pub(crate) const NONE: Self = Self(0);

    /// The set of these fields.
    pub(crate) const fn of(fields: &[Field]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < fields.len() {
            bits |= 1 << fields[at] as u32;
            at += 1;
        }
        Self(bits)
    }

    /// Adds `field` when `differs`.
    fn add(&mut self, field: Field, differs: bool) {
        self.0 |= u32::from(differs) << field as u32;
    }

    /// The fields in both sets.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The fields in either set.
    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is no field in it.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the field is in it.
    pub(crate) const fn contains(self, field: Field) -> bool {
        self.0 & (1 << field as u32) != 0
    }

    /// The fields, sorted by name.
    pub(crate) fn list(self) -> Vec<Field> {
        Field::ALL.into_iter().filter(|field| self.contains(*field)).collect()
    }
}

/// The fields that one member of an entry's `compare` can produce.
pub(crate) const fn fields_of(compare: Compare) -> Fields {
    match compare {
        Compare::Content => Fields::of(&[Field::Content, Field::Size, Field::ContentState]),
        Compare::Type => Fields::of(&[Field::Type, Field::DeviceNumber]),
        Compare::Mode => Fields::of(&[Field::Mode]),
        Compare::Owner => Fields::of(&[Field::Owner, Field::Group]),
        Compare::Acl => Fields::of(&[Field::Acl]),
        Compare::Xattrs => Fields::of(&[Field::Xattrs, Field::Capabilities]),
        Compare::Flags => Fields::of(&[Field::Flags]),
        Compare::LinkTarget => Fields::of(&[Field::LinkTarget]),
        Compare::ModifiedTime => Fields::of(&[Field::ModifiedTime]),
        Compare::Inode => Fields::of(&[Field::Inode]),
        Compare::LinkCount => Fields::of(&[Field::LinkCount]),
        Compare::Created => Fields::of(&[Field::Created]),
    }
}

impl ItemState {
    /// Whether its content is known to be what the digests say.
    pub(crate) fn is_read(&self) -> bool {
        self.content == Some(ContentState::Read)
    }

    /// Whether the modification time stands in for content: of one of the two it was asked for and not read.
    pub(crate) fn compares_by_time(&self, after: &Self) -> bool {
        let not_read = |state: &Self| !matches!(state.content, None | Some(ContentState::Read | ContentState::Pending));
        let is_known = after.is_read() && self.digests.differ(&after.digests).is_some();
        self.kind == ItemType::Regular
            && after.kind == ItemType::Regular
            && (not_read(self) || not_read(after))
            && !is_known
    }

    /// Every field whose value differs between `self` (before) and `after`, whoever asked for it.
    pub(crate) fn diff(&self, after: &Self) -> Fields {
        let mut fields = Fields::NONE;
        let regular = |state: &Self| state.kind == ItemType::Regular;
        fields.add(Field::Type, self.kind != after.kind);
        fields.add(Field::DeviceNumber, self.device_number != after.device_number);
        fields.add(Field::Mode, self.mode != after.mode);
        fields.add(Field::Owner, self.uid != after.uid);
        fields.add(Field::Group, self.gid != after.gid);
        fields.add(Field::LinkTarget, self.target != after.target);
        fields.add(Field::Flags, self.flags != after.flags);
        fields.add(Field::ModifiedTime, self.modified != after.modified);
        fields.add(Field::Inode, self.inode != after.inode);
        fields.add(Field::LinkCount, self.links != after.links);
        fields.add(Field::Created, self.created != after.created);
        match (regular(self), regular(after)) {
            (true, true) => {
                fields.add(Field::Size, self.size != after.size);
                fields.add(Field::Content, after.is_read() && self.digests.differ(&after.digests) == Some(true));
                // Nothing was known of the content before.
                let was_open = matches!(self.content, None | Some(ContentState::Pending));
                let worse = match after.content {
                    Some(ContentState::Unstable | ContentState::Unreadable) => true,
                    // With the size that it had, it is the limit that changed.
                    Some(ContentState::TooLarge) => self.size != after.size,
                    _ => false,
                };
                fields.add(Field::ContentState, worse && !was_open && self.content != after.content);
            }
            (false, false) => {}
            _ => {
                fields.add(Field::Size, true);
                fields.add(Field::Content, true);
            }
        }
        if let (Some(before), Some(after)) = (&self.attributes, &after.attributes) {
            fields.add(Field::Acl, before.acl != after.acl || before.default_acl != after.default_acl);
            fields.add(Field::Capabilities, before.capabilities != after.capabilities);
            fields.add(Field::Xattrs, before.others != after.others);
        }
        fields
    }

    /// Whether both say the same of the item, whenever they were found.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let facts =
            |state: &Self| Self { looked: Time::default(), read: None, digests: Digests::default(), ..state.clone() };
        facts(self) == facts(other)
    }

    /// Whether both were made once as one object.
    pub(crate) fn is_one_with(&self, other: &Self) -> bool {
        (self.kind, self.inode, self.created) == (other.kind, other.inode, other.created)
    }

    /// Takes over from `before` what this look could not find out: attributes, and the last good digests.
    pub(crate) fn keep_unknown(&mut self, before: &Self) {
        if self.kind != before.kind {
            return;
        }
        if self.attributes.is_none() {
            self.attributes.clone_from(&before.attributes);
        }
        if self.kind == ItemType::Regular && !self.is_read() {
            self.digests = before.digests;
            self.read = before.read;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn regular() -> ItemState {
        ItemState {
            kind: ItemType::Regular,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 3,
            modified: Time { secs: 10, nanos: 1 },
            changed: Time { secs: 10, nanos: 1 },
            created: Some(Time { secs: 1, nanos: 0 }),
            inode: 7,
            device: (8, 1),
            links: 1,
            device_number: None,
            target: None,
            flags: 0,
            attributes: Some(Attributes::default()),
            content: Some(ContentState::Read),
            digests: Digests { md5: Some([1; 16]), sha256: Some([2; 32]), ..Digests::default() },
            looked: Time { secs: 20, nanos: 0 },
            read: Some(Time { secs: 20, nanos: 0 }),
        }
    }

    #[test]
    fn equal_states_do_not_differ_and_the_device_is_no_part_of_it() {
        let after = ItemState { device: (9, 2), looked: Time { secs: 30, nanos: 0 }, ..regular() };
        assert!(regular().diff(&after).is_empty());
    }

    #[test]
    fn a_file_replaced_by_a_link_differs_in_content_too() {
        let after = ItemState {
            kind: ItemType::Symlink,
            target: Some(b"/evil".to_vec()),
            content: Some(ContentState::NotRegular),
            digests: Digests::default(),
            ..regular()
        };
        let fields = regular().diff(&after);
        assert!(fields.contains(Field::Type) && fields.contains(Field::Content) && fields.contains(Field::LinkTarget));
    }

    #[test]
    fn an_unreadable_file_keeps_its_last_good_digests_and_is_reported_once() {
        let mut after = ItemState { content: Some(ContentState::Unreadable), digests: Digests::default(), ..regular() };
        after.keep_unknown(&regular());
        assert_eq!(after.digests, regular().digests);
        assert_eq!(regular().diff(&after).list(), [Field::ContentState]);
        assert!(after.diff(&after.clone()).is_empty());
        assert!(after.diff(&regular()).is_empty(), "the same content read again is silent");
        let changed = ItemState { digests: Digests { md5: Some([9; 16]), ..Digests::default() }, ..regular() };
        assert_eq!(after.diff(&changed).list(), [Field::Content]);
    }

    #[test]
    fn attributes_that_could_not_be_read_are_unknown_not_gone() {
        let before = ItemState {
            attributes: Some(Attributes { acl: Some("u::rw-".into()), ..Attributes::default() }),
            ..regular()
        };
        let mut after = ItemState { attributes: None, ..regular() };
        assert!(before.diff(&after).is_empty());
        after.keep_unknown(&before);
        assert_eq!(after.attributes, before.attributes);
    }
}
