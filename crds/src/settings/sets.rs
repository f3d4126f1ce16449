//! The values that this version knows of the settings that are names, and sets of them.

use std::fmt;
use std::marker::PhantomData;

use crate::rule::{Compare, Severity};

/// A closed set of names.
pub trait Named: Copy + Eq + fmt::Debug + 'static {
    /// All members in the order in which lists of them are written, at most 16.
    const ALL: &'static [Self];

    /// The member's name.
    fn as_str(self) -> &'static str;

    /// The member's place in `ALL`.
    fn index(self) -> u32;
}

/// What becomes of symbolic links that are met on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Links {
    /// The link and its target are an item.
    Record,
    /// The same, and what it leads to is an item under its real path, with what lies below.
    Follow,
    /// Links are no items.
    Ignore,
}

/// Which file systems are entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mounts {
    /// All local ones.
    Local,
    /// The one that the entry's own root lies on.
    Same,
    /// Every one that has content of its own.
    All,
}

/// A digest of content that this version computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// MD5.
    Md5,
    /// SHA-256.
    Sha256,
}

macro_rules! named {
    ($type:ident: $($member:ident),+) => {
        impl Named for $type {
            const ALL: &'static [Self] = &[$(Self::$member),+];

            fn as_str(self) -> &'static str {
                match self { $(Self::$member => stringify!($member),)+ }
            }

            fn index(self) -> u32 {
                self as u32
            }
        }
    };
}

named!(Links: Record, Follow, Ignore);
named!(Mounts: Local, Same, All);
named!(Compare: Content, Type, Mode, Owner, Acl, Xattrs, Flags, LinkTarget, ModifiedTime, Inode, LinkCount, Created);
named!(Hash: Md5, Sha256);
named!(Severity: Info, Low, Medium, High, Critical);

/// What of an item is compared; the default is what a rule compares that does not say.
pub type CompareSet = NamedSet<Compare>;

/// The digests of content; the default is what a rule asks for that does not say.
pub type HashSet = NamedSet<Hash>;

/// A set of members of a closed set.
pub struct NamedSet<T>(u16, PhantomData<T>);

impl<T: Named> NamedSet<T> {
    /// The set without members.
    pub fn empty() -> Self {
        Self(0, PhantomData)
    }

    /// Adds a member.
    pub fn insert(&mut self, member: T) {
        self.0 |= 1 << member.index();
    }

    /// Whether this is a member.
    pub fn contains(self, member: T) -> bool {
        self.0 & (1 << member.index()) != 0
    }

    /// All that are members of either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0, PhantomData)
    }

    /// Whether there is no member.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members in the order in which lists of them are written.
    pub fn iter(self) -> impl Iterator<Item = T> {
        T::ALL.iter().copied().filter(move |member| self.contains(*member))
    }

    /// The members as bits, the first of `ALL` lowest: the same in every version that knows them.
    pub fn bits(self) -> u16 {
        self.0
    }
}

impl<T: Named> FromIterator<T> for NamedSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(members: I) -> Self {
        let mut set = Self::empty();
        members.into_iter().for_each(|member| set.insert(member));
        set
    }
}

impl Default for CompareSet {
    fn default() -> Self {
        use Compare::{Acl, Content, Flags, LinkTarget, Mode, Owner, Type, Xattrs};
        [Content, Type, Mode, Owner, Acl, Xattrs, Flags, LinkTarget].into_iter().collect()
    }
}

impl Default for HashSet {
    fn default() -> Self {
        [Hash::Md5, Hash::Sha256].into_iter().collect()
    }
}

// Derives would ask the same of the members.
impl<T> Clone for NamedSet<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for NamedSet<T> {}

impl<T> PartialEq for NamedSet<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for NamedSet<T> {}

impl<T> std::hash::Hash for NamedSet<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<T: Named> fmt::Debug for NamedSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
