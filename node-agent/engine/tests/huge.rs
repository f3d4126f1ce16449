//! Huge directories: taken up in passes, in bounded memory, and told as if they had been listed at once.
#![allow(clippy::unwrap_used)]

mod support;

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Host, compare_unread, deep, everything, is_root, run, with_own_mounts};
use vedette_crds::record::ChangeType;
use vedette_engine::Due;

/// A host whose directory `/d` has so many empty files, which are taken up in passes of so many names.
fn host(files: u32, pass: usize) -> Host {
    let mut host = Host::new(everything());
    host.mkdir("/d");
    host.engine().set_pass(pass);
    make(&host, 0..files);
    host
}

fn name(at: u32) -> String {
    format!("/d/f{at:07}")
}

fn make(host: &Host, names: impl IntoIterator<Item = u32>) {
    names.into_iter().for_each(|at| drop(fs::File::create(host.at(&name(at))).unwrap()));
}

#[test]
fn what_comes_and_goes_at_the_edges_of_passes_is_told_once() {
    for pass in [1, 2, 7, 50] {
        let mut host = host(100, pass);
        assert!(host.compare().changes().is_empty());
        assert_eq!(host.standing().totals.tracked, 102);
        assert!(host.compare().lines.is_empty());
        let edges = [0, pass as u32 - 1, pass as u32, 49, 50, 51, 99];
        let edges: BTreeSet<u32> = edges.into_iter().collect();
        edges.iter().for_each(|at| fs::remove_file(host.at(&name(*at))).unwrap());
        let expected: Vec<String> = edges.iter().map(|at| format!("Removed {}", name(*at))).collect();
        assert_eq!(host.compare().told(), expected, "passes of {pass}");
        make(&host, edges.iter().copied().chain([100, 101, 102]));
        for first in ["!", "g"] {
            host.write(&format!("/d/{first}"), "1");
        }
        let told = host.compare().told();
        assert_eq!(told.len(), edges.len() + 5, "passes of {pass}: {told:?}");
        assert!(told.iter().all(|told| told.starts_with("Added /d/")), "passes of {pass}: {told:?}");
        assert!(host.compare().lines.is_empty());
        host.remove("/d");
        assert_eq!(host.compare().changes().len(), 106);
    }
}

#[test]
fn a_directory_of_directories_is_walked_in_passes_too() {
    let mut host = Host::new(everything());
    host.engine().set_pass(3);
    for at in 0..50 {
        host.write(&format!("/d/s{at:02}/t/f"), "1");
    }
    host.compare();
    assert_eq!(host.standing().totals.tracked, 2 + 50 * 3);
    for at in 20..30 {
        host.remove(&format!("/d/s{at}"));
    }
    host.write("/d/s25/t/new", "1");
    let told = host.compare().told();
    assert_eq!(told.len(), 9 * 3 + 2, "{told:?}");
    assert!(told.contains(&"Added /d/s25/t/new".to_owned()) && told.contains(&"Removed /d/s25/t/f".to_owned()));
}

#[test]
fn what_comes_under_watch_in_many_passes_is_baselined_to_the_last() {
    let mut host = host(0, 7);
    host.set_entries(json!([{"name": "some", "path": "/d/f000000*"}]));
    make(&host, 0..100);
    host.compare();
    assert_eq!(host.standing().totals.tracked, 10);
    host.engine().set_pass(7);
    host.set_entries(json!([{"name": "all", "path": "/**"}]));
    make(&host, [500]);
    let seen = host.compare();
    assert!(seen.changes().is_empty(), "{:?}", seen.told());
    assert_eq!(host.standing().totals.tracked, 103);
    make(&host, [501]);
    assert_eq!(host.compare().told(), [format!("Added {}", name(501))]);
}

#[test]
fn a_baseline_that_is_stopped_between_passes_goes_on_where_nothing_was_seen() {
    for rules_changed in [false, true] {
        let mut host = host(300, 10);
        if rules_changed {
            host.set_entries(json!([{"name": "other", "path": "/other"}]));
            host.compare();
            host.set_entries(everything());
        }
        let stop = Arc::new(AtomicBool::new(false));
        let progress = host.engine().progress();
        let halfway = Arc::clone(&stop);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while progress.so_far().is_none_or(|so_far| so_far.items < 120) {
                    std::thread::yield_now();
                }
                halfway.store(true, Ordering::Relaxed);
            });
            host.engine().compare(&Due::All, &stop, &mut |_| {}).unwrap();
        });
        let seen = host.compare();
        assert!(seen.changes().is_empty(), "{:?}", seen.told());
        assert_eq!(host.standing().totals.tracked, 302);
        make(&host, [7000]);
        assert_eq!(host.compare().told(), [format!("Added {}", name(7000))]);
    }
}

#[test]
fn names_that_come_while_passes_go_on_are_each_told_once() {
    let mut host = host(2000, 64);
    host.compare();
    let mut told = Vec::new();
    std::thread::scope(|scope| {
        let root = host.root();
        let writer = scope.spawn(move || {
            for at in 0..3000 {
                // Before all others, among them, behind them.
                let name = [format!("a{at}"), format!("f{:07}x", at % 2000), format!("z{at}")][at % 3].clone();
                fs::write(root.join("d").join(name), "").unwrap();
            }
        });
        while !writer.is_finished() {
            told.extend(host.compare().told());
        }
    });
    told.extend(host.compare().told());
    let added: BTreeSet<&String> = told.iter().filter(|told| told.starts_with("Added")).collect();
    assert_eq!(added.len(), told.len(), "nothing was removed or told twice");
    assert_eq!(added.len(), fs::read_dir(host.at("/d")).unwrap().count() - 2000);
}

#[test]
fn a_hundred_thousand_names_are_one_directory() {
    with_own_mounts("a_hundred_thousand_names_are_one_directory", || {
        if !is_root("a directory in memory") {
            return;
        }
        let mut host = Host::new(everything());
        host.mkdir("/d");
        let size = "size=2g,nr_inodes=2m";
        run(
            "mount",
            &["-t", "tmpfs", "-o", size, "none"]
                .map(AsRef::as_ref)
                .into_iter()
                .chain([host.at("/d").as_os_str()])
                .collect::<Vec<_>>(),
        );
        let files = std::env::var("VEDETTE_TEST_NAMES").ok().and_then(|names| names.parse().ok()).unwrap_or(100_000);
        make(&host, 0..files);
        host.compare();
        assert_eq!(host.standing().totals.tracked, u64::from(files) + 2);
        assert!(host.compare().lines.is_empty());
        let edges = [0, 65_535, 65_536, 65_537, files - 1];
        edges.iter().for_each(|at| fs::remove_file(host.at(&name(*at))).unwrap());
        host.write("/d/f0065535x", "1");
        let mut expected: Vec<String> = edges.iter().map(|at| format!("Removed {}", name(*at))).collect();
        expected.insert(0, "Added /d/f0065535x".to_owned());
        assert_eq!(host.compare().told(), expected);
        let resident = fs::read_to_string("/proc/self/status").unwrap();
        let peak = resident.lines().find(|line| line.starts_with("VmHWM")).unwrap().to_owned();
        eprintln!("{files} names: {peak}");
        run("umount", &[host.at("/d").as_os_str()]);
    });
}

/// Opens a directory so many levels below the root, each of this name.
fn open_deep(root: &Path, name: &str, levels: usize) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, root, flags, Mode::empty()).unwrap();
    (0..levels).fold(root, |here, _| openat(here, name, flags, Mode::empty()).unwrap())
}

#[test]
fn memory_does_not_grow_with_the_length_of_paths() {
    const ALONE: &str = "VEDETTE_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        // In a process of its own, whose peak no other test makes.
        let test = "memory_does_not_grow_with_the_length_of_paths";
        let ran = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let mut host = Host::new(everything());
    let (name, levels) = ("d".repeat(250), 236);
    deep(&host.root(), &name, levels, b"");
    compare_unread(&mut host);
    let here = open_deep(&host.root(), &name, levels);
    for at in 0..1000 {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        drop(openat(&here, format!("f{at}"), flags, Mode::from_raw_mode(0o644)).unwrap());
        mkdirat(&here, format!("s{at}"), Mode::from_raw_mode(0o755)).unwrap();
    }
    compare_unread(&mut host);
    assert_eq!(host.standing().totals.changes_of(ChangeType::Added), 2000);
    let resident = fs::read_to_string("/proc/self/status").unwrap();
    let peak = resident.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    // The paths of the files alone, each written out, are 60 MB, and as many those of the directories.
    assert!(peak < 100_000, "{peak} kB");
    eprintln!("peak {peak} kB");
    drop(here);
    run("rm", &["-rf".as_ref(), host.at(&name).as_os_str()]);
}
