//! The processor quota of the cgroup that this process is in: what a container's CPU limit becomes.
//!
//! Reads /proc/self/cgroup and the files of cgroup v2 or v1; produces cores. In a container the path in the first may be
//! the host's and its files those of the container: every folder of the path that is there is asked, and the top.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// In cores; `None` without one.
pub(crate) fn quota() -> Option<f64> {
    quota_in(Path::new("/"))
}

fn quota_in(root: &Path) -> Option<f64> {
    let groups = read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = root.join("sys/fs/cgroup");
    let quotas = groups.lines().filter_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        match controllers {
            "" => strictest(&[mounts.clone(), mounts.join("unified")], path, unified),
            _ if controllers.split(',').any(|controller| controller == "cpu") => {
                strictest(&[mounts.join(controllers), mounts.join("cpu")], path, legacy)
            }
            _ => None,
        }
    });
    quotas.min_by(f64::total_cmp)
}

/// The least on the way from the group to the top.
fn strictest(mounts: &[PathBuf], path: &str, read: fn(&Path) -> Option<f64>) -> Option<f64> {
    let path = Path::new(path.trim_start_matches('/'));
    let folders = mounts.iter().flat_map(|mount| path.ancestors().map(|group| mount.join(group)));
    folders.filter_map(|folder| read(&folder)).min_by(f64::total_cmp)
}

/// `max 100000`, or a quota and its period in microseconds.
fn unified(folder: &Path) -> Option<f64> {
    let text = read_to_string(folder.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    cores(quota, period)
}

/// -1 without a quota.
fn legacy(folder: &Path) -> Option<f64> {
    // A folder without these files has no quota of its own.
    let read = |file| read_to_string(folder.join(file)).ok();
    cores(read("cpu.cfs_quota_us")?.trim(), read("cpu.cfs_period_us")?.trim())
}

fn cores(quota: &str, period: &str) -> Option<f64> {
    let (quota, period) = (quota.parse::<u32>().ok()?, period.parse::<u32>().ok()?);
    (quota > 0 && period > 0).then(|| f64::from(quota) / f64::from(period))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A root with these files.
    fn quota_of(files: &[(&str, &str)]) -> Option<f64> {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        quota_in(root.path())
    }

    #[test]
    fn the_least_quota_on_the_way_up_counts() {
        let pod = [
            ("proc/self/cgroup", "0::/kubepods/pod1/agent\n"),
            ("sys/fs/cgroup/kubepods/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/kubepods/pod1/cpu.max", "25000 100000\n"),
            ("sys/fs/cgroup/kubepods/pod1/agent/cpu.max", "150000 100000\n"),
        ];
        assert_eq!(quota_of(&pod), Some(0.25));
    }

    #[test]
    fn in_a_container_its_files_are_at_the_top() {
        let unified = [("proc/self/cgroup", "0::/../../pod1\n"), ("sys/fs/cgroup/cpu.max", "10000 100000\n")];
        assert_eq!(quota_of(&unified), Some(0.1));
        let legacy = [
            ("proc/self/cgroup", "4:memory:/kubepods/pod1\n1:cpu,cpuacct:/kubepods/pod1\n0::/\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "10000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/cpu.cfs_quota_us", "1\n"),
            ("sys/fs/cgroup/memory/cpu.cfs_period_us", "1\n"),
        ];
        assert_eq!(quota_of(&legacy), Some(0.1));
    }

    #[test]
    fn without_a_quota_there_is_none() {
        assert_eq!(quota_of(&[]), None);
        assert_eq!(quota_of(&[("proc/self/cgroup", "0::/\n")]), None);
        assert_eq!(quota_of(&[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/cpu.max", "max 100000\n")]), None);
        let legacy = [
            ("proc/self/cgroup", "1:cpu:/\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(quota_of(&legacy), None);
    }
}
