//! The threads of one compare: walkers that send what they find, and the chunks in which it is committed.
//!
//! Owns everything that a walker uses, so that a thread which a file system holds for ever can be left behind.

use crate::commit::{Committer, Report};
use crate::engine::EngineError;
use crate::meta::Meta;
use crate::moves::Moved;
use crate::store::StoreError;
use crate::walk::{Walk, Walked};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Reports that may wait for the committer: a few directories for each walker.
const REPORTS: usize = 64;
/// A transaction takes so many findings,
const CHUNK_FINDINGS: usize = 32_000;
/// or what came in this time.
const CHUNK_TIME: Duration = Duration::from_secs(2);

/// What a walker says.
pub(crate) enum Sent {
    Report(Report),
    Moved(Box<Moved>),
    Ended(Result<Walked, StoreError>),
}

/// What a walker does from its start to its end.
pub(crate) type Work = fn(&Walk, &SyncSender<Sent>) -> Result<Walked, StoreError>;

/// Walkers at work.
pub(crate) struct Crew {
    walk: Arc<Walk>,
    walkers: Vec<JoinHandle<()>>,
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
        Ok(Self { walk: Arc::clone(walk), walkers, receiver })
    }

    /// Commits what the walkers send until all have ended; what they met.
    pub(crate) fn commit(
        self,
        committer: &mut Committer<'_>,
        meta: &mut Meta,
        committed: &mut dyn FnMut(&Meta),
    ) -> Result<Walked, StoreError> {
        let Self { walk, walkers, receiver } = self;
        let result = commit_all(&receiver, walkers.len(), committer, meta, committed);
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
        result
    }
}

fn spawn(shared: &Arc<Walk>, sender: SyncSender<Sent>, work: Work) -> std::io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    Builder::new().name("walker".into()).spawn(move || {
        let ended = Sent::Ended(work(&shared, &sender));
        // Nobody hears it only after a failed commit, which is what the compare ends with.
        drop(sender.send(ended));
    })
}

/// Commits reports in chunks until the walkers have ended.
fn commit_all(
    receiver: &Receiver<Sent>,
    walkers: usize,
    committer: &mut Committer<'_>,
    meta: &mut Meta,
    committed: &mut dyn FnMut(&Meta),
) -> Result<Walked, StoreError> {
    let (mut chunk, mut moves): (Vec<Report>, Vec<Moved>) = Default::default();
    let mut findings = 0;
    let mut since = Instant::now();
    let mut running = walkers;
    let mut all = Ok(Walked::default());
    while running > 0 {
        let left = CHUNK_TIME.saturating_sub(since.elapsed());
        match receiver.recv_timeout(if findings == 0 { CHUNK_TIME } else { left }) {
            Ok(Sent::Report(report)) => {
                if findings == 0 {
                    since = Instant::now();
                }
                findings += 1 + report.findings.len();
                chunk.push(report);
            }
            Ok(Sent::Moved(moved)) => {
                if findings == 0 {
                    since = Instant::now();
                }
                findings += 2;
                moves.push(*moved);
            }
            Ok(Sent::Ended(walked)) => {
                running -= 1;
                all = all.and_then(|mut all| {
                    walked.map(|walked| {
                        all.extend(walked);
                        all
                    })
                });
            }
            Err(RecvTimeoutError::Timeout) => {}
            // One of them panicked.
            Err(RecvTimeoutError::Disconnected) => running = 0,
        }
        let is_full = findings >= CHUNK_FINDINGS || since.elapsed() >= CHUNK_TIME;
        if findings > 0 && (is_full || running == 0) {
            *meta = committer.commit(std::mem::take(&mut chunk), std::mem::take(&mut moves), meta)?;
            findings = 0;
            committed(meta);
        }
    }
    all
}
