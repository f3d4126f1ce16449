//! Random days of a small host on which everything happens that can happen to files: the baseline and all records give
//! what a fresh walk finds, each record follows from the one before it, and none says nothing.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::fs::{AtFlags, CWD, FileType, Mode, RenameFlags, Timespec, Timestamps, XattrFlags};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Host, everything, rule, run, with_own_mounts};
use vedette_engine::clock::SystemClock;
use vedette_engine::{Due, Engine, Identity};

#[derive(Clone, Debug)]
enum Happening {
    Write(usize, u8),
    /// The same size, and the modification time put back.
    WriteQuietly(usize, u8),
    Chmod(usize, u32),
    Chown(usize, u32),
    AccessList(usize, u16),
    Attribute(usize, u8),
    Remove(usize),
    Rename(usize, usize),
    Exchange(usize, usize),
    HardLink(usize, usize),
    SymbolicLink(usize, u8),
    Directory(usize),
    Fifo(usize),
    Mount,
    Unmount,
    Restart,
    /// A compare that is told to stop so many microseconds after it began.
    Interrupt(u64),
    Compare,
}

/// What happens at random; `/m` is what is mounted over, and only what lies in it changes.
const PATHS: [&str; 12] =
    ["/a", "/b", "/d", "/d/a", "/d/b", "/d/e", "/d/e/a", "/d/e/b", "/m/a", "/m/b", "/m/d", "/m/d/a"];
const MOUNT: &str = "/m";

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    let path = || 0..PATHS.len();
    prop_oneof![
        5 => (path(), any::<u8>()).prop_map(|(path, content)| Write(path, content % 4)),
        2 => (path(), any::<u8>()).prop_map(|(path, content)| WriteQuietly(path, content % 4)),
        2 => (path(), 0..4u32).prop_map(|(path, mode)| Chmod(path, 0o700 + mode)),
        2 => (path(), 0..3u32).prop_map(|(path, owner)| Chown(path, owner)),
        2 => (path(), 0..3u16).prop_map(|(path, list)| AccessList(path, list)),
        2 => (path(), 0..3u8).prop_map(|(path, value)| Attribute(path, value)),
        3 => path().prop_map(Remove),
        3 => (path(), path()).prop_map(|(from, to)| Rename(from, to)),
        2 => (path(), path()).prop_map(|(one, other)| Exchange(one, other)),
        2 => (path(), path()).prop_map(|(from, to)| HardLink(from, to)),
        2 => (path(), 0..3u8).prop_map(|(path, target)| SymbolicLink(path, target)),
        3 => path().prop_map(Directory),
        1 => path().prop_map(Fifo),
        1 => Just(Mount),
        1 => Just(Unmount),
        1 => Just(Restart),
        1 => (0..3000u64).prop_map(Interrupt),
        8 => Just(Compare),
    ]
}

/// What a file system does not let happen does not happen.
fn does(result: rustix::io::Result<()>) {
    let _happened = result.is_ok();
}

fn happen(host: &Host, happening: &Happening) {
    use Happening::*;
    let at = |path: &usize| host.at(PATHS[*path]);
    let is_mounted = || fs::metadata(host.at(MOUNT)).unwrap().dev() != fs::metadata(host.root()).unwrap().dev();
    match happening {
        Write(path, content) => write(&at(path), *content),
        WriteQuietly(path, content) => write_quietly(&at(path), *content),
        Chmod(path, mode) => {
            if !at(path).is_symlink() {
                does(rustix::fs::chmodat(CWD, at(path), Mode::from_raw_mode(*mode), AtFlags::empty()));
            }
        }
        Chown(path, owner) => {
            drop(std::os::unix::fs::lchown(at(path), Some(*owner), Some(*owner))); // it may not be there
        }
        AccessList(path, permissions) => {
            let mut list = 2u32.to_le_bytes().to_vec();
            for (tag, id) in [(1u16, u32::MAX), (2, 1000), (4, u32::MAX), (16, u32::MAX), (32, u32::MAX)] {
                list.extend([tag.to_le_bytes(), (4 + *permissions).to_le_bytes()].concat());
                list.extend(id.to_le_bytes());
            }
            if !at(path).is_symlink() {
                does(rustix::fs::setxattr(at(path), "system.posix_acl_access", &list, XattrFlags::empty()));
            }
        }
        Attribute(path, value) => does(match value {
            0 => rustix::fs::lremovexattr(at(path), "user.vedette"),
            _ => rustix::fs::lsetxattr(at(path), "user.vedette", &[*value], XattrFlags::empty()),
        }),
        Remove(path) => {
            let path = at(path);
            // One of both fits what is there, if anything is.
            drop(fs::remove_file(&path));
            drop(fs::remove_dir_all(&path));
        }
        Rename(from, to) => does(rustix::fs::rename(at(from), at(to))),
        Exchange(one, other) => {
            does(rustix::fs::renameat_with(CWD, at(one), CWD, at(other), RenameFlags::EXCHANGE));
        }
        HardLink(from, to) => does(rustix::fs::linkat(CWD, at(from), CWD, at(to), AtFlags::empty())),
        SymbolicLink(path, target) => does(rustix::fs::symlink(PATHS[usize::from(*target)], at(path))),
        Directory(path) => does(rustix::fs::mkdir(at(path), Mode::from_raw_mode(0o755))),
        Fifo(path) => does(rustix::fs::mknodat(CWD, at(path), FileType::Fifo, Mode::from_raw_mode(0o600), 0)),
        Mount => {
            if !is_mounted() {
                run("mount", &["-t".as_ref(), "tmpfs".as_ref(), "days".as_ref(), host.at(MOUNT).as_os_str()]);
                fs::write(host.at("/m/a"), "mounted").unwrap();
            }
        }
        Unmount => {
            if is_mounted() {
                run("umount", &[host.at(MOUNT).as_os_str()]);
            }
        }
        Restart | Interrupt(_) | Compare => {}
    }
}

fn write(path: &Path, content: u8) {
    // Nobody reads a FIFO.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = fs::File::options().write(true).create(true).truncate(true).custom_flags(flags).open(path);
    if let Ok(mut file) = opened {
        file.write_all("x".repeat(usize::from(content)).as_bytes()).unwrap();
    }
}

fn write_quietly(path: &Path, content: u8) {
    let Ok(metadata) = path.symlink_metadata() else { return };
    if !metadata.is_file() {
        return;
    }
    fs::write(path, vec![b'a' + content; metadata.len() as usize]).unwrap();
    let modified = Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() };
    let times = Timestamps { last_access: modified, last_modification: modified };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// What is compared of an item.
type Shown = Map<String, Value>;

fn shown(item: &Value) -> Option<Shown> {
    let mut item = item.as_object()?.clone();
    for not_compared in ["modified", "changed", "created", "inode", "device", "linkCount", "mount"] {
        item.remove(not_compared);
    }
    Some(item)
}

/// What a state that begins now knows of the host.
fn fresh(host: &Host) -> BTreeMap<String, Shown> {
    let folder = tempfile::tempdir().unwrap();
    let settings = support::settings(folder.path().join("state"), host.root());
    let mut engine = Engine::open(settings, Arc::new(SystemClock)).unwrap();
    engine.configure(vec![rule("r", everything())], Identity { node: "n".into(), ..Identity::default() }, 1);
    engine.compare(&Due::All, &Arc::default(), &mut |_| {}).unwrap();
    let part = engine.inspector().inventory(None).unwrap();
    assert!(part.next.is_none(), "the host is small");
    let items = part.items.into_iter();
    items.map(|item| (item.path.0, shown(&serde_json::to_value(item.item).unwrap()).unwrap())).collect()
}

fn is_below(path: &str) -> bool {
    path == MOUNT || path.starts_with("/m/")
}

/// The journal played back over the baseline.
struct Replay {
    state: BTreeMap<String, Shown>,
    /// What a mount covers.
    covered: Option<BTreeMap<String, Shown>>,
    /// Whether what a mount shows was baselined since the last fresh walk.
    shows_new: bool,
}

impl Replay {
    fn take(&mut self, lines: &[Value]) {
        for line in lines.iter().filter(|line| line["changeType"].is_string()) {
            let path = line["path"].as_str().unwrap().to_owned();
            let (before, after) = (shown(&line["before"]), shown(&line["after"]));
            if line["fields"] == serde_json::json!(["Mount"]) {
                self.remount(line);
                continue;
            }
            if self.shows_new && is_below(&path) {
                continue;
            }
            assert_eq!(self.state.get(&path), before.as_ref(), "{line}");
            assert_ne!(before, after, "it says nothing: {line}");
            match after {
                Some(after) => self.state.insert(path, after),
                None => self.state.remove(&path),
            };
        }
    }

    fn remount(&mut self, line: &Value) {
        assert_eq!(line["path"], MOUNT, "{line}");
        let showed = std::mem::take(&mut self.state);
        let (below, rest) = showed.into_iter().partition(|(path, _)| is_below(path));
        self.state = rest;
        if !line["before"]["mount"].is_object() {
            self.covered = Some(below);
        }
        self.shows_new = line["after"]["mount"].is_object();
        if !self.shows_new {
            self.state.extend(self.covered.take().expect("it was covered"));
        }
    }

    fn check(&mut self, host: &Host) {
        let fresh = fresh(host);
        if std::mem::take(&mut self.shows_new) {
            self.state.extend(
                fresh.iter().filter(|(path, _)| is_below(path)).map(|(path, item)| (path.clone(), item.clone())),
            );
        }
        let paths = self.state.keys().chain(fresh.keys());
        for path in paths {
            assert_eq!(self.state.get(path), fresh.get(path), "{path}");
        }
    }
}

fn live(happenings: &[Happening]) {
    let mut host = Host::new(everything());
    host.mkdir(MOUNT);
    host.write("/m/b", "beneath");
    host.write("/a", "a");
    host.compare();
    let mut replay = Replay { state: fresh(&host), covered: None, shows_new: false };
    for happening in happenings.iter().chain([&Happening::Unmount, &Happening::Compare]) {
        happen(&host, happening);
        match happening {
            Happening::Restart => {
                host.stop();
                host.start();
            }
            Happening::Interrupt(after) => {
                let stop = Arc::new(AtomicBool::new(false));
                let told = Arc::clone(&stop);
                let stopping = std::thread::spawn({
                    let after = Duration::from_micros(*after);
                    move || {
                        // Only where in the compare it ends depends on how long this takes.
                        std::thread::sleep(after);
                        told.store(true, Ordering::Relaxed);
                    }
                });
                host.engine().compare(&Due::All, &stop, &mut |_| {}).unwrap();
                stopping.join().unwrap();
                replay.take(&host.lines());
            }
            Happening::Compare => {
                replay.take(&host.compare().lines);
                assert_eq!(
                    host.standing().unknowns.items() > 0,
                    replay.covered.as_ref().is_some_and(|covered| covered.len() > 1)
                );
                replay.check(&host);
            }
            _ => {}
        }
    }
}

#[test]
fn the_baseline_and_all_records_give_what_a_fresh_walk_finds() {
    with_own_mounts("the_baseline_and_all_records_give_what_a_fresh_walk_finds", || {
        let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64);
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
        let days = proptest::collection::vec(happening(), 1..60);
        let ran = runner.run(&days, |happenings| {
            live(&happenings);
            Ok(())
        });
        if let Err(error) = ran {
            panic!("{error}");
        }
    });
}
