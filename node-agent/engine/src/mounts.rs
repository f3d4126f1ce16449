//! What is mounted where, as this process sees it, in the host's own paths.
//!
//! Produces the mounts that show below the host root, by id and by path. A mount that must not be entered is known from here
//! before its name is touched. `hosts` reads the tables, once a compare.

mod hosts;

use crate::path::HostPath;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use vedette_crds::record::{ByteText, MountInfo};

/// The kernel's id of a mount: the boundary between file systems, and never st_dev.
pub(crate) type MountId = u64;

/// File systems that a compare enters: data lies on this machine and no one answers for it from afar.
const LOCAL: [&str; 13] =
    ["bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "squashfs", "tmpfs", "ramfs", "vfat", "xfs", "zfs"];

/// What the kernel makes up: to read it may change it, hang, or never end.
const PSEUDO: [&str; 23] = [
    "autofs",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "resctrl",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mount {
    /// Where it is, in the host's paths.
    pub(crate) point: HostPath,
    /// For example `ext4`.
    pub(crate) file_system: String,
    /// The device or share.
    pub(crate) source: Vec<u8>,
    /// The directory of its file system that shows.
    pub(crate) root: Vec<u8>,
    /// Major and minor, until the machine boots.
    pub(crate) device: Vec<u8>,
    /// Whether host and this process see different things there, this mount being the host's or, where the host has none,
    /// this process's own: nothing that shows there is the host's.
    pub(crate) is_hidden: bool,
}

impl Mount {
    /// Whether `mounts: Local` enters it.
    pub(crate) fn is_local(&self) -> bool {
        !self.is_hidden && LOCAL.contains(&self.file_system.as_str())
    }

    /// Whether `mounts: All` enters it: it has content.
    pub(crate) fn is_enterable(&self) -> bool {
        !self.is_hidden && !PSEUDO.contains(&self.file_system.as_str())
    }

    /// Whether it may never answer.
    pub(crate) fn is_remote(&self) -> bool {
        !self.is_local() && !self.is_overlay()
    }

    /// As a record shows it.
    pub(crate) fn info(&self) -> MountInfo {
        MountInfo {
            source: ByteText::exact(&self.source).0,
            file_system: self.file_system.clone(),
            root: ByteText::exact(&self.root).0,
        }
    }

    /// Whether what lies on it can be asked for without a wait: it is on this machine and no pseudo file system.
    pub(crate) fn may_answer(&self) -> bool {
        self.is_local() || self.is_overlay()
    }

    /// Whether it is an overlay: entered only by an entry whose own root lies on it.
    pub(crate) fn is_overlay(&self) -> bool {
        !self.is_hidden && self.file_system == "overlay"
    }
}

/// All mounts that show below the host root.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mounts {
    by_id: BTreeMap<MountId, Mount>,
    /// What shows at each point; the host's `/` is one.
    points: BTreeMap<HostPath, MountId>,
    /// Where host and this process see different things.
    hidden: BTreeMap<HostPath, Mount>,
    /// Those of them that the host has no mount at.
    own: BTreeSet<HostPath>,
    /// Whether the host has a table of its own that could not be read.
    blind: Option<&'static str>,
    /// Directories that have mount points in them.
    parents: BTreeSet<HostPath>,
    has_remote: bool,
}

/// A line of mountinfo.
struct Line {
    id: MountId,
    parent: MountId,
    /// Device and the part of its file system that shows.
    shows: (Vec<u8>, Vec<u8>),
    /// In the paths of the process whose table it is.
    point: Vec<Vec<u8>>,
    file_system: String,
    source: Vec<u8>,
}

impl Line {
    fn mount(&self, point: HostPath, is_hidden: bool) -> Mount {
        let (device, root) = &self.shows;
        Mount {
            point,
            file_system: self.file_system.clone(),
            source: self.source.clone(),
            root: unescape(root),
            device: device.clone(),
            is_hidden,
        }
    }
}

impl Mounts {
    /// The mounts in the text of a mountinfo; lines of another form are passed over.
    pub(crate) fn parse(mountinfo: &[u8], host_root: &Path) -> Self {
        let lines: Vec<Line> = mountinfo.split(|byte| *byte == b'\n').filter_map(parse_line).collect();
        let host_root = components(host_root.as_os_str());
        let mut mounts = Self::default();
        for (at, point) in visible(&lines, &host_root) {
            mounts.parents.insert(point.split().0);
            mounts.insert(&lines[at], point);
        }
        if let Some(root) = lines.iter().find(|line| Some(line.id) == Table::new(&lines).at(&host_root)) {
            mounts.insert(root, HostPath::root());
        }
        mounts
    }

    fn insert(&mut self, line: &Line, point: HostPath) {
        let mount = line.mount(point.clone(), false);
        self.has_remote |= mount.is_remote() && point != HostPath::root();
        self.points.insert(point, line.id);
        self.by_id.insert(line.id, mount);
    }

    /// The mount with this id.
    pub(crate) fn get(&self, id: MountId) -> Option<&Mount> {
        self.by_id.get(&id)
    }

    /// All mounts, those that this process does not see too.
    pub(crate) fn all(&self) -> impl Iterator<Item = (MountId, &Mount)> {
        let hidden = self.hidden.values().map(|mount| (0, mount));
        self.by_id.iter().map(|(id, mount)| (*id, mount)).chain(hidden)
    }

    /// What is mounted at exactly this path; at the host's `/` what that lies on.
    pub(crate) fn at(&self, path: &HostPath) -> Option<&Mount> {
        self.hidden.get(path).or_else(|| self.points.get(path).and_then(|id| self.by_id.get(id)))
    }

    /// What is mounted on a name in a directory.
    pub(crate) fn on(&self, directory: &HostPath, name: &[u8]) -> Option<&Mount> {
        if self.any_in(directory) { self.at(&directory.join(name)) } else { None }
    }

    /// The id of what is mounted at exactly this path.
    pub(crate) fn id_at(&self, path: &HostPath) -> Option<MountId> {
        self.points.get(path).copied()
    }

    /// The mounts at a path and above it, from the host's `/` down.
    pub(crate) fn on_the_way<'a>(&'a self, path: &'a HostPath) -> impl Iterator<Item = &'a Mount> {
        path.ancestors().filter_map(|path| self.at(&path))
    }

    /// Whether a path lies on a mount that may never answer.
    pub(crate) fn is_remote(&self, path: &HostPath) -> bool {
        self.has_remote && path.ancestors().skip(1).any(|above| self.at(&above).is_some_and(Mount::is_remote))
    }

    /// Whether a mount point lies directly in this directory.
    pub(crate) fn any_in(&self, directory: &HostPath) -> bool {
        self.parents.contains(directory)
    }
}

/// The lines whose mounts show below a root, each with its point there.
fn visible(lines: &[Line], root: &[Vec<u8>]) -> Vec<(usize, HostPath)> {
    let table = Table::new(lines);
    let below = |(at, line): (usize, &Line)| {
        let below = line.point.strip_prefix(root).filter(|below| !below.is_empty())?;
        // A mount that another one covers, or whose parent does not show, is not what a walk meets there.
        (table.at(&line.point) == Some(line.id)).then(|| (at, HostPath::from_components(below)))
    };
    lines.iter().enumerate().filter_map(below).collect()
}

/// Which mount a path leads to: from the root's mount down, at each component onto what is mounted there.
struct Table<'a> {
    root: Option<MountId>,
    children: BTreeMap<(MountId, &'a [Vec<u8>]), MountId>,
}

impl<'a> Table<'a> {
    fn new(lines: &'a [Line]) -> Self {
        let ids: BTreeSet<MountId> = lines.iter().map(|line| line.id).collect();
        let is_root = |line: &&Line| line.point.is_empty() && (line.parent == line.id || !ids.contains(&line.parent));
        Self {
            root: lines.iter().find(is_root).map(|line| line.id),
            children: lines
                .iter()
                .filter(|line| line.parent != line.id)
                .map(|line| ((line.parent, line.point.as_slice()), line.id))
                .collect(),
        }
    }

    fn at(&self, path: &[Vec<u8>]) -> Option<MountId> {
        let mut here = self.root?;
        for depth in 0..=path.len() {
            while let Some(above) = self.children.get(&(here, &path[..depth])) {
                here = *above;
            }
        }
        Some(here)
    }
}

fn components(path: &OsStr) -> Vec<Vec<u8>> {
    path.as_bytes().split(|byte| *byte == b'/').filter(|component| !component.is_empty()).map(<[u8]>::to_vec).collect()
}

fn parse_line(line: &[u8]) -> Option<Line> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let parent = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let shows = (fields.next()?.to_vec(), fields.next()?.to_vec());
    let point = components(OsStr::from_bytes(&unescape(fields.next()?)));
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let file_system = String::from_utf8_lossy(fields.next()?).into_owned();
    let source = unescape(fields.next().unwrap_or_default());
    Some(Line { id, parent, shows, point, file_system, source })
}

/// Undoes the kernel's `\040` for space, tab, newline and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(u8::is_ascii_digit));
        let octal = digits.and_then(|digits| std::str::from_utf8(digits).ok());
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
        33 21 0:8 / /hostile rw - nfs4 server:/x rw\nnonsense\n";

    #[test]
    fn mounts_are_known_in_the_hosts_own_paths() {
        let mounts = Mounts::parse(MOUNTINFO, Path::new("/host"));
        assert_eq!(mounts.at(&HostPath::from("/proc")).unwrap().file_system, "proc");
        let data = HostPath::from("/srv/my data");
        assert_eq!((mounts.id_at(&data), mounts.at(&data).unwrap().is_local()), (Some(32), true));
        assert!(mounts.any_in(&HostPath::from("/srv")) && !mounts.any_in(&HostPath::from("/etc")));
        assert!(mounts.get(33).is_none(), "a neighbor of the host root is not below it");
        assert_eq!(mounts.get(30).unwrap().point, HostPath::root());
        let below = HostPath::from("/srv/my data/x");
        let way: Vec<_> = mounts.on_the_way(&below).map(|mount| mount.file_system.as_str()).collect();
        assert_eq!(way, ["ext4", "xfs"]);
    }

    #[test]
    fn a_host_root_inside_a_mount_has_that_mount_as_its_root() {
        let mounts = Mounts::parse(MOUNTINFO, Path::new("/host/srv/scratch"));
        assert_eq!(mounts.get(30).unwrap().point, HostPath::root());
        assert_eq!(mounts.id_at(&HostPath::root()), Some(30));
        assert!(mounts.get(21).is_none());
    }

    #[test]
    fn the_topmost_of_several_mounts_at_one_point_shows_in_whatever_order_they_are_listed() {
        let mounts = Mounts::parse(
            b"9 8 0:9 / /a rw - tmpfs top rw\n1 0 0:1 / / rw - ext4 x rw\n8 1 0:8 / /a rw - nfs below rw\n",
            Path::new("/"),
        );
        assert_eq!(mounts.id_at(&HostPath::from("/a")), Some(9));
        assert!(mounts.get(8).is_none());
    }

    #[test]
    fn a_mount_below_a_covered_directory_does_not_show() {
        let mounts = Mounts::parse(
            b"1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /a/b rw - nfs hidden rw\n3 1 0:3 / /a rw - tmpfs cover rw\n",
            Path::new("/"),
        );
        assert!(mounts.at(&HostPath::from("/a/b")).is_none());
        assert_eq!(mounts.id_at(&HostPath::from("/a")), Some(3));
    }

    #[test]
    fn odd_escapes_are_taken_as_they_stand() {
        assert_eq!(unescape(br"a\040b\011\134"), b"a b\t\\");
        assert_eq!(unescape(br"\777 \+12 \04"), br"\777 \+12 \04");
    }

    #[test]
    fn no_text_makes_parsing_panic() {
        for text in [&b"1 2"[..], b"1 1 0:1 / / - -", b"1 1 0:1 / / rw - ext4", b"-", b"\xff \xff \xff"] {
            Mounts::parse(text, Path::new("/"));
        }
    }
}
