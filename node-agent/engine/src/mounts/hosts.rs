//! What the host itself has mounted where, as its first process sees it, and where that is not what this process sees.
//!
//! Reads both tables. What shows where they differ is not the host's: it is never looked at.

use super::{Line, Mount, Mounts, Table, components, parse_line, unescape, visible};
use crate::host::HostRoot;
use crate::path::HostPath;
use crate::plan::{Due, Plan};
use crate::unknown::{Aspect, Unknown};
use std::collections::BTreeMap;
use std::path::Path;

/// A mount table longer than this is not read.
const LIMIT: usize = 16 * 1024 * 1024;

/// What this process has mounted where.
const OWN: &str = "/proc/self/mountinfo";
/// What the host's first process has.
const HOSTS: &str = "/proc/1/mountinfo";
const FIRST: &str = "/proc/1";
/// A host that mounts all the time is seen as it was in between.
const TRIES: u32 = 3;
const BLIND: &str = "it cannot be read, so mounts that the host has and the agent does not see go unnoticed: mount the host's \
                     /proc without hidepid, or give the agent the group that its option gid names (none with hidepid=4)";
/// Whoever mounts something there has another table believed.
const COVERED: &str = "something is mounted over it, so it is not believed, and mounts that the host has and the agent does not \
                       see go unnoticed: look who mounted it";

impl Mounts {
    /// The mounts of this process, and where those of the host's first process are others.
    ///
    /// # Errors
    /// When this process's mountinfo cannot be read. A host root without proc has no table of its own.
    pub(crate) fn read(host_root: &Path) -> std::io::Result<Self> {
        let path = std::fs::canonicalize(host_root)?;
        let mut own = std::fs::read(OWN)?;
        let mut tries = 0;
        loop {
            tries += 1;
            let mut mounts = Self::parse(&own, &path);
            let proc = HostPath::from("/proc");
            if mounts.at(&proc).is_none_or(|mount| mount.file_system != "proc") {
                return Ok(mounts);
            }
            let first = HostPath::from(FIRST);
            if mounts.at(&first).is_some() || mounts.any_in(&first) {
                mounts.blind = Some(COVERED);
                return Ok(mounts);
            }
            match HostRoot::open(host_root)?.read(&HostPath::from(HOSTS), LIMIT, &|_| true)? {
                Some(table) => mounts.hide(&own, &path, &table),
                // On the host itself, what this process sees is what there is to see.
                None => mounts.blind = Some(BLIND).filter(|_| path != Path::new("/")),
            }
            // What came or went between the two is in one of them alone.
            let after = std::fs::read(OWN)?;
            if after == own || tries == TRIES {
                return Ok(mounts);
            }
            own = after;
        }
    }

    /// Notes where the host's own table does not say the same as this process's.
    fn hide(&mut self, own: &[u8], host_root: &Path, host: &[u8]) {
        let (here, there) = (Shown::of(own, host_root), Shown::of(host, Path::new("/")));
        let covers = |point: &&HostPath| !there.points.contains_key(*point) && !there.has(point, &here.points[*point]);
        self.own = here.points.keys().filter(covers).cloned().collect();
        let differs =
            |(point, line): &(&HostPath, &Line)| here.points.get(*point).is_none_or(|here| here.shows != line.shows);
        let ours = self.own.iter().map(|point| (point, &here.points[point]));
        for (point, line) in there.points.iter().filter(differs).chain(ours) {
            self.parents.insert(point.split().0);
            self.hidden.insert(point.clone(), line.mount(point.clone(), true));
        }
    }

    /// Why what shows at a hidden mount is not what the host has there.
    pub(crate) fn why_hidden(&self, mount: &Mount) -> String {
        match self.own.contains(&mount.point) {
            true => "what the host has there is covered here by a mount that the host has not".to_owned(),
            false => format!("the host has a mount of type {} there that is not seen here", mount.file_system),
        }
    }

    /// That the host's table could not be read, as a compare says it: once, whatever else is due.
    pub(crate) fn blind(&self, plan: &Plan, due: &Due) -> Option<Unknown> {
        let why = self.blind?;
        let interval = plan.intervals().into_iter().next().filter(|shortest| due.contains(*shortest))?;
        let (path, aspect, reason) = (HostPath::from(HOSTS), Aspect::HiddenMount, why.to_owned());
        Some(Unknown { path, aspect, reason, interval, items: 1 })
    }
}

/// A table, as it shows below a root.
struct Shown {
    root: Option<Line>,
    points: BTreeMap<HostPath, Line>,
}

impl Shown {
    fn of(table: &[u8], root: &Path) -> Self {
        let root = components(root.as_os_str());
        let lines: Vec<Line> = table.split(|byte| *byte == b'\n').filter_map(parse_line).collect();
        let at_root = Table::new(&lines).at(&root);
        let points: BTreeMap<usize, HostPath> = visible(&lines, &root).into_iter().collect();
        let mut shown = Self { root: None, points: BTreeMap::new() };
        for (at, line) in lines.into_iter().enumerate() {
            match points.get(&at) {
                Some(point) => _ = shown.points.insert(point.clone(), line),
                None if Some(line.id) == at_root => shown.root = Some(line),
                None => {}
            }
        }
        shown
    }

    /// Whether a mount shows what is there anyway, where nothing is mounted at that point: the same directory of the same
    /// file system.
    fn has(&self, point: &HostPath, line: &Line) -> bool {
        let above = point.ancestors().filter_map(|above| self.points.get(&above).map(|line| (above, line))).last();
        let Some((above, on)) = above.or(self.root.as_ref().map(|root| (HostPath::root(), root))) else { return false };
        let (device, root) = &on.shows;
        let mut there = unescape(root);
        if there == b"/" {
            there.clear();
        }
        for name in point.components().skip(above.components().count()) {
            there.push(b'/');
            there.extend_from_slice(name);
        }
        *device == line.shows.0 && there == unescape(&line.shows.1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn where_host_and_process_see_different_mounts_nothing_that_shows_is_the_hosts() {
        let own =
            b"1 0 0:1 / / rw - overlay x rw\n2 1 8:1 / /host rw - ext4 x rw\n3 2 0:9 / /host/seen rw - tmpfs x rw\n\
            4 2 0:5 / /host/other rw - tmpfs x rw\n5 2 0:6 / /host/ours rw - tmpfs x rw\n";
        let host = b"1 0 8:1 / / rw - ext4 x rw\n7 1 0:9 / /seen rw - tmpfs x rw\n8 1 8:2 / /evil rw - xfs x rw\n\
            9 1 0:7 / /other rw - tmpfs x rw\n";
        let mut mounts = Mounts::parse(own, Path::new("/host"));
        mounts.hide(own, Path::new("/host"), host);
        let hidden = |path: &str| mounts.at(&HostPath::from(path)).is_some_and(|mount| mount.is_hidden);
        assert_eq!(["/seen", "/evil", "/other", "/ours"].map(hidden), [false, true, true, true]);
        let why = |path: &str| mounts.why_hidden(mounts.at(&HostPath::from(path)).unwrap());
        assert_eq!(why("/evil"), "the host has a mount of type xfs there that is not seen here");
        assert_eq!(why("/ours"), "what the host has there is covered here by a mount that the host has not");
        assert!(!mounts.at(&HostPath::from("/evil")).unwrap().is_local());
        assert!(mounts.any_in(&HostPath::root()));
    }

    #[test]
    fn a_mount_that_shows_what_the_host_has_there_anyway_hides_nothing() {
        let own = b"1 0 0:1 / / rw - overlay x rw\n2 1 8:1 /@ /host rw - ext4 x rw\n\
            3 2 8:1 /@/etc /host/etc ro - ext4 x rw\n4 2 8:1 /@/srv /host/usr ro - ext4 x rw\n\
            5 2 8:2 / /host/data rw - xfs y rw\n6 5 8:2 /a\\040b /host/data/a\\040b ro - xfs y rw\n\
            7 2 8:3 /@/bin /host/bin ro - ext4 z rw\n8 5 8:2 /c /host/data/d ro - xfs y rw\n";
        let host = b"1 0 8:1 /@ / rw - ext4 x rw\n5 1 8:2 / /data rw - xfs y rw\n";
        let mut mounts = Mounts::parse(own, Path::new("/host"));
        mounts.hide(own, Path::new("/host"), host);
        let hidden: Vec<String> = mounts.hidden.keys().map(ToString::to_string).collect();
        assert_eq!(hidden, ["/bin", "/data/d", "/usr"]);
    }
}
