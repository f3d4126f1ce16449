//! A door for the fuzzers (tests/fuzz) to what reads hostile bytes; nothing of the product goes through it.

use crate::page::Page;
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
