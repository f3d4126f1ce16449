//! One directory: opened, listed, its names looked at, and what the state has there that the listing has not.

use super::held::Found;
use super::name::Spot;
use super::{Asking, Before, Walk, Walker};
use crate::commit::Report;
use crate::crew::Sent;
use crate::frontier::Waiting;
use crate::host::{Directory, Entry, EntryKind, is_gone};
use crate::mounted::Remount;
use crate::mounts::{Mount, MountId};
use crate::page::{MAX_ITEMS, NEVER, Page, PlanId, Volume, find};
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

/// So many names of a directory are compared and reported at once: what is on its way to the committer stays small.
const SLICE: usize = 1024;
/// The pages of the state that hold as many.
const SLICE_PAGES: usize = 2 * SLICE / MAX_ITEMS;

/// A directory while its names are looked at.
pub(super) struct Visit {
    pub(super) open: Directory,
    pub(super) path: HostPath,
    pub(super) phase: u64,
    pub(super) context: Context,
    /// Whether all names in it are selected alike.
    pub(super) is_uniform: bool,
    /// What is asked of its files then, once that was found out; nothing when none is due.
    pub(super) asked_alike: Option<Option<Asking>>,
    pub(super) volume: Volume,
    pub(super) mount: MountId,
    pub(super) has_mounts: bool,
    /// Nothing in it was ever compared, so all of it is due.
    pub(super) is_new_ground: bool,
    pub(super) is_new_volume: bool,
    /// Names that the state has items below.
    pub(super) known_below: Vec<Vec<u8>>,
    /// Whether a new name in it may be one that moved: not where it would be baselined.
    pub(super) may_pair: bool,
    /// The pages of what is looked at: the first name of each, and its plan.
    plans: Vec<(Vec<u8>, PlanId)>,
    /// What the plan of the last complete compare had alive here, once that was asked.
    pub(super) older: OnceCell<Context>,
    pub(super) findings: Vec<Found>,
    /// The same for what shows at the tops of other volumes.
    pub(super) tops: BTreeMap<Volume, Top>,
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
            is_uniform: false,
            asked_alike: None,
            volume,
            mount,
            has_mounts: false,
            is_new_ground,
            is_new_volume: false,
            known_below: Vec::new(),
            may_pair: false,
            plans: Vec::new(),
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

    /// The plan that the page of a name is of, or that its page would be.
    pub(super) fn plan_of(&self, name: &[u8]) -> Option<PlanId> {
        let after = self.plans.partition_point(|(first, _)| first.as_slice() <= name);
        Some(self.plans.get(after.saturating_sub(1)).map_or(NEVER, |(_, plan)| *plan))
    }

    pub(super) fn findings_at(&mut self, spot: Spot) -> &mut Vec<Found> {
        if spot.volume == self.volume {
            &mut self.findings
        } else {
            &mut self.tops.entry(spot.volume).or_default().findings
        }
    }
}

/// What shows at the top of another volume.
#[derive(Default)]
pub(super) struct Top {
    pub(super) findings: Vec<Found>,
    /// Names whose directories are still to be seen for the first time.
    pub(super) unseen: Vec<Vec<u8>>,
}

/// What is listed of a directory.
struct Listed {
    /// Sorted.
    entries: Vec<Entry>,
    /// Whether a name that is not in it is not in the directory.
    is_whole: bool,
    /// Where the names that it leaves out begin.
    next: Option<Vec<u8>>,
}

/// What the state has of a directory, from one name to another.
struct Known {
    pages: Vec<Page>,
    /// Names that it has items below.
    below: Vec<Vec<u8>>,
    /// Where it has more.
    next: Option<Vec<u8>>,
}

impl Known {
    /// Whether no compare has seen what lies here.
    fn is_unseen(&self) -> bool {
        self.pages.iter().any(|page| page.plan == NEVER)
    }
}

/// The names of a directory in a range, listed and stored.
struct Slice<'l> {
    entries: &'l [Entry],
    known: Known,
    from: Vec<u8>,
    upto: Option<Vec<u8>>,
    is_whole: bool,
}

impl Walker<'_> {
    /// Looks at the names of a directory; returns the directories in it that have to be walked.
    pub(super) fn directory(
        &mut self,
        waiting: Waiting,
        reports: &SyncSender<Sent>,
    ) -> Result<Vec<Waiting>, StoreError> {
        let Walk { host, mounts, volumes, plan, due, .. } = self.walk;
        let Waiting { above, name, context, mount, mut is_new_ground, mut from } = waiting;
        let path = above.join(&name);
        let open = match host.directory(&path) {
            Ok(open) => open,
            // It went after its parent was listed: the next compare sees that in the parent.
            Err(errno) if is_gone(errno) => {
                self.walked.unknown.unseen_place(path);
                return Ok(Vec::new());
            }
            Err(Errno::XDEV) => return Ok(self.covered_meanwhile(path, &context)),
            Err(errno) => return self.unlisted(path, &context, mount, is_new_ground, errno, reports),
        };
        let here = match open.stat(b"") {
            Ok(stat) => stat.stx_mnt_id,
            Err(errno) => return self.unlisted(path, &context, mount, is_new_ground, errno, reports),
        };
        // The number of a mount that is gone is given to another one.
        let entered = mounts.get(here).filter(|mount| path.starts_with(&mount.point));
        let Some(entered) = entered else { return Ok(self.covered_meanwhile(path, &context)) };
        let volume = match volumes.of(host, mounts, here) {
            Ok(Some(volume)) => volume,
            Ok(None) => return Ok(self.covered_meanwhile(path, &context)),
            Err(errno) => return self.unlisted(path, &context, mount, is_new_ground, errno, reports),
        };
        let is_top = mount != Some(here);
        let context = if is_top { plan.enter_directory(context, entered) } else { context };
        is_new_ground |= is_top && volume.is_new && !matches!(self.walk.before, Before::Nothing);
        let mut known = self.known(volume.number, &path, &from)?;
        is_new_ground |= known.is_unseen();
        let due = if is_new_ground { &Due::All } else { due };
        let names = plan.names(&context, due);
        if names == Names::None && path != HostPath::root() {
            return Ok(Vec::new());
        }
        match &names {
            Names::Listing => {}
            Names::These(names) => known = self.known_of(volume.number, &path, names)?,
            Names::None => known = self.known_of(volume.number, &path, &[])?,
        }
        let listed = match self.list(&open, names, &from) {
            Ok(listed) => listed,
            Err(errno) if is_gone(errno) && self.has_gone(&open, &path) => return Ok(Vec::new()),
            Err(errno) => return self.unlisted(path, &context, Some(here), is_new_ground, errno, reports),
        };
        let mut visit = Visit::new(open, path, context, volume.number, here, is_new_ground);
        visit.has_mounts = mounts.any_in(&visit.path);
        visit.is_new_volume = volume.is_new;
        visit.is_uniform = plan.is_uniform(&visit.context);
        if visit.path == HostPath::root() && from.is_empty() {
            let selecting = plan.selecting(&plan.root(), false);
            let spot = visit.spot();
            self.item(&mut visit, b"", spot, &selecting, find(&known.pages, b""));
        }
        let mut left = listed.entries.as_slice();
        loop {
            let listed_to = left.get(SLICE.min(self.walk.pass)).filter(|_| listed.is_whole).map(|entry| &entry.name);
            let upto = listed_to.or(listed.next.as_ref()).into_iter().chain(&known.next).min().cloned();
            let is_before = |entry: &Entry| upto.as_ref().is_none_or(|upto| entry.name < *upto);
            let (here, rest) = left.split_at(left.partition_point(is_before));
            let is_last = upto.is_none() || upto == listed.next;
            let next = upto.clone().unwrap_or_default();
            self.slice(&mut visit, Slice { entries: here, known, from, upto, is_whole: listed.is_whole }, reports)?;
            // Half a slice was no report: what it lacks would be taken for absent.
            if self.walk.stop.is_set() {
                return Ok(Vec::new());
            }
            if is_last {
                break;
            }
            known = self.known(visit.volume, &visit.path, &next)?;
            visit.is_new_ground |= known.is_unseen();
            visit.asked_alike = None;
            (left, from) = (rest, next);
        }
        let Visit { path, context, is_new_ground, mut found, .. } = visit;
        if let Some(from) = listed.next {
            // Below what was found: those are walked first, so that no more than one pass waits at each level.
            found.insert(0, Waiting { above: path, name: Vec::new(), context, mount: Some(here), is_new_ground, from });
        }
        Ok(found)
    }

    /// Looks at the names of a directory in a range, and reports what differs there.
    fn slice(&mut self, visit: &mut Visit, slice: Slice<'_>, reports: &SyncSender<Sent>) -> Result<(), StoreError> {
        let Slice { entries, known, from, upto, is_whole } = slice;
        let Known { pages, below, .. } = known;
        let is_in = |name: &[u8]| name >= from.as_slice() && upto.as_ref().is_none_or(|upto| name < upto.as_slice());
        let listed = |name: &[u8]| entries.binary_search_by(|entry| entry.name.as_slice().cmp(name)).is_ok();
        visit.known_below = below;
        visit.may_pair = self.may_pair(visit.is_new_ground, &pages);
        let first = |page: &Page| page.items.first().map(|first| first.name.clone()).unwrap_or_default();
        visit.plans = pages.iter().map(|page| (first(page), page.plan)).collect();
        let already = visit.found.len();
        let mut stored = pages.iter().flat_map(|page| &page.items).filter(|item| !item.name.is_empty()).peekable();
        let mut unlisted = Vec::new();
        for Entry { name, kind } in entries {
            self.walk.ground.pace.keep(&self.walk.stop);
            if self.walk.stop.is_set() {
                return Ok(());
            }
            unlisted.extend(std::iter::from_fn(|| stored.next_if(|item| item.name < *name)));
            let item = stored.next_if(|item| item.name == *name);
            self.name(visit, name, *kind, item.map(|item| &item.state), reports)?;
        }
        unlisted.extend(stored);
        if self.walk.stop.is_set() {
            return Ok(());
        }
        if is_whole {
            for named in unlisted.into_iter().filter(|named| is_in(&named.name)) {
                self.missing(visit, &named.name, &named.state);
            }
        }
        self.unmounted(visit, &is_in);
        let mut vanished = std::mem::take(&mut visit.known_below);
        vanished.retain(|name| is_in(name) && !visit.directories.contains(name) && (is_whole || listed(name)));
        visit.directories.clear();
        if self.walk.is_remote {
            // The committer does not look there: this is the second lookup.
            vanished.retain(|name| self.walk.host.directory(&visit.path.join(name)).is_err_and(is_gone));
        }
        let must_say = visit.is_new_ground || visit.is_new_volume || !vanished.is_empty();
        if must_say || !visit.findings.is_empty() || !visit.remounts.is_empty() {
            let unseen = visit.found[already..].iter().filter(|below| below.is_new_ground);
            let unseen = unseen.map(|below| below.name.clone()).collect();
            let report =
                Report { vanished, unseen, from, upto, ..Report::of(visit.volume, visit.path.clone(), Vec::new()) };
            self.report(visit, report, reports);
        }
        self.report_tops(visit, reports);
        self.forget_tickets();
        Ok(())
    }

    /// Sends what was found in a directory.
    fn report(&mut self, visit: &mut Visit, report: Report, reports: &SyncSender<Sent>) {
        let (remounts, is_new_ground) = (std::mem::take(&mut visit.remounts), visit.is_new_ground);
        let report = Report { remounts, is_new_ground, ..report };
        self.send_found(reports, report, std::mem::take(&mut visit.findings));
    }

    fn report_tops(&mut self, visit: &mut Visit, reports: &SyncSender<Sent>) {
        for (volume, Top { findings, unseen }) in std::mem::take(&mut visit.tops) {
            // That it shows here is no addition: the remount says so.
            let report = Report { is_new_ground: true, unseen, ..Report::of(volume, visit.path.clone(), Vec::new()) };
            self.send_found(reports, report, findings);
        }
    }

    /// Sends what was found under one name of a directory; what is to be walked below it.
    pub(super) fn report_one(&mut self, mut visit: Visit, reports: &SyncSender<Sent>) -> Vec<Waiting> {
        let unseen = visit.found.iter().filter(|below| below.is_new_ground).map(|below| below.name.clone());
        let report = Report { unseen: unseen.collect(), ..Report::of(visit.volume, visit.path.clone(), Vec::new()) };
        self.report(&mut visit, report, reports);
        self.report_tops(&mut visit, reports);
        self.forget_tickets();
        visit.found
    }

    /// Whether it was removed after it was opened. A file system that says so of what is there hides nothing by it.
    fn has_gone(&self, open: &Directory, path: &HostPath) -> bool {
        let has_no_name = open.stat(b"").is_ok_and(|stat| stat.stx_nlink == 0);
        has_no_name || self.walk.host.directory(path).is_err_and(is_gone)
    }

    fn list(&self, open: &Directory, names: Names, from: &[u8]) -> Result<Listed, Errno> {
        match names {
            Names::None => Ok(Listed { entries: Vec::new(), is_whole: false, next: None }),
            Names::Listing => {
                let (entries, is_all) = open.list(from, self.walk.pass)?;
                let next = entries.last().filter(|_| !is_all).map(|last| [last.name.as_slice(), &[1]].concat());
                Ok(Listed { entries, is_whole: true, next })
            }
            Names::These(names) => {
                let entries = names.into_iter().map(|name| Entry { kind: EntryKind::Unknown, name });
                Ok(Listed { entries: entries.collect(), is_whole: false, next: None })
            }
        }
    }

    /// What the state has of a directory from a name on.
    fn known(&self, volume: Volume, path: &HostPath, from: &[u8]) -> Result<Known, StoreError> {
        let reader = self.walk.store.read()?;
        let pages = reader.directory(volume, path, from, SLICE_PAGES)?;
        let below = reader.subdirectories(volume, path, from, SLICE)?;
        let next = pages.next.into_iter().chain(below.next).min();
        Ok(Known { pages: pages.found, below: below.found, next })
    }

    /// What it has of the directory itself and of these names, which are sorted.
    fn known_of(&self, volume: Volume, path: &HostPath, names: &[Vec<u8>]) -> Result<Known, StoreError> {
        let reader = self.walk.store.read()?;
        let mut known = Known { pages: reader.directory(volume, path, b"", 1)?.found, below: Vec::new(), next: None };
        for name in names {
            let page = reader.directory(volume, path, name, 1)?.found.pop();
            known.pages.extend(page.filter(|page| known.pages.last() != Some(page)));
            let below = reader.subdirectories(volume, path, name, 1)?.found.pop();
            known.below.extend(below.filter(|below| below == name));
        }
        Ok(known)
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
            if !was_seen && reader.directory(volume, &path, b"", 1)?.found.is_empty() {
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
