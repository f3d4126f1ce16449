//! What of a path the host shows: where it really lies, and what is there.
//!
//! Resolves links and makes one stat; it touches nothing that may hang.

use crate::host::{HostRoot, MAX_PATH, is_gone};
use crate::mounts::{Mount, Mounts};
use crate::path::HostPath;
use crate::walk::MAX_DEPTH;
use rustix::fs::FileType;

/// Where a path lies once the links above its last component are resolved: files are known under their real paths.
pub(super) fn real_path(
    host: &HostRoot,
    mounts: &Mounts,
    asked: &HostPath,
    notes: &mut Vec<String>,
) -> Result<HostPath, rustix::io::Errno> {
    let (directory, name) = asked.split();
    let enter = |path: &HostPath| mounts.at(path).is_none_or(|mount| mount.is_local() || mount.is_overlay());
    let resolved = host.resolve(directory.components(), &enter)?;
    if let Some(link) = resolved.links.first() {
        notes.push(format!("{link} is a symbolic link: what lies behind it is tracked under its real path"));
    }
    Ok(resolved.real.join(name))
}

/// What is there, unless a walk would not look.
pub(super) fn found(host: &HostRoot, mounts: &Mounts, path: &HostPath, notes: &mut Vec<String>) -> Option<FileType> {
    let is_barred = |mount: &&Mount| mount.is_remote();
    if let Some(mount) = mounts.on_the_way(path).find(is_barred) {
        let Mount { point, file_system, is_hidden, .. } = mount;
        notes.push(match is_hidden {
            true => format!("what the host has at {point} is not seen here"),
            false => format!("it lies on {point}, a mount of type {file_system}, and was not looked at"),
        });
        return None;
    }
    if path.components().count() > MAX_DEPTH || path.as_bytes().len() > MAX_PATH {
        notes
            .push(format!("it lies over {MAX_DEPTH} levels deep, or its path is over {MAX_PATH} bytes: it is unknown"));
    }
    let (directory, name) = path.split();
    match host.directory(&directory).and_then(|directory| directory.stat(name)) {
        Ok(stat) => Some(FileType::from_raw_mode(stat.stx_mode.into())),
        Err(errno) if is_gone(errno) => {
            notes.push("there is no such file on the host".to_owned());
            None
        }
        Err(errno) => {
            notes.push(format!("it cannot be looked at: {}", std::io::Error::from(errno)));
            None
        }
    }
}

pub(super) fn kind(found: FileType) -> Option<String> {
    let kind = match found {
        FileType::RegularFile => "Regular",
        FileType::Directory => "Directory",
        FileType::Symlink => "Symlink",
        FileType::Fifo => "Fifo",
        FileType::Socket => "Socket",
        FileType::CharacterDevice => "CharDevice",
        FileType::BlockDevice => "BlockDevice",
        _ => return None,
    };
    Some(kind.to_owned())
}
