//! What was held back until all names were seen: looked at now, and sent as gone, new or moved.

use super::{Walk, Walked, Walker};
use crate::commit::{Finding, Report, What};
use crate::crew::Sent;
use crate::digest::restrict;
use crate::host::Directory;
use crate::item::ItemState;
use crate::look::Look;
use crate::mounts::MountId;
use crate::moves::{Candidate, Moved, Outcome, is_one_file};
use crate::page::Volume;
use crate::path::HostPath;
use crate::plan::{Ask, phase};
use crate::store::StoreError;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use vedette_crds::record::ItemType;

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

impl Walker<'_> {
    /// Outcomes of one directory.
    fn batch(&mut self, batch: Vec<Outcome>, reports: &SyncSender<Sent>) -> Result<(), StoreError> {
        let Some(Candidate { volume, directory, .. }) = batch.first().map(|first| first.here().clone()) else {
            return Ok(());
        };
        let open = self.open_on(volume, &directory);
        let mut findings = Vec::new();
        for outcome in batch {
            match outcome {
                Outcome::Gone(gone) => findings.push(gone.finding(What::Missing)),
                Outcome::New(new) => {
                    let Some(open) = &open else { continue };
                    findings.extend(self.come(open, &new, None).map(|state| seen(new, state)));
                }
                Outcome::Moved { from, to } => {
                    let before = self.walk.store.read()?.item(from.volume, &from.directory, &from.name)?;
                    let after = open.as_ref().and_then(|open| self.come(open, &to, before.as_ref()));
                    // What was not seen because the compare ends is found again by the next one.
                    if self.walk.stop.is_set() {
                        return Ok(());
                    }
                    match (before, after) {
                        (Some(before), Some(after)) if is_one_file(volume, &before, &after) => {
                            let (before, after) = (Box::new(before), asked(after, &to.ask));
                            self.send(reports, Sent::Moved(Box::new(Moved { from, to, before, after })));
                        }
                        (_, after) => {
                            findings.extend(after.map(|after| seen(to, after)));
                            let gone =
                                Report::of(from.volume, from.directory.clone(), vec![from.finding(What::Missing)]);
                            self.send(reports, Sent::Report(gone));
                        }
                    }
                }
            }
        }
        if !findings.is_empty() && !self.walk.stop.is_set() {
            self.send(reports, Sent::Report(Report::of(volume, directory, findings)));
        }
        Ok(())
    }

    /// A directory, as long as it lies on the volume on which it was listed.
    fn open_on(&mut self, volume: Volume, directory: &HostPath) -> Option<(Directory, MountId)> {
        let Walk { host, mounts, volumes, .. } = self.walk;
        let open = host.directory(directory).and_then(|open| open.stat(b"").map(|stat| (open, stat.stx_mnt_id)));
        // An error is not named: the directory was listed a moment ago, and the next compare meets it again.
        open.ok().filter(|(_, mount)| volumes.known(host, mounts, *mount) == Some(volume))
    }

    /// What a new name shows; `before` is the state of the item that it may have been.
    fn come(
        &mut self,
        (open, on): &(Directory, MountId),
        new: &Candidate,
        before: Option<&ItemState>,
    ) -> Option<Box<ItemState>> {
        let Candidate { directory, name, selecting, ask, .. } = new;
        let looked = self.walk.clock.now();
        match self.looker.look(open, name, before, ask.want(phase(directory, name)), *on) {
            // Nothing was done to it but that a directory above it has another name: its content is the one that was read.
            Look::Same => {
                self.saw(selecting);
                before.map(|before| Box::new(ItemState { looked, ..before.clone() }))
            }
            look => self.seen(directory, name, selecting, ask, look),
        }
    }
}

fn seen(new: Candidate, state: Box<ItemState>) -> Finding {
    let state = asked(state, &new.ask);
    new.finding(What::Seen(state))
}

/// The state with what is asked under its new name.
fn asked(mut state: Box<ItemState>, ask: &Ask) -> Box<ItemState> {
    state.digests = restrict(state.digests, ask.hashes());
    if ask.hashes().is_empty() && state.kind == ItemType::Regular {
        (state.content, state.read) = (None, None);
    }
    state
}
