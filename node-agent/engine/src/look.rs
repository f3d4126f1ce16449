//! One look at one item: metadata always, content and attributes when something says that they may have changed.
//!
//! Reads one name in an open directory; produces what was seen, or why it could not be seen. It never follows a link,
//! never waits for a FIFO or device, never reads more than the size that was seen, and never decides what a change is.

mod read;
mod seen;

pub(crate) use self::read::Opened;
use self::read::{Read, hashes};
pub(crate) use self::seen::is_still;
use self::seen::{fingerprint, from_stat, kind, unmoved};
use crate::batch::{Batch, Ticket};
use crate::clock::{Clock, Time};
use crate::digest::{Digests, kinds, restrict};
use crate::gate::{Want, has_moved, is_large, is_racy, must_look, must_read};
use crate::hard_links::HardLinks;
use crate::host::{Directory, FileId, is_gone, is_lack, stat_open};
use crate::item::{Attributes, ItemState};
use crate::lane::Ground;
use crate::mounts::MountId;
use crate::pace::Pace;
use crate::page_cache::PageCache;
use crate::progress::Progress;
use crate::stop::Stop;
use crate::xattrs::{self, Of};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Statx;
use rustix::io::Errno;
use std::sync::Arc;
use vedette_crds::record::{ContentState, ItemType};

/// How often what changes while it is looked at is tried before it is called unstable.
pub(crate) const TRIES: usize = 3;

/// Files that are the agent's own: its open database, and the socket beside it.
pub(crate) type Own = [Option<FileId>; 2];

/// What is looked at.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'s> {
    pub(crate) directory: &'s Directory,
    /// Empty for the directory itself.
    pub(crate) name: &'s [u8],
    /// The mount that it lies on.
    pub(crate) on: MountId,
    pub(crate) stored: Option<&'s ItemState>,
    pub(crate) want: Want,
}

/// What one look found.
#[derive(Debug)]
pub(crate) enum Look {
    /// There is no such name.
    Gone,
    /// The metadata cannot be read.
    Unknown(Errno),
    /// Nothing says that it differs from the stored state; its content was not read.
    Same,
    /// The state as it is now.
    Seen(Box<ItemState>),
    /// A large file that has to be read: what statx says, its content Pending.
    Large(Box<ItemState>),
    /// Another mount shows there than the compare knows of: the next one does.
    Elsewhere,
    /// The look was told to end.
    Interrupted,
    /// It is the agent's own open database, which every compare changes, or its socket.
    Own,
    /// The same in an item's place, as the state says already: nothing can be said of that item.
    StillOwn,
}

/// Looks at items; holds the memory that content is read into.
pub(crate) struct Looker {
    clock: Arc<dyn Clock>,
    stop: Stop,
    own: Own,
    pub(crate) batch: Batch,
    attributes: xattrs::Reader,
    progress: Arc<Progress>,
    links: Arc<HardLinks>,
    pace: Arc<Pace>,
    /// Who holds a transaction that others wait for reads at once.
    keeps_pace: bool,
    cache: PageCache,
    /// What the system last said where content could not be read.
    refused: Option<Errno>,
}

/// What one try of a look came to.
enum Tried {
    Over(Look),
    /// It was seen and read; its digests come with those of others.
    Read(Box<ItemState>, Ticket),
    /// It changed meanwhile: what was seen, and what statx says now.
    Again(Box<ItemState>, Box<Statx>),
    /// It is to be read.
    Opened(Box<Opened>),
}

impl Looker {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        stop: Stop,
        own: Own,
        progress: Arc<Progress>,
        links: Arc<HardLinks>,
        pace: Arc<Pace>,
    ) -> Self {
        Self {
            clock,
            stop,
            own,
            batch: Batch::new(),
            attributes: xattrs::Reader::new(),
            progress,
            links,
            pace,
            keeps_pace: true,
            cache: PageCache::new(),
            refused: None,
        }
    }

    /// The same without waiting for its budget; what it reads counts.
    pub(crate) fn at_once(self) -> Self {
        Self { keeps_pace: false, ..self }
    }

    /// Looks at it to the end.
    pub(crate) fn look(&mut self, subject: Subject<'_>) -> Look {
        self.look_or_wait(subject, false).0
    }

    /// The same, but that the digests of a small file may have to be waited for: with a ticket its state lacks them.
    pub(crate) fn look_in_batch(&mut self, subject: Subject<'_>) -> (Look, Option<Ticket>) {
        self.look_or_wait(subject, true)
    }

    fn look_or_wait(&mut self, subject: Subject<'_>, may_wait: bool) -> (Look, Option<Ticket>) {
        for attempt in 1.. {
            let tried = match self.attempt(subject, attempt == 1) {
                Tried::Opened(opened) => {
                    let read = self.read(&opened, may_wait && !is_large(&opened.seen));
                    self.close(*opened, read)
                }
                tried => tried,
            };
            match tried {
                Tried::Over(look) => return (look, None),
                Tried::Read(seen, ticket) => return (Look::Seen(seen), Some(ticket)),
                Tried::Again(seen, after) if attempt == TRIES => {
                    return (unstable(*seen, &after, self.clock.now(), subject.want), None);
                }
                Tried::Again(..) | Tried::Opened(_) => {}
            }
        }
        unreachable!("the loop ends at its last try")
    }

    /// Looks once as far as opening what is to be read.
    ///
    /// # Errors
    /// What the look came to where nothing is to be read.
    pub(crate) fn open(&mut self, subject: Subject<'_>) -> Result<Box<Opened>, Look> {
        for attempt in 1.. {
            match self.attempt(subject, attempt == 1) {
                Tried::Opened(opened) => return Ok(opened),
                Tried::Over(look) => return Err(look),
                Tried::Again(seen, after) if attempt == TRIES => {
                    return Err(unstable(*seen, &after, self.clock.now(), subject.want));
                }
                Tried::Again(..) | Tried::Read(..) => {}
            }
        }
        unreachable!("the loop ends at its last try")
    }

    /// One try; `is_first` may find that nothing is to be looked at.
    fn attempt(&mut self, subject: Subject<'_>, is_first: bool) -> Tried {
        let Subject { directory, name, on, stored, want, .. } = subject;
        let began = self.clock.now();
        let stat = match directory.stat(name) {
            Ok(stat) => stat,
            Err(errno) if is_gone(errno) => return Tried::Over(Look::Gone),
            Err(errno) => return Tried::Over(Look::Unknown(errno)),
        };
        if stat.stx_mnt_id != on {
            return Tried::Over(Look::Elsewhere);
        }
        let (print, is_own) = (fingerprint(&stat), self.own.contains(&Some(FileId::of(&stat))));
        if !is_own && is_first && stored.is_some_and(|stored| !must_look(stored, &print, want, began)) {
            return Tried::Over(Look::Same);
        }
        let mut seen = from_stat(&stat, began);
        if is_own {
            return Tried::Over(match stored {
                None => Look::Own,
                Some(stored) if stored.is_one_with(&seen) => Look::StillOwn,
                Some(_) => Look::Seen(Box::new(self.own_in_place(subject, seen))),
            });
        }
        let as_it_was = stored.filter(|stored| !must_read(stored, &print, want, began));
        if seen.links > 1 && self.batch.holds(FileId::of(&stat)) {
            self.batch.hash(false, &self.links);
        }
        if let Some(read) = self.read_under_another_name(&stat, &seen, subject) {
            return Tried::Over(Look::Seen(Box::new(read)));
        }
        let is_read = seen.kind == ItemType::Regular && !want.hashes.is_empty() && as_it_was.is_none();
        if want.leaves_large && is_read && is_large(&seen) && seen.size <= want.max_content_size {
            return Tried::Over(Look::Large(Box::new(ItemState { content: Some(ContentState::Pending), ..seen })));
        }
        if seen.kind == ItemType::Symlink {
            match directory.read_link(name) {
                Ok(target) => seen.target = Some(target),
                // No link any more.
                Err(Errno::INVAL) => return self.again(directory, name, seen),
                Err(errno) if is_gone(errno) => return Tried::Over(Look::Gone),
                Err(errno) => return Tried::Over(Look::Unknown(errno)),
            }
        }
        if let Some(stored) = as_it_was {
            (seen.content, seen.digests, seen.read) = (stored.content, stored.digests, stored.read);
        }
        if is_read {
            if seen.size > want.max_content_size {
                seen.content = Some(ContentState::TooLarge);
            } else {
                match self.open_to_read(directory, name, &stat) {
                    Ok(Some(file)) => {
                        return Tried::Opened(Box::new(Opened { seen, stat, file, hashes: hashes(stored, want) }));
                    }
                    // It is something else now.
                    Ok(None) => return self.again(directory, name, seen),
                    Err(errno) if is_gone(errno) => return Tried::Over(Look::Gone),
                    // That is nothing of the file's.
                    Err(errno) if is_lack(errno) => return Tried::Over(Look::Unknown(errno)),
                    Err(errno) => self.unreadable(&mut seen, errno),
                }
            }
        }
        let (of, after) = (self.attributes.read(&Of::Name(directory, name)), directory.stat(name));
        self.settled(seen, &stat, of, after, None)
    }

    /// The end of a try that met something else than was seen.
    fn again(&mut self, directory: &Directory, name: &[u8], mut seen: ItemState) -> Tried {
        // Without them, as when a try ends well, the item is counted and named as unknown.
        seen.attributes = self.attributes.read(&Of::Name(directory, name)).ok();
        match directory.stat(name) {
            Ok(after) => Tried::Again(Box::new(seen), Box::new(after)),
            Err(errno) if is_gone(errno) => Tried::Over(Look::Gone),
            Err(errno) => Tried::Over(Look::Unknown(errno)),
        }
    }

    /// Opens what was just seen; `None` when that is not there any more.
    fn open_to_read(&self, directory: &Directory, name: &[u8], seen: &Statx) -> Result<Option<OwnedFd>, Errno> {
        let file = match directory.open_file(name) {
            Err(Errno::LOOP) => return Ok(None),
            opened => opened?,
        };
        let opened = stat_open(file.as_fd())?;
        Ok((unmoved(seen, &opened) && kind(&opened) == Some(ItemType::Regular)).then_some(file))
    }

    fn unreadable(&mut self, seen: &mut ItemState, errno: Errno) {
        self.refused = Some(errno);
        seen.content = Some(ContentState::Unreadable);
    }

    /// What a file shows that was read side by side with others; `None` when it changed meanwhile and is to be tried again.
    /// At the last try `last` is what was asked.
    pub(crate) fn show(&mut self, opened: Opened, read: Result<Digests, Errno>, last: Option<Want>) -> Option<Look> {
        match (self.close(opened, read.map(Read::Digests)), last) {
            (Tried::Over(look), _) => Some(look),
            (Tried::Again(seen, after), Some(want)) => Some(unstable(*seen, &after, self.clock.now(), want)),
            (Tried::Again(..) | Tried::Read(..) | Tried::Opened(_), _) => None,
        }
    }

    /// The end of a try whose file was read.
    fn close(&mut self, opened: Opened, read: Result<Read, Errno>) -> Tried {
        let Opened { mut seen, stat, file, .. } = opened;
        let mut ticket = None;
        (seen.content, seen.read) = (Some(ContentState::Read), Some(seen.looked));
        match read {
            Ok(Read::Interrupted) => return Tried::Over(Look::Interrupted),
            Ok(Read::Digests(digests)) => seen.digests = digests,
            Ok(Read::Later(later)) => ticket = Some(later),
            Err(errno) if is_lack(errno) => return Tried::Over(Look::Unknown(errno)),
            Err(errno) => {
                seen.read = None;
                self.unreadable(&mut seen, errno);
            }
        }
        let (of, after) = (self.attributes.read(&Of::Open(file.as_fd())), stat_open(file.as_fd()));
        self.settled(seen, &stat, of, after, ticket)
    }

    /// The end of a try.
    fn settled(
        &mut self,
        mut seen: ItemState,
        stat: &Statx,
        attributes: Result<Attributes, Errno>,
        after: Result<Statx, Errno>,
        ticket: Option<Ticket>,
    ) -> Tried {
        // Without them the state keeps the last ones, and the walker counts and names the item as unknown.
        seen.attributes = attributes.ok();
        let after = match after {
            Ok(after) => after,
            Err(errno) if is_gone(errno) => return Tried::Over(Look::Gone),
            Err(errno) => return Tried::Over(Look::Unknown(errno)),
        };
        if !unmoved(stat, &after) {
            return Tried::Again(Box::new(seen), Box::new(after));
        }
        self.share(stat, &seen, ticket);
        let seen = Box::new(seen);
        match ticket {
            Some(ticket) => Tried::Read(seen, ticket),
            None => Tried::Over(Look::Seen(seen)),
        }
    }

    /// What this compare read of a file under another one of its names, while that must still be so.
    fn read_under_another_name(
        &self,
        stat: &Statx,
        seen: &ItemState,
        Subject { stored, want, .. }: Subject<'_>,
    ) -> Option<ItemState> {
        let is_asked = !want.hashes.is_empty() && seen.size <= want.max_content_size;
        if seen.links < 2 || seen.kind != ItemType::Regular || !is_asked {
            return None;
        }
        let hashes = hashes(stored, want);
        let holds = |read: &ItemState| {
            !has_moved(read, seen) && !is_racy(read) && kinds(&restrict(read.digests, hashes)) == hashes
        };
        let read = self.links.get(FileId::of(stat), holds)?;
        let ItemState { attributes, content, digests, read, .. } = read;
        Some(ItemState { attributes, content, digests: restrict(digests, hashes), read, ..seen.clone() })
    }

    /// Why the content that was just found Unreadable is.
    pub(crate) fn refused(&self) -> Option<std::io::Error> {
        self.refused.map(std::io::Error::from)
    }

    /// The agent's own file where there was another item: what it holds is no content to compare.
    fn own_in_place(&mut self, Subject { directory, name, want, .. }: Subject<'_>, seen: ItemState) -> ItemState {
        let is_asked = seen.kind == ItemType::Regular && !want.hashes.is_empty();
        let content = if is_asked { Some(ContentState::Unreadable) } else { seen.content };
        ItemState { attributes: self.attributes.read(&Of::Name(directory, name)).ok(), content, ..seen }
    }

    /// The time of a look that begins now.
    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// What statx alone says of a name; `None` where a look has to say what stands in the way.
    pub(crate) fn glance(&self, directory: &Directory, name: &[u8]) -> Option<ItemState> {
        let now = self.clock.now();
        directory
            .stat(name)
            .ok()
            .filter(|stat| !self.own.contains(&Some(FileId::of(stat))))
            .map(|stat| from_stat(&stat, now))
    }

    /// From now on it looks for another compare.
    pub(crate) fn stand_on(&mut self, ground: &Ground) {
        (self.own, self.progress) = (ground.own, Arc::clone(&ground.progress));
        (self.links, self.pace) = (Arc::clone(&ground.links), Arc::clone(&ground.pace));
    }

    /// Computes the digests that are waited for.
    pub(crate) fn hash_batch(&mut self) {
        self.batch.hash(false, &self.links);
    }

    /// Whether it was told to.
    pub(crate) fn must_end(&self) -> bool {
        self.stop.is_set()
    }

    /// Keeps what was read for the file's other names.
    fn share(&mut self, stat: &Statx, seen: &ItemState, ticket: Option<Ticket>) {
        if seen.links < 2 || !seen.is_read() || seen.attributes.is_none() {
            return;
        }
        match ticket {
            Some(ticket) => self.batch.remember(ticket, FileId::of(stat), seen),
            None => self.links.remember(FileId::of(stat), seen),
        }
    }
}

/// What is known of an item that changed during every try: nothing, if it is not even of one kind.
fn unstable(seen: ItemState, after: &Statx, now: Time, want: Want) -> Look {
    let mut state = ItemState { attributes: seen.attributes, target: seen.target, ..from_stat(after, now) };
    if state.kind != seen.kind || state.kind == ItemType::Symlink && state.target.is_none() {
        return Look::Unknown(Errno::AGAIN);
    }
    if state.kind == ItemType::Regular && !want.hashes.is_empty() {
        state.content = Some(ContentState::Unstable);
    }
    Look::Seen(Box::new(state))
}
