//! A file system that shows a directory and fails, or hangs, where it is told to.

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen, ReplyXattr,
    Request,
};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

/// Nothing is remembered by the kernel: every system call comes here.
const TTL: Duration = Duration::ZERO;

/// What of a path is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A name's lookup, and the attributes of what is known already.
    Look,
    /// The opening of a file or directory.
    Open,
    /// A directory's listing.
    List,
    /// A file's content.
    Read,
    /// The list of its attributes, of which there are none.
    Attributes,
}

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Fails(rustix::io::Errno),
    /// Until [`FaultyMount::mend`].
    Hangs,
    /// It is removed just before the answer.
    Goes,
}

#[derive(Debug, Default)]
struct Shared {
    faults: Mutex<Vec<(Operation, PathBuf, Fault)>>,
    mended: Condvar,
    /// All times, in seconds, once they stand still.
    time: Mutex<Option<u64>>,
    /// Every path that was asked about, beside the mount's top.
    touched: Mutex<Vec<PathBuf>>,
}

/// A mount of it; unmounted when dropped.
pub struct FaultyMount {
    shared: Arc<Shared>,
    at: PathBuf,
    session: Option<BackgroundSession>,
}

impl FaultyMount {
    /// Shows `from` at `at`; `None`, and said visibly, where this machine does not let us.
    pub fn new(from: &Path, at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let shared = Arc::<Shared>::default();
        let files =
            Files { root: from.to_owned(), paths: Mutex::new(vec![PathBuf::new()]), shared: Arc::clone(&shared) };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::RO, MountOption::FSName("faulty".into())];
        match fuser::spawn_mount(files, at, &config) {
            Ok(session) => Some(Self { shared, at: at.to_owned(), session: Some(session) }),
            Err(error) => {
                eprintln!("SKIPPED without FUSE: {error}");
                None
            }
        }
    }

    /// Lets an operation on a path, relative to the mount's top, go wrong from now on.
    pub fn set(&self, operation: Operation, path: &str, fault: Fault) {
        self.shared.faults.lock().unwrap().push((operation, PathBuf::from(path), fault));
    }

    /// From now on all times are this second, whatever is done.
    pub fn stop_time_at(&self, second: u64) {
        *self.shared.time.lock().unwrap() = Some(second);
    }

    /// All works again.
    pub fn mend(&self) {
        self.shared.faults.lock().unwrap().clear();
        self.shared.mended.notify_all();
    }

    /// What was asked about since it was mounted, beside the top itself.
    pub fn touched(&self) -> Vec<PathBuf> {
        self.shared.touched.lock().unwrap().clone()
    }
}

impl Drop for FaultyMount {
    fn drop(&mut self) {
        self.mend();
        // Lazily: a look that is left behind may have something open.
        super::run("umount", &["--lazy".as_ref(), self.at.as_os_str()]);
        drop(self.session.take());
    }
}

struct Files {
    root: PathBuf,
    /// By inode number, from 1.
    paths: Mutex<Vec<PathBuf>>,
    shared: Arc<Shared>,
}

impl Files {
    /// The path of an inode, unless the operation on it is to fail.
    fn path(&self, operation: Operation, inode: INodeNo) -> Result<PathBuf, Errno> {
        let path = self.paths.lock().unwrap()[u64::from(inode) as usize - 1].clone();
        self.meet(operation, &path)?;
        Ok(path)
    }

    fn meet(&self, operation: Operation, path: &Path) -> Result<(), Errno> {
        if path != Path::new("") {
            self.shared.touched.lock().unwrap().push(path.to_owned());
        }
        let mut faults = self.shared.faults.lock().unwrap();
        loop {
            let of = |(on, of, _): &&(Operation, PathBuf, Fault)| (*on, of.as_path()) == (operation, path);
            match faults.iter().find(of).map(|(_, _, fault)| *fault) {
                None => return Ok(()),
                Some(Fault::Fails(errno)) => return Err(Errno::from_i32(errno.raw_os_error())),
                Some(Fault::Goes) => {
                    fs::remove_dir_all(self.root.join(path))?;
                    return Err(Errno::ENOENT);
                }
                Some(Fault::Hangs) => faults = self.shared.mended.wait(faults).unwrap(),
            }
        }
    }

    fn attributes(&self, path: &Path) -> Result<FileAttr, Errno> {
        let metadata = self.root.join(path).symlink_metadata()?;
        let mut paths = self.paths.lock().unwrap();
        let known = paths.iter().position(|known| known == path);
        let at = known.unwrap_or_else(|| {
            paths.push(path.to_owned());
            paths.len() - 1
        });
        let shown = shown(&metadata, INodeNo(at as u64 + 1));
        let Some(second) = *self.shared.time.lock().unwrap() else { return Ok(shown) };
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        Ok(FileAttr { mtime: time, ctime: time, ..shown })
    }

    fn content(&self, inode: INodeNo, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let content = fs::read(self.root.join(self.path(Operation::Read, inode)?))?;
        let begin = content.len().min(offset as usize);
        let end = content.len().min(begin + size as usize);
        Ok(content[begin..end].to_vec())
    }

    fn names(&self, inode: INodeNo) -> Result<Vec<(INodeNo, FileType, std::ffi::OsString)>, Errno> {
        let directory = self.path(Operation::List, inode)?;
        let mut names: Vec<_> = fs::read_dir(self.root.join(&directory))?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<std::io::Result<_>>()?;
        names.sort();
        names
            .into_iter()
            .map(|name| {
                self.attributes(&directory.join(&name)).map(|attributes| (attributes.ino, attributes.kind, name))
            })
            .collect()
    }
}

fn shown(metadata: &Metadata, ino: INodeNo) -> FileAttr {
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_dir() => FileType::Directory,
        () if kind.is_symlink() => FileType::Symlink,
        () if kind.is_fifo() => FileType::NamedPipe,
        () => FileType::RegularFile,
    };
    let time = |seconds: i64, nanos: i64| SystemTime::UNIX_EPOCH + Duration::new(seconds as u64, nanos as u32);
    FileAttr {
        ino,
        size: metadata.size(),
        blocks: metadata.blocks(),
        atime: time(metadata.atime(), metadata.atime_nsec()),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        ctime: time(metadata.ctime(), metadata.ctime_nsec()),
        crtime: SystemTime::UNIX_EPOCH,
        kind,
        perm: (metadata.mode() & 0o7777) as u16,
        nlink: metadata.nlink() as u32,
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        flags: 0,
        blksize: 4096,
    }
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let parent = self.paths.lock().unwrap()[u64::from(parent) as usize - 1].clone();
        let path = parent.join(name);
        match self.meet(Operation::Look, &path).and_then(|()| self.attributes(&path)) {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.path(Operation::Look, inode).and_then(|path| self.attributes(&path)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _: &Request, inode: INodeNo, reply: ReplyData) {
        let target = self.path(Operation::Read, inode).and_then(|path| Ok(fs::read_link(self.root.join(path))?));
        match target {
            Ok(target) => reply.data(target.as_os_str().as_bytes()),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.path(Operation::Open, inode) {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.content(inode, offset, size) {
            Ok(content) => reply.data(&content),
            Err(errno) => reply.error(errno),
        }
    }

    fn listxattr(&self, _: &Request, inode: INodeNo, size: u32, reply: ReplyXattr) {
        match self.path(Operation::Attributes, inode) {
            Ok(_) if size == 0 => reply.size(0),
            Ok(_) => reply.data(&[]),
            Err(errno) => reply.error(errno),
        }
    }

    fn opendir(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.path(Operation::Open, inode) {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        match self.names(inode) {
            Ok(names) => {
                for (at, (inode, kind, name)) in names.into_iter().enumerate().skip(offset as usize) {
                    if reply.add(inode, at as u64 + 1, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(errno) => reply.error(errno),
        }
    }
}
