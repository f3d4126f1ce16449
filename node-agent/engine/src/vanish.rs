//! What is not there any more: the second lookup before Removed, and directories that went with all that lay below.
//!
//! Nothing is gone that only cannot be seen: its volume has to be the one that it was stored under.

use crate::commit::{Committer, Place, Transaction, What};
use crate::gate::Want;
use crate::host::{Directory, is_gone};
use crate::item::ItemState;
use crate::look::{Look, Subject};
use crate::mounts::MountId;
use crate::moves::Candidate;
use crate::page::{Page, Volume, subtree_prefix};
use crate::path::HostPath;
use crate::plan::{Ask, phase};
use crate::store::{Found, Pages, StoreError};
use std::sync::Arc;

impl Transaction<'_, '_> {
    /// The second lookup, in the volume that the item is stored under; `None` when it leaves things as they are.
    pub(crate) fn look_again(
        &mut self,
        place: Place<'_>,
        stored: Option<&ItemState>,
        ask: &Ask,
    ) -> Result<Option<What>, StoreError> {
        if self.committer.mounts.is_remote(&place.path()) || self.committer.host.bars(|| place.path()) {
            return Ok(None);
        }
        let open = match self.committer.host.directory(place.directory) {
            Ok(open) => open,
            Err(errno) if is_gone(errno) && self.still_shows(place.volume, place.directory) => {
                return Ok(Some(What::Missing));
            }
            Err(_) => return Ok(None),
        };
        let Some(on) = self.mount_of(&open, place) else { return Ok(None) };
        // A large file is left to the next compare.
        let want = Want { leaves_large: true, ..ask.want(phase(place.directory, place.name)) };
        let subject = Subject { directory: &open, name: place.name, on, stored, want };
        Ok(match self.committer.looker.look(subject) {
            Look::Gone => Some(What::Missing),
            Look::Seen(state) => Some(What::Seen(state)),
            Look::Same | Look::Large(_) | Look::Unknown(_) | Look::Elsewhere | Look::Interrupted => None,
            Look::Own | Look::StillOwn => None,
        })
    }

    /// The mount that an item lies on, as long as that shows the volume that it is stored under.
    pub(crate) fn mount_of(&self, open: &Directory, place: Place<'_>) -> Option<MountId> {
        let Committer { host, mounts, volumes, .. } = &self.committer;
        let below = open.stat(b"").ok()?.stx_mnt_id;
        let mounted = mounts.on(place.directory, place.name).filter(|mount| !mount.is_hidden);
        let on = mounted.and_then(|mount| mounts.id_at(&mount.point)).unwrap_or(below);
        (volumes.known(host, mounts, on) == Some(place.volume)).then_some(on)
    }

    /// Whether a path that is gone would lie on this volume: the nearest directory above that exists does.
    fn still_shows(&self, volume: Volume, gone: &HostPath) -> bool {
        let Committer { host, mounts, volumes, .. } = &self.committer;
        let mut above = gone.clone();
        while above != HostPath::root() {
            above = above.split().0;
            match host.directory(&above).and_then(|directory| directory.stat(b"")) {
                Ok(stat) => return volumes.known(host, mounts, stat.stx_mnt_id) == Some(volume),
                Err(errno) if is_gone(errno) => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// A directory that its parent's listing does not have any more: what the state holds below it is gone.
    pub(crate) fn vanished(
        &mut self,
        pages: &mut Pages<'_>,
        volume: Volume,
        directory: &HostPath,
        name: &[u8],
    ) -> Result<(), StoreError> {
        let gone = directory.join(name);
        if !self.committer.mounts.is_remote(&gone) {
            match self.committer.host.directory(&gone) {
                Err(errno) if is_gone(errno) && self.still_shows(volume, &gone) => {}
                _ => return Ok(()),
            }
        }
        let crossed = self.crossed(volume);
        let prefix = subtree_prefix(volume, &gone);
        let mut asked: Option<(Arc<[u16]>, Arc<Ask>)> = None;
        let mut from = prefix.clone();
        loop {
            let batch = pages.subtree(&prefix, &from, 64)?;
            let Some(last) = batch.last() else { return Ok(()) };
            from = [last.key.as_slice(), &[0]].concat();
            for Found { key, directory, page, .. } in batch {
                let context = self.committer.plan.context(&directory, &crossed);
                let mut kept = Vec::new();
                for named in page.items {
                    let step = self.committer.plan.child(&context, &named.name);
                    let selecting = self.committer.plan.selecting_stored(&step, &named.state);
                    // Most names are selected by the same entries as their neighbors.
                    let (selecting, ask) = match asked.take().filter(|(known, _)| **known == *selecting) {
                        Some(asked) => asked,
                        None => match self.committer.plan.ask(&selecting) {
                            Some(ask) => (Arc::from(selecting), Arc::new(ask)),
                            None if selecting.is_empty() => continue,
                            None => {
                                kept.push(named);
                                continue;
                            }
                        },
                    };
                    asked = Some((Arc::clone(&selecting), Arc::clone(&ask)));
                    let (directory, name) = (directory.clone(), named.name.clone());
                    let under = Some(page.plan);
                    let candidate = Candidate { volume, directory, name, selecting, ask, under };
                    match self.committer.moves.hold_gone(&named.state, candidate) {
                        Some(gone) => {
                            self.gone(gone.place(), &gone.selecting);
                            self.removed(gone.place(), &named.state, None, &gone.ask)?;
                        }
                        None => kept.push(named),
                    }
                }
                if kept.is_empty() {
                    pages.remove(&key)?;
                } else {
                    pages.put(&key, &Page { plan: page.plan, items: kept })?;
                }
            }
        }
    }
}
