//! A scratch host: a folder that an agent takes for its node's `/`, small and free to be changed.
use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::error::{Doing as _, Result};

/// What stands on a host that was just installed: enough of it for the presets to find something.
const FILES: [(&str, &str, u32); 9] = [
    ("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/bash\n", 0o644),
    ("/etc/group", "root:x:0:\nalice:x:1000:\n", 0o644),
    ("/etc/shadow", "root:*:19000:0:99999:7:::\n", 0o640),
    ("/etc/ssh/sshd_config", "PermitRootLogin no\n", 0o600),
    ("/etc/sudoers", "root ALL=(ALL:ALL) ALL\n", 0o440),
    ("/etc/cron.d/backup", "0 3 * * * root /usr/local/bin/backup\n", 0o644),
    ("/usr/bin/bash", "#!machine code\n", 0o755),
    ("/usr/bin/find", "#!machine code\n", 0o755),
    ("/usr/local/bin/backup", "#!/bin/sh\n", 0o755),
];
const LINKS: [(&str, &str); 2] = [("/bin", "usr/bin"), ("/usr/bin/editor", "/usr/bin/vim")];

/// Writes a file so that nobody who looks meanwhile sees it empty or cut short: an agent would tell of both. `beside` is made and
/// gone again; it lies in the same file system, where nobody looks.
pub(crate) fn write_at_once(beside: &Path, file: &Path, content: &[u8]) -> io::Result<()> {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    // Whatever keeps it from being looked at keeps it from being written, and is said then.
    let old = fs::metadata(file).ok();
    let in_place = |old: &fs::Metadata| !old.is_file() || old.nlink() > 1 || old.len() <= content.len() as u64;
    if old.as_ref().map_or(file.is_symlink(), in_place) {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(file)?;
        file.write_all(content)?;
        return if old.is_some_and(|old| old.is_file()) { file.set_len(content.len() as u64) } else { Ok(()) };
    }
    let new = beside.with_extension(format!("new{}", WRITTEN.fetch_add(1, Ordering::Relaxed)));
    fs::write(&new, content)?;
    if let Some(old) = old {
        chown(&new, Some(old.uid()), Some(old.gid()))?;
        fs::set_permissions(&new, old.permissions())?;
    }
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    fs::rename(&new, &file).or_else(|error| match error.kind() {
        io::ErrorKind::CrossesDevices => fs::remove_file(&new).and_then(|()| fs::write(&file, content)),
        _ => Err(error),
    })
}

/// A host root. The folder belongs to who made it.
#[derive(Debug, Clone)]
pub struct ScratchHost {
    root: PathBuf,
}

impl ScratchHost {
    /// A host with nothing on it but what the folder holds.
    #[must_use]
    pub fn empty(root: PathBuf) -> Self {
        Self { root }
    }

    /// A host with a few accounts, programs and settings.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn install(root: PathBuf) -> Result<Self> {
        let host = Self { root };
        for (path, content, mode) in FILES {
            host.write(path, content)?;
            host.chmod(path, mode)?;
        }
        for (path, target) in LINKS {
            host.link(path, target)?;
        }
        Ok(host)
    }

    /// The same on a host that has some of them: those stay as they are.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn complete(root: PathBuf) -> Result<Self> {
        let host = Self { root };
        let is_missing = |path: &str| host.at(path).symlink_metadata().is_err();
        for (path, content, mode) in FILES.into_iter().filter(|(path, ..)| is_missing(path)) {
            host.write(path, content)?;
            host.chmod(path, mode)?;
        }
        for (path, target) in LINKS.into_iter().filter(|(path, _)| is_missing(path)) {
            host.link(path, target)?;
        }
        Ok(host)
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a path of the host is on this machine.
    #[must_use]
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Writes a file in one step, and the directories above it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        let file = self.at(path);
        let made = file.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| write_at_once(&self.root.with_extension("new"), &file, content.as_bytes()))
            .doing(|| format!("write {}", file.display()))
    }

    /// Appends to a file.
    ///
    /// # Errors
    /// When it is not there.
    pub fn append(&self, path: &str, content: &str) -> Result<()> {
        let file = self.at(path);
        let opened = fs::OpenOptions::new().append(true).open(&file);
        opened.and_then(|mut file| file.write_all(content.as_bytes())).doing(|| format!("append to {path}"))
    }

    /// Sets the permission bits.
    ///
    /// # Errors
    /// When it is not there.
    pub fn chmod(&self, path: &str, mode: u32) -> Result<()> {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).doing(|| format!("chmod {path}"))
    }

    /// Removes a file, or a directory with all in it.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&self, path: &str) -> Result<()> {
        let there = self.at(path);
        let removed = there
            .symlink_metadata()
            .and_then(|found| if found.is_dir() { fs::remove_dir_all(&there) } else { fs::remove_file(&there) });
        removed.doing(|| format!("remove {path}"))
    }

    /// Makes a link, in place of one that is there.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn link(&self, path: &str, target: &str) -> Result<()> {
        let link = self.at(path);
        if link.is_symlink() {
            self.remove(path)?;
        }
        let made = link.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| symlink(target, &link)).doing(|| format!("link {path}"))
    }
}
