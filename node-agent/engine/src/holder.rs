//! Who has a file open: reads /proc, produces the process, where it can be told. For a sentence only: nothing is decided by it.

use crate::host::FileId;
use std::fmt;
use std::path::Path;

/// A process that has a file open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id, as this process sees it.
    pub pid: u32,
    /// What it calls itself.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.name)
    }
}

/// A process that has this file open, this one left out; `None` where none can be seen, for example from another container or
/// without the right to look.
pub(crate) fn of(path: &Path) -> Option<Holder> {
    let file = FileId::at(path).ok()?;
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let pid = pids.filter(|pid| *pid != std::process::id()).find(|pid| has_open(*pid, path, file))?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(Holder { pid, name: name.trim().to_owned() })
}

fn has_open(pid: u32, path: &Path, file: FileId) -> bool {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"));
    descriptors.is_ok_and(|open| {
        // By its name first: what else a process has open may lie on a file system that never answers.
        let is_named_so = |link: &Path| std::fs::read_link(link).is_ok_and(|to| to.file_name() == path.file_name());
        open.flatten().map(|entry| entry.path()).any(|link| is_named_so(&link) && FileId::at(&link) == Ok(file))
    })
}
