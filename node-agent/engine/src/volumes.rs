//! Which file system a directory lies on, under a number that stays the same over reboots.
//!
//! A device number moves at reboot and a device name with the order of discovery. What stays is the file system's type,
//! where it is mounted, and the inode and birth time of the directory that shows there. A number is given when a walk
//! first meets the file system, and is stored with the first items that lie under it.

use crate::host::{HostRoot, is_gone};
use crate::mounts::{Mount, MountId, Mounts};
use crate::page::Volume;
use crate::path::HostPath;
use crate::store::{Store, StoreError};
use rustix::fs::{Statx, StatxFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The volumes of a state, and which of them the mounts of one compare are.
#[derive(Debug)]
pub(crate) struct Volumes {
    inner: Mutex<Inner>,
}

/// A volume that a walk met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) number: Volume,
    /// Whether nothing that lies there was ever compared.
    pub(crate) is_new: bool,
}

#[derive(Debug, Default)]
struct Inner {
    numbers: BTreeMap<Vec<u8>, Volume>,
    of_mount: BTreeMap<MountId, Volume>,
    /// Numbers that no commit has stored yet: nothing that lies there was ever compared.
    unsaved: BTreeMap<Volume, Vec<u8>>,
}

impl Inner {
    fn met(&self, id: MountId) -> Option<Met> {
        let number = *self.of_mount.get(&id)?;
        Some(Met { number, is_new: self.unsaved.contains_key(&number) })
    }
}

impl Volumes {
    /// The volumes that the state knows.
    pub(crate) fn load(store: &Store) -> Result<Self, StoreError> {
        let volumes = store.read()?.volumes()?.into_iter();
        let numbers = volumes.map(|(number, identity)| (identity, number)).collect();
        Ok(Self { inner: Mutex::new(Inner { numbers, ..Inner::default() }) })
    }

    /// Forgets which mounts were seen: mount ids are used again.
    pub(crate) fn begin_compare(&self) {
        self.lock().of_mount.clear();
    }

    /// The volume that shows under a mount, which gets a number if it has none; `None` when what shows there now is
    /// another mount, or nothing.
    ///
    /// # Errors
    /// When what shows there cannot be seen.
    pub(crate) fn of(&self, host: &HostRoot, mounts: &Mounts, id: MountId) -> Result<Option<Met>, Errno> {
        if let Some(met) = self.lock().met(id) {
            return Ok(Some(met));
        }
        // Not under the lock: it may never answer.
        let Some(identity) = identity_of(host, mounts, id)? else { return Ok(None) };
        let mut inner = self.lock();
        let number = match inner.numbers.get(&identity) {
            Some(number) => *number,
            None => {
                let next = inner.numbers.values().max().map_or(1, |last| last + 1);
                inner.numbers.insert(identity.clone(), next);
                inner.unsaved.insert(next, identity);
                next
            }
        };
        inner.of_mount.insert(id, number);
        Ok(inner.met(id))
    }

    /// The volume that shows under a mount, if it has a number.
    pub(crate) fn known(&self, host: &HostRoot, mounts: &Mounts, id: MountId) -> Option<Volume> {
        let of_mount = self.lock().of_mount.get(&id).copied();
        if of_mount.is_some() || mounts.get(id).is_some_and(|mount| mount.is_remote()) {
            return of_mount;
        }
        let identity = identity_of(host, mounts, id).ok().flatten()?;
        self.lock().numbers.get(&identity).copied()
    }

    /// What the next commit has to store.
    pub(crate) fn unsaved(&self) -> BTreeMap<Volume, Vec<u8>> {
        self.lock().unsaved.clone()
    }

    /// A commit has stored these.
    pub(crate) fn saved(&self, saved: &BTreeMap<Volume, Vec<u8>>) {
        self.lock().unsaved.retain(|volume, _| !saved.contains_key(volume));
    }

    /// Every volume of the state with the path that it was mounted at.
    pub(crate) fn all(&self) -> Vec<(Volume, HostPath)> {
        let inner = self.lock();
        inner.numbers.iter().map(|(identity, volume)| (*volume, parse(identity).1)).collect()
    }

    /// The mounts that a walk crosses on its way to what lies on a volume, its own last.
    pub(crate) fn crossed(&self, mounts: &Mounts, volume: Volume) -> Vec<Mount> {
        let inner = self.lock();
        let identity = inner.numbers.iter().find(|(_, number)| **number == volume).map(|(identity, _)| parse(identity));
        let Some((file_system, point)) = identity else { return Vec::new() };
        let mut crossed: Vec<Mount> = mounts.on_the_way(&point).filter(|mount| mount.point != point).cloned().collect();
        let (source, root, device) = Default::default();
        crossed.push(Mount { point, file_system, source, root, device, is_hidden: false });
        crossed
    }

    /// What is mounted on a name: of the items under one path only the one at the top of its own volume lies on a mount.
    pub(crate) fn mounted<'m>(
        &self,
        mounts: &'m Mounts,
        volume: Volume,
        directory: &HostPath,
        name: &[u8],
    ) -> Option<&'m Mount> {
        let mount = mounts.on(directory, name)?;
        self.is_top(volume, &mount.point).then_some(mount)
    }

    /// Whether a volume's file system shows as a whole on one of a device's mounts, wherever that is.
    pub(crate) fn shows_on(&self, host: &HostRoot, mounts: &Mounts, volume: Volume, device: &[u8]) -> bool {
        self.shows_where(host, mounts, volume, &|mount| mount.device == device)
    }

    /// Whether it shows as a whole on any mount, or may do so where this process does not see it.
    pub(crate) fn shows(&self, host: &HostRoot, mounts: &Mounts, volume: Volume) -> bool {
        self.shows_where(host, mounts, volume, &|_| true)
    }

    fn shows_where(&self, host: &HostRoot, mounts: &Mounts, volume: Volume, is_asked: &dyn Fn(&Mount) -> bool) -> bool {
        let identity =
            self.lock().numbers.iter().find(|(_, number)| **number == volume).map(|(known, _)| known.clone());
        let Some(identity) = identity else { return false };
        let known = without_point(&identity);
        // Device numbers are given anew: what has this one now may be a file system of another type, that never answers.
        let is_of_type = |mount: &Mount| mount.file_system.as_bytes() == known[0];
        mounts.all().filter(|(_, mount)| is_of_type(mount) && is_asked(mount)).any(|(id, mount)| {
            // What cannot be seen may be it.
            mount.is_hidden
                || identity_of(host, mounts, id)
                    .map_or(true, |found| found.is_some_and(|found| without_point(&found) == known))
        })
    }

    /// The volumes of these types of file system.
    pub(crate) fn of_types(&self, types: &[&str]) -> Vec<Volume> {
        let inner = self.lock();
        let is_of = |identity: &&Vec<u8>| types.contains(&parse(identity).0.as_str());
        inner.numbers.iter().filter(|(identity, _)| is_of(identity)).map(|(_, number)| *number).collect()
    }

    fn is_top(&self, volume: Volume, path: &HostPath) -> bool {
        let inner = self.lock();
        inner.numbers.iter().any(|(identity, number)| *number == volume && parse(identity).1 == *path)
    }

    /// A volume is gone for good.
    pub(crate) fn forget(&self, volume: Volume) {
        let mut inner = self.lock();
        inner.numbers.retain(|_, number| *number != volume);
        inner.of_mount.retain(|_, number| *number != volume);
        inner.unsaved.remove(&volume);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What it guards is whole between any two statements.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity_of(host: &HostRoot, mounts: &Mounts, id: MountId) -> Result<Option<Vec<u8>>, Errno> {
    let Some(mount) = mounts.get(id) else { return Ok(None) };
    let (directory, name) = mount.point.split();
    match host.directory(&directory).and_then(|directory| directory.stat(name)) {
        Ok(stat) => Ok((stat.stx_mnt_id == id).then(|| identity(mount, &stat))),
        Err(errno) if is_gone(errno) => Ok(None),
        Err(errno) => Err(errno),
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

/// Type, inode and birth time of an identity.
fn without_point(identity: &[u8]) -> Vec<&[u8]> {
    identity.splitn(4, |byte| *byte == b' ').take(3).collect()
}

/// The type and the mount point in an identity.
fn parse(identity: &[u8]) -> (String, HostPath) {
    let mut words = identity.splitn(4, |byte| *byte == b' ');
    let file_system = String::from_utf8_lossy(words.next().unwrap_or_default()).into_owned();
    let point = words.nth(2).unwrap_or_default();
    let components = point.split(|byte| *byte == b'/').filter(|component| !component.is_empty());
    (file_system, HostPath::from_components(components))
}
