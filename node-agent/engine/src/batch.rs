//! Small files that were read and are to be hashed together: their bytes, and their digests once they are known.
//!
//! Bounded: it is full after so many bytes or files. Its memory also takes the bytes of what is hashed at once.

use crate::digest::Digests;
use crate::hard_links::HardLinks;
use crate::hashing::{BLOCK, Hasher, PADDING, Piece, take_in};
use crate::host::FileId;
use crate::item::ItemState;

/// So many bytes: room for any file that is not large, and for the ones beside it that fill the lanes.
const BYTES: usize = 2 * 1024 * 1024;
/// So many files wait at most.
const FILES: usize = 1024;
pub(crate) const PAGE: usize = 4096;

/// Where the digests of a file will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(usize);

/// Small files that wait to be hashed.
pub(crate) struct Batch {
    memory: Vec<u8>,
    used: usize,
    waiting: Vec<Waiting>,
    /// Of all files since it was cleared, but those that wait.
    digests: Vec<Digests>,
}

struct Waiting {
    hasher: Hasher,
    len: usize,
    /// What was seen of it, where it has more than one name.
    shared: Option<(FileId, Box<ItemState>)>,
}

impl Waiting {
    fn room(&self) -> usize {
        room(self.len)
    }
}

/// What a file takes, with its padding.
fn room(len: usize) -> usize {
    (len + PADDING).next_multiple_of(BLOCK)
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self { memory: vec![0; BYTES + PAGE], used: 0, waiting: Vec::new(), digests: Vec::new() }
    }

    /// Memory for a content of so many bytes, of no large file; those that wait are hashed when it is short.
    pub(crate) fn memory_for(&mut self, len: usize, links: &HardLinks) -> &mut [u8] {
        if self.used + room(len) > BYTES {
            self.hash(links);
        }
        let begin = self.begin() + self.used;
        &mut self.memory[begin..begin + room(len)]
    }

    /// All of its memory, from the beginning of a page on; those that wait are hashed before.
    pub(crate) fn all_memory(&mut self, links: &HardLinks) -> &mut [u8] {
        self.hash(links);
        let begin = self.begin();
        &mut self.memory[begin..begin + BYTES]
    }

    /// The kernel copies several times faster to a page's beginning.
    fn begin(&self) -> usize {
        self.memory.as_ptr().align_offset(PAGE)
    }

    /// The first so many bytes of the memory that was just given are a content.
    pub(crate) fn push(&mut self, hasher: Hasher, len: usize) -> Ticket {
        self.used += room(len);
        self.waiting.push(Waiting { hasher, len, shared: None });
        Ticket(self.digests.len() + self.waiting.len() - 1)
    }

    /// The file of a ticket has other names: with its digests, this was seen.
    pub(crate) fn remember(&mut self, ticket: Ticket, file: FileId, seen: &ItemState) {
        if let Some(waiting) = ticket.0.checked_sub(self.digests.len()).and_then(|at| self.waiting.get_mut(at)) {
            waiting.shared = Some((file, Box::new(seen.clone())));
        }
    }

    /// Whether a file waits under another one of its names.
    pub(crate) fn holds(&self, file: FileId) -> bool {
        self.waiting.iter().any(|waiting| waiting.shared.as_ref().is_some_and(|(shared, _)| *shared == file))
    }

    /// Hashes what waits.
    pub(crate) fn hash(&mut self, links: &HardLinks) {
        let begin = self.begin();
        let mut left = &mut self.memory[begin..];
        let mut pieces = Vec::with_capacity(self.waiting.len());
        for waiting in &mut self.waiting {
            let (buffer, rest) = left.split_at_mut(waiting.room());
            left = rest;
            pieces.push(Piece { len: waiting.len, hasher: &mut waiting.hasher, buffer, is_last: true });
        }
        take_in(&mut pieces);
        drop(pieces);
        for Waiting { hasher, shared, .. } in self.waiting.drain(..) {
            let digests = hasher.finish();
            if let Some((file, seen)) = shared {
                links.remember(file, &ItemState { digests, ..*seen });
            }
            self.digests.push(digests);
        }
        self.used = 0;
    }

    /// The digests of a file that does not wait any more.
    pub(crate) fn digests(&self, ticket: Ticket) -> Digests {
        self.digests[ticket.0]
    }

    /// Whether all that has tickets should be given its digests.
    pub(crate) fn is_full(&self) -> bool {
        self.digests.len() + self.waiting.len() >= FILES
    }

    /// No ticket counts any more.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.digests.clear();
        self.used = 0;
    }
}
