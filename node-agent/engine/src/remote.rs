//! File systems that may never answer: each is walked by a thread of its own, which is left behind when it hangs.
//!
//! Nobody else touches a name on them: not the walkers, and not the committer, who takes their word for what is gone.

use crate::crew::{Sent, work_to_the_end};
use crate::mounts::MountId;
use crate::path::HostPath;
use crate::select::Context;
use crate::store::StoreError;
use crate::unknown::{Aspect, Unknown};
use crate::walk::{Walk, Walked};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// A compare that is told to end waits so long for them.
const GRACE: Duration = Duration::from_secs(1);

/// A mount that is entered, on a name in a directory.
pub(crate) struct Remote {
    pub(crate) id: MountId,
    pub(crate) file_system: String,
    pub(crate) directory: HostPath,
    pub(crate) name: Vec<u8>,
    /// The directory's.
    pub(crate) context: Context,
    /// What the directory lies on.
    pub(crate) mount: MountId,
    pub(crate) is_new_ground: bool,
}

impl Remote {
    pub(crate) fn point(&self) -> HostPath {
        self.directory.join(&self.name)
    }

    /// All of it is unknown.
    fn unknown(&self, walk: &Walk, reason: String) -> Result<Walked, StoreError> {
        let Walk { plan, store, shown, .. } = walk;
        let mut walked = Walked::default();
        let below = plan.child(&self.context, &self.name).context;
        walked.met.mark(plan.alive(&below));
        let Some(interval) = plan.interval_below(&below) else { return Ok(walked) };
        let path = self.point();
        let volume = shown.get(&path).and_then(|shown| shown.volume);
        let items = match volume {
            Some(volume) => store.read()?.items_below(volume, &HostPath::root())?,
            None => 0,
        };
        walked.unknown.add(Unknown { path, aspect: Aspect::Volume, reason, interval, items: items.max(1) });
        Ok(walked)
    }
}

/// Threads that did not come back from an earlier compare.
pub(crate) type LeftBehind = BTreeMap<(MountId, HostPath), JoinHandle<()>>;

/// A thread at work.
struct Watched {
    remote: Arc<Remote>,
    thread: JoinHandle<()>,
    is_left: Arc<AtomicBool>,
    pulse: Arc<AtomicU64>,
    last: (u64, Instant),
}

/// The threads of one compare.
pub(crate) struct Remotes<'a> {
    walk: Arc<Walk>,
    left: &'a mut LeftBehind,
    watched: Vec<Watched>,
    patience: Duration,
}

impl<'a> Remotes<'a> {
    pub(crate) fn new(walk: &Arc<Walk>, left: &'a mut LeftBehind, patience: Duration) -> Self {
        left.retain(|_, thread| !thread.is_finished());
        Self { walk: Arc::clone(walk), left, watched: Vec::new(), patience }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// Begins to walk one, unless the last one who did is still waiting there; what is known at once.
    pub(crate) fn begin(&mut self, remote: Remote, sender: &SyncSender<Sent>) -> Result<Walked, StoreError> {
        let Remote { file_system, .. } = &remote;
        if self.left.contains_key(&(remote.id, remote.point())) {
            return remote
                .unknown(&self.walk, format!("the file system of type {file_system} there still does not answer"));
        }
        let (is_left, pulse) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let stop = self.walk.stop.of_remote(&is_left, &pulse);
        let walk = Walk { stop, is_remote: true, ..(*self.walk).clone() };
        let remote = Arc::new(remote);
        let (shared, sender) = (Arc::clone(&remote), sender.clone());
        let spawned = Builder::new().name("remote".into()).spawn(move || {
            let _charged = walk.ground.pace.enlist();
            let work = || crate::walk::remote(&walk, &shared, &sender);
            work_to_the_end(&sender, work, |walked| Sent::RemoteEnded(shared.id, walked));
        });
        match spawned {
            Ok(thread) => {
                self.watched.push(Watched { remote, thread, is_left, pulse, last: (0, Instant::now()) });
                Ok(Walked::default())
            }
            Err(error) => remote.unknown(&self.walk, format!("there is no thread to walk it on: {error}")),
        }
    }

    /// Whether one of them panicked goes on here.
    pub(crate) fn resume_panic(self) {
        for Watched { thread, .. } in self.watched {
            if thread.is_finished()
                && let Err(panic) = thread.join()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }

    /// One has come to its end; false when it had been left behind.
    pub(crate) fn ended(&mut self, id: MountId) -> bool {
        let before = self.watched.len();
        self.watched.retain(|watched| watched.remote.id != id);
        self.watched.len() < before
    }

    /// When to look after them at the latest.
    pub(crate) fn next_check(&self) -> Duration {
        if self.watched.is_empty() { Duration::MAX } else { self.patience.min(GRACE) }
    }

    /// Leaves those behind that have not shown a sign of life for too long; what is unknown for it.
    pub(crate) fn check(&mut self) -> Result<Walked, StoreError> {
        let mut walked = Walked::default();
        let patience = if self.walk.stop.is_told() { GRACE.min(self.patience) } else { self.patience };
        let mut at = 0;
        while let Some(watched) = self.watched.get_mut(at) {
            let beats = watched.pulse.load(Ordering::Relaxed);
            if beats != watched.last.0 {
                watched.last = (beats, Instant::now());
            }
            if watched.last.1.elapsed() < patience {
                at += 1;
                continue;
            }
            let Watched { remote, thread, is_left, .. } = self.watched.swap_remove(at);
            is_left.store(true, Ordering::Relaxed);
            let seconds = patience.as_secs();
            let reason = format!("the file system of type {} there did not answer for {seconds} s", remote.file_system);
            walked.extend(remote.unknown(&self.walk, reason)?);
            self.left.insert((remote.id, remote.point()), thread);
        }
        Ok(walked)
    }
}
