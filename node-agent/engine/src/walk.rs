//! The walkers: down every directory that a due entry can select in, each name looked at, only differences sent on.
//!
//! They read the host and the state, and write neither. Directories wait on one stack; the channel to the committer is
//! bounded, so a slow disk slows the walk and nothing piles up.

use crate::clock::Clock;
use crate::commit::{Finding, Report, What};
use crate::frontier::{Frontier, Waiting};
use crate::host::{Directory, Entry, EntryKind, HostRoot, MAX_PATH, is_gone};
use crate::idle::Met;
use crate::item::ItemState;
use crate::look::{Look, Looker, Own, Stop};
use crate::mounts::{Mount, MountId, Mounts};
use crate::page::{NEVER, Named, Page, Volume};
use crate::path::HostPath;
use crate::plan::{Ask, Due, Plan, phase_in};
use crate::progress::Progress;
use crate::select::{Context, Names};
use crate::store::{Store, StoreError};
use crate::unknown::{Aspect, Found, Unknown};
use crate::volumes::Volumes;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use vedette_crds::record::ContentState;
use xxhash_rust::xxh3::xxh3_64;

/// Directories are walked so many levels deep.
pub(crate) const MAX_DEPTH: usize = 1024;

/// What the walkers of one compare share.
pub(crate) struct Walk<'a> {
    pub(crate) store: &'a Store,
    pub(crate) host: &'a HostRoot,
    pub(crate) mounts: &'a Mounts,
    pub(crate) volumes: &'a Volumes,
    pub(crate) plan: &'a Plan,
    pub(crate) before: Before,
    pub(crate) due: &'a Due,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) stop: Stop<'a>,
    pub(crate) own: Own,
    pub(crate) progress: &'a Progress,
    pub(crate) frontier: Frontier,
}

/// What the last compare that came to its end was under.
pub(crate) enum Before {
    /// There was none.
    Nothing,
    /// Another plan; `None` when the state does not hold it any more.
    Other(Option<Arc<Plan>>),
    /// The same plan.
    Same,
}

/// What one walker did.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) unknown: Found,
    pub(crate) met: Met,
}

/// One thread's part in a walk.
struct Walker<'a, 'w> {
    walk: &'w Walk<'a>,
    looker: Looker<'a>,
    walked: Walked,
    /// The answers so far: most names are selected by the same few sets of entries.
    asks: BTreeMap<Vec<u16>, Asked>,
}

#[derive(Clone)]
struct Asked {
    selecting: Arc<[u16]>,
    /// `None` when all of them are suspended.
    ask: Option<Arc<Ask>>,
    is_due: bool,
}

/// A directory while its names are looked at.
struct Visit {
    open: Directory,
    path: HostPath,
    phase: u64,
    context: Context,
    volume: Volume,
    mount: MountId,
    has_mounts: bool,
    /// Nothing in it was ever compared, so all of it is due.
    is_new_ground: bool,
    /// Names that the state has items below.
    known_below: Vec<Vec<u8>>,
    findings: Vec<Finding>,
    /// Names that are directories, or covered by a mount.
    directories: BTreeSet<Vec<u8>>,
    found: Vec<Waiting>,
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

/// Walks until nothing waits any more, or it is told to stop.
pub(crate) fn walk(walk: &Walk<'_>, reports: &SyncSender<Report>) -> Result<Walked, StoreError> {
    let looker = Looker::new(walk.clock, walk.stop, walk.own, walk.progress);
    let mut walker = Walker { walk, looker, walked: Walked::default(), asks: BTreeMap::new() };
    let mut result = Ok(());
    while let Some(directory) = walk.frontier.next() {
        let mut found = Vec::new();
        if result.is_ok() && !walk.stop.is_set() {
            result = walker.directory(directory, reports).map(|below| found = below);
        }
        if result.is_err() {
            walk.stop.failed.store(true, Ordering::Relaxed);
        }
        walk.frontier.done(found);
    }
    result.map(|()| walker.walked)
}

impl Walker<'_, '_> {
    /// Looks at the names of a directory; returns the directories in it that have to be walked.
    fn directory(&mut self, waiting: Waiting, reports: &SyncSender<Report>) -> Result<Vec<Waiting>, StoreError> {
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
        let mut visit = Visit {
            open,
            phase: xxh3_64(path.as_bytes()),
            context,
            volume: volume.number,
            mount: here,
            has_mounts: mounts.any_in(&path),
            path,
            is_new_ground,
            known_below,
            findings: Vec::new(),
            directories: BTreeSet::new(),
            found: Vec::new(),
        };
        if visit.path == HostPath::root() {
            let selecting = plan.selecting(&plan.root(), false);
            self.item(&mut visit, b"", &selecting, stored_item(&stored, b""));
        }
        for Entry { name, kind } in &listed.entries {
            // Half a directory is no report: what it lacks would be taken for absent.
            if self.walk.stop.is_set() {
                return Ok(Vec::new());
            }
            self.name(&mut visit, name, *kind, stored_item(&stored, name))?;
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
        let lost = visit.known_below.into_iter().filter(|name| !visit.directories.contains(name));
        let vanished: Vec<_> = lost.filter(|name| listed.is_whole || listed.has(name)).collect();
        if visit.findings.is_empty() && vanished.is_empty() && !is_new_ground && !volume.is_new {
            return Ok(visit.found);
        }
        let mut findings = visit.findings;
        findings.sort_by(|a, b| a.name.cmp(&b.name));
        let unseen = visit.found.iter().filter(|below| below.is_new_ground).map(|below| below.path.split().1.to_vec());
        let unseen = unseen.collect();
        self.send(
            reports,
            Report { volume: visit.volume, directory: visit.path, findings, vanished, is_new_ground, unseen },
        );
        Ok(visit.found)
    }

    fn send(&self, reports: &SyncSender<Report>, report: Report) {
        // The committer is gone only after it failed, and then says why itself.
        if reports.send(report).is_err() {
            self.walk.stop.failed.store(true, Ordering::Relaxed);
        }
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

    /// A name that was listed, or that a pattern asks for.
    fn name(
        &mut self,
        visit: &mut Visit,
        name: &[u8],
        kind: EntryKind,
        stored: Option<&ItemState>,
    ) -> Result<(), StoreError> {
        let Walk { plan, mounts, due, .. } = self.walk;
        let due = if visit.is_new_ground { &Due::All } else { due };
        let mut step = plan.child(&visit.context, name);
        // Known before the name is touched: what is mounted there may hang.
        if visit.has_mounts
            && let Some(mount) = mounts.at(&visit.path.join(name))
        {
            visit.directories.insert(name.to_vec());
            let entered = plan.enter(&step, mount);
            self.covered(visit, name, mount, &step.context, stored.filter(|_| entered.is_dead()))?;
            step = entered;
            if step.is_dead() {
                return Ok(());
            }
        }
        let kind = match kind {
            EntryKind::Unknown => match visit.open.kind(name) {
                Ok(kind) => kind,
                Err(errno) if is_gone(errno) => EntryKind::Other,
                Err(errno) => {
                    visit.directories.insert(name.to_vec());
                    self.walked.met.mark(plan.alive(&step.context));
                    let path = visit.path.join(name);
                    if let Some(interval) = plan.interval_below(&step.context) {
                        let below = self.walk.store.read()?.items_below(visit.volume, &path)?;
                        self.unknown(path, Aspect::Metadata, errno.to_string(), interval, below.max(1));
                    }
                    return Ok(());
                }
            },
            kind => kind,
        };
        // What is an item already stays one when it becomes a link: that is a change of it.
        let selecting = plan.selecting(&step, kind == EntryKind::Symlink && stored.is_none());
        if kind == EntryKind::Directory {
            visit.directories.insert(name.to_vec());
            if plan.names(&step.context, due) != Names::None {
                let path = visit.path.join(name);
                if path.as_bytes().len() > MAX_PATH || step.context.depth() > MAX_DEPTH {
                    self.walked.met.mark(plan.alive(&step.context));
                    let reason = format!("it lies over {MAX_DEPTH} levels deep, or its path is over {MAX_PATH} bytes");
                    if let Some(interval) = plan.interval_below(&step.context) {
                        self.unknown(path, Aspect::Listing, reason, interval, 1);
                    }
                } else {
                    let (mount, is_new_ground) = (Some(visit.mount), visit.is_new_ground);
                    visit.found.push(Waiting { path, context: step.context, mount, is_new_ground });
                }
            }
        }
        self.item(visit, name, &selecting, stored);
        Ok(())
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
        let Walk { store, plan, .. } = self.walk;
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
            let reason = if mount.is_hidden {
                format!("the host has a mount of type {} there that is not seen here", mount.file_system)
            } else {
                format!("a mount of type {} covers what is known there", mount.file_system)
            };
            self.unknown(path, Aspect::Volume, reason, interval, items);
        }
        Ok(())
    }

    fn item(&mut self, visit: &mut Visit, name: &[u8], selecting: &[u16], stored: Option<&ItemState>) {
        let Some((selecting, ask)) = self.ask(selecting, visit.is_new_ground) else { return };
        let want = ask.want(phase_in(visit.phase, name));
        match self.looker.look(&visit.open, name, stored, want) {
            Look::Same => self.saw(&selecting),
            Look::Gone if stored.is_some() => {
                visit.findings.push(Finding { name: name.to_vec(), selecting, ask, what: What::Missing });
            }
            Look::Gone | Look::Interrupted => {}
            Look::Own => self.walked.met.mark(selecting.iter().copied()),
            Look::Unknown(errno) => {
                self.walked.met.mark(selecting.iter().copied());
                self.unknown(visit.path.join(name), Aspect::Metadata, errno.to_string(), ask.interval, 1);
            }
            Look::Seen(state) => {
                self.saw(&selecting);
                if state.attributes.is_none() {
                    let reason = "its attributes cannot be read".to_owned();
                    self.unknown(visit.path.join(name), Aspect::Attributes, reason, ask.interval, 1);
                } else if let Some(reason) = unread(&state) {
                    self.unknown(visit.path.join(name), Aspect::Content, reason.to_owned(), ask.interval, 1);
                }
                let repeats = unread(&state).is_some() && stored.is_some_and(|stored| stored.is_same(&state));
                if !repeats {
                    visit.findings.push(Finding { name: name.to_vec(), selecting, ask, what: What::Seen(state) });
                }
            }
        }
    }

    /// An item that these entries select is there.
    fn saw(&mut self, selecting: &[u16]) {
        self.walk.progress.looked_at_one();
        self.walked.met.mark(selecting.iter().copied());
    }

    /// An item of the state that the whole listing does not have.
    fn missing(&mut self, visit: &mut Visit, named: &Named) {
        let plan = self.walk.plan;
        let selecting = plan.selecting(&plan.child(&visit.context, &named.name), false);
        if let Some((selecting, ask)) = self.ask(&selecting, visit.is_new_ground) {
            visit.findings.push(Finding { name: named.name.clone(), selecting, ask, what: What::Missing });
        }
    }

    /// What these entries ask together, when one of them is due.
    fn ask(&mut self, selecting: &[u16], all_due: bool) -> Option<(Arc<[u16]>, Arc<Ask>)> {
        if selecting.is_empty() {
            return None;
        }
        let Walk { plan, due, .. } = self.walk;
        if !self.asks.contains_key(selecting) {
            let ask = plan.ask(selecting);
            let is_due = ask.as_ref().is_some_and(|ask| plan.any_due(&ask.entries, due));
            let asked = Asked { selecting: Arc::from(selecting), ask: ask.map(Arc::new), is_due };
            self.asks.insert(selecting.to_vec(), asked);
        }
        let asked = self.asks.get(selecting).filter(|asked| asked.is_due || all_due)?;
        Some((Arc::clone(&asked.selecting), Arc::clone(asked.ask.as_ref()?)))
    }

    /// A directory that cannot be listed: all below it is unknown, and stays new ground if it was never seen.
    fn unlisted(
        &mut self,
        path: HostPath,
        context: &Context,
        mount: Option<MountId>,
        is_new_ground: bool,
        errno: Errno,
        reports: &SyncSender<Report>,
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
                let (findings, vanished, unseen) = (Vec::new(), Vec::new(), vec![Vec::new()]);
                let directory = path.clone();
                self.send(reports, Report { volume, directory, findings, vanished, is_new_ground: false, unseen });
            }
        }
        self.unknown(path, Aspect::Listing, errno.to_string(), interval, below.max(1));
        Ok(Vec::new())
    }

    fn walks(&self, plan: &Plan, directory: &HostPath) -> bool {
        let crossed: Vec<Mount> = self.walk.mounts.on_the_way(directory).cloned().collect();
        plan.names(&plan.context(directory, &crossed), &Due::All) != Names::None
    }

    fn unknown(&mut self, path: HostPath, aspect: Aspect, reason: String, interval: Duration, items: u64) {
        self.walked.unknown.add(Unknown { path, aspect, reason, interval, items });
    }
}

/// The state of a name in a directory's pages.
fn stored_item<'p>(pages: &'p [Page], name: &[u8]) -> Option<&'p ItemState> {
    let after = pages.partition_point(|page| page.items.first().is_some_and(|first| first.name.as_slice() <= name));
    let items = &pages.get(after.checked_sub(1)?)?.items;
    let at = items.binary_search_by(|item| item.name.as_slice().cmp(name)).ok()?;
    Some(&items[at].state)
}

fn unread(state: &ItemState) -> Option<&'static str> {
    match state.content {
        Some(ContentState::Unreadable) => Some("its content cannot be read"),
        Some(ContentState::Unstable) => Some("its content changed whenever it was read"),
        _ => None,
    }
}
