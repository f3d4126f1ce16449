//! The lane for large files: what is to be read of them waits here, so that one huge file never holds up the rest.
//!
//! A compare that waits has its walkers read all of it when they have no directory left. Else a thread reads
//! several side by side while other compares go on, and tells when something is to be committed. What is lost here, because rules
//! changed or the process ended, is found again by the next compare: nothing of it is in the state.

use crate::clock::Clock;
use crate::commit::{Aside, Report};
use crate::compared::Compared;
use crate::crew::Sent;
use crate::engine::{Engine, EngineError, Standing};
use crate::flow::texts;
use crate::hard_links::HardLinks;
use crate::host::{Directory, HostRoot, is_lack};
use crate::item::ItemState;
use crate::look::{Look, Looker, Own};
use crate::mounts::{MountId, Mounts};
use crate::moves::{Candidate, Moves, Outcome};
use crate::pace::{Charged, Pace};
use crate::page::Volume;
use crate::path::HostPath;
use crate::progress::Progress;
use crate::render::Owners;
use crate::side_by_side::{SMALL, UnderWayNow, read_side_by_side, share};
use crate::stop::Stop;
use crate::store::StoreError;
use crate::volumes::Volumes;
use rustix::io::Errno;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// So many files wait or are to be committed, some 600 bytes each; beyond them a walker reads what it meets.
const LIMIT: usize = 4096;
/// So many bytes their paths and attributes may have.
const BYTES: usize = 4 * 1024 * 1024;

/// What a look needs, without the state: a thread that a file system holds must not keep that open.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) host: Arc<HostRoot>,
    pub(crate) mounts: Arc<Mounts>,
    pub(crate) volumes: Arc<Volumes>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) own: Own,
    pub(crate) progress: Arc<Progress>,
    pub(crate) links: Arc<HardLinks>,
    pub(crate) pace: Arc<Pace>,
    /// What was compared before the compare that met the file: it was seen as before then.
    pub(crate) compared: Arc<Compared>,
    /// So many large files are read side by side.
    pub(crate) files: usize,
}

impl Ground {
    pub(crate) fn looker(&self, stop: Stop) -> Looker {
        let Self { clock, own, progress, links, pace, .. } = self;
        Looker::new(Arc::clone(clock), stop, *own, Arc::clone(progress), Arc::clone(links), Arc::clone(pace))
    }

    /// A directory and its mount, as long as that shows the volume on which it was listed.
    ///
    /// # Errors
    /// When this process lacks something: then nothing is known of what lies there.
    pub(crate) fn open_on(&self, volume: Volume, directory: &HostPath) -> Result<Option<(Directory, MountId)>, Errno> {
        let Self { host, mounts, volumes, .. } = self;
        let open = host.directory(directory).and_then(|open| open.stat(b"").map(|stat| (open, stat.stx_mnt_id)));
        match open {
            Err(errno) if is_lack(errno) => Err(errno),
            // Any other is not named: the directory was listed a moment ago, and the next compare meets it again.
            open => Ok(open.ok().filter(|(_, mount)| volumes.known(host, mounts, *mount) == Some(volume))),
        }
    }
}

/// A large file that is to be read.
pub(crate) struct Task {
    pub(crate) outcome: Outcome,
    /// Of the item, or of the one that it was before it moved.
    pub(crate) stored: Option<ItemState>,
    /// Of what was seen: of several names one is read at a time, and the others then need not be.
    pub(crate) inode: u64,
    /// Of what was seen.
    pub(crate) size: u64,
    pub(crate) ground: Ground,
}

impl Task {
    fn bytes(&self) -> usize {
        let path = |end: &Candidate| end.directory.as_bytes().len() + end.name.len();
        let other = match &self.outcome {
            Outcome::Moved { from, .. } => path(from),
            Outcome::Gone(_) | Outcome::There(_) => 0,
        };
        path(self.outcome.here()) + other + self.stored.as_ref().map_or(0, texts)
    }
}

/// A file that a walker reads.
pub(crate) struct Reading<'l> {
    lane: &'l Lane,
    file: (Volume, u64),
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.lane.lock().reading.remove(&self.file);
    }
}

/// What became of a task.
pub(crate) enum Pushed {
    /// It waits, or one of the same file does, or that is being read.
    Waits,
    Full(Box<Task>),
}

/// What the thread has read, with what was compared before.
struct Done {
    file: (Volume, HostPath),
    sent: Vec<Sent>,
    compared: Arc<Compared>,
}

/// Large files that wait to be read.
#[derive(Default)]
pub(crate) struct Lane {
    inner: Mutex<Inner>,
    /// Is told that something was read; there is a thread only with it.
    told: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Places of files, and what each holds of no fixed size.
#[derive(Default)]
struct Known {
    files: HashMap<(Volume, HostPath), usize>,
    /// Of all of them.
    bytes: usize,
}

impl Known {
    fn insert(&mut self, task: &Task) {
        let bytes = task.bytes();
        let before = self.files.insert(key(&task.outcome), bytes);
        self.bytes = self.bytes + bytes - before.unwrap_or(0);
    }

    fn remove(&mut self, file: &(Volume, HostPath)) {
        self.bytes -= self.files.remove(file).unwrap_or(0);
    }
}

impl Inner {
    /// A file is not known here any more: it may be queued again. Says whether what was read of it still counts.
    fn forget(&mut self, file: &(Volume, HostPath)) -> bool {
        self.known.remove(file);
        !self.outdated.remove(file)
    }
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Task>,
    /// Which files wait, are being read, or were read and are not committed yet.
    known: Known,
    /// Those of them whose item was removed since: what is read may be older than that.
    outdated: HashSet<(Volume, HostPath)>,
    /// What walkers read.
    reading: HashSet<(Volume, u64)>,
    done: Vec<Done>,
    is_manned: bool,
    /// Ends the reads that are under way.
    stop: Arc<AtomicBool>,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("known", &self.lock().known.files.len()).finish_non_exhaustive()
    }
}

fn key(outcome: &Outcome) -> (Volume, HostPath) {
    let Candidate { volume, .. } = outcome.here();
    (*volume, outcome.here().place().path())
}

impl Lane {
    /// Queues a file, unless it is here already.
    pub(crate) fn push(&self, task: Task) -> Pushed {
        let mut inner = self.lock();
        if inner.known.files.contains_key(&key(&task.outcome)) {
            return Pushed::Waits;
        }
        if inner.known.files.len() >= LIMIT || inner.known.bytes >= BYTES {
            return Pushed::Full(Box::new(task));
        }
        inner.known.insert(&task);
        inner.waiting.push_back(task);
        Pushed::Waits
    }

    /// The largest file, for one of so many walkers, unless what it has is its share; it is not known here any more. Who reads
    /// another name of one that is left finds that when it comes back.
    pub(crate) fn next(&self, has: usize, threads: usize) -> Option<(Task, Reading<'_>)> {
        let mut inner = self.lock();
        if has >= share(inner.waiting.len() + inner.reading.len(), threads) {
            return None;
        }
        let file = |task: &Task| (task.outcome.here().volume, task.inode);
        let free = inner.waiting.iter().enumerate().filter(|(_, task)| !inner.reading.contains(&file(task)));
        // At the end none is left that would be read alone for long. Of several, the one that was met first.
        let (at, _) = free.max_by_key(|(at, task)| (task.size, Reverse(*at)))?;
        let task = inner.waiting.remove(at)?;
        inner.known.remove(&key(&task.outcome));
        inner.reading.insert(file(&task));
        let file = file(&task);
        Some((task, Reading { lane: self, file }))
    }

    /// An item is not there any more: what was read of it before must not bring it back.
    pub(crate) fn left(&self, volume: Volume, path: &HostPath) {
        let mut inner = self.lock();
        let file = (volume, path.clone());
        if !inner.known.files.contains_key(&file) {
            return;
        }
        if let Some(at) = inner.waiting.iter().position(|task| key(&task.outcome) == file) {
            inner.waiting.remove(at);
            inner.known.remove(&file);
        } else {
            inner.outdated.insert(file);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Whether a thread reads while compares go on.
    pub(crate) fn has_thread(&self) -> bool {
        self.told.get().is_some()
    }

    /// Ends what is read and forgets all that waits.
    pub(crate) fn reset(&self) {
        let mut inner = self.lock();
        inner.stop.store(true, Ordering::Relaxed);
        inner.stop = Arc::default();
        inner.waiting.clear();
        inner.known = Known::default();
        inner.outdated.clear();
        inner.done.clear();
        // Its thread sees that it was told to stop, and ends; another one takes up what comes.
        inner.is_manned = false;
    }

    /// Starts the thread, unless it runs or has nothing to do. It ends when nothing waits.
    pub(crate) fn man(self: &Arc<Self>) {
        let mut inner = self.lock();
        if inner.is_manned || inner.waiting.is_empty() {
            return;
        }
        let (lane, stop) = (Arc::clone(self), Arc::clone(&inner.stop));
        match std::thread::Builder::new().name("large-files".into()).spawn(move || lane.run(&stop)) {
            Ok(_) => inner.is_manned = true,
            Err(error) => tracing::warn!(%error, "large files wait: the system has no thread to give"),
        }
    }

    fn run(&self, stop: &Arc<AtomicBool>) {
        let Some(first) = self.take(stop, UnderWayNow::default(), 1) else { return };
        let _charged = first.ground.pace.enlist();
        let (mut looker, files) = (first.ground.looker(Stop::new(stop)), first.ground.files);
        let mut first = Some(first);
        let mut next = |now| {
            let task = first.take().or_else(|| self.take(stop, now, files))?;
            let held = (key(&task.outcome), Arc::clone(&task.ground.compared));
            Some((task, held))
        };
        read_side_by_side(&mut looker, files, &mut next, |_, outcome, stored, look, (file, compared)| {
            let sent = told(outcome, stored, look);
            let mut inner = self.lock();
            if stop.load(Ordering::Relaxed) {
                return;
            }
            if sent.is_empty() {
                inner.forget(&file);
                return;
            }
            inner.done.push(Done { file, sent, compared });
            drop(inner);
            if let Some(told) = self.told.get() {
                told();
            }
        });
    }

    /// The next file for the thread, which ends when it has none and there is none. Small ones have half of the places to
    /// themselves, and so have large ones: neither waits for all of the others.
    fn take(&self, stop: &AtomicBool, now: UnderWayNow, places: usize) -> Option<Task> {
        let mut inner = self.lock();
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        let half = (places / 2).max(1);
        let has_place = [now.files - now.small < half, now.small < half];
        let next = |is_small: bool| {
            let is_such = |task: &Task| (task.size <= SMALL) == is_small;
            inner.waiting.iter().position(is_such).filter(|_| has_place[usize::from(is_small)])
        };
        let task = next(true).or_else(|| next(false)).and_then(|at| inner.waiting.remove(at));
        inner.is_manned = task.is_some() || now.files > 0;
        task
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What it guards is whole between any two statements.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be said of a file that the thread has read. What cannot be seen is named by the next compare, whose looks
/// repeat it.
fn told(outcome: Outcome, stored: Option<ItemState>, look: Option<Look>) -> Vec<Sent> {
    let Some(Look::Seen(after)) = look else { return Vec::new() };
    let Candidate { volume, directory, .. } = outcome.here().clone();
    let (here, elsewhere) = outcome.told(stored, Some(after));
    let here = here.map(|finding| Sent::Report(Report::of(volume, directory, vec![finding])));
    here.into_iter().chain(elsewhere).collect()
}

impl Engine {
    /// From now on large files are read on a thread while compares go on, but for the first compare after the start and
    /// those under a changed configuration. `told` is called when [`Engine::commit_read`] has something to do.
    pub fn read_large_files_aside(&mut self, told: impl Fn() + Send + Sync + 'static) {
        // Whoever said so first is told.
        drop(self.lane.told.set(Box::new(told)));
    }

    /// Commits what was read aside.
    ///
    /// # Errors
    /// When the state cannot be used; then it is read again.
    pub fn commit_read(&mut self, committed: &mut dyn FnMut(&Standing)) -> Result<(), EngineError> {
        let _charged = Charged::begin(&self.pace);
        let done = std::mem::take(&mut self.lane.lock().done);
        let result = done.into_iter().try_for_each(|done| self.commit_done(done));
        if result.is_err() {
            self.lane.reset();
        }
        committed(&self.standing());
        Ok(result?)
    }

    fn commit_done(&mut self, done: Done) -> Result<(), StoreError> {
        let (Some(plan), Some(mounts)) = (self.plan.clone(), self.mounts.clone()) else { return Ok(()) };
        let Done { file, sent, compared } = done;
        if !self.lane.lock().forget(&file) {
            return Ok(());
        }
        let (mut reports, mut moves) = (Vec::new(), Vec::new());
        for sent in sent {
            match sent {
                Sent::Report(report) => reports.push(report),
                Sent::Moved(moved) => moves.push(*moved),
                Sent::Remote(_) | Sent::Ended(_) | Sent::RemoteEnded(..) | Sent::Panicked | Sent::Weighed(..) => {}
            }
        }
        let (owners, none) = (Owners::read(&self.host, &mounts), Moves::default());
        let looker = self.ground(&mounts, Arc::default()).looker(Stop::new(&Arc::default()));
        let mut committer = self.committer(&plan, &mounts, &owners, &none, looker);
        committer.aside = Aside::Since(compared);
        self.meta = committer.commit(reports, moves, &self.meta)?;
        Ok(())
    }
}

impl Drop for Engine {
    /// A read that is under way ends at its next buffer.
    fn drop(&mut self) {
        self.lane.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::{Scratch, task};

    #[test]
    fn neither_small_nor_large_files_wait_for_all_of_the_others() {
        let mut host = Scratch::new();
        let paths: Vec<String> = (0..6).map(|at| format!("f{at}")).collect();
        paths.iter().for_each(|path| host.write(path, "1"));
        let (walk, lane) = (host.walk(), Lane::default());
        for (path, size) in paths.iter().zip([9 * SMALL, 9 * SMALL, 9 * SMALL, SMALL, SMALL, SMALL]) {
            assert!(matches!(lane.push(Task { size, ..task(&walk, path) }), Pushed::Waits));
        }
        let take = |files, small| {
            let taken = lane.take(&AtomicBool::new(false), UnderWayNow { files, small }, 4);
            taken.map(|task| task.outcome.here().place().path().to_string())
        };
        assert_eq!(take(2, 0).as_deref(), Some("/f3"), "two large ones are under way");
        assert_eq!(take(2, 2).as_deref(), Some("/f0"), "two small ones are");
        assert_eq!(take(4, 2), None);
        assert_eq!(take(0, 0).as_deref(), Some("/f4"));
        let rest: Vec<_> = (0..3).filter_map(|_| take(0, 0)).collect();
        assert_eq!(rest, ["/f5", "/f1", "/f2"]);
        assert_eq!(take(0, 0), None);
    }

    #[test]
    fn an_interrupted_walk_takes_the_large_files_with_it_that_it_met() {
        let mut host = Scratch::new();
        host.write("a", "1");
        host.write("b", "1");
        host.engine.read_large_files_aside(|| {});
        assert!(host.compare(&Arc::default()));
        host.write("a", vec![2; 3 << 20]);
        host.write("b", "2");
        let (stop, lane) = (Arc::<AtomicBool>::default(), Arc::clone(&host.engine.lane));
        // Told to end by the look at the next name: the report of both was not sent then.
        let told = Arc::clone(&stop);
        host.clock.when_asked(Some(Box::new(move || _ = told.fetch_or(!lane.is_empty(), Ordering::Relaxed))));
        assert!(!host.compare(&stop), "a large file waited");
        assert!(host.engine.lane.lock().known.files.is_empty());
        host.clock.when_asked(None);
        assert!(host.compare(&Arc::default()));
        assert_eq!(host.engine.lane.lock().known.files.len(), 1, "the next compare meets it again");
    }
}
