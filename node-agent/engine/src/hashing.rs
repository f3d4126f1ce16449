//! Contents are hashed: several at once, each in one pass over its bytes, all its digests from the same bytes in cache.
//!
//! Pure. MD5 and SHA-256 of what is given together are taken in side by side (`vedette_lanes`), the others one after the other.

use crate::digest::Digests;
use blake3::Hasher as Blake3;
use sha2::{Digest, Sha512};
use vedette_crds::settings::{Hash, HashSet};
use vedette_lanes::{Block, Message, md5, sha256};

/// Bytes of a content come in multiples of this, but for its last ones.
pub(crate) const BLOCK: usize = size_of::<Block>();
/// Room for what MD5 and SHA-256 put behind the last bytes of a content.
pub(crate) const PADDING: usize = BLOCK + LENGTH;
/// That ends with the content's length.
const LENGTH: usize = size_of::<u64>();

/// RFC 1321 and FIPS 180-4.
const MD5: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
const SHA256: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// What is being hashed, as far as it was read.
pub(crate) struct Hasher {
    md5: Option<[u32; 4]>,
    sha256: Option<[u32; 8]>,
    sha512: Option<Box<Sha512>>,
    blake3: Option<Box<Blake3>>,
    /// So many bytes were taken in.
    taken: u64,
}

/// Bytes that come next in a content.
pub(crate) struct Piece<'p> {
    pub(crate) hasher: &'p mut Hasher,
    /// They are the first `len` of these; behind the last of a content there is room for [`PADDING`].
    pub(crate) buffer: &'p mut [u8],
    /// A multiple of [`BLOCK`] unless it is the last.
    pub(crate) len: usize,
    /// Nothing comes after them.
    pub(crate) is_last: bool,
}

impl Hasher {
    /// Digests of these kinds.
    pub(crate) fn new(kinds: HashSet) -> Self {
        Self {
            md5: kinds.contains(Hash::Md5).then_some(MD5),
            sha256: kinds.contains(Hash::Sha256).then_some(SHA256),
            sha512: kinds.contains(Hash::Sha512).then(Box::default),
            blake3: kinds.contains(Hash::Blake3).then(Box::default),
            taken: 0,
        }
    }

    /// Whether MD5 is asked for.
    pub(crate) fn has_md5(&self) -> bool {
        self.md5.is_some()
    }

    /// Whole blocks of it as MD5 takes them in, if that is asked for.
    pub(crate) fn md5_of<'m>(&'m mut self, blocks: &'m [u8]) -> Option<Message<'m, 4>> {
        self.md5.as_mut().map(|state| Message { state, blocks: blocks.as_chunks().0 })
    }

    /// The digests of a content whose last piece was taken in.
    pub(crate) fn finish(self) -> Digests {
        Digests {
            md5: self.md5.map(|state| bytes(state.map(u32::to_le_bytes).as_flattened())),
            sha256: self.sha256.map(|state| bytes(state.map(u32::to_be_bytes).as_flattened())),
            sha512: self.sha512.map(|sha512| sha512.finalize().into()),
            blake3: self.blake3.map(|blake3| blake3.finalize().into()),
        }
    }
}

fn bytes<const N: usize>(from: &[u8]) -> [u8; N] {
    std::array::from_fn(|at| from[at])
}

/// Takes in all pieces, of as many contents.
pub(crate) fn take_in(pieces: &mut [Piece<'_>]) {
    take_in_but_for_md5(pieces);
    let messages = pieces.iter_mut().filter_map(|Piece { hasher, buffer, len, .. }| hasher.md5_of(&buffer[..*len]));
    md5(&mut messages.collect::<Vec<_>>(), false);
}

/// The same, but that MD5 is still to be taken of all pieces, which are whole blocks afterwards.
pub(crate) fn take_in_but_for_md5(pieces: &mut [Piece<'_>]) {
    for Piece { hasher, buffer, len, is_last } in pieces.iter_mut() {
        let content = &buffer[..*len];
        if let Some(sha512) = &mut hasher.sha512 {
            sha512.update(content);
        }
        if let Some(blake3) = &mut hasher.blake3 {
            blake3.update(content);
        }
        hasher.taken += *len as u64;
        if *is_last {
            *len = pad(buffer, *len);
        }
    }
    // The two differ in the order of the length's bytes.
    end(pieces, u64::to_be_bytes);
    let messages = pieces.iter_mut().filter_map(|Piece { hasher, buffer, len, .. }| {
        let state = hasher.sha256.as_mut()?;
        Some(Message { state, blocks: buffer[..*len].as_chunks().0 })
    });
    sha256(&mut messages.collect::<Vec<_>>());
    end(pieces, u64::to_le_bytes);
}

/// Puts behind the last bytes of a content what both hashes want there, but for its length.
fn pad(buffer: &mut [u8], len: usize) -> usize {
    let padded = (len + 1 + LENGTH).next_multiple_of(BLOCK);
    buffer[len] = 0x80;
    buffer[len + 1..padded].fill(0);
    padded
}

/// Writes the lengths of the contents that end.
fn end(pieces: &mut [Piece<'_>], order: fn(u64) -> [u8; LENGTH]) {
    for piece in pieces.iter_mut().filter(|piece| piece.is_last) {
        let bits = piece.hasher.taken.wrapping_mul(8);
        piece.buffer[piece.len - LENGTH..piece.len].copy_from_slice(&order(bits));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fuzzing::digests;
    use proptest::prelude::*;
    use vedette_crds::settings::Named;

    #[test]
    fn the_digests_of_abc_are_those_of_the_standards() {
        let hex = |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut hasher = Hasher::new(Hash::ALL.iter().copied().collect());
        let mut buffer = [&b"abc"[..], &[0xaa; PADDING]].concat();
        take_in(&mut [Piece { hasher: &mut hasher, buffer: &mut buffer, len: 3, is_last: true }]);
        let digests = hasher.finish();
        assert_eq!(hex(&digests.md5.unwrap()), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(hex(&digests.sha256.unwrap()), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(
            hex(&digests.sha512.unwrap()),
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        );
        assert_eq!(hex(&digests.blake3.unwrap()), "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
    }

    #[test]
    fn every_length_in_pieces_of_any_size_is_hashed_as_the_crates_do() {
        let content = |length: usize| (0..length).map(|at| (at * 7 + length) as u8).collect();
        let contents: Vec<Vec<u8>> = (0..=300).map(content).collect();
        for blocks in [1, 2, 5] {
            digests(&contents, 0b1111, blocks);
        }
    }

    proptest! {
        #[test]
        fn any_contents_side_by_side_are_hashed_as_the_crates_do(
            contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..40),
            blocks in 1usize..20,
            bits in 0u8..16,
        ) {
            digests(&contents, bits, blocks);
        }
    }
}
