//! One directory: opened, listed, its names looked at, and what the state has there that the listing has not.

use super::visit::{Top, Visit};
use super::{Before, Walk, Walker};
use crate::commit::Report;
use crate::crew::Sent;
use crate::frontier::Waiting;
use crate::host::{Directory, is_gone};
use crate::listing::Listing;
use crate::mounts::{Mount, MountId};
use crate::page::{Items, MAX_ITEMS, NEVER, StoredPage, Volume};
use crate::path::HostPath;
use crate::plan::{Due, Plan};
use crate::select::{Context, Names};
use crate::store::{StoreError, Stretch, damaged_page};
use crate::unknown::Aspect;
use rustix::io::Errno;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// So many names of a directory are compared and reported at once: what is on its way to the committer stays small.
const SLICE: usize = 1024;
/// The pages of the state that hold as many.
const SLICE_PAGES: usize = 2 * SLICE / MAX_ITEMS;

/// What is listed of a directory.
struct Listed {
    names: Listing,
    /// Whether a name that is not in it is not in the directory.
    is_whole: bool,
    /// Where the names that it leaves out begin.
    next: Option<Vec<u8>>,
}

/// The names of a directory in a range, listed and stored.
struct Slice<'l> {
    listing: &'l Listing,
    /// Which of the listed ones.
    listed: Range<usize>,
    known: Stretch,
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
        is_new_ground |= is_unseen(&known);
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
            let items = Items::of(&known.pages).map_err(|error| damaged_page(&visit.path, error))?;
            let stored = items.current().filter(|(name, _)| name.is_empty()).map(|(_, state)| state);
            self.item(&mut visit, b"", spot, &selecting, stored);
        }
        let Listed { names: listing, is_whole, next: listed_next } = listed;
        let mut begin = 0;
        loop {
            let listed_to = listing.get(begin + SLICE.min(self.walk.pass)).filter(|_| is_whole).map(|(name, _)| name);
            let upto = listed_to.or(listed_next.as_deref()).into_iter().chain(known.next.as_deref()).min();
            let upto = upto.map(<[u8]>::to_vec);
            let end = upto.as_ref().map_or(listing.len(), |upto| listing.from(upto));
            let is_last = upto.is_none() || upto == listed_next;
            let next = upto.clone().unwrap_or_default();
            let slice = Slice { listing: &listing, listed: begin..end, known, from, upto, is_whole };
            self.slice(&mut visit, slice, reports)?;
            // Half a slice was no report: what it lacks would be taken for absent.
            if self.walk.stop.is_set() {
                return Ok(Vec::new());
            }
            if is_last {
                break;
            }
            known = self.known(visit.volume, &visit.path, &next)?;
            visit.is_new_ground |= is_unseen(&known);
            visit.alike = None;
            (begin, from) = (end, next);
        }
        let Visit { path, context, is_new_ground, mut found, .. } = visit;
        // The last is walked first: so the walk goes on in the order in which the state lies.
        found.reverse();
        if let Some(from) = listed_next {
            // Below what was found: those are walked first, so that no more than one pass waits at each level.
            found.insert(0, Waiting { above: path, name: Vec::new(), context, mount: Some(here), is_new_ground, from });
        }
        Ok(found)
    }

    /// Looks at the names of a directory in a range, and reports what differs there.
    fn slice(&mut self, visit: &mut Visit, slice: Slice<'_>, reports: &SyncSender<Sent>) -> Result<(), StoreError> {
        let Slice { listing, listed, known, from, upto, is_whole } = slice;
        let is_in = |name: &[u8]| name >= from.as_slice() && upto.as_ref().is_none_or(|upto| name < upto.as_slice());
        visit.may_pair = self.may_pair(visit.is_new_ground, &known.pages);
        let Stretch { pages, below, .. } = known;
        visit.known_below = below;
        visit.plans = pages.iter().map(|page| (page.first.clone(), page.plan())).collect();
        let already = visit.found.len();
        let mut unlisted = Vec::new();
        let mut stored = Items::of(&pages).map_err(|error| damaged_page(&visit.path, error))?;
        let mut pass_to = |stored: &mut Items<'_>, visit: &Visit, end: Option<&[u8]>| -> Result<(), StoreError> {
            while let Some((name, state)) = stored.current().filter(|(name, _)| end.is_none_or(|end| *name < end)) {
                // The directory itself, which stands at the host's root, is no name in it.
                if is_whole && !name.is_empty() && is_in(name) {
                    unlisted.push((name.to_vec(), state.clone()));
                }
                stored.advance().map_err(|error| damaged_page(&visit.path, error))?;
            }
            Ok(())
        };
        for (name, kind) in listed.filter_map(|at| listing.get(at)) {
            self.walk.ground.pace.keep(&self.walk.stop);
            self.state.let_go_if_old();
            if self.walk.stop.is_set() {
                return Ok(());
            }
            pass_to(&mut stored, visit, Some(name))?;
            let state = stored.current().filter(|(stored, _)| *stored == name).map(|(_, state)| state);
            let is_stored = state.is_some();
            self.name(visit, name, kind, state, reports)?;
            if is_stored {
                stored.advance().map_err(|error| damaged_page(&visit.path, error))?;
            }
        }
        pass_to(&mut stored, visit, None)?;
        if self.walk.stop.is_set() {
            return Ok(());
        }
        for (name, state) in unlisted {
            self.missing(visit, &name, &state);
        }
        self.unmounted(visit, &is_in);
        let mut vanished = std::mem::take(&mut visit.known_below);
        vanished.retain(|name| {
            is_in(name) && visit.directories.binary_search(name).is_err() && (is_whole || listing.has(name))
        });
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
        self.tally.tell();
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
            Names::None => Ok(Listed { names: Listing::default(), is_whole: false, next: None }),
            Names::Listing => {
                let (names, is_all) = open.list(from, self.walk.pass)?;
                let next = names.last().filter(|_| !is_all).map(|last| [last, &[1]].concat());
                Ok(Listed { names, is_whole: true, next })
            }
            Names::These(names) => Ok(Listed { names: Listing::of(&names), is_whole: false, next: None }),
        }
    }

    /// What the state has of a directory from a name on.
    fn known(&mut self, volume: Volume, path: &HostPath, from: &[u8]) -> Result<Stretch, StoreError> {
        let known = self.state.read()?.stretch(volume, path, from, (SLICE_PAGES, SLICE));
        if self.walk.is_remote {
            self.state.let_go();
        }
        known
    }

    /// What it has of the directory itself and of these names, which are sorted.
    fn known_of(&mut self, volume: Volume, path: &HostPath, names: &[Vec<u8>]) -> Result<Stretch, StoreError> {
        let reader = self.walk.store.read()?;
        let mut known = Stretch { next: None, ..reader.stretch(volume, path, b"", (1, 0))? };
        for name in names {
            let Stretch { mut pages, mut below, .. } = reader.stretch(volume, path, name, (1, 1))?;
            let is_new = |page: &StoredPage| known.pages.last().is_none_or(|last| last.first != page.first);
            known.pages.extend(pages.pop().filter(is_new));
            known.below.extend(below.pop().filter(|below| below == name));
        }
        Ok(known)
    }

    fn may_pair(&self, is_new_ground: bool, stored: &[StoredPage]) -> bool {
        let Walk { before, plan, .. } = self.walk;
        let known = |older: &Arc<Plan>| stored.iter().all(|page| page.plan() <= older.id || page.plan() == plan.id);
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
            if !was_seen && reader.stretch(volume, &path, b"", (1, 0))?.pages.is_empty() {
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

/// Whether no compare has seen what lies there.
fn is_unseen(known: &Stretch) -> bool {
    known.pages.iter().any(|page| page.plan() == NEVER)
}
