//! The host's file system, confined: every path is resolved inside the host root and no link is ever followed by the kernel.
//!
//! Reads directories and names; produces descriptors, listings and stat results. Never writes, never opens what is not
//! a directory (that is `look`'s), never leaves the root.

use crate::listing::{EntryKind, Listing};
use crate::mounts::{Mount, Mounts};
use crate::newcomers::Newcomers;
use crate::path::HostPath;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;
use std::cell::Cell;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::path::Path;

/// A path longer than this is opened in steps: the kernel takes at most 4,096 bytes with the closing zero.
const STEP: usize = 4_000;
/// Nothing is looked at under a longer path, in bytes.
pub(crate) const MAX_PATH: usize = 64 * 1024;
/// As many links as Linux itself follows.
const MAX_LINKS: usize = 40;
const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME).union(StatxFlags::MNT_ID);

/// The directory that is the host's `/`.
#[derive(Debug)]
pub(crate) struct HostRoot {
    fd: OwnedFd,
    newcomers: Option<Newcomers>,
}

/// A file, under whatever name: device, major and minor, and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileId(u32, u32, u64);

impl FileId {
    pub(crate) fn of(stat: &Statx) -> Self {
        Self(stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino)
    }

    #[cfg(test)]
    pub(crate) fn new(major: u32, minor: u32, inode: u64) -> Self {
        Self(major, minor, inode)
    }

    /// The socket at a path of this process; no link is followed to one.
    pub(crate) fn of_socket(path: &Path) -> Option<Self> {
        let stat = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, WANTED).ok()?;
        (FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Socket).then(|| Self::of(&stat))
    }

    /// The file at a path of this process.
    pub(crate) fn at(path: &Path) -> Result<Self, Errno> {
        rustix::fs::statx(CWD, path, AtFlags::empty(), WANTED).map(|stat| Self::of(&stat))
    }
}

/// An open directory inside the host root.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
}

/// Where the literal prefix of an entry leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// Free of links as far as it exists; the rest as it was written.
    pub(crate) real: HostPath,
    /// The links that were met, each under its own real path.
    pub(crate) links: Vec<HostPath>,
}

impl HostRoot {
    /// Opens the host root.
    ///
    /// # Errors
    /// When it is not there, or is no directory.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty()).map(|fd| Self { fd, newcomers: None })
    }

    /// The same, which does not enter what comes to be mounted and may never answer.
    pub(crate) fn guarded(self, newcomers: Newcomers) -> Self {
        Self { newcomers: Some(newcomers), ..self }
    }

    /// Whether a mount that may never answer has come over a path.
    pub(crate) fn bars(&self, path: impl FnOnce() -> HostPath) -> bool {
        self.newcomers.as_ref().is_some_and(|newcomers| newcomers.bars(path))
    }

    /// What statx says of the root itself.
    pub(crate) fn stat(&self) -> Result<Statx, Errno> {
        stat(self.fd.as_fd(), b"")
    }

    /// Opens a directory for listing and looking.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR or ELOOP (a component is a link now) when there is no such directory; EXDEV when a mount that may never
    /// answer has come over it; else what stands in the way.
    pub(crate) fn directory(&self, path: &HostPath) -> Result<Directory, Errno> {
        if let Some(newcomers) = &self.newcomers {
            newcomers.check(path)?;
        }
        let mut rest = path.relative();
        let mut step: Option<OwnedFd> = None;
        while rest.len() > STEP {
            let cut = rest[..STEP].iter().rposition(|byte| *byte == b'/').ok_or(Errno::NAMETOOLONG)?;
            step = Some(self.open_at(step.as_ref(), &rest[..cut], OFlags::PATH)?);
            rest = &rest[cut + 1..];
        }
        let fd = match self.open_at(step.as_ref(), rest, OFlags::RDONLY | OFlags::NOATIME) {
            Err(Errno::PERM) => self.open_at(step.as_ref(), rest, OFlags::RDONLY)?,
            other => other?,
        };
        Ok(Directory { fd })
    }

    fn open_at(&self, base: Option<&OwnedFd>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let base = base.unwrap_or(&self.fd);
        loop {
            // EAGAIN: a rename or mount elsewhere raced the resolution; the kernel asks to try again.
            match rustix::fs::openat2(base, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Resolves the links in a path, step by step and inside the root. `enter` says whether a path may be touched.
    ///
    /// # Errors
    /// When this process lacks something: then nothing is known of the path, not even that it is not there.
    pub(crate) fn resolve<'a>(
        &self,
        components: impl IntoIterator<Item = &'a [u8]>,
        enter: &dyn Fn(&HostPath) -> bool,
    ) -> Result<Resolved, Errno> {
        let mut waiting: Vec<Vec<u8>> = components.into_iter().map(<[u8]>::to_vec).collect();
        waiting.reverse();
        let mut resolved = Resolved::default();
        let mut exists = true;
        let mut followed = 0;
        while let Some(component) = waiting.pop() {
            if resolved.real.as_bytes().len() > MAX_PATH {
                break;
            }
            match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    resolved.real = resolved.real.split().0;
                    continue;
                }
                _ => {}
            }
            let next = resolved.real.join(&component);
            exists = exists && enter(&next);
            let found = if exists { self.stat_in(&resolved.real, &component)? } else { None };
            let Some(stat) = found else {
                exists = false;
                resolved.real = next;
                continue;
            };
            if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::Symlink {
                resolved.real = next;
                continue;
            }
            let target = self.directory(&resolved.real).and_then(|directory| directory.read_link(&component));
            followed += 1;
            if !resolved.links.contains(&next) {
                resolved.links.push(next.clone());
            }
            match target {
                Err(errno) if is_lack(errno) => return Err(errno),
                Ok(target) if followed <= MAX_LINKS => {
                    if target.starts_with(b"/") {
                        resolved.real = HostPath::root();
                    }
                    waiting.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
                }
                _ => {
                    exists = false;
                    resolved.real = next;
                }
            }
        }
        Ok(resolved)
    }

    fn stat_in(&self, directory: &HostPath, name: &[u8]) -> Result<Option<Statx>, Errno> {
        unless_lack(self.directory(directory).and_then(|directory| directory.stat(name)))
    }

    /// A small text file of the host, for example its passwd; nothing of one on a mount that is not to be entered.
    pub(crate) fn read_text(&self, path: &HostPath, limit: usize, mounts: &Mounts) -> Option<String> {
        let bytes = self.read(path, limit, &|path| mounts.at(path).is_none_or(Mount::may_answer)).ok().flatten()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// At most `limit` bytes of a file of the host, if there is one: links in its path are resolved inside the root.
    /// `enter` says whether a path may be touched.
    ///
    /// # Errors
    /// When this process lacks something: then nothing is known of the file.
    pub(crate) fn read(
        &self,
        path: &HostPath,
        limit: usize,
        enter: &dyn Fn(&HostPath) -> bool,
    ) -> Result<Option<Vec<u8>>, Errno> {
        let is_barred = Cell::new(false);
        let enter = |path: &HostPath| {
            is_barred.set(is_barred.get() || !enter(path));
            !is_barred.get()
        };
        let real = self.resolve(path.components(), &enter)?.real;
        if is_barred.get() {
            return Ok(None);
        }
        let (directory, name) = real.split();
        let opened = self.directory(&directory).and_then(|directory| {
            let stat = directory.stat(name)?;
            let is_regular = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile;
            if is_regular { directory.open_file(name) } else { Err(Errno::NOENT) }
        });
        let Some(fd) = unless_lack(opened)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read =
            std::io::Read::read_to_end(&mut std::io::Read::take(std::fs::File::from(fd), limit as u64), &mut bytes);
        Ok(read.is_ok().then_some(bytes))
    }
}

impl Directory {
    /// What statx says of a name in it, or of itself under the empty name.
    pub(crate) fn stat(&self, name: &[u8]) -> Result<Statx, Errno> {
        stat(self.fd.as_fd(), name)
    }

    /// What a name in it is.
    pub(crate) fn kind(&self, name: &[u8]) -> Result<EntryKind, Errno> {
        Ok(match FileType::from_raw_mode(self.stat(name)?.stx_mode.into()) {
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => EntryKind::Symlink,
            _ => EntryKind::Other,
        })
    }

    /// Its first names from `from` on, sorted, at most `limit`, and whether these are all. Takes memory for few more.
    ///
    /// # Errors
    /// When the listing did not come to its end.
    pub(crate) fn list(&self, from: &[u8], limit: usize) -> Result<(Listing, bool), Errno> {
        let mut buffer = [const { MaybeUninit::uninit() }; 32 * 1024];
        let mut listing = Listing::default();
        let mut is_all = true;
        // The names from here on are too many.
        let mut end: Option<Vec<u8>> = None;
        let mut entries = RawDir::new(&self.fd, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." || name < from || end.as_deref().is_some_and(|end| name > end) {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Directory => EntryKind::Directory,
                FileType::Symlink => EntryKind::Symlink,
                FileType::Unknown => EntryKind::Unknown,
                _ => EntryKind::Other,
            };
            listing.push(name, kind);
            if listing.len() >= limit + limit / 4 + 64 && !listing.settle(limit) {
                is_all = false;
                end = listing.last().map(<[u8]>::to_vec);
            }
        }
        is_all &= listing.settle(limit);
        Ok((listing, is_all))
    }

    /// Where a link in it points.
    pub(crate) fn read_link(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        rustix::fs::readlinkat(&self.fd, name, Vec::new()).map(CString::into_bytes)
    }

    /// Opens a regular file for reading, without waiting, following or leaving a trace.
    ///
    /// The caller has seen that it is regular and checks again what was opened.
    pub(crate) fn open_file(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.fd, name, flags | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => rustix::fs::openat(&self.fd, name, flags, Mode::empty()),
            other => other,
        }
    }

    /// The path of a name in it through this process's own descriptors: for calls that take no descriptor.
    pub(crate) fn through_proc(&self, name: &[u8]) -> Vec<u8> {
        let mut path = format!("/proc/self/fd/{}/", rustix::fd::AsRawFd::as_raw_fd(&self.fd)).into_bytes();
        path.extend_from_slice(name);
        path
    }
}

/// statx of an open file.
pub(crate) fn stat_open(fd: BorrowedFd<'_>) -> Result<Statx, Errno> {
    stat(fd, b"")
}

fn stat(fd: BorrowedFd<'_>, name: &[u8]) -> Result<Statx, Errno> {
    let empty = if name.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::empty() };
    rustix::fs::statx(fd, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | empty, WANTED)
}

/// Whether an error says that there is no such object: it was removed, or a directory on its way is none any more.
pub(crate) fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

/// Whether an error says that this process, or the whole system, lacks something: nothing at all of the object.
pub(crate) fn is_lack(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM)
}

fn unless_lack<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Err(errno) if is_lack(errno) => Err(errno),
        other => Ok(other.ok()),
    }
}
