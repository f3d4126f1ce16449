//! The gate before an item's content: whether it must be read to say that the item is what it was.
//!
//! Pure. What statx says differently, a write that the clock may hide, and a re-hash that is due open it.

use crate::clock::Time;
use crate::digest::kinds;
use crate::item::ItemState;
use std::time::Duration;
use vedette_crds::record::{ContentState, ItemType};
use vedette_crds::settings::HashSet;

/// A ctime this close to the look may hide a second write in the same tick of the clock.
const RACY: Duration = Duration::from_millis(20);
/// The same where a file system may keep whole seconds, or every other one as vfat does: a clock's tick comes on top.
const RACY_SECONDS: Duration = Duration::from_millis(2_020);
/// Larger files are read apart from the others, side by side: a few of them among small ones would leave most lanes empty.
const LARGE: u64 = 256 * 1024;

/// What the entries that cover an item ask for, all together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Want {
    /// Empty when content is not compared.
    pub(crate) hashes: HashSet,
    /// Larger files are not read.
    pub(crate) max_content_size: u64,
    /// All content is read again within this time; zero: now.
    pub(crate) rehash_interval: Duration,
    /// Spreads the re-hash over its interval; the same for one path forever.
    pub(crate) phase: u64,
    /// A large file is not read now.
    pub(crate) leaves_large: bool,
}

/// What says that something was done to an item, or that it is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) kind: ItemType,
    pub(crate) changed: Time,
    pub(crate) modified: Time,
    pub(crate) created: Option<Time>,
    pub(crate) size: u64,
    pub(crate) inode: u64,
    pub(crate) mode: u16,
    pub(crate) owner: (u32, u32),
}

impl Fingerprint {
    pub(crate) fn of(state: &ItemState) -> Self {
        let ItemState { kind, changed, modified, created, size, inode, mode, uid, gid, .. } = *state;
        Self { kind, changed, modified, created, size, inode, mode, owner: (uid, gid) }
    }
}

/// Whether content or attributes must be read to say that an item is what it was.
pub(crate) fn must_look(stored: &ItemState, seen: &Fingerprint, want: Want, now: Time) -> bool {
    stored.attributes.is_none() || must_read(stored, seen, want, now)
}

/// Whether its content must be: attributes that could not be read are no reason to read a large file at every compare.
pub(crate) fn must_read(stored: &ItemState, seen: &Fingerprint, want: Want, now: Time) -> bool {
    Fingerprint::of(stored) != *seen || is_racy(stored) || must_read_content(stored, want, now)
}

/// Whether statx says that something was done to an item, or that it is another one.
pub(crate) fn has_moved(stored: &ItemState, seen: &ItemState) -> bool {
    Fingerprint::of(stored) != Fingerprint::of(seen)
}

/// Whether a file's content is read apart from that of others.
pub(crate) fn is_large(state: &ItemState) -> bool {
    state.kind == ItemType::Regular && state.size > LARGE
}

/// Whether a write may hide behind a state: its ctime lies in the same tick as the look, or after it.
pub(crate) fn is_racy(state: &ItemState) -> bool {
    // A time that happens to be a whole second costs one read more, and only if the look came that soon after it.
    let window = if state.changed.nanos == 0 { RACY_SECONDS } else { RACY };
    state.changed > state.looked.before(window)
}

fn must_read_content(stored: &ItemState, want: Want, now: Time) -> bool {
    if stored.kind != ItemType::Regular {
        return false;
    }
    if want.hashes.is_empty() {
        // Looked at once more, so that the state says that its content is not compared any more.
        return stored.content.is_some();
    }
    let too_large = stored.size > want.max_content_size;
    match stored.content {
        Some(ContentState::TooLarge) => !too_large,
        Some(ContentState::Read) if !too_large => {
            kinds(&stored.digests) != want.hashes || stored.read.is_none_or(|read| rehash_due(read, now, want))
        }
        _ => true,
    }
}

/// Whether an item's own moment in the re-hash interval lies between its last read and now, or the wall clock lies
/// behind that read.
fn rehash_due(read: Time, now: Time, want: Want) -> bool {
    if now < read || want.rehash_interval.is_zero() {
        return true;
    }
    let interval = want.rehash_interval.as_secs().max(1) as i64;
    let phase = (want.phase % interval.unsigned_abs()) as i64;
    (now.secs - phase).div_euclid(interval) > (read.secs - phase).div_euclid(interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::tests::regular;

    fn looked(changed: (i64, u32), looked: (i64, u32)) -> ItemState {
        let time = |(secs, nanos)| Time { secs, nanos };
        ItemState { changed: time(changed), looked: time(looked), ..regular() }
    }

    #[test]
    fn a_ctime_in_whole_seconds_hides_a_write_for_two_seconds_and_any_other_for_twenty_milliseconds() {
        assert!(is_racy(&looked((10, 0), (11, 999_999_999))));
        assert!(is_racy(&looked((10, 0), (12, 10_000_000))), "the clock of the kernel may lag by its own tick");
        assert!(!is_racy(&looked((10, 0), (12, 20_000_000))));
        assert!(is_racy(&looked((10, 1), (10, 20_000_000))));
        assert!(!is_racy(&looked((10, 1), (10, 20_000_001))));
    }
}
