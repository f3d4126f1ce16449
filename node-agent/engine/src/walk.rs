//! The walkers: down every directory that a due entry can select in, each name looked at, only differences sent on.
//!
//! They read the host and the state, and write neither. Directories wait on one stack; the channel to the committer is
//! bounded, so a slow disk slows the walk and nothing piles up.

mod directory;
mod held;
mod mount;
mod name;
mod settle;
mod visit;

pub(crate) use settle::{read, settle};

use self::held::Held;

use crate::crew::Sent;
use crate::flow::Flow;
use crate::frontier::Frontier;
use crate::host::HostRoot;
use crate::idle::Met;
use crate::lane::{Ground, Lane};
use crate::leads::{Leads, Room};
use crate::look::Looker;
use crate::mounted::Shown;
use crate::mounts::Mounts;
use crate::moves::Moves;
use crate::page::Volume;
use crate::path::HostPath;
use crate::plan::{Ask, Due, Plan};
use crate::progress::{Progress, Tally};
use crate::remote::Remote;
use crate::stop::Stop;
use crate::store::{Current, Store, StoreError};
use crate::unknown::{Aspect, Found, Unknown};
use crate::volumes::Volumes;
pub(crate) use name::MAX_DEPTH;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// What the walkers of one compare share.
#[derive(Clone)]
pub(crate) struct Walk {
    pub(crate) store: Arc<Store>,
    pub(crate) host: Arc<HostRoot>,
    pub(crate) mounts: Arc<Mounts>,
    pub(crate) volumes: Arc<Volumes>,
    /// What is mounted where entries look, as far as the state knows.
    pub(crate) shown: Arc<BTreeMap<HostPath, Shown>>,
    /// File systems that came while they were watched.
    pub(crate) visitors: Arc<BTreeSet<Volume>>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) before: Before,
    pub(crate) due: Due,
    /// Whether all content is read again.
    pub(crate) reread: bool,
    pub(crate) stop: Stop,
    pub(crate) progress: Arc<Progress>,
    pub(crate) frontier: Arc<Frontier>,
    pub(crate) flow: Arc<Flow>,
    /// So many names of a directory are taken up at once.
    pub(crate) pass: usize,
    /// So much is followed.
    pub(crate) room: Room,
    pub(crate) moves: Arc<Moves>,
    pub(crate) lane: Arc<Lane>,
    /// Whether it comes to its end only when all large files were read.
    pub(crate) waits: bool,
    pub(crate) ground: Ground,
    /// So many walkers read what is large.
    pub(crate) threads: usize,
    /// Whether it is of a file system that may never answer, on a thread of its own.
    pub(crate) is_remote: bool,
}

/// What the last compare that came to its end was under.
#[derive(Clone)]
pub(crate) enum Before {
    /// There was none.
    Nothing,
    /// Another plan; `None` when the state does not hold it any more.
    Other(Option<Arc<Plan>>),
    /// The same plan.
    Same,
}

/// What one walker did.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) unknown: Found,
    pub(crate) met: Met,
    /// What lies behind links that are followed and the plan does not select anyway.
    pub(crate) leads: Leads,
}

impl Walked {
    /// Adds what another walker did.
    pub(crate) fn extend(&mut self, other: Self) {
        self.unknown.extend(other.unknown);
        self.met.extend(&other.met);
        self.leads.extend(other.leads);
    }
}

/// One thread's part in a walk.
struct Walker<'w> {
    walk: &'w Walk,
    state: Current<'w>,
    looker: Looker,
    held: Held,
    tally: Tally,
    walked: Walked,
    /// The answers so far: most names are selected by the same few sets of entries.
    asks: BTreeMap<Vec<u16>, Asked>,
}

/// The entries that select an item, and what they ask of it together.
type Asking = (Arc<[u16]>, Arc<Ask>);

#[derive(Clone)]
struct Asked {
    selecting: Arc<[u16]>,
    /// `None` when all of them are suspended.
    ask: Option<Arc<Ask>>,
    is_due: bool,
}

/// Walks until nothing waits any more, or it is told to stop.
pub(crate) fn walk(walk: &Walk, reports: &SyncSender<Sent>) -> Result<Walked, StoreError> {
    let mut walker = Walker::new(walk);
    let mut result = Ok(());
    while let Some(directory) = walk.frontier.next() {
        let mut below = vec![directory];
        while !walk.stop.is_set()
            && let Some(directory) = below.pop().or_else(|| walk.frontier.more())
        {
            match walker.directory(directory, reports) {
                Ok(found) => below.extend(found),
                Err(error) => {
                    walk.stop.failed.store(true, Ordering::Relaxed);
                    result = Err(error);
                }
            }
            if walk.frontier.is_hungry() {
                // What lies below a directory is nobody's before that was reported.
                walker.release_all(reports);
                walk.frontier.share(&mut below);
            } else {
                walker.release_old(reports);
            }
        }
        if !walk.stop.is_set() {
            walker.release_all(reports);
        }
        walker.state.let_go();
        walk.frontier.done();
    }
    result.map(|()| walker.walked)
}

/// Walks what a mount shows, from its top down.
pub(crate) fn remote(walk: &Walk, remote: &Remote, reports: &SyncSender<Sent>) -> Result<Walked, StoreError> {
    let mut walker = Walker::new(walk);
    let mut waiting = walker.remote_top(remote, reports)?;
    while let Some(directory) = waiting.pop() {
        if walk.stop.is_set() {
            break;
        }
        waiting.extend(walker.directory(directory, reports)?);
        walker.release_all(reports);
    }
    // A mount may be one file.
    if !walk.stop.is_set() {
        walker.release_all(reports);
    }
    Ok(walker.walked)
}

impl<'w> Walker<'w> {
    fn new(walk: &'w Walk) -> Self {
        let looker = walk.ground.looker(walk.stop.clone());
        let walked = Walked { leads: Leads::new(walk.room), ..Walked::default() };
        let (state, tally) = (Current::of(&walk.store), Tally::new(&walk.progress));
        Self { walk, state, looker, held: Held::default(), tally, walked, asks: BTreeMap::new() }
    }

    /// What these entries ask together, when one of them is due.
    fn ask(&mut self, selecting: &[u16], all_due: bool) -> Option<Asking> {
        if selecting.is_empty() {
            return None;
        }
        let Walk { plan, due, reread, .. } = self.walk;
        if !self.asks.contains_key(selecting) {
            let ask = plan.ask(selecting).map(|ask| if *reread { ask.at_once() } else { ask });
            let is_due = ask.as_ref().is_some_and(|ask| plan.any_due(&ask.entries, due));
            let asked = Asked { selecting: Arc::from(selecting), ask: ask.map(Arc::new), is_due };
            self.asks.insert(selecting.to_vec(), asked);
        }
        let asked = self.asks.get(selecting).filter(|asked| asked.is_due || all_due)?;
        Some((Arc::clone(&asked.selecting), Arc::clone(asked.ask.as_ref()?)))
    }

    fn send_now(&self, reports: &SyncSender<Sent>, sent: Vec<Sent>) {
        // The committer is gone only after it failed, and then says why itself.
        let share = self.walk.flow.enter(sent.iter().map(Sent::bytes).sum());
        if reports.send(Sent::Weighed(sent, share)).is_err() {
            self.walk.stop.failed.store(true, Ordering::Relaxed);
        }
    }

    fn unknown(&mut self, path: HostPath, aspect: Aspect, reason: String, interval: Duration, items: u64) {
        self.walked.unknown.add(Unknown { path, aspect, reason, interval, items });
    }
}
