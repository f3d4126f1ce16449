//! One name in a directory: what is mounted there, whether it is walked, and a look at it.

use super::held::Found;
use super::mount::MOUNTED_MEANWHILE;
use super::visit::{Alike, Visit};
use super::{Asking, Before, Walk, Walker};
use crate::commit::{Finding, What};
use crate::crew::Sent;
use crate::frontier::Waiting;
use crate::gate::{Want, has_moved};
use crate::host::{MAX_PATH, is_gone};
use crate::item::ItemState;
use crate::lane::{Pushed, Task};
use crate::listing::EntryKind;
use crate::look::{Look, Subject};
use crate::mounts::MountId;
use crate::moves::{Candidate, Outcome};
use crate::page::Volume;
use crate::path::HostPath;
use crate::plan::{Ask, Due, phase_in};
use crate::select::{Names, Step};
use crate::store::StoreError;
use crate::unknown::Aspect;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use vedette_crds::record::{ContentState, ItemType};

/// Directories are walked so many levels deep.
pub(crate) const MAX_DEPTH: usize = 1024;

/// A name with what its listing says of it.
#[derive(Clone, Copy)]
pub(super) struct Named<'n> {
    pub(super) name: &'n [u8],
    pub(super) kind: EntryKind,
}

/// Where an item lies.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) on: MountId,
    pub(super) volume: Volume,
}

impl Walker<'_> {
    /// A name that was listed, or that a pattern asks for.
    pub(super) fn name(
        &mut self,
        visit: &mut Visit,
        name: &[u8],
        kind: EntryKind,
        stored: Option<&ItemState>,
        reports: &SyncSender<Sent>,
    ) -> Result<(), StoreError> {
        let Walk { plan, mounts, .. } = self.walk;
        // Known before the name is touched: what is mounted there may hang.
        if visit.has_mounts
            && let Some(mount) = mounts.at(&visit.path.join(name))
        {
            let step = plan.child(&visit.context, name);
            return self.mounted(visit, Named { name, kind }, &step, mount, stored, reports);
        }
        if self.walk.host.bars(|| visit.path.join(name)) {
            let step = plan.child(&visit.context, name);
            visit.directories.push(name.to_vec());
            self.covered_meanwhile(visit.path.join(name), &step.context);
            return Ok(());
        }
        let (named, spot) = (Named { name, kind }, visit.spot());
        if !visit.is_uniform {
            let step = plan.child(&visit.context, name);
            return self.object(visit, named, &step, spot, stored);
        }
        let alike = visit.alike.take().unwrap_or_else(|| self.alike(visit, name));
        let mut looked = Ok(());
        match &alike.asked {
            asked if kind == EntryKind::Other => {
                asked.iter().for_each(|asked| self.asked_item(visit, name, spot, asked, stored));
            }
            _ => looked = self.object(visit, named, &alike.step, spot, stored),
        }
        visit.alike = Some(alike);
        looked
    }

    /// What any name of a directory is like in which all are selected alike.
    fn alike(&mut self, visit: &Visit, name: &[u8]) -> Alike {
        let plan = &self.walk.plan;
        let step = plan.child(&visit.context, name);
        let asked = self.ask(&plan.selecting(&step, false), visit.is_new_ground);
        Alike { step, asked }
    }

    /// What shows under a name.
    pub(super) fn object(
        &mut self,
        visit: &mut Visit,
        Named { name, kind }: Named<'_>,
        step: &Step,
        spot: Spot,
        stored: Option<&ItemState>,
    ) -> Result<(), StoreError> {
        let Walk { plan, due, .. } = self.walk;
        let due = if visit.is_new_ground { &Due::All } else { due };
        let kind = match kind {
            EntryKind::Unknown => match visit.open.kind(name) {
                Ok(kind) => kind,
                Err(errno) if is_gone(errno) => EntryKind::Other,
                Err(errno) => {
                    visit.directories.push(name.to_vec());
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
        if kind == EntryKind::Symlink {
            self.follow(visit, name, step);
        }
        // To an entry that ignores links, an item that becomes one changes, and so does a link that becomes an item.
        let selecting = match (kind, stored) {
            (EntryKind::Symlink, Some(stored)) => plan.selecting_stored(step, stored),
            (kind, _) => plan.selecting(step, kind == EntryKind::Symlink && stored.is_none()),
        };
        if kind == EntryKind::Directory {
            visit.directories.push(name.to_vec());
            if plan.names(&step.context, due) != Names::None {
                let path = visit.path.join(name);
                if path.as_bytes().len() > MAX_PATH || step.context.depth() > MAX_DEPTH {
                    self.walked.met.mark(plan.alive(&step.context));
                    let reason = format!("it lies over {MAX_DEPTH} levels deep, or its path is over {MAX_PATH} bytes");
                    if let Some(interval) = plan.interval_below(&step.context) {
                        self.unknown(path, Aspect::Listing, reason, interval, 1);
                    }
                } else {
                    let is_new_ground = visit.is_new_ground || self.uncovers(visit, name, stored);
                    let mount = Some(visit.mount);
                    let (above, name, context) = (visit.path.clone(), name.to_vec(), step.context.clone());
                    visit.found.push(Waiting { above, name, context, mount, is_new_ground, from: Vec::new() });
                }
            }
        }
        self.item(visit, name, spot, &selecting, stored);
        Ok(())
    }

    /// Notes what lies behind a link, for the entries that follow it.
    fn follow(&mut self, visit: &Visit, name: &[u8], step: &Step) {
        let Walk { plan, host, mounts, .. } = self.walk;
        let path = visit.path.join(name);
        if let Err(errno) = plan.follow(step, &path, host, mounts, &mut self.walked.leads)
            && let Some(interval) = plan.interval_below(&step.context)
        {
            self.unknown(path, Aspect::Listing, format!("what lies behind it: {errno}"), interval, 1);
        }
    }

    pub(super) fn item(
        &mut self,
        visit: &mut Visit,
        name: &[u8],
        spot: Spot,
        selecting: &[u16],
        stored: Option<&ItemState>,
    ) {
        if let Some(asked) = self.ask(selecting, visit.is_new_ground) {
            self.asked_item(visit, name, spot, &asked, stored);
        }
    }

    fn asked_item(&mut self, visit: &mut Visit, name: &[u8], spot: Spot, asked: &Asking, stored: Option<&ItemState>) {
        let (selecting, ask) = asked;
        if stored.is_none() && self.may_have_moved(visit, name) && self.held(visit, name, asked) {
            return;
        }
        let want = ask.want(phase_in(visit.phase, name));
        let leaves_large = !self.walk.is_remote && spot.volume == visit.volume;
        let subject = Subject { directory: &visit.open, name, on: spot.on, stored, want };
        let want = Want { leaves_large, ..want };
        let (mut look, mut ticket) = self.looker.look_in_batch(Subject { want, ..subject });
        if let Look::Large(state) = look {
            self.saw(selecting);
            if self.left(visit, name, asked, (stored, &state)) {
                // So that it is known to be there until its content is.
                if stored.is_none() && (visit.is_new_ground || matches!(self.walk.before, Before::Nothing)) {
                    visit.findings.push(finding(name, asked, What::Seen(state)).into());
                }
                return;
            }
            if !self.walk.waits {
                self.too_many_wait(visit.path.join(name), ask);
                return;
            }
            (look, ticket) = self.looker.look_in_batch(subject);
        } else if matches!(look, Look::Seen(_)) {
            self.saw(selecting);
        }
        match look {
            Look::Same => self.saw(selecting),
            Look::Gone => {
                // At the top of another volume it was unmounted a moment ago.
                match stored.filter(|_| spot.volume == visit.volume) {
                    // A name that is gone did not say what it was: the state does.
                    Some(stored) if stored.kind == ItemType::Symlink => self.missing(visit, name, stored),
                    Some(stored) => self.gone(visit, name, asked.clone(), stored),
                    None => {}
                }
            }
            look => {
                let refused = self.looker.refused();
                let seen = self.seen(&visit.path, name, selecting, ask, look, refused);
                let repeats = |state: &ItemState| stored.is_some_and(|stored| repeats(stored, state));
                if let Some(state) = seen.filter(|state| !repeats(state)) {
                    let finding = finding(name, asked, What::Seen(state));
                    visit.findings_at(spot).push(Found { finding, ticket });
                }
            }
        }
    }

    /// An item of the state that is not there: entries that ignore links know nothing of one.
    pub(super) fn missing(&mut self, visit: &mut Visit, name: &[u8], stored: &ItemState) {
        let plan = &self.walk.plan;
        let selecting = plan.selecting_stored(&plan.child(&visit.context, name), stored);
        if let Some(asked) = self.ask(&selecting, visit.is_new_ground) {
            self.gone(visit, name, asked, stored);
        }
    }

    /// An item of the state that is not there: it may be there under another name.
    pub(super) fn gone(&mut self, visit: &mut Visit, name: &[u8], asked: Asking, stored: &ItemState) {
        if self.walk.is_remote {
            // The committer does not look there: this is the second lookup.
            if visit.open.stat(name).is_err_and(is_gone) {
                visit.findings.push(finding(name, &asked, What::Missing).into());
            }
            return;
        }
        let (selecting, ask) = asked;
        let under = visit.plan_of(name);
        let (volume, directory, name) = (visit.volume, visit.path.clone(), name.to_vec());
        let gone = self.walk.moves.hold_gone(stored, Candidate { volume, directory, name, selecting, ask, under });
        visit.findings.extend(gone.map(|gone| gone.finding(What::Missing).into()));
    }

    /// Whether a name that the state does not have would be Added: only that can be the other end of a move.
    fn may_have_moved(&self, visit: &Visit, name: &[u8]) -> bool {
        let Walk { before, mounts, volumes, shown, .. } = self.walk;
        if self.walk.is_remote || !visit.may_pair {
            return false;
        }
        // What shows when a mount ends was there all the time.
        let path = visit.path.join(name);
        if visit.has_mounts && mounts.at(&path).is_some() || shown.contains_key(&path) {
            return false;
        }
        let Before::Other(older) = before else { return true };
        older.as_ref().is_some_and(|older| {
            let crossed = || volumes.crossed(mounts, visit.volume);
            let context = visit.older.get_or_init(|| older.context(&visit.path, &crossed()));
            !older.selecting(&older.child(context, name), false).is_empty()
        })
    }

    /// Whether a new name waits until all names were seen; its content is not read before.
    fn held(&self, visit: &Visit, name: &[u8], asked: &Asking) -> bool {
        let Some(state) = self.looker.glance(&visit.open, name) else { return false };
        let (selecting, ask) = asked.clone();
        let under = visit.plan_of(name);
        let (volume, directory, name) = (visit.volume, visit.path.clone(), name.to_vec());
        self.walk.moves.hold_new(&state, Candidate { volume, directory, name, selecting, ask, under }).is_none()
    }

    /// Whether a large file waits to be read; until it was, what is known of it stands.
    fn left(
        &mut self,
        visit: &Visit,
        name: &[u8],
        (selecting, ask): &Asking,
        (stored, seen): (Option<&ItemState>, &ItemState),
    ) -> bool {
        let here = Candidate {
            volume: visit.volume,
            directory: visit.path.clone(),
            name: name.to_vec(),
            selecting: Arc::clone(selecting),
            ask: Arc::clone(ask),
            // In a baseline its page may be new ground: that is stored as Pending at once.
            under: (!visit.is_new_ground).then(|| visit.plan_of(name)).flatten(),
        };
        let ground = self.walk.ground.clone();
        let task =
            Task { outcome: Outcome::There(here), stored: stored.cloned(), inode: seen.inode, size: seen.size, ground };
        if matches!(self.walk.lane.push(task), Pushed::Full(_)) {
            return false;
        }
        // It waits beyond this compare, which then has not seen what became of it.
        if !self.walk.waits && stored.is_none_or(|stored| has_moved(stored, seen)) {
            self.walked.unknown.unseen_place(visit.path.join(name));
        }
        if let Some(reason) = stored.and_then(unread).filter(|_| self.walk.lane.has_thread()) {
            self.unknown(visit.path.join(name), Aspect::Content, reason.to_owned(), ask.interval, 1);
        }
        true
    }

    /// What a look saw, where it saw something; what it could not see is unknown.
    pub(super) fn seen(
        &mut self,
        directory: &HostPath,
        name: &[u8],
        selecting: &[u16],
        ask: &Ask,
        look: Look,
        refused: Option<std::io::Error>,
    ) -> Option<Box<ItemState>> {
        match look {
            Look::Same | Look::Gone | Look::Large(_) | Look::Interrupted => None,
            Look::Elsewhere => {
                self.walked.met.mark(selecting.iter().copied());
                let reason = MOUNTED_MEANWHILE.to_owned();
                self.unknown(directory.join(name), Aspect::Volume, reason, ask.interval, 1);
                None
            }
            Look::Own => {
                self.walked.met.mark(selecting.iter().copied());
                None
            }
            Look::StillOwn => {
                self.walked.met.mark(selecting.iter().copied());
                let reason = "the agent's own database or socket is in its place".to_owned();
                self.unknown(directory.join(name), Aspect::Metadata, reason, ask.interval, 1);
                None
            }
            Look::Unknown(errno) => {
                self.walked.met.mark(selecting.iter().copied());
                self.unknown(directory.join(name), Aspect::Metadata, errno.to_string(), ask.interval, 1);
                None
            }
            Look::Seen(state) => {
                if state.attributes.is_none() {
                    let reason = "its attributes cannot be read".to_owned();
                    self.unknown(directory.join(name), Aspect::Attributes, reason, ask.interval, 1);
                } else if let Some(reason) = unread(&state) {
                    let refused = refused.filter(|_| state.content == Some(ContentState::Unreadable));
                    let reason = refused.map_or_else(|| reason.to_owned(), |error| format!("{reason}: {error}"));
                    self.unknown(directory.join(name), Aspect::Content, reason, ask.interval, 1);
                }
                Some(state)
            }
        }
    }

    /// A large file that is read by nobody now: the next compare meets it again. A new one is no item until then.
    pub(super) fn too_many_wait(&mut self, path: HostPath, ask: &Ask) {
        let reason = "too many large files wait to be read before it".to_owned();
        self.unknown(path, Aspect::Metadata, reason, ask.interval, 1);
    }

    /// An item that these entries select is there.
    pub(super) fn saw(&mut self, selecting: &[u16]) {
        self.tally.looked_at_one();
        self.walked.met.mark(selecting.iter().copied());
    }
}

fn finding(name: &[u8], (selecting, ask): &Asking, what: What) -> Finding {
    let (name, selecting, ask) = (name.to_vec(), Arc::clone(selecting), Arc::clone(ask));
    Finding { name, selecting, ask, what, moved: None, under: None }
}

/// Whether a look found only once more that something cannot be read.
fn repeats(stored: &ItemState, seen: &ItemState) -> bool {
    // What was read meanwhile is to be stored, or it would be read again at each compare.
    let lacks = unread(seen).is_some() || seen.attributes.is_none() && seen.read == stored.read;
    lacks && stored.is_same(seen)
}

fn unread(state: &ItemState) -> Option<&'static str> {
    match state.content {
        Some(ContentState::Unreadable) => Some("its content cannot be read"),
        Some(ContentState::Unstable) => Some("its content changed whenever it was read"),
        _ => None,
    }
}
