//! The walkers: down every directory that a due entry can select in, each name looked at, only differences sent on.
//!
//! They read the host and the state, and write neither. Directories wait on one stack; the channel to the committer is
//! bounded, so a slow disk slows the walk and nothing piles up.

use crate::clock::Clock;
use crate::commit::{Finding, Report, What};
use crate::host::{Directory, Entry, EntryKind, HostRoot, is_gone};
use crate::item::ItemState;
use crate::look::{Look, Looker};
use crate::mounts::{MountId, Mounts};
use crate::page::{Named, Page};
use crate::path::HostPath;
use crate::plan::{Ask, Context, Due, Names, Plan};
use crate::store::{Store, StoreError};
use crate::unknown::{Aspect, Unknown};
use crate::volumes::Volumes;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use vedette_crds::record::{ContentState, ItemType};

/// What the walkers of one compare share.
pub(crate) struct Walk<'a> {
    pub(crate) store: &'a Store,
    pub(crate) host: &'a HostRoot,
    pub(crate) mounts: &'a Mounts,
    pub(crate) volumes: &'a Volumes,
    pub(crate) plan: &'a Plan,
    pub(crate) due: &'a Due,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) frontier: Frontier,
}

/// What one walker did.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) items: u64,
    pub(crate) hashed: u64,
    pub(crate) unknown: Vec<Unknown>,
}

/// A directory that waits to be walked.
struct Waiting {
    path: HostPath,
    context: Context,
    /// The mount that its parent lies on.
    mount: Option<MountId>,
}

/// The stack of waiting directories; the walk is over when it is empty and no walker is busy.
pub(crate) struct Frontier {
    state: Mutex<FrontierState>,
    changed: Condvar,
}

struct FrontierState {
    waiting: Vec<Waiting>,
    busy: usize,
}

impl Frontier {
    /// The walk from the host's root.
    pub(crate) fn new(plan: &Plan) -> Self {
        let root = Waiting { path: HostPath::root(), context: plan.root().context, mount: None };
        Self { state: Mutex::new(FrontierState { waiting: vec![root], busy: 0 }), changed: Condvar::new() }
    }

    fn next(&self) -> Option<Waiting> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(directory) = state.waiting.pop() {
                state.busy += 1;
                return Some(directory);
            }
            if state.busy == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, found: Vec<Waiting>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.busy -= 1;
        state.waiting.extend(found);
        drop(state);
        self.changed.notify_all();
    }
}

/// One thread's part in a walk.
struct Walker<'a, 'w> {
    walk: &'w Walk<'a>,
    looker: Looker<'a>,
    walked: Walked,
    /// The last answers: most names of a directory are selected by the same entries.
    asks: BTreeMap<Vec<u16>, Option<(Arc<[u16]>, Arc<Ask>)>>,
}

/// Walks until nothing waits any more, or `stop` is set.
pub(crate) fn walk(walk: &Walk<'_>, reports: &SyncSender<Report>) -> Result<Walked, StoreError> {
    let mut walker =
        Walker { walk, looker: Looker::new(walk.clock, walk.stop), walked: Walked::default(), asks: BTreeMap::new() };
    let mut result = Ok(());
    while let Some(directory) = walk.frontier.next() {
        let mut found = Vec::new();
        if result.is_ok() && !walk.stop.load(Ordering::Relaxed) {
            result = walker.directory(directory, &mut found, reports);
        }
        if result.is_err() {
            walk.stop.store(true, Ordering::Relaxed);
        }
        walk.frontier.done(found);
    }
    walker.walked.hashed = walker.looker.hashed;
    result.map(|()| walker.walked)
}

impl Walker<'_, '_> {
    fn directory(
        &mut self,
        Waiting { path, context, mount }: Waiting,
        found: &mut Vec<Waiting>,
        reports: &SyncSender<Report>,
    ) -> Result<(), StoreError> {
        let Walk { store, host, mounts, volumes, plan, due, .. } = self.walk;
        let open = match host.directory(&path) {
            Ok(open) => open,
            // It went after its parent was listed: the next compare sees that in the parent.
            Err(errno) if is_gone(errno) => return Ok(()),
            Err(errno) => return self.unreadable(path, &context, mount, errno),
        };
        let here = match open.stat(b"") {
            Ok(stat) => stat.stx_mnt_id,
            Err(errno) => return self.unreadable(path, &context, mount, errno),
        };
        let context = match mounts.get(here) {
            Some(entered) if mount != Some(here) => plan.enter_directory(context, entered),
            Some(_) => context,
            // Mounted since the compare began; the next one knows it.
            None => return Ok(()),
        };
        let names = plan.names(&context, due);
        if names == Names::None && path != HostPath::root() {
            return Ok(());
        }
        let Some(volume) = volumes.of(store, host, mounts, here)? else { return Ok(()) };
        let listed = match self.list(&open, names) {
            Ok(listed) => listed,
            Err(errno) => return self.unreadable(path, &context, mount, errno),
        };
        let reader = store.read()?;
        let stored = reader.directory(volume, &path)?;
        let known_below = reader.subdirectories(volume, &path)?;
        drop(reader);
        let mut visit = Visit {
            open,
            context,
            mount: here,
            has_mounts: mounts.any_in(&path),
            path,
            findings: Vec::new(),
            directories: BTreeSet::new(),
            found,
        };
        if visit.path == HostPath::root() {
            let (root, stored) = (plan.root(), stored_item(&stored, b""));
            let selecting = plan.selecting(&root, false);
            self.item(&mut visit, Vec::new(), selecting, stored);
        }
        let is_whole = listed.is_whole;
        let looked_for: BTreeSet<Vec<u8>> = listed.entries.iter().map(|entry| entry.name.clone()).collect();
        for entry in listed.entries {
            let stored = stored_item(&stored, &entry.name);
            self.name(&mut visit, entry, stored);
        }
        if is_whole {
            for named in stored.iter().flat_map(|page| &page.items) {
                if !named.name.is_empty() && !looked_for.contains(&named.name) {
                    self.missing(&mut visit, named);
                }
            }
        }
        let lost = known_below.into_iter().filter(|name| !visit.directories.contains(name));
        let vanished: Vec<_> = lost.filter(|name| is_whole || looked_for.contains(name)).collect();
        let Visit { path: directory, mut findings, .. } = visit;
        if findings.is_empty() && vanished.is_empty() {
            return Ok(());
        }
        findings.sort_by(|a, b| a.name.cmp(&b.name));
        let report = Report { volume, directory, findings, vanished };
        // The committer is gone only after it failed, and then says why itself.
        if reports.send(report).is_err() {
            self.walk.stop.store(true, Ordering::Relaxed);
        }
        Ok(())
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
    fn name(&mut self, visit: &mut Visit<'_>, Entry { name, kind }: Entry, stored: Option<&ItemState>) {
        let Walk { plan, mounts, due, .. } = self.walk;
        let mut step = plan.child(&visit.context, &name);
        // Known before the name is touched: what is mounted there may hang.
        if visit.has_mounts
            && let Some(mount) = mounts.at(&visit.path.join(&name))
        {
            step = plan.enter(step, mount);
            visit.directories.insert(name.clone());
            if step.is_dead() {
                return;
            }
        }
        let kind = match kind {
            EntryKind::Unknown => match visit.open.kind(&name) {
                Ok(kind) => kind,
                Err(_) => EntryKind::Other,
            },
            kind => kind,
        };
        let is_link = kind == EntryKind::Symlink && stored.is_none_or(|stored| stored.kind == ItemType::Symlink);
        let selecting = plan.selecting(&step, is_link);
        if kind == EntryKind::Directory {
            visit.directories.insert(name.clone());
            if plan.names(&step.context, due) != Names::None {
                let path = visit.path.join(&name);
                visit.found.push(Waiting { path, context: step.context, mount: Some(visit.mount) });
            }
        }
        self.item(visit, name, selecting, stored);
    }

    fn item(&mut self, visit: &mut Visit<'_>, name: Vec<u8>, selecting: Vec<u16>, stored: Option<&ItemState>) {
        let Some((selecting, ask)) = self.ask(selecting) else { return };
        let path = visit.path.join(&name);
        match self.looker.look(&visit.open, &name, stored, ask.want(&path)) {
            Look::Same => self.walked.items += 1,
            Look::Gone if stored.is_some() => {
                visit.findings.push(Finding { name, selecting, ask, what: What::Missing })
            }
            Look::Gone | Look::Interrupted => {}
            Look::Unknown(errno) => self.unknown(path, Aspect::Metadata, errno.to_string(), ask.interval, 1),
            Look::Seen(state) => {
                self.walked.items += 1;
                if state.attributes.is_none() {
                    let reason = "its attributes cannot be read".to_owned();
                    self.unknown(path, Aspect::Attributes, reason, ask.interval, 1);
                } else if let Some(reason) = unread(&state) {
                    self.unknown(path, Aspect::Content, reason.to_owned(), ask.interval, 1);
                }
                let repeats = unread(&state).is_some() && stored.is_some_and(|stored| stored.is_same(&state));
                if !repeats {
                    visit.findings.push(Finding { name, selecting, ask, what: What::Seen(state) });
                }
            }
        }
    }

    /// An item of the state that the whole listing does not have.
    fn missing(&mut self, visit: &mut Visit<'_>, named: &Named) {
        let plan = self.walk.plan;
        let step = plan.child(&visit.context, &named.name);
        let selecting = plan.selecting(&step, named.state.kind == ItemType::Symlink);
        if let Some((selecting, ask)) = self.ask(selecting) {
            visit.findings.push(Finding { name: named.name.clone(), selecting, ask, what: What::Missing });
        }
    }

    /// What these entries ask together, when one of them is due.
    fn ask(&mut self, selecting: Vec<u16>) -> Option<(Arc<[u16]>, Arc<Ask>)> {
        let Walk { plan, due, .. } = self.walk;
        if let Some(known) = self.asks.get(&selecting) {
            return known.clone();
        }
        let ask = plan.ask(&selecting).filter(|ask| plan.any_due(&ask.entries, due));
        let known = ask.map(|ask| (Arc::from(selecting.as_slice()), Arc::new(ask)));
        self.asks.insert(selecting, known.clone());
        known
    }

    fn unreadable(
        &mut self,
        path: HostPath,
        context: &Context,
        mount: Option<MountId>,
        errno: Errno,
    ) -> Result<(), StoreError> {
        let Walk { store, host, mounts, volumes, plan, due, .. } = self.walk;
        let Some(interval) = plan.interval_below(context, due) else { return Ok(()) };
        let volume = match mount {
            Some(mount) => volumes.of(store, host, mounts, mount)?,
            None => None,
        };
        let below = match volume {
            Some(volume) => store.read()?.items_below(volume, &path)?,
            None => 0,
        };
        self.unknown(path, Aspect::Listing, errno.to_string(), interval, below.max(1));
        Ok(())
    }

    fn unknown(&mut self, path: HostPath, aspect: Aspect, reason: String, interval: Duration, items: u64) {
        self.walked.unknown.push(Unknown { path, aspect, reason, interval, items });
    }
}

/// A directory while its names are looked at.
struct Visit<'f> {
    open: Directory,
    path: HostPath,
    context: Context,
    mount: MountId,
    has_mounts: bool,
    findings: Vec<Finding>,
    /// Names that are directories, or covered by a mount.
    directories: BTreeSet<Vec<u8>>,
    found: &'f mut Vec<Waiting>,
}

struct Listed {
    entries: Vec<Entry>,
    /// Whether a name that is not in it is not in the directory.
    is_whole: bool,
}

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
