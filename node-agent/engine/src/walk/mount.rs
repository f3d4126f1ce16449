//! A name that something is mounted on, or was: what it covers, what shows, and whether that is another one than before.

use super::name::{Named, Spot};
use super::visit::Visit;
use super::{Before, Walk, Walker};
use crate::crew::Sent;
use crate::frontier::Waiting;
use crate::item::ItemState;
use crate::listing::EntryKind;
use crate::mounted::{Remount, Shown};
use crate::mounts::{Mount, MountId};
use crate::path::HostPath;
use crate::plan::Due;
use crate::remote::Remote;
use crate::select::{Context, Names, Step};
use crate::store::StoreError;
use crate::unknown::Aspect;
use crate::volumes::Met;
use std::sync::mpsc::SyncSender;

/// Why a place is unknown that a mount came over in mid-walk.
pub(super) const MOUNTED_MEANWHILE: &str = "something was mounted there while it was compared";

impl Walker<'_> {
    /// A name that something is mounted on; `stored` is the item beneath.
    pub(super) fn mounted(
        &mut self,
        visit: &mut Visit,
        named: Named<'_>,
        beneath: &Step,
        mount: &Mount,
        stored: Option<&ItemState>,
        reports: &SyncSender<Sent>,
    ) -> Result<(), StoreError> {
        let Walk { plan, mounts, .. } = self.walk;
        let name = named.name;
        visit.directories.push(name.to_vec());
        let step = plan.enter(beneath, mount);
        self.covered(visit, name, mount, &beneath.context, stored.filter(|_| step.is_dead()))?;
        let entered = mounts.id_at(&mount.point).filter(|_| !step.is_dead() && !mount.is_hidden);
        let Some(on) = entered else {
            self.remount(visit, name, beneath, Some(Shown::new(mount, None)), false, None);
            return Ok(());
        };
        if mount.is_remote() {
            self.hand_over(visit, name, on, beneath, mount, reports);
            return Ok(());
        }
        self.entered(visit, named, beneath, mount, on)
    }

    /// A mount that a thread of its own looks at: here only the mount table says what it is.
    fn hand_over(
        &mut self,
        visit: &mut Visit,
        name: &[u8],
        id: MountId,
        beneath: &Step,
        mount: &Mount,
        reports: &SyncSender<Sent>,
    ) {
        let Walk { plan, due, shown, .. } = self.walk;
        let due = if visit.is_new_ground { &Due::All } else { due };
        let step = plan.enter(beneath, mount);
        let is_due = plan.names(&step.context, due) != Names::None || plan.any_due(&plan.selecting(&step, false), due);
        if !is_due {
            return;
        }
        let known = shown.get(&mount.point).filter(|known| known.is_of(mount)).and_then(|known| known.volume);
        self.remount(visit, name, beneath, Some(Shown::new(mount, known)), false, None);
        let remote = Remote {
            id,
            file_system: mount.file_system.clone(),
            directory: visit.path.clone(),
            name: name.to_vec(),
            context: visit.context.clone(),
            mount: visit.mount,
            is_new_ground: visit.is_new_ground,
        };
        self.send(reports, Sent::Remote(Box::new(remote)));
    }

    /// The top of a mount that this thread was started for; what is to be walked below it.
    pub(super) fn remote_top(
        &mut self,
        remote: &Remote,
        reports: &SyncSender<Sent>,
    ) -> Result<Vec<Waiting>, StoreError> {
        let Walk { plan, host, mounts, volumes, .. } = self.walk;
        let Remote { id, directory, name, context, mount, is_new_ground, .. } = remote;
        let open = host.directory(directory).and_then(|open| open.stat(b"").map(|stat| (open, stat.stx_mnt_id)));
        let open = open.ok().filter(|(_, here)| here == mount);
        let (Some((open, _)), Some(shown), Ok(Some(volume))) =
            (open, mounts.get(*id), volumes.of(host, mounts, *mount))
        else {
            // What is not as it was when it was handed over is seen by the next compare.
            self.walked.unknown.unseen_place(remote.point());
            return Ok(Vec::new());
        };
        let mut visit = Visit::new(open, directory.clone(), context.clone(), volume.number, *mount, *is_new_ground);
        let named = Named { name, kind: EntryKind::Unknown };
        self.entered(&mut visit, named, &plan.child(context, name), shown, *id)?;
        Ok(self.report_one(visit, reports))
    }

    /// What shows at the top of a mount.
    fn entered(
        &mut self,
        visit: &mut Visit,
        named: Named<'_>,
        beneath: &Step,
        mount: &Mount,
        on: MountId,
    ) -> Result<(), StoreError> {
        let Walk { plan, host, mounts, volumes, store, .. } = self.walk;
        let name = named.name;
        let step = plan.enter(beneath, mount);
        let Met { number: volume, is_new } = match volumes.of(host, mounts, on) {
            Ok(Some(met)) => met,
            // It is not mounted any more: the next compare sees that.
            Ok(None) => {
                self.walked.unknown.unseen_place(mount.point.clone());
                return Ok(());
            }
            Err(errno) => {
                self.walked.met.mark(plan.alive(&step.context));
                if let Some(interval) = plan.interval_below(&step.context) {
                    self.unknown(mount.point.clone(), Aspect::Metadata, errno.to_string(), interval, 1);
                }
                return Ok(());
            }
        };
        let stored = store.read()?.item(volume, &visit.path, name)?;
        let below = visit.found.len();
        self.object(visit, named, &step, Spot { on, volume }, stored.as_ref())?;
        if is_new && !matches!(self.walk.before, Before::Nothing) && visit.found.len() > below {
            // What is committed before it is walked must not make it known.
            visit.tops.entry(volume).or_default().unseen.push(name.to_vec());
        }
        let seen = visit.tops.get(&volume).and_then(|top| top.findings.last());
        let state = seen.and_then(|found| self.state_of(found));
        self.remount(visit, name, beneath, Some(Shown::new(mount, Some(volume))), is_new, state);
        Ok(())
    }

    /// The names in a part of a directory that nothing is mounted on any more.
    pub(super) fn unmounted(&mut self, visit: &mut Visit, is_in: &dyn Fn(&[u8]) -> bool) {
        let Walk { plan, mounts, shown, .. } = self.walk;
        if shown.is_empty() {
            return;
        }
        // No name sorts before this one.
        let first = visit.path.join(&[1]);
        let below = first.as_bytes().len() - 1;
        let is_below = |path: &HostPath| path.as_bytes().get(..below) == Some(&first.as_bytes()[..below]);
        for (path, _) in shown.range(&first..).take_while(|(path, _)| is_below(path)) {
            let (directory, name) = path.split();
            if directory != visit.path || !is_in(name) || mounts.at(path).is_some() {
                continue;
            }
            let seen = visit.findings.iter().find(|found| found.finding.name == name);
            let state = seen.and_then(|found| self.state_of(found));
            self.remount(visit, name, &plan.child(&visit.context, name), None, false, state);
        }
    }

    /// Whether a directory shows that a mount has covered for as long as the state knows it: nothing in it was ever seen.
    pub(super) fn uncovers(&self, visit: &Visit, name: &[u8], stored: Option<&ItemState>) -> bool {
        let Walk { shown, mounts, visitors, before, .. } = self.walk;
        let is_known = stored.is_some() || visit.known_below.iter().any(|known| known == name);
        if is_known || shown.is_empty() || matches!(before, Before::Nothing) {
            return false;
        }
        let path = visit.path.join(name);
        let covered = shown.get(&path).and_then(|shown| shown.volume);
        mounts.at(&path).is_none() && covered.is_some_and(|volume| !visitors.contains(&volume))
    }

    /// Sends on what is mounted at a name, if the state knows another one.
    fn remount(
        &mut self,
        visit: &mut Visit,
        name: &[u8],
        beneath: &Step,
        now: Option<Shown>,
        is_new: bool,
        state: Option<ItemState>,
    ) {
        let Walk { plan, shown, .. } = self.walk;
        if shown.get(&visit.path.join(name)) == now.as_ref() {
            return;
        }
        let (entries, is_item) = plan.concerned(beneath);
        if let Some((_, ask)) = self.ask(&entries, visit.is_new_ground) {
            visit.remounts.push(Remount { name: name.to_vec(), ask, is_item, now, is_new, state });
        }
    }

    /// A directory over which something was mounted since the compare began: the next one knows the mount.
    pub(super) fn covered_meanwhile(&mut self, path: HostPath, context: &Context) -> Vec<Waiting> {
        self.walked.met.mark(self.walk.plan.alive(context));
        if let Some(interval) = self.walk.plan.interval_below(context) {
            self.unknown(path, Aspect::Volume, MOUNTED_MEANWHILE.to_owned(), interval, 1);
        }
        Vec::new()
    }

    /// What the state knows beneath a mount is not seen while it covers that.
    fn covered(
        &mut self,
        visit: &Visit,
        name: &[u8],
        mount: &Mount,
        context: &Context,
        stored: Option<&ItemState>,
    ) -> Result<(), StoreError> {
        let Walk { store, plan, mounts, .. } = self.walk;
        let path = visit.path.join(name);
        let below = if visit.known_below.iter().any(|known| known == name) {
            store.read()?.items_below(visit.volume, &path)?
        } else {
            0
        };
        let items = (below + u64::from(stored.is_some())).max(u64::from(mount.is_hidden));
        if items > 0 {
            self.walked.met.mark(plan.alive(context));
            let Some(interval) = plan.interval_below(context) else { return Ok(()) };
            let (aspect, reason) = if mount.is_hidden {
                (Aspect::HiddenMount, mounts.why_hidden(mount))
            } else {
                (Aspect::Volume, format!("a mount of type {} covers what is known there", mount.file_system))
            };
            self.unknown(path, aspect, reason, interval, items);
        }
        Ok(())
    }
}
