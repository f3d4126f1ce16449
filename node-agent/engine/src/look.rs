//! One look at one item: metadata always, content and attributes when something says that they may have changed.
//!
//! Reads one name in an open directory; produces what was seen, or why it could not be seen. It never follows a link,
//! never waits for a FIFO or device, never reads more than the size that was seen, and never decides what a change is.

use crate::attributes::{acl_text, capability_text};
use crate::clock::{Clock, Time};
use crate::digest::{Hasher, kinds};
use crate::host::{Directory, is_gone, stat_open};
use crate::item::{Attribute, AttributeValue, Attributes, Digests, FLAGS, ItemState};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Statx, StatxFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use vedette_crds::record::{ContentState, Flag, ItemType};
use vedette_crds::settings::HashSet;

/// A ctime this close to the look may hide a second write in the same tick of the clock.
const RACY: Duration = Duration::from_millis(20);
/// How often a file that changes while it is read is tried before it is called unstable.
const TRIES: usize = 3;
const BUFFER: usize = 128 * 1024;
const PAGE: usize = 4096;
/// Longer attribute values are stored as their digest.
const LONG_VALUE: usize = 256;

/// What the entries that cover an item ask for, all together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Want {
    /// Empty when content is not compared.
    pub(crate) hashes: HashSet,
    /// Larger files are not read.
    pub(crate) max_content_size: u64,
    /// All content is read again within this time.
    pub(crate) rehash_interval: Duration,
    /// Spreads the re-hash over its interval; the same for one path forever.
    pub(crate) phase: u64,
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
    /// The look was told to end.
    Interrupted,
}

/// Looks at items; holds the page-aligned buffer that content is read into, and counts what was read.
pub(crate) struct Looker<'a> {
    clock: &'a dyn Clock,
    stop: &'a AtomicBool,
    buffer: Vec<u8>,
    /// Bytes of content that were hashed.
    pub(crate) hashed: u64,
}

enum Content {
    Is(ContentState, Digests),
    Gone,
    Again,
    Interrupted,
}

impl<'a> Looker<'a> {
    pub(crate) fn new(clock: &'a dyn Clock, stop: &'a AtomicBool) -> Self {
        Self { clock, stop, buffer: vec![0; BUFFER + PAGE], hashed: 0 }
    }

    /// Looks at `name` in `directory`; the empty name is the directory itself.
    pub(crate) fn look(&mut self, directory: &Directory, name: &[u8], stored: Option<&ItemState>, want: Want) -> Look {
        let mut began = self.clock.now();
        let mut stat = match directory.stat(name) {
            Ok(stat) => stat,
            Err(errno) if is_gone(errno) => return Look::Gone,
            Err(errno) => return Look::Unknown(errno),
        };
        if let Some(stored) = stored
            && !must_read(stored, &from_stat(&stat, began), want, began)
        {
            return Look::Same;
        }
        for attempt in 1.. {
            let mut seen = from_stat(&stat, began);
            let mut settled = true;
            if seen.kind == ItemType::Symlink {
                match directory.read_link(name) {
                    Ok(target) => seen.target = Some(target),
                    Err(errno) if is_gone(errno) => return Look::Gone,
                    Err(_) => settled = false,
                }
            }
            if seen.kind == ItemType::Regular && !want.hashes.is_empty() {
                match self.content(directory, name, &stat, stored, want) {
                    Content::Is(state, digests) => {
                        seen.content = Some(state);
                        seen.digests = digests;
                        seen.read = (state == ContentState::Read).then_some(began);
                    }
                    Content::Gone => return Look::Gone,
                    Content::Again => settled = false,
                    Content::Interrupted => return Look::Interrupted,
                }
            }
            seen.attributes = read_attributes(&directory.through_proc(name)).ok();
            let again = self.clock.now();
            match directory.stat(name) {
                Ok(after) => {
                    settled &= unmoved(&stat, &after);
                    stat = after;
                }
                Err(errno) if is_gone(errno) => return Look::Gone,
                Err(errno) => return Look::Unknown(errno),
            }
            if settled {
                return Look::Seen(Box::new(seen));
            }
            if attempt == TRIES {
                let mut seen =
                    ItemState { attributes: seen.attributes, target: seen.target, ..from_stat(&stat, again) };
                if seen.kind == ItemType::Regular && !want.hashes.is_empty() {
                    seen.content = Some(ContentState::Unstable);
                }
                return Look::Seen(Box::new(seen));
            }
            began = again;
        }
        unreachable!("the loop ends at its last try")
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
            return Content::Is(ContentState::TooLarge, Digests::default());
        }
        let file = match directory.open_file(name) {
            Ok(file) => file,
            Err(errno) if is_gone(errno) => return if errno == Errno::LOOP { Content::Again } else { Content::Gone },
            Err(_) => return Content::Is(ContentState::Unreadable, Digests::default()),
        };
        match stat_open(file.as_fd()) {
            Ok(opened) if unmoved(seen, &opened) && kind(&opened) == Some(ItemType::Regular) => {}
            Ok(_) => return Content::Again,
            Err(_) => return Content::Is(ContentState::Unreadable, Digests::default()),
        }
        // A digest of a kind that is asked for no more is computed once again, to compare what is stored.
        let hashes = want.hashes.union(stored.map(|stored| kinds(&stored.digests)).unwrap_or_default());
        let digests = match self.hash(&file, seen.stx_size, hashes) {
            Ok(Some(digests)) => digests,
            Ok(None) => return Content::Interrupted,
            Err(_) => return Content::Is(ContentState::Unreadable, Digests::default()),
        };
        match stat_open(file.as_fd()) {
            Ok(after) if unmoved(seen, &after) => Content::Is(ContentState::Read, digests),
            Ok(_) => Content::Again,
            Err(_) => Content::Is(ContentState::Unreadable, Digests::default()),
        }
    }

    /// Hashes at most `size` bytes; `None` when told to end.
    fn hash(&mut self, file: &OwnedFd, size: u64, hashes: HashSet) -> Result<Option<Digests>, Errno> {
        let mut hasher = Hasher::new(hashes);
        let aligned = self.buffer.as_ptr().align_offset(PAGE);
        let buffer = &mut self.buffer[aligned..aligned + BUFFER];
        let mut left = size;
        while left > 0 {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let wanted = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            match rustix::io::read(file, &mut buffer[..wanted]) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    self.hashed += count as u64;
                    left -= count as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(Some(hasher.finish()))
    }
}

/// Whether content and attributes must be read to say that an item is what it was.
fn must_read(stored: &ItemState, seen: &ItemState, want: Want, now: Time) -> bool {
    let moved = stored.kind != seen.kind
        || stored.changed != seen.changed
        || stored.modified != seen.modified
        || stored.size != seen.size
        || stored.inode != seen.inode
        || stored.created != seen.created
        || stored.mode != seen.mode
        || (stored.uid, stored.gid) != (seen.uid, seen.gid);
    moved || is_racy(stored) || stored.attributes.is_none() || must_read_content(stored, want, now)
}

/// Whether a write may hide behind a state: its ctime lies in the same tick as the look, or after it.
pub(crate) fn is_racy(state: &ItemState) -> bool {
    state.changed > state.looked.before(RACY)
}

fn must_read_content(stored: &ItemState, want: Want, now: Time) -> bool {
    if stored.kind != ItemType::Regular || want.hashes.is_empty() {
        return false;
    }
    match stored.content {
        Some(ContentState::Read) => {
            kinds(&stored.digests) != want.hashes || stored.read.is_none_or(|read| rehash_due(read, now, want))
        }
        Some(ContentState::TooLarge) => stored.size <= want.max_content_size,
        _ => true,
    }
}

/// Whether an item's own moment in the re-hash interval lies between its last read and now.
fn rehash_due(read: Time, now: Time, want: Want) -> bool {
    let interval = want.rehash_interval.as_secs().max(1) as i64;
    let phase = (want.phase % interval.unsigned_abs()) as i64;
    (now.secs - phase).div_euclid(interval) > (read.secs - phase).div_euclid(interval)
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

/// Access lists, capabilities and other attributes of the object at `path`, which is not followed when it is a link.
fn read_attributes(path: &[u8]) -> Result<Attributes, Errno> {
    let mut attributes = Attributes::default();
    for name in names(path)? {
        // The agent's own capabilities decide whether trusted.* is visible, so it never is part of a state.
        if name.is_empty() || name.starts_with(b"trusted.") {
            continue;
        }
        let value = match value(path, &name) {
            Ok(value) => value,
            Err(Errno::NODATA) => continue,
            Err(errno) => return Err(errno),
        };
        match name.as_slice() {
            b"system.posix_acl_access" => attributes.acl = Some(acl_text(&value)),
            b"system.posix_acl_default" => attributes.default_acl = Some(acl_text(&value)),
            b"security.capability" => attributes.capabilities = Some(capability_text(&value)),
            _ => {
                let value = if value.len() > LONG_VALUE {
                    AttributeValue::Long(Sha256::digest(&value).into())
                } else {
                    AttributeValue::Short(value)
                };
                attributes.others.push(Attribute { name, value });
            }
        }
    }
    attributes.others.sort_unstable();
    Ok(attributes)
}

fn names(path: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
    let mut list = vec![0; 1024];
    loop {
        match rustix::fs::llistxattr(path, &mut list) {
            Ok(length) => return Ok(list[..length].split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            // The kernel's own limit for a list is 64 KiB.
            Err(Errno::RANGE) if list.len() < 64 * 1024 => list.resize(64 * 1024, 0),
            Err(errno) => return Err(errno),
        }
    }
}

fn value(path: &[u8], name: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; LONG_VALUE];
    loop {
        match rustix::fs::lgetxattr(path, name, &mut value) {
            Ok(length) => {
                value.truncate(length);
                return Ok(value);
            }
            // The kernel's own limit for a value is 64 KiB.
            Err(Errno::RANGE) if value.len() < 64 * 1024 => value.resize(64 * 1024, 0),
            Err(errno) => return Err(errno),
        }
    }
}
