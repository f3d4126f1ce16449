//! Digests of one content, and the few bytes that they are stored as.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vedette_crds::settings::{Hash, HashSet, Named};

/// The digests of one content, as far as they were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digests {
    pub(crate) md5: Option<[u8; 16]>,
    pub(crate) sha256: Option<[u8; 32]>,
    pub(crate) sha512: Option<[u8; 64]>,
    pub(crate) blake3: Option<[u8; 32]>,
}

impl Digests {
    /// The digest of this kind.
    fn of(&self, kind: Hash) -> Option<&[u8]> {
        match kind {
            Hash::Md5 => self.md5.as_ref().map(<[u8; 16]>::as_slice),
            Hash::Sha256 => self.sha256.as_ref().map(<[u8; 32]>::as_slice),
            Hash::Sha512 => self.sha512.as_ref().map(<[u8; 64]>::as_slice),
            Hash::Blake3 => self.blake3.as_ref().map(<[u8; 32]>::as_slice),
        }
    }

    /// How many bytes they are stored in, without their length.
    pub(crate) fn stored_len(&self) -> usize {
        1 + Hash::ALL.iter().filter_map(|kind| self.of(*kind)).map(<[u8]>::len).sum::<usize>()
    }

    /// Whether a kind that both hold differs; `None` when they share no kind.
    pub(crate) fn differ(&self, other: &Self) -> Option<bool> {
        let shared = Hash::ALL.iter().filter_map(|kind| self.of(*kind).zip(other.of(*kind)));
        shared.map(|(one, other)| one != other).reduce(|any, differs| any || differs)
    }
}

/// The kinds that these hold.
pub(crate) fn kinds(digests: &Digests) -> HashSet {
    Hash::ALL.iter().copied().filter(|kind| digests.of(*kind).is_some()).collect()
}

/// The digests without those of other kinds.
pub(crate) fn restrict(digests: Digests, kinds: HashSet) -> Digests {
    Digests {
        md5: digests.md5.filter(|_| kinds.contains(Hash::Md5)),
        sha256: digests.sha256.filter(|_| kinds.contains(Hash::Sha256)),
        sha512: digests.sha512.filter(|_| kinds.contains(Hash::Sha512)),
        blake3: digests.blake3.filter(|_| kinds.contains(Hash::Blake3)),
    }
}

/// Stored as the bits of their kinds, and one after the other.
impl Serialize for Digests {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kinds = kinds(self);
        let mut bytes = Vec::with_capacity(self.stored_len());
        bytes.push(kinds.bits() as u8);
        kinds.iter().filter_map(|kind| self.of(kind)).for_each(|digest| bytes.extend_from_slice(digest));
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Digests {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: &[u8] = Deserialize::deserialize(deserializer)?;
        decode(bytes).ok_or_else(|| D::Error::custom("no digests"))
    }
}

fn decode(bytes: &[u8]) -> Option<Digests> {
    let (bits, mut rest) = bytes.split_first()?;
    let digests = Digests {
        md5: take(bits, Hash::Md5, &mut rest)?,
        sha256: take(bits, Hash::Sha256, &mut rest)?,
        sha512: take(bits, Hash::Sha512, &mut rest)?,
        blake3: take(bits, Hash::Blake3, &mut rest)?,
    };
    (rest.is_empty() && kinds(&digests).bits() == u16::from(*bits)).then_some(digests)
}

/// The next bytes, if the bits say that this kind is there; `None` when there are too few.
fn take<const N: usize>(bits: &u8, kind: Hash, rest: &mut &[u8]) -> Option<Option<[u8; N]>> {
    if bits & (1 << kind.index()) == 0 {
        return Some(None);
    }
    let (digest, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(Some(*digest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_set_of_digests_survives_being_stored_in_its_own_bytes_and_two_more() {
        let all = Digests { md5: Some([1; 16]), sha256: Some([2; 32]), sha512: Some([3; 64]), blake3: Some([4; 32]) };
        for bits in 0..16u8 {
            let set: HashSet = Hash::ALL.iter().copied().filter(|kind| bits & (1 << kind.index()) != 0).collect();
            let digests = restrict(all, set);
            assert_eq!(kinds(&digests), set);
            let stored = postcard::to_stdvec(&digests).unwrap();
            assert_eq!(postcard::from_bytes::<Digests>(&stored).unwrap(), digests);
            assert!(stored.len() <= digests.stored_len() + 2, "{set:?}");
            if bits != 0 {
                assert!(decode(&stored[1..stored.len() - 1]).is_none(), "cut short");
            }
        }
        assert!(decode(&[16]).is_none() && decode(&[]).is_none(), "a kind that is not known");
    }

    #[test]
    fn digests_are_compared_in_the_kinds_that_both_have() {
        let both = Digests { md5: Some([1; 16]), sha256: Some([2; 32]), ..Digests::default() };
        let md5 = Digests { md5: Some([1; 16]), ..Digests::default() };
        let sha256 = Digests { sha256: Some([3; 32]), ..Digests::default() };
        assert_eq!(md5.differ(&sha256), None);
        assert_eq!(both.differ(&md5), Some(false));
        assert_eq!(both.differ(&sha256), Some(true));
    }
}
