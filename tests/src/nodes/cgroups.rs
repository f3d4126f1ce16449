//! The cgroups that the nodes of one cluster put their pods into: one tree a node, below a name of the run's own in every hierarchy
//! of cgroup version 1. Reads `/sys/fs/cgroup`; makes the trees' roots and sees to it that they go, however this process ends.
use std::{
    fs::{self, File},
    io::{self, PipeWriter},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::error::{Doing as _, Error, Result};

const MOUNTED_AT: &str = "/sys/fs/cgroup";

/// A new group of processors is empty, and takes no process until it is told which ones it has.
const PROCESSORS: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// The folder of every hierarchy, or why there is none for nodes.
pub(crate) fn hierarchies() -> Result<Vec<PathBuf>> {
    let what = || format!("list {MOUNTED_AT}");
    let mut found = Vec::new();
    for entry in fs::read_dir(MOUNTED_AT).doing(what)? {
        let path = entry.doing(what)?.path();
        // cpu and cpuacct may be links to one hierarchy of both.
        if path.is_dir() && !path.is_symlink() && path.join("cgroup.procs").is_file() {
            found.push(path);
        }
    }
    if !found.iter().any(|path| path.join("memory.limit_in_bytes").is_file()) {
        return Err(Error::Prerequisite(format!(
            "there is no memory controller of cgroup version 1 below {MOUNTED_AT}, and the tests' nodes were not tried with version 2"
        )));
    }
    found.sort();
    Ok(found)
}

/// Removed when dropped, and by a process of its own when this one ends otherwise.
pub(crate) struct Cgroups {
    sweeper: Child,
    life: Option<PipeWriter>,
}

impl Cgroups {
    /// Makes the tree of each name.
    pub(crate) fn new(names: &[String], holder: &Path, log: &Path) -> Result<Self> {
        let hierarchies = hierarchies()?;
        let roots: Vec<PathBuf> =
            names.iter().flat_map(|name| hierarchies.iter().map(move |hierarchy| hierarchy.join(name))).collect();
        let (input, life) = io::pipe().doing(|| "make a pipe".into())?;
        let log = File::create(log).doing(|| format!("open the log {}", log.display()))?;
        let mut command = Command::new(holder);
        // It must outlive this process, and Ctrl-C: it has no parent's death signal and a group of its own.
        command.arg("sweep").args(&roots).env_clear().current_dir("/").process_group(0);
        command.stdin(input).stdout(Stdio::null()).stderr(log);
        let sweeper = command.spawn().doing(|| format!("start {}", holder.display()))?;
        let made = Self { sweeper, life: Some(life) };
        for root in &roots {
            fs::create_dir(root).doing(|| format!("make the cgroup {}", root.display()))?;
            give_processors(root)?;
        }
        Ok(made)
    }
}

fn give_processors(root: &Path) -> Result<()> {
    for name in PROCESSORS {
        let file = root.join(name);
        if file.is_file() {
            let all = root.with_file_name(name);
            let all = fs::read_to_string(&all).doing(|| format!("read {}", all.display()))?;
            fs::write(&file, all).doing(|| format!("write {}", file.display()))?;
        }
    }
    Ok(())
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        drop(self.life.take());
        match self.sweeper.wait() {
            Ok(status) if status.success() => {}
            Ok(status) => tracing::warn!("the cgroups of the nodes were not removed: {status}"),
            Err(error) => tracing::warn!("cannot wait for the removal of cgroups: {error}"),
        }
    }
}
