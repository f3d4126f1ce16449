//! What statx says of an item.

use crate::clock::Time;
use crate::digest::Digests;
use crate::gate::Fingerprint;
use crate::item::{FLAGS, ItemState};
use rustix::fs::{FileType, Statx, StatxFlags};
use vedette_crds::record::{ContentState, Flag, ItemType};

/// Whether statx still says what was seen.
pub(crate) fn is_still(seen: &ItemState, stat: &Statx) -> bool {
    Fingerprint::of(seen) == fingerprint(stat)
}

/// Whether nothing was done to a file between two looks.
pub(super) fn unmoved(before: &Statx, after: &Statx) -> bool {
    let fingerprint = |stat: &Statx| {
        let time = |time: &rustix::fs::StatxTimestamp| (time.tv_sec, time.tv_nsec);
        (stat.stx_ino, stat.stx_mode, stat.stx_size, time(&stat.stx_ctime), time(&stat.stx_mtime), stat.stx_mnt_id)
    };
    fingerprint(before) == fingerprint(after)
}

pub(super) fn kind(stat: &Statx) -> Option<ItemType> {
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

pub(super) fn fingerprint(stat: &Statx) -> Fingerprint {
    let time = |time: rustix::fs::StatxTimestamp| Time { secs: time.tv_sec, nanos: time.tv_nsec };
    let has_created = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    Fingerprint {
        // A kind that Linux does not have today is treated as what can only be named, never opened.
        kind: kind(stat).unwrap_or(ItemType::Socket),
        changed: time(stat.stx_ctime),
        modified: time(stat.stx_mtime),
        created: has_created.then(|| time(stat.stx_btime)),
        size: stat.stx_size,
        inode: stat.stx_ino,
        mode: stat.stx_mode & 0o7777,
        owner: (stat.stx_uid, stat.stx_gid),
    }
}

/// The part of a state that statx gives.
pub(super) fn from_stat(stat: &Statx, looked: Time) -> ItemState {
    let Fingerprint { kind, changed, modified, created, size, inode, mode, owner: (uid, gid) } = fingerprint(stat);
    ItemState {
        kind,
        mode,
        uid,
        gid,
        size,
        modified,
        changed,
        created,
        inode,
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
