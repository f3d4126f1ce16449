//! What a compare could not enter: entries whose root lies on a file system of another kind, and file systems of the state that
//! are not mounted where they were.
//!
//! The end of one that came while it was watched has been said: what it held is not unknown, waits for its return as what left
//! watch does, and is forgotten as late.

use crate::adopt::Barred;
use crate::commit::{Committer, Counted, Report, Transaction};
use crate::engine::Engine;
use crate::host::is_gone;
use crate::meta::{Meta, Visitor};
use crate::mounted::{self, Remount, VOLATILE};
use crate::mounts::{Mount, Mounts};
use crate::page::Volume;
use crate::path::HostPath;
use crate::plan::Plan;
use crate::store::StoreError;
use crate::unknown::{Aspect, Unknown};
use crate::walk::{Walk, Walked};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const NOT_MOUNTED: &str =
    "the file system that its items lie on is not mounted there: mount it, or exclude this path in the rules";

impl Engine {
    /// Adds to what is unknown: entries whose root is not entered, and volumes of the state that are not there. Returns the
    /// places of those whose end was said.
    pub(crate) fn not_entered(
        &mut self,
        mounts: &Mounts,
        plan: &Plan,
        barred: Vec<Barred>,
        walked: &mut Walked,
    ) -> Result<Vec<HostPath>, StoreError> {
        let mut said = Vec::new();
        let Some(interval) = plan.intervals().first().copied() else { return Ok(said) };
        for Barred { path, file_system } in barred {
            walked.met.mark(plan.alive(&plan.context(&path, &[])));
            // Several entries may have one root, and what is known there was named with its items.
            if walked.unknown.has(&path) {
                continue;
            }
            let reason = format!("it lies on a file system of type {file_system}, which is not entered");
            walked.unknown.add(Unknown { path, aspect: Aspect::Volume, reason, interval, items: 1 });
        }
        for (volume, point) in self.volumes.all() {
            let here = mounts.id_at(&point).and_then(|mount| self.volumes.known(&self.host, mounts, mount));
            if here == Some(volume) {
                if let Some(visitor) = self.meta.visitor(volume) {
                    visitor.left = None;
                }
                continue;
            }
            // What did not answer is named already.
            if mounts.is_remote(&point) && walked.unknown.has(&point) {
                continue;
            }
            let items = self.store.read()?.items_below(volume, &HostPath::root())?;
            if items == 0 {
                continue;
            }
            if self.meta.visitor(volume).is_some_and(|visitor| visitor.left.is_some()) {
                said.push(point);
                continue;
            }
            walked.met.mark(plan.alive(&plan.context(&point, &[])));
            let reason = NOT_MOUNTED.to_owned();
            walked.unknown.add(Unknown { path: point, aspect: Aspect::Volume, reason, interval, items });
        }
        Ok(said)
    }
}

/// The ends of mounts that went together with the directory that they were in: no walk comes by there.
fn went_with_their_directory(walk: &Walk) -> Result<Vec<Report>, StoreError> {
    let Walk { store, host, mounts, volumes, plan, due, shown, .. } = walk;
    let is_away = |path: &HostPath| {
        let directory = path.split().0;
        let may_hang = mounts.on_the_way(path).any(Mount::is_remote);
        mounts.at(path).is_none() && !may_hang && host.directory(&directory).is_err_and(is_gone)
    };
    let away: Vec<&HostPath> = shown.keys().filter(|path| is_away(path)).collect();
    if away.is_empty() {
        return Ok(Vec::new());
    }
    let noted = mounted::load(&store.read()?)?;
    let mut reports = Vec::new();
    for path in away.into_iter().filter(|path| noted.contains_key(path)) {
        let (directory, name) = path.split();
        let crossed: Vec<Mount> = mounts.on_the_way(&directory).cloned().collect();
        let on = crossed.last().and_then(|mount| mounts.id_at(&mount.point));
        let Some(volume) = on.and_then(|on| volumes.known(host, mounts, on)) else { continue };
        let (entries, is_item) = plan.concerned(&plan.child(&plan.context(&directory, &crossed), name));
        let Some(ask) = plan.ask(&entries).filter(|ask| plan.any_due(&ask.entries, due)) else { continue };
        let (name, ask) = (name.to_vec(), Arc::new(ask));
        let remount = Remount { name, ask, is_item, now: None, is_new: false, state: None };
        reports.push(Report { remounts: vec![remount], ..Report::of(volume, directory, Vec::new()) });
    }
    Ok(reports)
}

impl Committer<'_> {
    /// Says the ends of mounts that no walk comes by, and forgets what is to be; the description of the state after it.
    pub(crate) fn settle_absent(&mut self, walk: &Walk, meta: &Meta) -> Result<Meta, StoreError> {
        let ends = went_with_their_directory(walk)?;
        let meta = if ends.is_empty() { meta.clone() } else { self.commit(ends, Vec::new(), meta)? };
        self.forget_absent(meta)
    }

    /// Forgets file systems whose end was said as long ago as what left watch is kept, and those that are gone for good.
    fn forget_absent(&mut self, meta: Meta) -> Result<Meta, StoreError> {
        let is_old = |visitor: &&Visitor| visitor.left.is_some_and(|left| left < meta.forgotten_before);
        let old = meta.visitors.iter().filter(is_old).map(|visitor| visitor.volume);
        let old: BTreeSet<Volume> = old.chain(self.gone_for_good()?).collect();
        if old.is_empty() {
            return Ok(meta);
        }
        let writer = self.store.write()?;
        let now = self.clock.now();
        let counted = Counted::default();
        let mut transaction =
            Transaction { committer: self, writer: &writer, meta, now, older: BTreeMap::new(), counted };
        let mut pages = writer.pages()?;
        for volume in old {
            transaction.forget_volume(&mut pages, volume)?;
        }
        drop(pages);
        writer.written()?;
        let meta = transaction.meta;
        meta.save(&writer)?;
        writer.commit()?;
        Ok(meta)
    }

    /// File systems in memory that show nowhere any more, wherever they were moved before.
    fn gone_for_good(&self) -> Result<Vec<Volume>, StoreError> {
        let Committer { store, host, mounts, volumes, .. } = self;
        let mut volatile = volumes.of_types(&VOLATILE);
        volatile.retain(|volume| !volumes.shows(host, mounts, *volume));
        if !volatile.is_empty() {
            let noted = mounted::load(&store.read()?)?;
            volatile.retain(|volume| noted.values().all(|shown| shown.volume != Some(*volume)));
        }
        Ok(volatile)
    }
}
