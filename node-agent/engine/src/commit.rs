//! The one committer: observations in, one transaction out that holds the new state and the records of what differs.
//!
//! The comparison that becomes a record is made here, inside the write transaction, against what is stored then. What a
//! walker sends is only a reason to compare. Nothing is Removed without a second lookup just before the commit.

use crate::clock::{Clock, Time};
use crate::compared::Compared;
use crate::digest::restrict;
use crate::host::HostRoot;
use crate::item::ItemState;
use crate::known::Known;
use crate::lane::Lane;
use crate::look::Looker;
use crate::meta::Meta;
use crate::mounted::Remount;
use crate::mounts::{Mount, Mounts};
use crate::moves::{Moved, Moves};
use crate::page::{NEVER, Named, Page, PlanId, Volume, subtree_prefix};
use crate::path::HostPath;
use crate::plan::{Ask, Plan};
use crate::plans::Plans;
use crate::prune::prune;
use crate::records::rules_of;
use crate::render::Owners;
use crate::store::{Pages, Store, StoreError, Writer};
use crate::view::View;
use crate::volumes::Volumes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vedette_crds::record::{Detection, ItemType};

/// What walkers found in one directory that differs from the state, or is not in it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) volume: Volume,
    pub(crate) directory: HostPath,
    /// Sorted by name.
    pub(crate) findings: Vec<Finding>,
    /// Subdirectories that the state knows and the listing does not.
    pub(crate) vanished: Vec<Vec<u8>>,
    /// Whether nothing in it was ever compared: all of it is baselined.
    pub(crate) is_new_ground: bool,
    /// Names on which something else is mounted than the state knows.
    pub(crate) remounts: Vec<Remount>,
    /// Directories, by their names in it, that are still to be seen for the first time; the empty name is itself.
    pub(crate) unseen: Vec<Vec<u8>>,
    /// It is of the names from here on,
    pub(crate) from: Vec<u8>,
    /// and before this one; `None` when it goes to the directory's end.
    pub(crate) upto: Option<Vec<u8>>,
}

impl Report {
    /// Of findings alone.
    pub(crate) fn of(volume: Volume, directory: HostPath, findings: Vec<Finding>) -> Self {
        let (vanished, remounts, unseen, from, upto) = Default::default();
        Self { volume, directory, findings, vanished, is_new_ground: false, remounts, unseen, from, upto }
    }
}

/// One name that may have changed.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) name: Vec<u8>,
    /// The entries that select it, suspended ones included.
    pub(crate) selecting: Arc<[u16]>,
    pub(crate) ask: Arc<Ask>,
    pub(crate) what: What,
    /// The other path of a move whose both ends were looked at again.
    pub(crate) moved: Option<HostPath>,
    /// The plan that its page was of when it was seen, where other names of the page may have been committed since.
    pub(crate) under: Option<PlanId>,
}

/// What was seen under a name.
#[derive(Debug)]
pub(crate) enum What {
    Seen(Box<ItemState>),
    Missing,
}

/// Who the records are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: Option<String>,
    /// The node's name.
    pub node: String,
    /// The Node's uid.
    pub node_uid: Option<String>,
}

/// All that a commit needs beside the reports.
pub(crate) struct Committer<'a> {
    pub(crate) store: &'a Store,
    pub(crate) host: &'a HostRoot,
    pub(crate) mounts: &'a Mounts,
    pub(crate) volumes: &'a Volumes,
    pub(crate) plan: &'a Plan,
    pub(crate) plans: &'a Plans,
    pub(crate) identity: &'a Identity,
    pub(crate) owners: &'a Owners,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) looker: Looker,
    pub(crate) moves: &'a Moves,
    pub(crate) lane: &'a Lane,
    pub(crate) aside: Aside,
    /// For entries that were not suspended before.
    pub(crate) detection: Detection,
    /// How many bytes of lines the journal may hold.
    pub(crate) journal_max: u64,
}

/// What the state's own times of complete compares say of large files.
pub(crate) enum Aside {
    /// As much as of others: each compare waited for them.
    Nothing,
    /// Nothing: one that was seen to differ may have waited to be read when a compare was complete.
    Large,
    /// Nothing of these reports; that had been compared when their files were met.
    Since(Arc<Compared>),
}

/// One transaction under way.
pub(crate) struct Transaction<'a, 'c> {
    pub(crate) committer: &'c mut Committer<'a>,
    pub(crate) writer: &'c Writer,
    pub(crate) meta: Meta,
    pub(crate) now: Time,
    /// Older plans that were asked about; `None` for those that the state does not hold any more.
    pub(crate) older: BTreeMap<PlanId, Option<View<'a>>>,
    pub(crate) counted: Counted,
}

/// Entries whose items were counted last, and their rules: neighbors are mostly selected by the same.
#[derive(Default)]
pub(crate) struct Counted {
    selecting: Vec<u16>,
    rules: Vec<usize>,
}

/// Where an item stands.
#[derive(Clone, Copy)]
pub(crate) struct Place<'p> {
    pub(crate) volume: Volume,
    pub(crate) directory: &'p HostPath,
    pub(crate) name: &'p [u8],
    /// The plan that its page was last written under; `None` where nothing was ever compared.
    pub(crate) under: Option<PlanId>,
}

impl Place<'_> {
    pub(crate) fn path(&self) -> HostPath {
        self.directory.join(self.name)
    }
}

impl Committer<'_> {
    /// Commits reports and moves and returns the description of the state after them; on an error nothing has changed.
    pub(crate) fn commit(
        &mut self,
        mut reports: Vec<Report>,
        moves: Vec<Moved>,
        meta: &Meta,
    ) -> Result<Meta, StoreError> {
        let writer = self.store.write()?;
        // A volume is known once the report of its top directory is stored; that one comes first.
        let mut volumes = self.volumes.unsaved();
        let reported: BTreeSet<Volume> = reports.iter().map(|report| report.volume).collect();
        volumes.retain(|volume, _| reported.contains(volume));
        for (volume, identity) in &volumes {
            writer.set_volume(*volume, identity)?;
        }
        let now = self.clock.now();
        let counted = Counted::default();
        let mut transaction =
            Transaction { committer: self, writer: &writer, meta: meta.clone(), now, older: BTreeMap::new(), counted };
        reports.extend(transaction.confirm(moves)?);
        // Remounts first: what they say of an item is what the state held of it until now.
        reports.sort_by_cached_key(|report| {
            (report.remounts.is_empty(), subtree_prefix(report.volume, &report.directory))
        });
        let mut pages = writer.pages()?;
        for report in reports {
            transaction.report(&mut pages, report)?;
        }
        drop(pages);
        writer.written()?;
        let mut meta = transaction.meta;
        prune(&writer, &mut meta, self.identity, now, self.journal_max)?;
        meta.alive = meta.alive.max(Some(now));
        meta.save(&writer)?;
        writer.commit()?;
        self.volumes.saved(&volumes);
        Ok(meta)
    }
}

impl Transaction<'_, '_> {
    fn report(&mut self, pages: &mut Pages<'_>, report: Report) -> Result<(), StoreError> {
        let Report { volume, directory, findings, vanished, is_new_ground, remounts, unseen, from, upto } = report;
        let is_first = is_new_ground || self.meta.complete != Some(self.committer.plan.id);
        // What comes after it is still known under an older plan, or not at all.
        if let Some(upto) = upto.as_ref().filter(|_| is_first) {
            let known_under = self.meta.complete.filter(|_| !is_new_ground);
            pages.cut(volume, &directory, (&from, upto), known_under.unwrap_or(NEVER))?;
        }
        for remount in &remounts {
            let page = pages.holding(volume, &directory, &remount.name)?.map_or(NEVER, |placed| placed.page.plan);
            let under = (!is_new_ground).then_some(page);
            let place = Place { volume, directory: &directory, name: &remount.name, under };
            self.remounted(pages, place, remount)?;
        }
        // What lay beneath a mount was never seen.
        let uncovered = |name: &[u8]| remounts.iter().any(|remount| remount.name == name);
        let mut findings = findings.into_iter().peekable();
        while let Some(first) = findings.next() {
            let placed = pages.holding(volume, &directory, &first.name)?;
            let (old_key, page, next) = match placed {
                Some(placed) => (Some(placed.key), placed.page, placed.next),
                None => (None, Page::default(), None),
            };
            let under = (!is_new_ground).then_some(page.plan);
            let mut items = page.items;
            let is_new = items.is_empty();
            if next.is_none() {
                items.reserve(1 + findings.len());
            }
            let known = |name: &[u8]| under.filter(|_| !uncovered(name));
            self.finding(volume, &directory, &mut items, known(&first.name), first)?;
            let belongs = |finding: &Finding| {
                next.as_ref().is_none_or(|next| crate::page::key(volume, &directory, &finding.name) < *next)
            };
            while let Some(finding) = findings.next_if(belongs) {
                self.finding(volume, &directory, &mut items, known(&finding.name), finding)?;
            }
            pages.replace(old_key.as_deref(), volume, &directory, self.committer.plan.id, &items, is_new)?;
        }
        if is_first {
            pages.unmark(volume, &directory, &from, upto.as_deref())?;
        }
        for name in vanished {
            self.vanished(pages, volume, &directory, &name)?;
        }
        for name in unseen {
            pages.mark(volume, &directory.join(&name))?;
        }
        Ok(())
    }

    fn finding(
        &mut self,
        volume: Volume,
        directory: &HostPath,
        items: &mut Vec<Named>,
        under: Option<PlanId>,
        finding: Finding,
    ) -> Result<(), StoreError> {
        let under = finding.under.or(under);
        let place = Place { volume, directory, name: &finding.name, under };
        // They come in order, and most are new.
        let at = match items.last() {
            Some(last) if last.name >= finding.name => {
                items.binary_search_by(|item| item.name.as_slice().cmp(&finding.name))
            }
            _ => Err(items.len()),
        };
        let what = match (&at, finding.what) {
            // Nobody but its own thread touches a name there; that has looked again.
            (Ok(_), What::Missing) if self.committer.mounts.is_remote(&place.path()) => Some(What::Missing),
            (Ok(at), What::Missing) if finding.moved.is_none() => {
                self.look_again(place, Some(&items[*at].state), &finding.ask)?
            }
            // Another look began later and is stored: this one may be older than what it would replace. What lies ahead
            // of the clock was stored before that went back.
            (Ok(at), What::Seen(seen))
                if seen.looked < items[*at].state.looked && items[*at].state.looked <= self.now =>
            {
                self.look_again(place, Some(&items[*at].state), &finding.ask)?
            }
            (_, what) => Some(what),
        };
        match (at, what) {
            (_, None) | (Err(_), Some(What::Missing)) => {}
            (Ok(at), Some(What::Seen(seen))) => {
                let mut after = *seen;
                after.keep_unknown(&items[at].state);
                self.modified(place, &items[at].state, &after, &finding.ask)?;
                // The last good digests stay behind a failure and while no entry asks, whatever kinds they are of.
                if after.is_read() {
                    after.digests = restrict(after.digests, finding.ask.hashes());
                }
                self.recount(place, &items[at].state, &after);
                items[at].state = after;
            }
            (Ok(at), Some(What::Missing)) => {
                let before = items.remove(at).state;
                self.gone(place, &finding.selecting);
                self.removed(place, &before, finding.moved.as_ref(), &finding.ask)?;
            }
            (Err(at), Some(What::Seen(state))) => {
                let known = self.known(place, state.kind == ItemType::Symlink)?;
                self.track(&finding.selecting, 1);
                if known != Known::Nothing {
                    self.added(place, &state, finding.moved.as_ref(), &finding.ask)?;
                } else if let Some(pending) = &mut self.meta.pending {
                    pending.added += 1;
                }
                items.insert(at, Named { name: finding.name, state: *state });
            }
        }
        Ok(())
    }

    pub(crate) fn crossed(&self, volume: Volume) -> Vec<Mount> {
        self.committer.volumes.crossed(self.committer.mounts, volume)
    }

    /// An item is not there any more.
    pub(crate) fn gone(&mut self, place: Place<'_>, selecting: &[u16]) {
        self.track(selecting, -1);
        self.committer.lane.left(place.volume, &place.path());
    }

    /// Counts an item anew for the entries that ignore links, when it became one or is none any more.
    fn recount(&mut self, place: Place<'_>, before: &ItemState, after: &ItemState) {
        if (before.kind == ItemType::Symlink) == (after.kind == ItemType::Symlink) {
            return;
        }
        let plan = self.committer.plan;
        let step = plan.child(&plan.context(place.directory, &self.crossed(place.volume)), place.name);
        self.count(&plan.selecting_stored(&step, before), -1);
        self.count(&plan.selecting_stored(&step, after), 1);
    }

    pub(crate) fn track(&mut self, selecting: &[u16], by: i64) {
        let tracked = self.meta.totals.tracked;
        self.meta.totals.tracked = tracked.saturating_add_signed(by);
        self.count(selecting, by);
    }

    /// Counts an item for the rules of these entries.
    fn count(&mut self, selecting: &[u16], by: i64) {
        if self.counted.selecting != selecting {
            let plan = self.committer.plan;
            let running = selecting.iter().copied().filter(|entry| !plan.is_suspended(*entry));
            let rules = rules_of(plan, &running.collect::<Vec<_>>());
            self.counted = Counted { selecting: selecting.to_vec(), rules };
        }
        for rule in &self.counted.rules {
            if let Some(rule) = self.meta.totals.rules.get_mut(*rule) {
                rule.tracked = rule.tracked.saturating_add_signed(by);
            }
        }
    }
}
