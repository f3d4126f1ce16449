//! What is mounted where, as this process sees it, in the host's own paths.
//!
//! Reads mountinfo once a compare; produces the mounts below the host root, by id and by path. A mount that must not be
//! entered is known from here before its name is touched.

use crate::path::HostPath;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The kernel's id of a mount: the boundary between file systems, and never st_dev.
pub(crate) type MountId = u64;

/// File systems that a compare enters: data lies on this machine and no one answers for it from afar.
const LOCAL: [&str; 13] =
    ["bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "squashfs", "tmpfs", "ramfs", "vfat", "xfs", "zfs"];

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) id: MountId,
    /// Where it is, in the host's paths.
    pub(crate) point: HostPath,
    /// For example `ext4`.
    pub(crate) file_system: String,
    /// The part of the file system that it shows.
    pub(crate) root: Vec<u8>,
}

impl Mount {
    /// Whether `mounts: Local` enters it.
    pub(crate) fn is_local(&self) -> bool {
        LOCAL.contains(&self.file_system.as_str())
    }

    /// Whether it is an overlay: entered only by an entry whose own root lies on it.
    pub(crate) fn is_overlay(&self) -> bool {
        self.file_system == "overlay"
    }
}

/// All mounts that show below the host root.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mounts {
    by_id: BTreeMap<MountId, Mount>,
    /// The topmost mount at each point.
    points: BTreeMap<HostPath, MountId>,
    /// Directories that have mount points in them.
    parents: BTreeSet<HostPath>,
}

impl Mounts {
    /// The mounts of this process.
    ///
    /// # Errors
    /// When mountinfo cannot be read.
    pub(crate) fn read(host_root: &Path) -> std::io::Result<Self> {
        let host_root = std::fs::canonicalize(host_root)?;
        Ok(Self::parse(&std::fs::read("/proc/self/mountinfo")?, &host_root))
    }

    /// The mounts in the text of a mountinfo; lines of another form are passed over.
    pub(crate) fn parse(mountinfo: &[u8], host_root: &Path) -> Self {
        let mut mounts = Self::default();
        let host_root = components(host_root.as_os_str());
        for line in mountinfo.split(|byte| *byte == b'\n') {
            let Some((id, root, point, file_system)) = parse_line(line) else { continue };
            let point = components(OsStr::from_bytes(&point));
            let below = point.strip_prefix(host_root.as_slice());
            // The mount that the host root itself lies on counts as its root mount: the deepest, the topmost there.
            let host_point = match below {
                Some(below) => HostPath::from_components(below),
                None if host_root.starts_with(&point) => HostPath::root(),
                None => continue,
            };
            let mount = Mount { id, point: host_point.clone(), file_system, root };
            mounts.by_id.insert(id, mount);
            if below.is_some_and(|below| !below.is_empty()) {
                mounts.parents.insert(host_point.split().0);
                mounts.points.insert(host_point, id);
            }
        }
        mounts
    }

    /// The mount with this id.
    pub(crate) fn get(&self, id: MountId) -> Option<&Mount> {
        self.by_id.get(&id)
    }

    /// What is mounted at exactly this path.
    pub(crate) fn at(&self, path: &HostPath) -> Option<&Mount> {
        self.points.get(path).and_then(|id| self.by_id.get(id))
    }

    /// Whether a mount point lies directly in this directory.
    pub(crate) fn any_in(&self, directory: &HostPath) -> bool {
        self.parents.contains(directory)
    }
}

fn components(path: &OsStr) -> Vec<Vec<u8>> {
    path.as_bytes().split(|byte| *byte == b'/').filter(|component| !component.is_empty()).map(<[u8]>::to_vec).collect()
}

fn parse_line(line: &[u8]) -> Option<(MountId, Vec<u8>, Vec<u8>, String)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let root = unescape(fields.nth(2)?);
    let point = unescape(fields.next()?);
    let file_system = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some((id, root, point, String::from_utf8_lossy(file_system).into_owned()))
}

/// Undoes the kernel's `\040` for space, tab, newline and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MOUNTINFO: &[u8] = b"21 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        30 21 0:5 / /host rw - ext4 /dev/vdb rw\n\
        31 30 0:6 / /host/proc rw shared:5 - proc proc rw\n\
        32 30 0:7 /data /host/srv/my\\040data rw shared:7 master:1 - xfs /dev/vdc rw\n\
        33 30 0:8 / /hostile rw - nfs4 server:/x rw\nnonsense\n";

    #[test]
    fn mounts_are_known_in_the_hosts_own_paths() {
        let mounts = Mounts::parse(MOUNTINFO, Path::new("/host"));
        assert_eq!(mounts.at(&HostPath::from("/proc")).unwrap().file_system, "proc");
        let data = mounts.at(&HostPath::from("/srv/my data")).unwrap();
        assert_eq!((data.id, data.root.as_slice(), data.is_local()), (32, &b"/data"[..], true));
        assert!(mounts.any_in(&HostPath::from("/srv")) && !mounts.any_in(&HostPath::from("/etc")));
        assert!(mounts.get(33).is_none(), "a neighbor of the host root is not below it");
        assert_eq!(mounts.get(30).unwrap().point, HostPath::root());
    }

    #[test]
    fn a_host_root_inside_a_mount_has_that_mount_as_its_root() {
        let mounts = Mounts::parse(MOUNTINFO, Path::new("/host/srv/scratch"));
        assert_eq!(mounts.get(30).unwrap().point, HostPath::root());
        assert!(mounts.at(&HostPath::root()).is_none());
    }
}
