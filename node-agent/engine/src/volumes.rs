//! Which file system a directory lies on, under a number that stays the same over reboots.
//!
//! A device number moves at reboot and a device name with the order of discovery. What stays is the file system's type,
//! where it is mounted, and the inode and birth time of the directory that shows there.

use crate::host::HostRoot;
use crate::mounts::{Mount, MountId, Mounts};
use crate::page::Volume;
use crate::path::HostPath;
use crate::store::{Store, StoreError};
use rustix::fs::{Statx, StatxFlags};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The volumes of a state, and which of them the mounts of one compare are.
#[derive(Debug)]
pub(crate) struct Volumes {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    numbers: BTreeMap<Vec<u8>, Volume>,
    of_mount: BTreeMap<MountId, Volume>,
}

impl Volumes {
    /// The volumes that the state knows.
    pub(crate) fn load(store: &Store) -> Result<Self, StoreError> {
        let volumes = store.read()?.volumes()?.into_iter();
        let numbers = volumes.map(|(number, identity)| (identity, number)).collect();
        Ok(Self { inner: Mutex::new(Inner { numbers, of_mount: BTreeMap::new() }) })
    }

    /// Forgets which mounts were seen: mount ids are used again.
    pub(crate) fn begin_compare(&self) {
        self.lock().of_mount.clear();
    }

    /// The volume that shows under a mount; `None` when what shows there now is another mount.
    pub(crate) fn of(
        &self,
        store: &Store,
        host: &HostRoot,
        mounts: &Mounts,
        id: MountId,
    ) -> Result<Option<Volume>, StoreError> {
        let mut inner = self.lock();
        if let Some(volume) = inner.of_mount.get(&id) {
            return Ok(Some(*volume));
        }
        let Some(mount) = mounts.get(id) else { return Ok(None) };
        let Ok(stat) = host.directory(&mount.point).and_then(|directory| directory.stat(b"")) else { return Ok(None) };
        if stat.stx_mnt_id != id {
            return Ok(None);
        }
        let identity = identity(mount, &stat);
        let next = inner.numbers.values().max().map_or(1, |last| last + 1);
        let volume = match inner.numbers.get(&identity) {
            Some(volume) => *volume,
            None => {
                let writer = store.write()?;
                writer.set_volume(next, &identity)?;
                writer.commit()?;
                inner.numbers.insert(identity, next);
                next
            }
        };
        inner.of_mount.insert(id, volume);
        Ok(Some(volume))
    }

    /// Every volume of the state with the path that it was mounted at.
    pub(crate) fn all(&self) -> Vec<(Volume, HostPath)> {
        let inner = self.lock();
        inner.numbers.iter().map(|(identity, volume)| (*volume, point_of(identity))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What it guards is whole between any two statements.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `type inode birth point`: the birth time of a file system's top directory is that of the file system.
pub(crate) fn identity(mount: &Mount, top: &Statx) -> Vec<u8> {
    let has_birth = StatxFlags::from_bits_retain(top.stx_mask).contains(StatxFlags::BTIME);
    let (inode, birth) = match (mount.is_overlay(), has_birth) {
        // An overlay makes inode numbers up at each mount.
        (true, _) => (0, (0, 0)),
        (false, true) => (top.stx_ino, (top.stx_btime.tv_sec, top.stx_btime.tv_nsec)),
        (false, false) => (top.stx_ino, (0, 0)),
    };
    let mut identity = format!("{} {inode} {}.{:09} ", mount.file_system, birth.0, birth.1).into_bytes();
    identity.extend_from_slice(mount.point.as_bytes());
    identity
}

fn point_of(identity: &[u8]) -> HostPath {
    let point = identity.splitn(4, |byte| *byte == b' ').nth(3).unwrap_or_default();
    HostPath::from_components(point.split(|byte| *byte == b'/').filter(|component| !component.is_empty()))
}
