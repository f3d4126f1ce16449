//! What a compare could not enter: entries whose root lies on a file system of another kind, and file systems of the state that
//! are not mounted where they were.
//!
//! The end of one that came while it was watched has been said: what it held is not unknown, waits for its return as what left
//! watch does, and is forgotten as late.

use crate::adopt::Barred;
use crate::commit::{Committer, Transaction};
use crate::engine::Engine;
use crate::meta::{Meta, Visitor};
use crate::mounts::Mounts;
use crate::path::HostPath;
use crate::plan::Plan;
use crate::store::StoreError;
use crate::unknown::{Aspect, Unknown};
use crate::walk::Walked;
use std::collections::BTreeMap;

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

impl Committer<'_> {
    /// Forgets file systems whose end was said as long ago as what left watch is kept; the description of the state after it.
    pub(crate) fn forget_absent(&mut self, meta: Meta) -> Result<Meta, StoreError> {
        let is_old = |visitor: &&Visitor| visitor.left.is_some_and(|left| left < meta.forgotten_before);
        let old: Vec<Visitor> = meta.visitors.iter().filter(is_old).copied().collect();
        if old.is_empty() {
            return Ok(meta);
        }
        let writer = self.store.write()?;
        let now = self.clock.now();
        let mut transaction = Transaction { committer: self, writer: &writer, meta, now, older: BTreeMap::new() };
        let mut pages = writer.pages()?;
        for Visitor { volume, .. } in old {
            transaction.forget_volume(&mut pages, volume)?;
        }
        drop(pages);
        let meta = transaction.meta;
        meta.save(&writer)?;
        writer.commit()?;
        Ok(meta)
    }
}
