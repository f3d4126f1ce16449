//! How far a compare is: walkers and committer add to it, anyone may read it while they work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the compare under way has done so far. Each number is right by itself; they are not of one moment.
#[derive(Debug, Default)]
pub struct Progress {
    is_running: AtomicBool,
    compare: AtomicU64,
    items: AtomicU64,
    hashed: AtomicU64,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoFar {
    /// Which compare it is, counted since the start of the process.
    pub compare: u64,
    /// Items that were looked at.
    pub items: u64,
    /// Bytes of content that were hashed.
    pub hashed: u64,
}

impl Progress {
    /// How far the compare under way is; `None` while there is none.
    pub fn so_far(&self) -> Option<SoFar> {
        self.is_running.load(Ordering::Relaxed).then(|| self.sum())
    }

    pub(crate) fn begin(&self) {
        self.compare.fetch_add(1, Ordering::Relaxed);
        self.items.store(0, Ordering::Relaxed);
        self.is_running.store(true, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) -> SoFar {
        self.is_running.store(false, Ordering::Relaxed);
        // What is read between two compares counts for the next one.
        SoFar { hashed: self.hashed.swap(0, Ordering::Relaxed), ..self.sum() }
    }

    fn looked_at(&self, items: u64) {
        self.items.fetch_add(items, Ordering::Relaxed);
    }

    pub(crate) fn hashed(&self, bytes: u64) {
        self.hashed.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sum(&self) -> SoFar {
        SoFar {
            compare: self.compare.load(Ordering::Relaxed),
            items: self.items.load(Ordering::Relaxed),
            hashed: self.hashed.load(Ordering::Relaxed),
        }
    }
}

/// One thread's count of items, told in handfuls: it would wait for a number to which all threads write at each item.
#[derive(Debug)]
pub(crate) struct Tally {
    progress: Arc<Progress>,
    items: u64,
}

impl Tally {
    /// At most so many are not told.
    const HANDFUL: u64 = 64;

    pub(crate) fn new(progress: &Arc<Progress>) -> Self {
        Self { progress: Arc::clone(progress), items: 0 }
    }

    pub(crate) fn looked_at_one(&mut self) {
        self.items += 1;
        if self.items == Self::HANDFUL {
            self.tell();
        }
    }

    pub(crate) fn tell(&mut self) {
        if self.items > 0 {
            self.progress.looked_at(std::mem::take(&mut self.items));
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.tell();
    }
}
