//! What a machine must have for real nodes to run on it. Reads the machine and leaves it as it was; produces the exact reason when
//! something is missing, and the decision whether that is a skip or a failure.
use std::{
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    thread,
};

use rustix::{process::geteuid, thread::UnshareFlags};

use crate::{
    error::{Doing as _, Error, Result},
    nodes::{cgroups::hierarchies, network::unshare},
};

/// Set to 1, a test that would be skipped fails. CI sets it.
const REQUIRED: &str = "VEDETTE_REQUIRE_REAL_NODES";

const PROGRAMS: [(&str, &str); 5] =
    [("ip", "iproute2"), ("mount", "mount"), ("mkfs.ext4", "e2fsprogs"), ("apt-get", "apt"), ("dpkg-deb", "dpkg")];

/// `None` where something is missing and that is allowed; says so on standard error, past the capture of passed tests.
pub(crate) fn or_skip<T>(outcome: Result<T>) -> Result<Option<T>> {
    let required = env::var_os(REQUIRED).is_some_and(|value| value == "1");
    Ok(match judge(outcome, required)? {
        Ok(there) => Some(there),
        Err(reason) => {
            // Whoever cannot be told has no standard error.
            let _ = writeln!(io::stderr(), "SKIPPED without real nodes: {reason}");
            None
        }
    })
}

/// What is there, or the reason for a skip.
fn judge<T>(outcome: Result<T>, required: bool) -> Result<Result<T, String>> {
    match outcome {
        Ok(there) => Ok(Ok(there)),
        Err(Error::Prerequisite(reason)) if !required => Ok(Err(reason)),
        Err(error) => Err(error),
    }
}

/// Fails with [`Error::Prerequisite`] and the first reason why no node can run here.
pub(crate) fn check() -> Result<()> {
    let missing = |reason: String| Err(Error::Prerequisite(reason));
    if !geteuid().is_root() {
        return missing("only root may make their namespaces and mounts".into());
    }
    for (program, package) in PROGRAMS {
        if find(program).is_none() {
            return missing(format!("there is no `{program}` in PATH: install {package}"));
        }
    }
    let file_systems = fs::read_to_string("/proc/filesystems").doing(|| "read /proc/filesystems".into())?;
    for needed in ["overlay", "ext4"] {
        if !file_systems.split_whitespace().any(|kind| kind == needed) {
            return missing(format!("the kernel has no {needed} (/proc/filesystems)"));
        }
    }
    if !Path::new("/dev/loop-control").exists() {
        return missing("there are no loop devices: no /dev/loop-control".into());
    }
    let all =
        UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWNET | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC;
    let tried = thread::spawn(move || unshare(all)).join();
    match tried.map_err(|_| Error::Unexpected("the thread that tries namespaces panicked".into()))? {
        Ok(()) => {}
        Err(error) => return missing(format!("namespaces are refused: {error}")),
    }
    for hierarchy in hierarchies()? {
        let probe = hierarchy.join(format!("vedette-probe-{}", std::process::id()));
        if let Err(error) = fs::create_dir(&probe) {
            return missing(format!("no cgroup can be made in {}: {error}", hierarchy.display()));
        }
        fs::remove_dir(&probe).doing(|| format!("remove the cgroup {}", probe.display()))?;
    }
    Ok(())
}

fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_a_missing_prerequisite_that_is_not_required_is_a_skip() {
        let missing = || Err::<(), _>(Error::Prerequisite("no loop devices".into()));
        assert_eq!(judge(missing(), false).unwrap().unwrap_err(), "no loop devices");
        assert_eq!(judge(missing(), true).unwrap_err().to_string(), "no loop devices");
        assert!(judge(Err::<(), _>(Error::Unexpected("a kubelet ended".into())), false).is_err());
        assert_eq!(judge(Ok(7), false).unwrap(), Ok(7));
    }
}
