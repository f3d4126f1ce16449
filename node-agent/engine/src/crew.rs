//! The threads of one compare: walkers that send what they find, and the chunks in which it is committed.
//!
//! Owns everything that a walker uses, so that a thread which a file system holds for ever can be left behind.

use crate::commit::{Committer, Report};
use crate::engine::EngineError;
use crate::flow::Share;
use crate::meta::Meta;
use crate::mounts::MountId;
use crate::moves::Moved;
use crate::remote::{Remote, Remotes};
use crate::store::StoreError;
use crate::walk::{Walk, Walked};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Reports that may wait for the committer: a few directories for each walker.
const REPORTS: usize = 64;
/// A transaction takes so many findings: a few milliseconds of waiting for the disk are little beside what it took to find
/// them,
const CHUNK_FINDINGS: usize = 8_000;
/// or so many bytes of them,
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
/// or what came in this time: a long walk does not make others wait for the disk often,
const CHUNK_TIME: Duration = Duration::from_secs(2);
/// and when a short one ends, most of what it found is committed.
const SHORT_TIME: Duration = Duration::from_millis(200);

/// What is committed together comes in this time, so long after the walk began.
fn chunk_time(walked: Duration) -> Duration {
    (walked / 4).clamp(SHORT_TIME, CHUNK_TIME)
}

/// What a walker says.
pub(crate) enum Sent {
    Report(Report),
    Moved(Box<Moved>),
    /// A mount that a thread of its own has to walk.
    Remote(Box<Remote>),
    Ended(Result<Walked, StoreError>),
    RemoteEnded(MountId, Result<Walked, StoreError>),
    Panicked,
    /// Several, with their share of what is on its way: to wake the committer for each would cost more than the words.
    Weighed(Vec<Self>, Share),
}

impl Sent {
    /// What it holds; what is on its way is that no more.
    fn arrived(self) -> Vec<Self> {
        match self {
            Self::Weighed(sent, share) => {
                drop(share);
                sent
            }
            sent => vec![sent],
        }
    }
}

/// What a walker does from its start to its end.
pub(crate) type Work = fn(&Walk, &SyncSender<Sent>) -> Result<Walked, StoreError>;

/// Walkers at work.
pub(crate) struct Crew {
    walk: Arc<Walk>,
    walkers: Vec<JoinHandle<()>>,
    sender: SyncSender<Sent>,
    receiver: Receiver<Sent>,
}

impl Crew {
    /// Starts so many walkers on this work, fewer when the system has no more threads to give.
    ///
    /// # Errors
    /// When it gives none.
    pub(crate) fn start(walk: &Arc<Walk>, threads: usize, work: Work) -> Result<Self, EngineError> {
        let (sender, receiver) = sync_channel(REPORTS);
        let mut walkers = Vec::new();
        for _ in 0..threads.max(1) {
            match spawn(walk, sender.clone(), work) {
                Ok(walker) => walkers.push(walker),
                Err(error) if walkers.is_empty() => return Err(EngineError::Threads(error)),
                Err(error) => {
                    tracing::warn!(%error, "one walker less: the system has no thread to give");
                    break;
                }
            }
        }
        Ok(Self { walk: Arc::clone(walk), walkers, sender, receiver })
    }

    /// Commits what the walkers send until all have ended; what they met.
    pub(crate) fn commit(
        self,
        committer: &mut Committer<'_>,
        meta: &mut Meta,
        committed: &mut dyn FnMut(&Meta),
        mut remotes: Remotes<'_>,
    ) -> Result<Walked, StoreError> {
        let Self { walk, walkers, sender, receiver } = self;
        let mut collected = Collected { sender, running: walkers.len(), all: Walked::default(), failed: None };
        let result = collected.commit(&receiver, committer, meta, committed, &mut remotes);
        if result.is_err() {
            walk.stop.failed.store(true, Ordering::Relaxed);
        }
        // With the receiver gone, a walker that waits to send sees that no one commits any more.
        drop(receiver);
        for walker in walkers {
            if let Err(panic) = walker.join() {
                std::panic::resume_unwind(panic);
            }
        }
        remotes.resume_panic();
        result
    }
}

fn spawn(shared: &Arc<Walk>, sender: SyncSender<Sent>, work: Work) -> std::io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    Builder::new().name("walker".into()).spawn(move || {
        let _charged = shared.ground.pace.enlist();
        work_to_the_end(&sender, || work(&shared, &sender), Sent::Ended);
    })
}

/// Does a thread's work and says that it has ended, even when it panicked.
pub(crate) fn work_to_the_end<T>(sender: &SyncSender<Sent>, work: impl FnOnce() -> T, ended: impl FnOnce(T) -> Sent) {
    struct Panicking<'a>(&'a SyncSender<Sent>);
    impl Drop for Panicking<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                // Nobody hears it after a failed commit; who joins this thread sees the panic.
                drop(self.0.send(Sent::Panicked));
            }
        }
    }
    let _says_so = Panicking(sender);
    // Nobody hears it only after a failed commit, which is what the compare ends with.
    drop(sender.send(ended(work())));
}

/// What the threads of a compare have said.
struct Collected {
    sender: SyncSender<Sent>,
    running: usize,
    all: Walked,
    failed: Option<StoreError>,
}

impl Collected {
    /// Commits reports in chunks until the threads have ended, or were left behind.
    fn commit(
        &mut self,
        receiver: &Receiver<Sent>,
        committer: &mut Committer<'_>,
        meta: &mut Meta,
        committed: &mut dyn FnMut(&Meta),
        remotes: &mut Remotes<'_>,
    ) -> Result<Walked, StoreError> {
        let (mut chunk, mut moves): (Vec<Report>, Vec<Moved>) = Default::default();
        let (mut findings, mut bytes) = (0, 0);
        let began = Instant::now();
        let mut since = began;
        while self.running > 0 || !remotes.is_empty() {
            let chunk_time = chunk_time(since - began);
            let left = chunk_time.saturating_sub(since.elapsed());
            let wait = if findings == 0 { CHUNK_TIME } else { left };
            let before = findings;
            let arrived = receiver.recv_timeout(wait.min(remotes.next_check())).map(Sent::arrived);
            // None came in time; the channel ends only with this loop, which holds a sender.
            for sent in arrived.unwrap_or_default() {
                bytes += sent.bytes();
                match sent {
                    Sent::Report(report) => {
                        findings += 1 + report.findings.len();
                        chunk.push(report);
                    }
                    Sent::Moved(moved) => {
                        findings += 2;
                        moves.push(*moved);
                    }
                    Sent::Remote(remote) => self.all.extend(remotes.begin(*remote, &self.sender)?),
                    Sent::Ended(walked) => {
                        self.running -= 1;
                        self.took(walked);
                    }
                    Sent::RemoteEnded(mount, walked) => {
                        if remotes.ended(mount) {
                            self.took(walked);
                        }
                    }
                    // What has arrived is not.
                    Sent::Weighed(..) => {}
                    Sent::Panicked => return Ok(std::mem::take(&mut self.all)),
                }
            }
            if before == 0 {
                since = Instant::now();
            }
            self.all.extend(remotes.check()?);
            let is_over = self.running == 0 && remotes.is_empty();
            let is_full = findings >= CHUNK_FINDINGS || bytes >= CHUNK_BYTES || since.elapsed() >= chunk_time;
            if findings > 0 && (is_full || is_over) {
                *meta = committer.commit(std::mem::take(&mut chunk), std::mem::take(&mut moves), meta)?;
                (findings, bytes) = (0, 0);
                committed(meta);
            }
        }
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut self.all)),
        }
    }

    fn took(&mut self, walked: Result<Walked, StoreError>) {
        match walked {
            Ok(walked) => self.all.extend(walked),
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }
}
