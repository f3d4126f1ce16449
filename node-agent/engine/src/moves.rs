//! Moves: a regular file that is gone under one name and there again under another, in one compare.
//!
//! Walkers and committer hold back what is gone and what is new, as it may be one file; the state stays as it is until
//! all names were seen. Then what belongs together is paired, and each end is looked at once more before the two records
//! that name each other are made in one transaction. It pairs by what a rename leaves alone, never by content alone.

use crate::clock::Time;
use crate::commit::{Finding, Place, Report, Transaction, What};
use crate::crew::Sent;
use crate::digest::restrict;
use crate::gate::Want;
use crate::host::{Directory, is_gone, is_lack};
use crate::item::ItemState;
use crate::look::{Look, Looker, Opened, Subject, is_still};
use crate::mounts::MountId;
use crate::page::{PlanId, Volume};
use crate::path::HostPath;
use crate::plan::{Ask, phase};
use crate::store::StoreError;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vedette_crds::record::ItemType;

/// As many names wait on either side, some 200 bytes each; what comes later is committed as it comes, unpaired.
const LIMIT: usize = 65_536;
/// So is what comes when the names and paths of those that wait have as many bytes: twice what the longest names take.
const BYTES: usize = 32 * 1024 * 1024;
/// A walker takes so many at once: enough to open a directory for, few enough that all walkers have work.
const BATCH: usize = 256;

/// What a rename leaves alone, and no two files of one time share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    volume: Volume,
    inode: u64,
    /// Inode numbers are used again. A file system without birth times therefore never pairs.
    created: Time,
    size: u64,
    modified: Time,
}

impl Identity {
    /// `None` for what is never paired.
    fn of(volume: Volume, state: &ItemState) -> Option<Self> {
        let created = state.created.filter(|_| state.kind == ItemType::Regular)?;
        Some(Self { volume, inode: state.inode, created, size: state.size, modified: state.modified })
    }
}

/// A name that is gone or new.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) volume: Volume,
    pub(crate) directory: HostPath,
    pub(crate) name: Vec<u8>,
    /// The entries that select it, suspended ones included.
    pub(crate) selecting: Arc<[u16]>,
    pub(crate) ask: Arc<Ask>,
    /// The plan that its page was of when it was held back: other names of the page may be committed before it.
    pub(crate) under: Option<PlanId>,
}

impl Candidate {
    pub(crate) fn place(&self) -> Place<'_> {
        Place { volume: self.volume, directory: &self.directory, name: &self.name, under: self.under }
    }

    pub(crate) fn finding(self, what: What) -> Finding {
        Finding { name: self.name, selecting: self.selecting, ask: self.ask, what, moved: None, under: self.under }
    }
}

/// What a candidate turned out to be.
#[derive(Debug)]
pub(crate) enum Outcome {
    Gone(Candidate),
    There(Candidate),
    /// Perhaps: it is one when its digests are the same too.
    Moved {
        from: Candidate,
        to: Candidate,
    },
}

impl Outcome {
    /// Where it has to be looked at.
    pub(crate) fn here(&self) -> &Candidate {
        match self {
            Self::Gone(here) | Self::There(here) | Self::Moved { to: here, .. } => here,
        }
    }

    /// What a look at it has to find out.
    pub(crate) fn want(&self) -> Want {
        let Candidate { directory, name, ask, .. } = self.here();
        ask.want(phase(directory, name))
    }

    /// A look at it. `stored` is the state of the item, or of the one that it was before it moved.
    pub(crate) fn look(
        &self,
        looker: &mut Looker,
        open: &(Directory, MountId),
        stored: Option<&ItemState>,
        leaves_large: bool,
    ) -> Look {
        let looked = looker.now();
        let look = looker.look(self.subject(open, stored, leaves_large));
        self.as_moved(look, stored, looked)
    }

    fn subject<'s>(
        &'s self,
        (directory, on): &'s (Directory, MountId),
        stored: Option<&'s ItemState>,
        leaves_large: bool,
    ) -> Subject<'s> {
        let (name, want) = (&self.here().name, Want { leaves_large, ..self.want() });
        Subject { directory, name, on: *on, stored, want }
    }

    /// Opens it to be read.
    ///
    /// # Errors
    /// What it shows, where nothing is to be read.
    pub(crate) fn open(
        &self,
        looker: &mut Looker,
        open: &(Directory, MountId),
        stored: Option<&ItemState>,
    ) -> Result<Box<Opened>, Look> {
        let looked = looker.now();
        let opened = looker.open(self.subject(open, stored, false));
        opened.map_err(|look| self.as_moved(look, stored, looked))
    }

    fn as_moved(&self, look: Look, stored: Option<&ItemState>, looked: Time) -> Look {
        match (look, self, stored) {
            // Nothing was done to it but that a directory above it has another name: its content is the one that was read.
            (Look::Same, Self::Moved { .. }, Some(before)) => {
                Look::Seen(Box::new(ItemState { looked, ..before.clone() }))
            }
            (look, ..) => look,
        }
    }

    /// Whether nothing is to be said after this look, which lacked something of this process: what is gone under one name is
    /// a move or a removal, as its other name shows.
    pub(crate) fn stays_open(&self, look: &Look) -> bool {
        matches!((self, look), (Self::Moved { .. }, Look::Unknown(errno)) if is_lack(*errno))
    }

    /// What is to be said when it shows `after`: of the name here, and of the other one.
    pub(crate) fn told(
        self,
        before: Option<ItemState>,
        after: Option<Box<ItemState>>,
    ) -> (Option<Finding>, Option<Sent>) {
        match (self, before, after) {
            (Self::Gone(gone), ..) => (Some(gone.finding(What::Missing)), None),
            (Self::There(here), _, after) => (after.map(|after| here.finding(What::Seen(after))), None),
            (Self::Moved { from, to }, Some(before), Some(after)) if is_one_file(to.volume, &before, &after) => {
                let (before, after) = (Box::new(before), asked(after, &to.ask));
                (None, Some(Sent::Moved(Box::new(Moved { from, to, before, after }))))
            }
            (Self::Moved { from, to }, _, after) => {
                let (volume, directory) = (from.volume, from.directory.clone());
                let gone = Report::of(volume, directory, vec![from.finding(What::Missing)]);
                let after = after.map(|after| asked(after, &to.ask));
                (after.map(|after| to.finding(What::Seen(after))), Some(Sent::Report(gone)))
            }
        }
    }
}

/// A file that was looked at under its new name.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) from: Candidate,
    pub(crate) to: Candidate,
    /// The stored state of the old name.
    pub(crate) before: Box<ItemState>,
    pub(crate) after: Box<ItemState>,
}

/// The state with what is asked under its new name.
fn asked(mut state: Box<ItemState>, ask: &Ask) -> Box<ItemState> {
    state.digests = restrict(state.digests, ask.hashes());
    if ask.hashes().is_empty() && state.kind == ItemType::Regular {
        (state.content, state.read) = (None, None);
    }
    state
}

/// Whether one file can have been seen in both states.
fn is_one_file(volume: Volume, before: &ItemState, after: &ItemState) -> bool {
    let same = Identity::of(volume, before).is_some_and(|before| Some(before) == Identity::of(volume, after));
    same && !(after.is_read() && before.digests.differ(&after.digests) == Some(true))
}

/// The candidates of one compare.
#[derive(Debug)]
pub(crate) struct Moves {
    limit: usize,
    bytes: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    gone: Side,
    new: Side,
    batches: Vec<Vec<Outcome>>,
}

/// What waits on one side.
#[derive(Debug, Default)]
struct Side {
    candidates: Vec<(Identity, Candidate)>,
    /// Of their names, and of the paths of their directories, each of which is held once.
    bytes: usize,
    directories: HashSet<usize>,
}

impl Default for Moves {
    fn default() -> Self {
        Self { limit: LIMIT, bytes: BYTES, held: Mutex::default() }
    }
}

impl Moves {
    /// Keeps a stored item that is gone, or gives it back: it is never paired, or too many wait.
    pub(crate) fn hold_gone(&self, state: &ItemState, candidate: Candidate) -> Option<Candidate> {
        self.hold(&mut self.lock().gone, state, candidate)
    }

    /// Keeps a name that is new, or gives it back likewise. `state` is what statx said of it.
    pub(crate) fn hold_new(&self, state: &ItemState, candidate: Candidate) -> Option<Candidate> {
        self.hold(&mut self.lock().new, state, candidate)
    }

    /// Pairs what was held, for walkers to take; false when there is nothing.
    pub(crate) fn settle(&self) -> bool {
        let mut held = self.lock();
        let outcomes = pair(std::mem::take(&mut held.gone).candidates, std::mem::take(&mut held.new).candidates);
        held.batches = batches(outcomes);
        !held.batches.is_empty()
    }

    /// Candidates of one directory; `None` when there are no more.
    pub(crate) fn next(&self) -> Option<Vec<Outcome>> {
        self.lock().batches.pop()
    }

    fn hold(&self, side: &mut Side, state: &ItemState, candidate: Candidate) -> Option<Candidate> {
        let Some(identity) = Identity::of(candidate.volume, state) else { return Some(candidate) };
        let directory = candidate.directory.shared();
        let is_known = side.directories.contains(&directory);
        let path = if is_known { 0 } else { candidate.directory.as_bytes().len() };
        let bytes = side.bytes + candidate.name.len() + path;
        if side.candidates.len() >= self.limit || bytes > self.bytes {
            return Some(candidate);
        }
        side.bytes = bytes;
        side.directories.insert(directory);
        side.candidates.push((identity, candidate));
        None
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // What it guards is whole between any two statements.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One to one. Among hard links, whose names nothing tells apart, in the order of names: the same at every run, and a
/// directory that moved keeps its own.
fn pair(mut gone: Vec<(Identity, Candidate)>, mut new: Vec<(Identity, Candidate)>) -> Vec<Outcome> {
    let by_identity = |(a, one): &(Identity, Candidate), (b, other): &(Identity, Candidate)| {
        (a, &one.name, &one.directory).cmp(&(b, &other.name, &other.directory))
    };
    gone.sort_unstable_by(by_identity);
    new.sort_unstable_by(by_identity);
    let mut outcomes = Vec::with_capacity(gone.len().max(new.len()));
    let mut gone = gone.into_iter().peekable();
    for (identity, to) in new {
        while let Some((_, from)) = gone.next_if(|(of, _)| *of < identity) {
            outcomes.push(Outcome::Gone(from));
        }
        outcomes.push(match gone.next_if(|(of, _)| *of == identity) {
            Some((_, from)) => Outcome::Moved { from, to },
            None => Outcome::There(to),
        });
    }
    outcomes.extend(gone.map(|(_, from)| Outcome::Gone(from)));
    outcomes
}

fn batches(mut outcomes: Vec<Outcome>) -> Vec<Vec<Outcome>> {
    let place = |outcome: &Outcome| {
        let Candidate { volume, directory, name, .. } = outcome.here();
        (*volume, directory.clone(), name.clone())
    };
    outcomes.sort_by_cached_key(place);
    let mut batches: Vec<Vec<Outcome>> = Vec::new();
    for outcome in outcomes {
        let here = outcome.here();
        match batches.last_mut() {
            Some(batch)
                if batch.len() < BATCH
                    && (batch[0].here().volume, &batch[0].here().directory) == (here.volume, &here.directory) =>
            {
                batch.push(outcome);
            }
            _ => batches.push(vec![outcome]),
        }
    }
    batches
}

impl Transaction<'_, '_> {
    /// Looks at both ends of moves once more, and reports those that stand as moves, the others as what they are.
    pub(crate) fn confirm(&mut self, moves: Vec<Moved>) -> Result<Vec<Report>, StoreError> {
        let mut reports: BTreeMap<(Volume, HostPath), Vec<Finding>> = BTreeMap::new();
        for Moved { from, to, before, after } in moves {
            let left = self.look_again(from.place(), Some(&before), &from.ask)?;
            let stands = self.stands(to.place(), &after);
            let is_move = matches!(left, Some(What::Missing)) && stands == Some(true);
            let (old, new) = (from.place().path(), to.place().path());
            let came = stands.map(|_| What::Seen(after));
            for (candidate, what, other) in [(from, left, new), (to, came, old)] {
                let Some(what) = what else { continue };
                let place = (candidate.volume, candidate.directory.clone());
                let moved = is_move.then_some(other);
                reports.entry(place).or_default().push(Finding { moved, ..candidate.finding(what) });
            }
        }
        let reports = reports.into_iter().map(|((volume, directory), mut findings)| {
            findings.sort_by(|a, b| a.name.cmp(&b.name));
            Report::of(volume, directory, findings)
        });
        Ok(reports.collect())
    }

    /// Whether a name still shows the file that was seen there; `None` when it is gone again.
    fn stands(&self, place: Place<'_>, seen: &ItemState) -> Option<bool> {
        let open = self.committer.host.directory(place.directory);
        match open.and_then(|open| open.stat(place.name).map(|stat| (open, stat))) {
            // A copy of the file system, mounted over it, has the same inodes and times.
            Ok((open, stat)) => Some(is_still(seen, &stat) && self.mount_of(&open, place) == Some(stat.stx_mnt_id)),
            Err(errno) if is_gone(errno) => None,
            Err(_) => Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::tests::regular;
    use rustix::io::Errno;

    fn candidate(name: &str) -> Candidate {
        let ask = Arc::default();
        let (directory, name) = (HostPath::from("/d"), name.as_bytes().to_vec());
        Candidate { volume: 1, directory, name, selecting: Arc::from([0]), ask, under: None }
    }

    #[test]
    fn beyond_the_limit_names_do_not_wait() {
        let moves = Moves { limit: 2, ..Moves::default() };
        for name in ["a", "b"] {
            assert!(moves.hold_gone(&regular(), candidate(name)).is_none());
            assert!(moves.hold_new(&regular(), candidate(name)).is_none());
        }
        assert!(moves.hold_gone(&regular(), candidate("c")).is_some());
        assert!(moves.hold_new(&regular(), candidate("c")).is_some());
    }

    #[test]
    fn names_whose_paths_are_too_long_together_do_not_wait_and_a_directory_counts_once() {
        let moves = Moves { bytes: 1000, ..Moves::default() };
        let long = HostPath::root().join(&[b'd'; 400]);
        for name in ["a", "b", "c", "d"] {
            let candidate = Candidate { directory: long.clone(), ..candidate(name) };
            assert!(moves.hold_new(&regular(), candidate).is_none());
        }
        let other = |byte| HostPath::root().join(&[byte; 400]);
        assert!(moves.hold_new(&regular(), Candidate { directory: other(b'e'), ..candidate("a") }).is_none());
        assert!(moves.hold_new(&regular(), Candidate { directory: other(b'f'), ..candidate("a") }).is_some());
        assert!(moves.hold_gone(&regular(), Candidate { directory: other(b'f'), ..candidate("a") }).is_none());
    }

    #[test]
    fn an_end_of_a_move_that_cannot_be_seen_for_want_of_descriptors_leaves_both_as_they_are() {
        let moved = Outcome::Moved { from: candidate("a"), to: candidate("b") };
        for lack in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            assert!(moved.stays_open(&Look::Unknown(lack)), "{lack}");
            assert!(!Outcome::There(candidate("b")).stays_open(&Look::Unknown(lack)), "{lack}");
        }
        assert!(
            !moved.stays_open(&Look::Unknown(Errno::IO)),
            "what the host refuses is gone from its old name all the same"
        );
        assert!(!moved.stays_open(&Look::Gone));
    }

    #[test]
    fn a_file_system_without_birth_times_pairs_nothing() {
        let moves = Moves::default();
        let unborn = ItemState { created: None, ..regular() };
        assert!(moves.hold_gone(&unborn, candidate("a")).is_some());
        assert!(!is_one_file(1, &unborn, &unborn));
        assert!(!moves.settle());
    }
}
