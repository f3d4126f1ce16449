//! The content of an open file: read at the pace of the budget, and hashed at once or together with that of others.

use super::Looker;
use crate::batch::Ticket;
use crate::digest::{Digests, kinds};
use crate::gate::Want;
use crate::hashing::{Hasher, Piece, take_in};
use crate::item::ItemState;
use crate::pace::Pace;
use crate::page_cache::PageCache;
use crate::progress::Progress;
use crate::stop::Stop;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Statx;
use rustix::io::Errno;
use vedette_crds::settings::HashSet;

/// So many bytes of one file are read at a time.
const READ: usize = 128 * 1024;

/// A file that is open to be read.
pub(crate) struct Opened {
    pub(super) seen: ItemState,
    pub(super) stat: Statx,
    pub(super) file: OwnedFd,
    pub(super) hashes: HashSet,
}

/// What reading a file came to.
pub(super) enum Read {
    Digests(Digests),
    Later(Ticket),
    Interrupted,
}

impl Looker {
    pub(super) fn read(&mut self, opened: &Opened, may_wait: bool) -> Result<Read, Errno> {
        let (mut hasher, mut left) = opened.to_hash();
        let Self { stop, progress, pace, keeps_pace, cache, batch, links, .. } = self;
        let mut filler = Filler { stop, progress, pace, keeps_pace: *keeps_pace, cache };
        if may_wait {
            let len = usize::try_from(left).unwrap_or(usize::MAX);
            let count = filler.fill(opened, left, &mut batch.memory_for(len, links)[..len])?;
            return Ok(count.map_or(Read::Interrupted, |count| Read::Later(batch.push(hasher, count))));
        }
        let buffer = batch.all_memory(links);
        loop {
            let wanted = usize::try_from(left).unwrap_or(READ).min(READ);
            let Some(len) = filler.fill(opened, left, &mut buffer[..wanted])? else { return Ok(Read::Interrupted) };
            left -= len as u64;
            let is_last = left == 0 || len < wanted;
            take_in(&mut [Piece { hasher: &mut hasher, buffer, len, is_last }]);
            if is_last {
                return Ok(Read::Digests(hasher.finish()));
            }
        }
    }

    /// Memory for parts of files that are hashed at once, and what fills it.
    pub(crate) fn reading(&mut self) -> (&mut [u8], Filler<'_>) {
        let Self { stop, progress, pace, keeps_pace, cache, batch, links, .. } = self;
        (batch.all_memory(links), Filler { stop, progress, pace, keeps_pace: *keeps_pace, cache })
    }
}

/// Reads open files at the pace of the budget, as long as nobody says that it should end.
pub(crate) struct Filler<'l> {
    stop: &'l Stop,
    progress: &'l Progress,
    pace: &'l Pace,
    keeps_pace: bool,
    cache: &'l mut PageCache,
}

impl Filler<'_> {
    /// Reads of a file of which so many bytes are left until the buffer is full or the file ends; `None` when told to end.
    pub(crate) fn fill(&mut self, opened: &Opened, left: u64, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
        let Opened { file, stat, seen, .. } = opened;
        self.cache.at(stat.stx_mnt_id);
        let (begin, mut filled) = (seen.size - left, 0);
        while filled < buffer.len() {
            if self.keeps_pace {
                self.pace.keep(self.stop);
            }
            if self.stop.is_set() {
                return Ok(None);
            }
            match self.cache.read(file.as_fd(), begin + filled as u64, seen.size, &mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => {
                    self.progress.hashed(count as u64);
                    self.pace.read(count as u64);
                    filled += count;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(Some(filled))
    }
}

impl Opened {
    /// What is to be hashed, and how many bytes at most.
    pub(crate) fn to_hash(&self) -> (Hasher, u64) {
        (Hasher::new(self.hashes), self.seen.size)
    }
}

/// What is computed: a digest of a kind that is asked for no more once again, to compare what is stored.
pub(super) fn hashes(stored: Option<&ItemState>, want: Want) -> HashSet {
    want.hashes.union(stored.map_or(HashSet::empty(), |stored| kinds(&stored.digests)))
}
