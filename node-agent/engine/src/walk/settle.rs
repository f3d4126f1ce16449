//! What was held back until all names were seen: looked at now, and sent as gone, new or moved. And the large files.

use super::{Walk, Walked, Walker};
use crate::commit::Report;
use crate::crew::Sent;
use crate::host::Directory;
use crate::item::ItemState;
use crate::lane::{Pushed, Task};
use crate::look::Look;
use crate::mounts::MountId;
use crate::moves::{Candidate, Outcome};
use crate::path::HostPath;
use crate::side_by_side::{UnderWayNow, read_side_by_side};
use crate::store::StoreError;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

/// Takes what waits until there is nothing, or it is told to stop.
pub(crate) fn settle(walk: &Walk, reports: &SyncSender<Sent>) -> Result<Walked, StoreError> {
    let mut walker = Walker::new(walk);
    while let Some(batch) = walk.moves.next() {
        if walk.stop.is_set() {
            break;
        }
        if let Err(error) = walker.batch(batch, reports) {
            walk.stop.failed.store(true, Ordering::Relaxed);
            return Err(error);
        }
    }
    Ok(walker.walked)
}

/// Reads large files until none waits, or it is told to stop.
pub(crate) fn read(walk: &Walk, reports: &SyncSender<Sent>) -> Result<Walked, StoreError> {
    let mut walker = Walker::new(walk);
    let mut looker = walk.ground.looker(walk.stop.clone());
    let next = |now: UnderWayNow| if walk.stop.is_set() { None } else { walk.lane.next(now.files, walk.threads) };
    read_side_by_side(&mut looker, walk.ground.files, next, |looker, outcome, stored, look, _reading| {
        let Some(look) = look else { return };
        let Candidate { volume, directory, name, selecting, ask, .. } = outcome.here().clone();
        let stays_open = walker.stays_open(&outcome, &look);
        let after = walker.seen(&directory, &name, &selecting, &ask, look, looker.refused());
        if stays_open || walk.stop.is_set() {
            return;
        }
        let (here, elsewhere) = outcome.told(stored, after);
        let here = here.map(|finding| Sent::Report(Report::of(volume, directory, vec![finding])));
        here.into_iter().chain(elsewhere).for_each(|sent| walker.send(reports, sent));
    });
    Ok(walker.walked)
}

/// An outcome, the state of what it was, and what was seen.
type Shown = (Outcome, Option<ItemState>, Option<Box<ItemState>>);

impl Walker<'_> {
    /// Outcomes of one directory.
    fn batch(&mut self, batch: Vec<Outcome>, reports: &SyncSender<Sent>) -> Result<(), StoreError> {
        let Some(Candidate { volume, directory, .. }) = batch.first().map(|first| first.here().clone()) else {
            return Ok(());
        };
        // Where all is gone, nothing is to be seen.
        let is_gone = batch.iter().all(|outcome| matches!(outcome, Outcome::Gone(_)));
        let open = if is_gone { Ok(None) } else { self.walk.ground.open_on(volume, &directory) };
        let mut findings = Vec::new();
        for outcome in batch {
            let before = match &outcome {
                Outcome::Moved { from, .. } => {
                    self.walk.store.read()?.item(from.volume, &from.directory, &from.name)?
                }
                Outcome::Gone(_) | Outcome::There(_) => None,
            };
            let shown = match (&outcome, &open) {
                (Outcome::Gone(_), _) | (_, Ok(None)) => Some((outcome, before, None)),
                (_, Ok(Some(open))) => self.show(open, outcome, before),
                (_, Err(errno)) => self.shown(outcome, before, Look::Unknown(*errno)),
            };
            let Some((outcome, before, after)) = shown else { continue };
            // What was not seen because the compare ends is found again by the next one.
            if self.walk.stop.is_set() {
                return Ok(());
            }
            let (here, elsewhere) = outcome.told(before, after);
            findings.extend(here);
            elsewhere.into_iter().for_each(|sent| self.send(reports, sent));
        }
        if !findings.is_empty() {
            self.send(reports, Sent::Report(Report::of(volume, directory, findings)));
        }
        Ok(())
    }

    /// What it shows; `None` when nothing is to be said yet, as of a large file, which is read later: both ends of a move wait
    /// for that.
    fn show(&mut self, open: &(Directory, MountId), outcome: Outcome, stored: Option<ItemState>) -> Option<Shown> {
        let look = outcome.look(&mut self.looker, open, stored.as_ref(), true);
        if matches!(look, Look::Large(_) | Look::Seen(_)) {
            self.saw(&outcome.here().selecting);
        }
        let (outcome, stored, look) = match look {
            Look::Large(seen) => {
                let places = self.places_left(&outcome);
                let task =
                    Task { outcome, stored, inode: seen.inode, size: seen.size, ground: self.walk.ground.clone() };
                match self.walk.lane.push(task) {
                    Pushed::Waits => {
                        places.into_iter().for_each(|place| self.walked.unknown.unseen_place(place));
                        return None;
                    }
                    Pushed::Full(task) if !self.walk.waits => {
                        let Candidate { ask, .. } = task.outcome.here();
                        self.too_many_wait(task.outcome.here().place().path(), ask);
                        return None;
                    }
                    Pushed::Full(task) => {
                        let Task { outcome, stored, .. } = *task;
                        let look = outcome.look(&mut self.looker, open, stored.as_ref(), false);
                        (outcome, stored, look)
                    }
                }
            }
            look => (outcome, stored, look),
        };
        self.shown(outcome, stored, look)
    }

    /// The places that this compare has not seen when it does not wait for what is read there.
    fn places_left(&self, outcome: &Outcome) -> Vec<HostPath> {
        let other = match outcome {
            Outcome::Moved { from, .. } => Some(from),
            Outcome::Gone(_) | Outcome::There(_) => None,
        };
        let places = other.into_iter().chain([outcome.here()]).filter(|_| !self.walk.waits);
        places.map(|candidate| candidate.place().path()).collect()
    }

    /// Whether nothing is to be said of it after this look; then its other end was not seen either.
    fn stays_open(&mut self, outcome: &Outcome, look: &Look) -> bool {
        let stays_open = outcome.stays_open(look);
        if let Outcome::Moved { from, .. } = outcome
            && stays_open
        {
            self.walked.unknown.unseen_place(from.place().path());
        }
        stays_open
    }

    /// What a look at it came to; `None` when nothing is to be said.
    fn shown(&mut self, outcome: Outcome, stored: Option<ItemState>, look: Look) -> Option<Shown> {
        let stays_open = self.stays_open(&outcome, &look);
        let Candidate { directory, name, selecting, ask, .. } = outcome.here();
        let refused = self.looker.refused();
        let after = self.seen(directory, name, selecting, ask, look, refused);
        (!stays_open).then_some((outcome, stored, after))
    }
}
