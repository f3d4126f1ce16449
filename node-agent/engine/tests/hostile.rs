//! A hostile host, at rest and in motion: what the agent reads for itself, trees that are moved while they are walked, and the
//! edge of the host root.
#![allow(clippy::unwrap_used)]

mod support;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mknodat, renameat_with};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use support::fuse::{Fault, FaultyMount, Operation};
use support::{Host, everything, is_root, with_own_mounts};

/// Runs `attack` again and again on a thread of its own while `host` is compared so often; returns all lines as text.
fn compare_under(host: &mut Host, compares: usize, attack: impl Fn() + Sync) -> String {
    let ended = AtomicBool::new(false);
    let mut said = String::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                attack();
            }
        });
        for _ in 0..compares {
            host.compare().lines.iter().for_each(|line| said += &format!("{line}\n"));
        }
        ended.store(true, Ordering::Relaxed);
    });
    said
}

fn exchange(a: &Path, b: &Path) {
    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
}

#[test]
fn a_prefix_that_is_swapped_with_links_over_the_roots_edge_never_shows_what_is_outside() {
    let mut host = Host::new(json!([{"name": "e", "path": "/way/in/data"}]));
    let outside = host.root().with_file_name("outside");
    fs::create_dir_all(outside.join("data")).unwrap();
    fs::write(outside.join("data/only-outside"), "outside").unwrap();
    host.write("/way/in/data/file", "inside");
    // Inside the root each of these leads to /outside or /.../outside, which is not there.
    for (at, target) in
        ["../../outside", "../../../../../../outside", outside.to_str().unwrap()].into_iter().enumerate()
    {
        host.link(target, &format!("/way/link{at}"));
    }
    host.compare();
    let directory = host.at("/way/in");
    let links = [0, 1, 2].map(|at| host.at(&format!("/way/link{at}")));
    let said = compare_under(&mut host, 150, || {
        for link in &links {
            exchange(&directory, link);
            exchange(&directory, link);
        }
    });
    assert!(!said.contains("only-outside"), "{said}");
    host.compare();
    assert!(host.compare().lines.is_empty());
}

#[test]
fn a_directory_that_is_moved_out_of_the_root_and_back_while_it_is_walked_is_whole_again() {
    let mut host = Host::new(everything());
    let outside = host.root().with_file_name("outside");
    fs::create_dir_all(&outside).unwrap();
    for at in 0..50 {
        host.write(&format!("/d/deep/sub{at}/f"), "inside");
    }
    host.compare();
    let (inside, away) = (host.at("/d/deep"), outside.join("deep"));
    let said = compare_under(&mut host, 60, || {
        fs::rename(&inside, &away).unwrap();
        fs::rename(&away, &inside).unwrap();
    });
    assert!(!said.contains("outside"), "{said}");
    host.compare();
    assert!(host.compare().lines.is_empty());
    assert_eq!(host.standing().totals.tracked, 103);
}

#[test]
fn trees_that_are_moved_into_each_other_while_they_are_walked_end() {
    let mut host = Host::new(everything());
    for side in ["a", "b"] {
        for at in 0..30 {
            host.write(&format!("/{side}/x/y/f{at}"), "1");
        }
    }
    host.compare();
    let (a, b) = (host.at("/a"), host.at("/b"));
    compare_under(&mut host, 100, || {
        fs::rename(a.join("x"), b.join("x/y/moved")).unwrap();
        fs::rename(b.join("x/y/moved"), a.join("x")).unwrap();
        fs::rename(b.join("x"), a.join("x/y/moved")).unwrap();
        fs::rename(a.join("x/y/moved"), b.join("x")).unwrap();
    });
    host.compare();
    assert!(host.compare().lines.is_empty());
    assert_eq!(host.standing().totals.tracked, 67);
}

#[test]
fn a_file_that_is_swapped_with_a_device_is_never_read_as_one() {
    if !is_root("a device node") {
        return;
    }
    let mut host = Host::new(everything());
    host.write("/file", "content");
    // /dev/zero: it has no end.
    mknodat(CWD, host.at("/zero"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 5)).unwrap();
    host.compare();
    let (file, zero) = (host.at("/file"), host.at("/zero"));
    let said = compare_under(&mut host, 300, || exchange(&file, &zero));
    for line in said.lines() {
        let change: serde_json::Value = serde_json::from_str(line).unwrap();
        for item in [&change["before"], &change["after"]] {
            match item["type"].as_str() {
                Some("CharDevice") => assert!(item.get("md5").is_none() && item["deviceNumber"] == "1:5", "{line}"),
                Some("Regular") if item["content"] == "Read" => assert_eq!(item["size"], 7, "{line}"),
                _ => {}
            }
        }
    }
}

#[test]
fn what_is_read_of_the_host_for_its_own_sake_is_neither_waited_for_nor_followed_out() {
    let mut host = Host::new(json!([{"name": "f", "path": "/f"}]));
    let outside = host.root().with_file_name("outside");
    fs::write(&outside, "intruder:x:0:0::/:/bin/sh\n").unwrap();
    host.write("/f", "1");
    host.mkdir("/etc");
    host.mkdir("/proc/1");
    for path in ["/etc/group", "/etc/machine-id", "/proc/1/mountinfo"] {
        mknodat(CWD, host.at(path), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    }
    host.link(outside.to_str().unwrap(), "/etc/passwd");
    host.link("/etc/hostname", "/etc/hostname");
    host.engine().announce_start().unwrap();
    host.compare();
    host.write("/f", "22");
    let seen = host.compare();
    let after = &seen.only()["after"];
    assert!(after.get("owner").is_none() && after.get("group").is_none(), "{after}");
    assert_eq!(vedette_engine::Engine::host_name(&host.root()), None);
}

#[test]
fn names_of_owners_on_a_mount_that_hangs_hold_up_nothing() {
    with_own_mounts("names_of_owners_on_a_mount_that_hangs_hold_up_nothing", || {
        let mut host = Host::new(json!([{"name": "f", "path": "/f"}]));
        let files = host.root().with_file_name("files");
        fs::create_dir(&files).unwrap();
        fs::write(files.join("passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        host.write("/f", "1");
        let Some(mount) = FaultyMount::new(&files, &host.at("/etc")) else { return };
        for operation in [Operation::Look, Operation::Open, Operation::Read] {
            mount.set(operation, "passwd", Fault::Hangs);
        }
        host.engine().announce_start().unwrap();
        host.compare();
        host.write("/f", "22");
        assert_eq!(host.compare().told(), ["Modified /f Content,Size"]);
        assert!(mount.touched().is_empty(), "{:?}", mount.touched());
    });
}

#[test]
fn a_sparse_file_of_an_exabyte_is_over_the_limit_and_not_read() {
    let mut host = Host::new(everything());
    host.write("/huge", "");
    let file = fs::File::options().write(true).open(host.at("/huge")).unwrap();
    let largest = (20..63).rev().find(|bits| file.set_len(1 << bits).is_ok()).unwrap();
    let seen = host.compare();
    assert!(seen.summary.hashed < 1 << 20, "{} of 2^{largest} bytes were read", seen.summary.hashed);
    file.set_len((1 << largest) - 1).unwrap();
    let seen = host.compare();
    assert_eq!(seen.only()["after"]["content"], "TooLarge", "{:?}", seen.told());
}
