//! One look at one item: metadata always, content and attributes when something says that they may have changed.
//!
//! Reads one name in an open directory; produces what was seen, or why it could not be seen. It never follows a link,
//! never waits for a FIFO or device, never reads more than the size that was seen, and never decides what a change is.

use crate::clock::{Clock, Time};
use crate::digest::{Digests, Hasher, kinds, restrict};
use crate::gate::{Want, has_moved, is_large, is_racy, must_look, must_read};
use crate::hard_links::HardLinks;
use crate::host::{Directory, FileId, is_gone, is_lack, stat_open};
use crate::item::{FLAGS, ItemState};
use crate::mounts::MountId;
use crate::pace::Pace;
use crate::page_cache::PageCache;
use crate::progress::Progress;
use crate::stop::Stop;
use crate::xattrs::{self, Of};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Statx, StatxFlags};
use rustix::io::Errno;
use std::sync::Arc;
use vedette_crds::record::{ContentState, Flag, ItemType};
use vedette_crds::settings::HashSet;

/// How often what changes while it is looked at is tried before it is called unstable.
const TRIES: usize = 3;
const BUFFER: usize = 128 * 1024;
const PAGE: usize = 4096;

/// Files that are the agent's own: its open database, and the socket beside it.
pub(crate) type Own = [Option<FileId>; 2];

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

/// Looks at items; holds the page-aligned buffer that content is read into.
pub(crate) struct Looker {
    clock: Arc<dyn Clock>,
    stop: Stop,
    own: Own,
    buffer: Vec<u8>,
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

enum Content {
    /// With the open file where it was read.
    Is(ContentState, Digests, Option<OwnedFd>),
    Gone,
    Unknown(Errno),
    Again,
    Interrupted,
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
            buffer: vec![0; BUFFER + PAGE],
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

    /// Looks at `name` in `directory`, where it lies on the mount `on`; the empty name is the directory itself.
    pub(crate) fn look(
        &mut self,
        directory: &Directory,
        name: &[u8],
        stored: Option<&ItemState>,
        want: Want,
        on: MountId,
    ) -> Look {
        for attempt in 1.. {
            let began = self.clock.now();
            let stat = match directory.stat(name) {
                Ok(stat) => stat,
                Err(errno) if is_gone(errno) => return Look::Gone,
                Err(errno) => return Look::Unknown(errno),
            };
            if stat.stx_mnt_id != on {
                return Look::Elsewhere;
            }
            let mut seen = from_stat(&stat, began);
            if self.own.contains(&Some(FileId::of(&stat))) {
                return match stored {
                    None => Look::Own,
                    Some(stored) if stored.is_one_with(&seen) => Look::StillOwn,
                    Some(_) => Look::Seen(Box::new(self.own_in_place(directory, name, seen, want))),
                };
            }
            if attempt == 1 && stored.is_some_and(|stored| !must_look(stored, &seen, want, began)) {
                return Look::Same;
            }
            let as_it_was = stored.filter(|stored| !must_read(stored, &seen, want, began));
            if let Some(read) = self.read_under_another_name(&stat, &seen, stored, want) {
                return Look::Seen(Box::new(read));
            }
            let is_read = seen.kind == ItemType::Regular && !want.hashes.is_empty() && as_it_was.is_none();
            if want.leaves_large && is_read && is_large(&seen) && seen.size <= want.max_content_size {
                return Look::Large(Box::new(ItemState { content: Some(ContentState::Pending), ..seen }));
            }
            let mut settled = true;
            if seen.kind == ItemType::Symlink {
                match directory.read_link(name) {
                    Ok(target) => seen.target = Some(target),
                    Err(errno) if is_gone(errno) => return Look::Gone,
                    // No link any more.
                    Err(Errno::INVAL) => settled = false,
                    Err(errno) => return Look::Unknown(errno),
                }
            }
            let mut opened = None;
            if let Some(stored) = as_it_was {
                (seen.content, seen.digests, seen.read) = (stored.content, stored.digests, stored.read);
            }
            if is_read {
                match self.content(directory, name, &stat, stored, want) {
                    Content::Is(state, digests, file) => {
                        seen.content = Some(state);
                        seen.digests = digests;
                        seen.read = (state == ContentState::Read).then_some(began);
                        opened = file;
                    }
                    Content::Gone => return Look::Gone,
                    Content::Unknown(errno) => return Look::Unknown(errno),
                    Content::Again => settled = false,
                    Content::Interrupted => return Look::Interrupted,
                }
            }
            let (of, after) = match &opened {
                Some(file) => (self.attributes.read(&Of::Open(file.as_fd())), stat_open(file.as_fd())),
                None => (self.attributes.read(&Of::Name(directory, name)), directory.stat(name)),
            };
            // Without them the state keeps the last ones, and the walker counts and names the item as unknown.
            seen.attributes = of.ok();
            let after = match after {
                Ok(after) => after,
                Err(errno) if is_gone(errno) => return Look::Gone,
                Err(errno) => return Look::Unknown(errno),
            };
            if settled && unmoved(&stat, &after) {
                if seen.links > 1 && seen.is_read() && seen.attributes.is_some() {
                    self.links.remember(FileId::of(&stat), &seen);
                }
                return Look::Seen(Box::new(seen));
            }
            if attempt == TRIES {
                return unstable(seen, &after, self.clock.now(), want);
            }
        }
        unreachable!("the loop ends at its last try")
    }

    /// What this compare read of a file under another one of its names, while that must still be so.
    fn read_under_another_name(
        &self,
        stat: &Statx,
        seen: &ItemState,
        stored: Option<&ItemState>,
        want: Want,
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
    fn own_in_place(&mut self, directory: &Directory, name: &[u8], seen: ItemState, want: Want) -> ItemState {
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

    fn content(
        &mut self,
        directory: &Directory,
        name: &[u8],
        seen: &Statx,
        stored: Option<&ItemState>,
        want: Want,
    ) -> Content {
        if seen.stx_size > want.max_content_size {
            return Content::Is(ContentState::TooLarge, Digests::default(), None);
        }
        let file = match directory.open_file(name) {
            Ok(file) => file,
            // It is a link now.
            Err(Errno::LOOP) => return Content::Again,
            Err(errno) if is_gone(errno) => return Content::Gone,
            // That is nothing of the file's.
            Err(errno) if is_lack(errno) => return Content::Unknown(errno),
            Err(errno) => return self.unreadable(errno),
        };
        match stat_open(file.as_fd()) {
            Ok(opened) if unmoved(seen, &opened) && kind(&opened) == Some(ItemType::Regular) => {}
            Ok(_) => return Content::Again,
            Err(errno) => return self.unreadable(errno),
        }
        self.cache.at(seen.stx_mnt_id);
        match self.hash(&file, seen.stx_size, hashes(stored, want)) {
            Ok(Some(digests)) => Content::Is(ContentState::Read, digests, Some(file)),
            Ok(None) => Content::Interrupted,
            Err(errno) if is_lack(errno) => Content::Unknown(errno),
            Err(errno) => self.unreadable(errno),
        }
    }

    fn unreadable(&mut self, errno: Errno) -> Content {
        self.refused = Some(errno);
        Content::Is(ContentState::Unreadable, Digests::default(), None)
    }

    /// Hashes at most `size` bytes; `None` when told to end.
    fn hash(&mut self, file: &OwnedFd, size: u64, hashes: HashSet) -> Result<Option<Digests>, Errno> {
        let mut hasher = Hasher::new(hashes);
        let aligned = self.buffer.as_ptr().align_offset(PAGE);
        let buffer = &mut self.buffer[aligned..aligned + BUFFER];
        let mut left = size;
        while left > 0 {
            if self.keeps_pace {
                self.pace.keep(&self.stop);
            }
            if self.stop.is_set() {
                return Ok(None);
            }
            let wanted = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            match self.cache.read(file.as_fd(), size - left, size, &mut buffer[..wanted]) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    self.progress.hashed(count as u64);
                    self.pace.read(count as u64);
                    left -= count as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(Some(hasher.finish()))
    }
}

/// What is computed: a digest of a kind that is asked for no more once again, to compare what is stored.
fn hashes(stored: Option<&ItemState>, want: Want) -> HashSet {
    want.hashes.union(stored.map_or(HashSet::empty(), |stored| kinds(&stored.digests)))
}

/// Whether statx still says what was seen.
pub(crate) fn is_still(seen: &ItemState, stat: &Statx) -> bool {
    !has_moved(seen, &from_stat(stat, seen.looked))
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

fn unmoved(before: &Statx, after: &Statx) -> bool {
    let fingerprint = |stat: &Statx| {
        let time = |time: &rustix::fs::StatxTimestamp| (time.tv_sec, time.tv_nsec);
        (stat.stx_ino, stat.stx_mode, stat.stx_size, time(&stat.stx_ctime), time(&stat.stx_mtime), stat.stx_mnt_id)
    };
    fingerprint(before) == fingerprint(after)
}

fn kind(stat: &Statx) -> Option<ItemType> {
    match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::RegularFile => Some(ItemType::Regular),
        FileType::Directory => Some(ItemType::Directory),
        FileType::Symlink => Some(ItemType::Symlink),
        FileType::Fifo => Some(ItemType::Fifo),
        FileType::Socket => Some(ItemType::Socket),
        FileType::CharacterDevice => Some(ItemType::CharDevice),
        FileType::BlockDevice => Some(ItemType::BlockDevice),
        _ => None,
    }
}

/// The part of a state that statx gives.
fn from_stat(stat: &Statx, looked: Time) -> ItemState {
    let time = |time: rustix::fs::StatxTimestamp| Time { secs: time.tv_sec, nanos: time.tv_nsec };
    // A kind that Linux does not have today is treated as what can only be named, never opened.
    let kind = kind(stat).unwrap_or(ItemType::Socket);
    let created = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    ItemState {
        kind,
        mode: stat.stx_mode & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        size: stat.stx_size,
        modified: time(stat.stx_mtime),
        changed: time(stat.stx_ctime),
        created: created.then(|| time(stat.stx_btime)),
        inode: stat.stx_ino,
        device: (stat.stx_dev_major, stat.stx_dev_minor),
        links: stat.stx_nlink,
        device_number: matches!(kind, ItemType::CharDevice | ItemType::BlockDevice)
            .then_some((stat.stx_rdev_major, stat.stx_rdev_minor)),
        target: None,
        flags: flags(stat),
        attributes: None,
        content: (kind != ItemType::Regular).then_some(ContentState::NotRegular),
        digests: Digests::default(),
        looked,
        read: None,
    }
}

fn flags(stat: &Statx) -> u8 {
    use rustix::fs::StatxAttributes as Set;
    let set = stat.stx_attributes & stat.stx_attributes_mask;
    FLAGS.iter().fold(0, |flags, (flag, bit)| {
        let attribute = match flag {
            Flag::Append => Set::APPEND,
            Flag::Compressed => Set::COMPRESSED,
            Flag::Encrypted => Set::ENCRYPTED,
            Flag::Immutable => Set::IMMUTABLE,
            Flag::NoDump => Set::NODUMP,
            Flag::Verity => Set::VERITY,
        };
        if set.contains(attribute) { flags | bit } else { flags }
    })
}
