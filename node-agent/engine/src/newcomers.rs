//! Mounts that come while a compare is under way: one that may never answer is not touched, wherever it comes.
//!
//! The kernel says that the mount table has changed; it is asked before each directory. What comes in the moment between
//! the question and the opening is still met unprepared.

use crate::mounts::{Mount, Mounts};
use crate::path::HostPath;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Watches for them since before the table of the compare was read.
#[derive(Debug)]
pub(crate) struct Newcomers {
    table: File,
    host_root: PathBuf,
    /// The table of the compare.
    known: Arc<Mounts>,
    latest: Mutex<Latest>,
    has_changed: AtomicBool,
}

/// The mount table as it is now.
#[derive(Debug, Default)]
enum Latest {
    #[default]
    AsKnown,
    /// It has changed, and could not be read since.
    Unread,
    Read(Mounts),
}

impl Newcomers {
    /// What begins to watch the mount table.
    pub(crate) fn table() -> std::io::Result<File> {
        File::open("/proc/self/mountinfo")
    }

    pub(crate) fn new(table: File, host_root: PathBuf, known: &Arc<Mounts>) -> Self {
        let (latest, has_changed) = Default::default();
        Self { table, host_root, known: Arc::clone(known), latest, has_changed }
    }

    /// Asks whether any came, and whether this path lies on one that may never answer.
    ///
    /// # Errors
    /// EXDEV when it does; EIO when nobody can tell.
    pub(crate) fn check(&self, path: &HostPath) -> Result<(), Errno> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let mut watched = [PollFd::new(&self.table, PollFlags::PRI)];
        // A change is said once.
        if poll(&mut watched, Some(&NO_WAIT))? > 0 || matches!(*latest, Latest::Unread) {
            self.has_changed.store(true, Ordering::Relaxed);
            *latest = Mounts::read(&self.host_root).map_or(Latest::Unread, Latest::Read);
        }
        let is_newcomer = |mount: &Mount| !mount.may_answer() && self.known.at(&mount.point) != Some(mount);
        match &*latest {
            Latest::Unread => Err(Errno::IO),
            Latest::Read(mounts) if mounts.on_the_way(path).any(is_newcomer) => Err(Errno::XDEV),
            Latest::Read(_) | Latest::AsKnown => Ok(()),
        }
    }

    /// Whether this path lies on one, as far as any was met.
    pub(crate) fn bars(&self, path: impl FnOnce() -> HostPath) -> bool {
        self.has_changed.load(Ordering::Relaxed) && self.check(&path()).is_err()
    }
}
