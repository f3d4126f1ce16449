//! A door for the fuzzers (tests/fuzz) to what reads hostile bytes, and to hashing; nothing of the product goes through it.

use crate::digest::{Digests, restrict};
use crate::hashing::{BLOCK, Hasher, PADDING, Piece, take_in};
use crate::page::Page;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};
use vedette_crds::settings::{Hash, HashSet, Named};
use xxhash_rust::xxh3::xxh3_64;

pub use crate::attributes::{acl_text, capability_text};

/// Reads a page of these bytes behind a checksum that holds; says whether it is one.
///
/// # Panics
/// When a page that was read is another one after it is stored and read again.
pub fn page(body: &[u8]) -> bool {
    let sealed = [&xxh3_64(body).to_le_bytes()[..], body].concat();
    let Ok(page) = Page::decode(&sealed) else { return false };
    assert_eq!(Page::decode(&page.encode()), Ok(page));
    true
}

/// Hashes these contents side by side, each in pieces of so many blocks; `kinds` has a bit for each kind of digest.
///
/// # Panics
/// When a digest is not what the crates compute of that content alone.
pub fn digests(contents: &[Vec<u8>], kinds: u8, blocks: usize) {
    let kinds: HashSet = Hash::ALL.iter().copied().filter(|kind| kinds & (1 << kind.index()) != 0).collect();
    let mut hashers: Vec<_> = contents.iter().map(|_| Hasher::new(kinds)).collect();
    let (step, most) = (blocks * BLOCK, contents.iter().map(Vec::len).max().unwrap_or(0));
    for at in (0..=most).step_by(step) {
        // What lies in the memory from before must not count.
        let mut buffers = vec![vec![0xaa; step + PADDING]; contents.len()];
        let mut pieces = Vec::new();
        for ((hasher, buffer), content) in hashers.iter_mut().zip(&mut buffers).zip(contents) {
            let Some(rest) = content.get(at..).filter(|rest| !rest.is_empty() || at == 0) else { continue };
            let len = rest.len().min(step);
            buffer[..len].copy_from_slice(&rest[..len]);
            pieces.push(Piece { hasher, buffer, len, is_last: len == rest.len() });
        }
        take_in(&mut pieces);
    }
    for (hasher, content) in hashers.into_iter().zip(contents) {
        let expected = Digests {
            md5: Some(Md5::digest(content).into()),
            sha256: Some(Sha256::digest(content).into()),
            sha512: Some(Sha512::digest(content).into()),
            blake3: Some(blake3::hash(content).into()),
        };
        assert_eq!(hasher.finish(), restrict(expected, kinds), "{} bytes in pieces of {blocks} blocks", content.len());
    }
}
