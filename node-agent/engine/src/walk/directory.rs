//! One directory: opened, listed, its names looked at, and what the state has there that the listing has not.

use super::name::Spot;
use super::{Before, Walk, Walker};
use crate::commit::{Finding, Report};
use crate::crew::Sent;
use crate::frontier::Waiting;
use crate::host::{Directory, Entry, EntryKind, is_gone};
use crate::item::ItemState;
use crate::mounted::Remount;
use crate::mounts::{Mount, MountId};
use crate::page::{NEVER, Named, Page, Volume};
use crate::path::HostPath;
use crate::plan::{Due, Plan};
use crate::select::{Context, Names};
use crate::store::StoreError;
use crate::unknown::Aspect;
use rustix::io::Errno;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use xxhash_rust::xxh3::xxh3_64;

/// A directory while its names are looked at.
pub(super) struct Visit {
    pub(super) open: Directory,
    pub(super) path: HostPath,
    pub(super) phase: u64,
    pub(super) context: Context,
    pub(super) volume: Volume,
    pub(super) mount: MountId,
    pub(super) has_mounts: bool,
    /// Nothing in it was ever compared, so all of it is due.
    pub(super) is_new_ground: bool,
    /// Names that the state has items below.
    pub(super) known_below: Vec<Vec<u8>>,
    /// Whether a new name in it may be one that moved: not where it would be baselined.
    pub(super) may_pair: bool,
    /// What the plan of the last complete compare had alive here, once that was asked.
    pub(super) older: OnceCell<Context>,
    pub(super) findings: Vec<Finding>,
    /// The same for what shows at the tops of other volumes.
    pub(super) tops: BTreeMap<Volume, Vec<Finding>>,
    pub(super) remounts: Vec<Remount>,
    /// Names that are directories, or covered by a mount.
    pub(super) directories: BTreeSet<Vec<u8>>,
    pub(super) found: Vec<Waiting>,
}

impl Visit {
    pub(super) fn new(
        open: Directory,
        path: HostPath,
        context: Context,
        volume: Volume,
        mount: MountId,
        is_new_ground: bool,
    ) -> Self {
        Self {
            open,
            phase: xxh3_64(path.as_bytes()),
            path,
            context,
            volume,
            mount,
            has_mounts: false,
            is_new_ground,
            known_below: Vec::new(),
            may_pair: false,
            older: OnceCell::new(),
            findings: Vec::new(),
            tops: BTreeMap::new(),
            remounts: Vec::new(),
            directories: BTreeSet::new(),
            found: Vec::new(),
        }
    }

    /// Where names lie on which nothing is mounted.
    pub(super) fn spot(&self) -> Spot {
        Spot { on: self.mount, volume: self.volume }
    }

    pub(super) fn findings_at(&mut self, spot: Spot) -> &mut Vec<Finding> {
        if spot.volume == self.volume { &mut self.findings } else { self.tops.entry(spot.volume).or_default() }
    }
}

struct Listed {
    /// Sorted.
    entries: Vec<Entry>,
    /// Whether a name that is not in it is not in the directory.
    is_whole: bool,
}

impl Listed {
    fn has(&self, name: &[u8]) -> bool {
        self.entries.binary_search_by(|entry| entry.name.as_slice().cmp(name)).is_ok()
    }
}

impl Walker<'_> {
    /// Looks at the names of a directory; returns the directories in it that have to be walked.
    pub(super) fn directory(
        &mut self,
        waiting: Waiting,
        reports: &SyncSender<Sent>,
    ) -> Result<Vec<Waiting>, StoreError> {
        let Walk { store, host, mounts, volumes, plan, due, .. } = self.walk;
        let Waiting { path, context, mount, mut is_new_ground } = waiting;
        let open = match host.directory(&path) {
            Ok(open) => open,
            // It went after its parent was listed: the next compare sees that in the parent.
            Err(errno) if is_gone(errno) => return Ok(Vec::new()),
            Err(errno) => return self.unlisted(path, &context, mount, is_new_ground, errno, reports),
        };
        let here = match open.stat(b"") {
            Ok(stat) => stat.stx_mnt_id,
            Err(errno) => return self.unlisted(path, &context, mount, is_new_ground, errno, reports),
        };
        // Mounted since the compare began: the next one knows it.
        let Some(entered) = mounts.get(here) else { return Ok(Vec::new()) };
        let volume = match volumes.of(host, mounts, here) {
            Ok(Some(volume)) => volume,
            Ok(None) => return Ok(Vec::new()),
            Err(errno) => return self.unlisted(path, &context, mount, is_new_ground, errno, reports),
        };
        let is_top = mount != Some(here);
        let context = if is_top { plan.enter_directory(context, entered) } else { context };
        is_new_ground |= is_top && volume.is_new && !matches!(self.walk.before, Before::Nothing);
        let reader = store.read()?;
        let stored = reader.directory(volume.number, &path)?;
        is_new_ground |= stored.iter().any(|page| page.plan == NEVER);
        let due = if is_new_ground { &Due::All } else { due };
        let names = plan.names(&context, due);
        if names == Names::None && path != HostPath::root() {
            return Ok(Vec::new());
        }
        let known_below = reader.subdirectories(volume.number, &path)?;
        drop(reader);
        let listed = match self.list(&open, names) {
            Ok(listed) => listed,
            Err(errno) => return self.unlisted(path, &context, Some(here), is_new_ground, errno, reports),
        };
        let mut visit = Visit::new(open, path, context, volume.number, here, is_new_ground);
        visit.has_mounts = mounts.any_in(&visit.path);
        visit.known_below = known_below;
        visit.may_pair = self.may_pair(is_new_ground, &stored);
        if visit.path == HostPath::root() {
            let selecting = plan.selecting(&plan.root(), false);
            let spot = visit.spot();
            self.item(&mut visit, b"", spot, &selecting, stored_item(&stored, b""));
        }
        for Entry { name, kind } in &listed.entries {
            // Half a directory is no report: what it lacks would be taken for absent.
            if self.walk.stop.is_set() {
                return Ok(Vec::new());
            }
            self.name(&mut visit, name, *kind, stored_item(&stored, name), reports)?;
        }
        if self.walk.stop.is_set() {
            return Ok(Vec::new());
        }
        if listed.is_whole {
            for named in stored.iter().flat_map(|page| &page.items) {
                if !named.name.is_empty() && !listed.has(&named.name) {
                    self.missing(&mut visit, named);
                }
            }
        }
        self.unmounted(&mut visit);
        let lost = visit.known_below.iter().filter(|name| !visit.directories.contains(*name));
        let mut vanished: Vec<_> = lost.filter(|name| listed.is_whole || listed.has(name)).cloned().collect();
        if self.walk.is_remote {
            // The committer does not look there: this is the second lookup.
            vanished.retain(|name| host.directory(&visit.path.join(name)).is_err_and(is_gone));
        }
        let must_say = is_new_ground || volume.is_new || !vanished.is_empty();
        if must_say || !visit.findings.is_empty() || !visit.remounts.is_empty() {
            return Ok(self.report(visit, vanished, reports));
        }
        Ok(self.report_tops(visit, reports))
    }

    /// Sends what was found in a directory; what is to be walked below it.
    pub(super) fn report(&self, mut visit: Visit, vanished: Vec<Vec<u8>>, reports: &SyncSender<Sent>) -> Vec<Waiting> {
        let mut findings = std::mem::take(&mut visit.findings);
        findings.sort_by(|a, b| a.name.cmp(&b.name));
        let remounts = std::mem::take(&mut visit.remounts);
        let unseen = visit.found.iter().filter(|below| below.is_new_ground).map(|below| below.path.split().1.to_vec());
        let unseen = unseen.collect();
        let Visit { volume, is_new_ground, .. } = visit;
        let directory = visit.path.clone();
        let report = Report { volume, directory, findings, vanished, is_new_ground, remounts, unseen };
        self.send(reports, Sent::Report(report));
        self.report_tops(visit, reports)
    }

    fn report_tops(&self, visit: Visit, reports: &SyncSender<Sent>) -> Vec<Waiting> {
        for (volume, findings) in visit.tops {
            // That it shows here is no addition: the remount says so.
            let report = Report { is_new_ground: true, ..Report::of(volume, visit.path.clone(), findings) };
            self.send(reports, Sent::Report(report));
        }
        visit.found
    }

    fn list(&self, open: &Directory, names: Names) -> Result<Listed, Errno> {
        match names {
            Names::None => Ok(Listed { entries: Vec::new(), is_whole: false }),
            Names::Listing => Ok(Listed { entries: open.list()?, is_whole: true }),
            Names::These(names) => {
                let entries = names.into_iter().map(|name| Entry { kind: EntryKind::Unknown, name });
                Ok(Listed { entries: entries.collect(), is_whole: false })
            }
        }
    }

    /// An item of the state that the whole listing does not have.
    fn missing(&mut self, visit: &mut Visit, named: &Named) {
        let plan = &self.walk.plan;
        let selecting = plan.selecting(&plan.child(&visit.context, &named.name), false);
        if let Some((selecting, ask)) = self.ask(&selecting, visit.is_new_ground) {
            self.gone(visit, &named.name, selecting, ask, &named.state);
        }
    }

    fn may_pair(&self, is_new_ground: bool, stored: &[Page]) -> bool {
        let Walk { before, plan, .. } = self.walk;
        let known = |older: &Arc<Plan>| stored.iter().all(|page| page.plan <= older.id || page.plan == plan.id);
        match before {
            Before::Nothing => false,
            Before::Same => !is_new_ground,
            Before::Other(older) => !is_new_ground && older.as_ref().is_some_and(known),
        }
    }

    /// A directory that cannot be listed: all below it is unknown, and stays new ground if it was never seen.
    fn unlisted(
        &mut self,
        path: HostPath,
        context: &Context,
        mount: Option<MountId>,
        is_new_ground: bool,
        errno: Errno,
        reports: &SyncSender<Sent>,
    ) -> Result<Vec<Waiting>, StoreError> {
        let Walk { store, host, mounts, volumes, plan, .. } = self.walk;
        self.walked.met.mark(plan.alive(context));
        let Some(interval) = plan.interval_below(context) else { return Ok(Vec::new()) };
        // At a mount point the volume that is not seen is another one than the parent's.
        let own = mounts.id_at(&path).or(mount);
        let volume = own.and_then(|id| volumes.known(host, mounts, id));
        let mut below = 0;
        if let Some(volume) = volume {
            let reader = store.read()?;
            below = reader.items_below(volume, &path)?;
            let was_seen = match &self.walk.before {
                Before::Nothing => false,
                Before::Same => !is_new_ground,
                Before::Other(plan) => !is_new_ground && plan.as_ref().is_some_and(|plan| self.walks(plan, &path)),
            };
            if !was_seen && reader.directory(volume, &path)?.is_empty() {
                let unseen = vec![Vec::new()];
                let report = Report { unseen, ..Report::of(volume, path.clone(), Vec::new()) };
                self.send(reports, Sent::Report(report));
            }
        }
        self.unknown(path, Aspect::Listing, errno.to_string(), interval, below.max(1));
        Ok(Vec::new())
    }

    fn walks(&self, plan: &Plan, directory: &HostPath) -> bool {
        let crossed: Vec<Mount> = self.walk.mounts.on_the_way(directory).cloned().collect();
        plan.names(&plan.context(directory, &crossed), &Due::All) != Names::None
    }
}

/// The state of a name in a directory's pages.
fn stored_item<'p>(pages: &'p [Page], name: &[u8]) -> Option<&'p ItemState> {
    let after = pages.partition_point(|page| page.items.first().is_some_and(|first| first.name.as_slice() <= name));
    let items = &pages.get(after.checked_sub(1)?)?.items;
    let at = items.binary_search_by(|item| item.name.as_slice().cmp(name)).ok()?;
    Some(&items[at].state)
}
