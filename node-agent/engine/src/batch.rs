//! Small files that were read and are to be hashed together: their bytes, and their digests once they are known.
//!
//! Bounded: it is full after so many bytes or files. Its memory also takes the bytes of what is hashed at once.

use crate::digest::Digests;
use crate::hard_links::HardLinks;
use crate::hashing::{BLOCK, Hasher, PADDING, Piece, take_in_but_for_md5};
use crate::host::FileId;
use crate::item::ItemState;
use vedette_lanes::md5;

/// So many bytes: room for any file that is not large, and for the ones beside it that fill the lanes.
const BYTES: usize = 2 * 1024 * 1024;
/// So many files have a ticket at most.
const FILES: usize = 2048;
pub(crate) const PAGE: usize = 4096;

/// Where the digests of a file will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(usize);

/// Small files that wait to be hashed.
pub(crate) struct Batch {
    memory: Vec<u8>,
    used: usize,
    waiting: Vec<Waiting>,
    /// Of all tickets since it was cleared, as far as they are known.
    digests: Vec<Option<Digests>>,
}

struct Waiting {
    ticket: Ticket,
    hasher: Hasher,
    /// Where in the memory its bytes begin.
    at: usize,
    /// So many are left to be taken in.
    left: usize,
    /// Whether they are left for MD5 alone.
    has_begun: bool,
    /// What was seen of it, where it has more than one name.
    shared: Option<(FileId, Box<ItemState>)>,
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
        for while_full in [true, false] {
            if self.used + room(len) > BYTES {
                self.hash(while_full, links);
            }
        }
        let begin = self.begin() + self.used;
        &mut self.memory[begin..begin + room(len)]
    }

    /// All of its memory, from the beginning of a page on; those that wait are hashed before.
    pub(crate) fn all_memory(&mut self, links: &HardLinks) -> &mut [u8] {
        self.hash(false, links);
        let begin = self.begin();
        &mut self.memory[begin..begin + BYTES]
    }

    /// The kernel copies several times faster to a page's beginning.
    fn begin(&self) -> usize {
        self.memory.as_ptr().align_offset(PAGE)
    }

    /// The first so many bytes of the memory that was just given are a content.
    pub(crate) fn push(&mut self, hasher: Hasher, len: usize) -> Ticket {
        let (ticket, at) = (Ticket(self.digests.len()), self.used);
        self.used += room(len);
        self.waiting.push(Waiting { ticket, hasher, at, left: len, has_begun: false, shared: None });
        self.digests.push(None);
        ticket
    }

    /// The file of a ticket has other names: with its digests, this was seen.
    pub(crate) fn remember(&mut self, ticket: Ticket, file: FileId, seen: &ItemState) {
        if let Some(waiting) = self.waiting.iter_mut().rfind(|waiting| waiting.ticket == ticket) {
            waiting.shared = Some((file, Box::new(seen.clone())));
        }
    }

    /// Whether a file waits under another one of its names.
    pub(crate) fn holds(&self, file: FileId) -> bool {
        self.waiting.iter().any(|waiting| waiting.shared.as_ref().is_some_and(|(shared, _)| *shared == file))
    }

    /// Hashes what waits; `while_full` leaves the longest until others are there that fill the lanes beside them.
    pub(crate) fn hash(&mut self, while_full: bool, links: &HardLinks) {
        let begin = self.begin();
        let (memory, mut waiting) = (&mut self.memory[begin..], std::mem::take(&mut self.waiting));
        let fresh = waiting.partition_point(|file| file.has_begun);
        begin_files(memory, &mut waiting[fresh..]);
        let mut messages = Vec::with_capacity(waiting.len());
        for Waiting { hasher, at, left, .. } in &mut waiting {
            messages.extend(hasher.md5_of(&memory[*at..*at + *left]));
        }
        md5(&mut messages, while_full);
        let mut left: Vec<usize> = messages.into_iter().map(|message| message.blocks.len() * BLOCK).rev().collect();
        self.used = 0;
        for mut file in waiting {
            let left = if file.hasher.has_md5() { left.pop().unwrap_or(0) } else { 0 };
            if left == 0 {
                let digests = file.hasher.finish();
                if let Some((file, seen)) = file.shared {
                    links.remember(file, &ItemState { digests, ..*seen });
                }
                self.digests[file.ticket.0] = Some(digests);
                continue;
            }
            let end = file.at + file.left;
            memory.copy_within(end - left..end, self.used);
            (file.at, file.left) = (self.used, left);
            self.used += left;
            self.waiting.push(file);
        }
    }

    /// The digests of a file that does not wait any more, and is no other's since it was cleared.
    pub(crate) fn digests(&self, ticket: Ticket) -> Digests {
        self.digests[ticket.0].expect("all that waited was hashed")
    }

    /// Whether all that has tickets should be given its digests.
    pub(crate) fn is_full(&self) -> bool {
        self.digests.len() >= FILES
    }

    /// No ticket counts any more.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.digests.clear();
        self.used = 0;
    }
}

/// Takes in files that lie one behind the other, but for MD5, of which all their blocks are left.
fn begin_files(memory: &mut [u8], files: &mut [Waiting]) {
    let mut rest = &mut memory[files.first().map_or(0, |file| file.at)..];
    let mut pieces = Vec::with_capacity(files.len());
    for Waiting { hasher, left, .. } in files.iter_mut() {
        let (buffer, behind) = rest.split_at_mut(room(*left));
        rest = behind;
        pieces.push(Piece { hasher, buffer, len: *left, is_last: true });
    }
    take_in_but_for_md5(&mut pieces);
    let padded: Vec<usize> = pieces.into_iter().map(|piece| piece.len).collect();
    for (file, padded) in files.iter_mut().zip(padded) {
        (file.left, file.has_begun) = (padded, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::md5::{Digest, Md5};
    use sha2::Sha256;
    use vedette_crds::settings::{Hash, HashSet};

    #[test]
    fn whatever_the_order_of_long_and_short_each_ticket_has_the_digests_of_its_own_content() {
        let links = HardLinks::default();
        let kinds = |at: usize| -> HashSet {
            let all: &[Hash] = match at % 5 {
                0 => &[Hash::Md5],
                1 => &[Hash::Sha256],
                _ => &[Hash::Md5, Hash::Sha256],
            };
            all.iter().copied().collect()
        };
        let mut random = fastrand::Rng::with_seed(7);
        let mut batch = Batch::new();
        for _ in 0..4 {
            let mut contents = Vec::new();
            for at in 0..400 {
                let length = if random.u8(..) < 40 { random.usize(..1024 * 1024) } else { random.usize(..20_000) };
                let content = vec![at as u8; length];
                batch.memory_for(length, &links)[..length].copy_from_slice(&content);
                contents.push((batch.push(Hasher::new(kinds(at)), length), content));
            }
            assert!(batch.digests.iter().any(Option::is_some), "memory was short");
            batch.hash(false, &links);
            for (at, (ticket, content)) in contents.iter().enumerate() {
                let digests = batch.digests(*ticket);
                let (md5, sha256) = (Md5::digest(content).into(), Sha256::digest(content).into());
                let is_asked = |kind| kinds(at).contains(kind);
                assert_eq!(digests.md5, is_asked(Hash::Md5).then_some(md5), "file {at} of {} bytes", content.len());
                assert_eq!(digests.sha256, is_asked(Hash::Sha256).then_some(sha256), "file {at}");
            }
            batch.clear();
        }
    }
}
