//! A hostile host: what is swapped, looped or made up while a compare looks must not hang it, lead it out, or invent.
#![allow(clippy::unwrap_used)]

mod support;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Host, everything, is_root, tell};

/// Runs `attack` again and again on a thread of its own while the host is compared so often; returns all records.
fn compare_under(host: &mut Host, compares: usize, attack: impl Fn() + Sync) -> Vec<Value> {
    let ended = AtomicBool::new(false);
    let mut changes = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                attack();
            }
        });
        for _ in 0..compares {
            changes.extend(host.compare().lines.into_iter().filter(|line| line["changeType"].is_string()));
        }
        ended.store(true, Ordering::Relaxed);
    });
    changes
}

fn exchange(a: &Path, b: &Path) {
    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
}

#[test]
fn a_directory_that_is_swapped_with_a_link_never_leads_out_of_the_host() {
    let mut host = Host::new(everything());
    let outside = host.root().with_file_name("outside");
    fs::create_dir_all(outside.join("deep")).unwrap();
    fs::write(outside.join("secret"), "outside").unwrap();
    fs::write(outside.join("deep/secret"), "outside").unwrap();
    host.write("/d/secret", "inside!");
    host.write("/d/deep/secret", "inside!");
    host.link(outside.to_str().unwrap(), "/swap");
    host.compare();
    let (directory, link) = (host.at("/d"), host.at("/swap"));
    let changes = compare_under(&mut host, 150, || exchange(&directory, &link));
    let md5 = |text: &str| format!("{:x?}", <md5::Md5 as md5::Digest>::digest(text));
    let outside_md5: String =
        <md5::Md5 as md5::Digest>::digest("outside").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_ne!(md5("outside"), md5("inside!"));
    for change in &changes {
        let line = change.to_string();
        assert!(!line.contains(&outside_md5), "{line}");
        if change["path"].as_str().unwrap().ends_with("secret") {
            assert!(change["fields"].is_null(), "{line}");
        }
    }
    assert!(!changes.is_empty());
}

#[test]
fn a_file_that_is_swapped_with_a_link_a_fifo_and_a_device_is_never_opened_as_such() {
    let mut host = Host::new(everything());
    host.write("/secret-outside", "outside");
    let outside = host.root().with_file_name("secret");
    fs::rename(host.at("/secret-outside"), &outside).unwrap();
    host.write("/file", "content");
    host.link(outside.to_str().unwrap(), "/link");
    mknodat(CWD, host.at("/fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    host.compare();
    let (file, link, fifo) = (host.at("/file"), host.at("/link"), host.at("/fifo"));
    let changes = compare_under(&mut host, 300, || {
        exchange(&file, &fifo);
        exchange(&file, &link);
    });
    for change in &changes {
        for item in [&change["before"], &change["after"]] {
            match item["type"].as_str() {
                Some("Symlink") => assert_eq!(item["linkTarget"], outside.to_str().unwrap(), "{change}"),
                Some(_) => assert!(item.get("linkTarget").is_none(), "{change}"),
                None => {}
            }
            if item["content"] == "Read" {
                assert_eq!(item["md5"], "9a0364b9e99bb480dd25e1f0284c8555", "{change}");
            }
        }
    }
}

#[test]
fn names_that_are_renamed_to_and_fro_are_never_removed_twice_or_lost() {
    let mut host = Host::new(json!([{"name": "d", "path": "/d/*"}]));
    for at in 0..200 {
        host.write(&format!("/d/stays{at}"), "1");
    }
    host.write("/d/a", "moves");
    host.compare();
    let (a, b) = (host.at("/d/a"), host.at("/d/b"));
    let changes = compare_under(&mut host, 200, || {
        fs::rename(&a, &b).unwrap();
        fs::rename(&b, &a).unwrap();
    });
    for path in ["/d/a", "/d/b"] {
        let mut exists = path == "/d/a";
        // A rename moves the ctime, so a file that is renamed while it is read may be called unstable.
        let comes_or_goes = |change: &&Value| change["path"] == path && change["changeType"] != "Modified";
        for change in changes.iter().filter(comes_or_goes) {
            assert_eq!(change["changeType"], if exists { "Removed" } else { "Added" }, "{change}");
            exists = !exists;
        }
    }
    assert!(changes.iter().all(|change| !change["path"].as_str().unwrap().contains("stays")));
    host.compare();
    assert_eq!(host.standing().totals.tracked, 201);
}

#[test]
fn a_directory_that_comes_and_goes_takes_its_files_with_it_and_brings_them_back() {
    let mut host = Host::new(everything());
    for at in 0..50 {
        host.write(&format!("/d/in/f{at}"), "1");
    }
    host.compare();
    let (from, to) = (host.at("/d/in"), host.at("/away"));
    let changes = compare_under(&mut host, 100, || {
        fs::rename(&from, &to).unwrap();
        fs::rename(&to, &from).unwrap();
    });
    let mut state = std::collections::BTreeMap::new();
    for change in changes.iter().chain(&host.compare().lines).filter(|line| line["changeType"].is_string()) {
        let path = change["path"].as_str().unwrap().to_owned();
        let exists = state.entry(path.clone()).or_insert(path.starts_with("/d"));
        match change["changeType"].as_str().unwrap() {
            "Added" => assert!(!std::mem::replace(exists, true), "{change}"),
            "Removed" => assert!(std::mem::replace(exists, false), "{change}"),
            _ => assert!(*exists, "{change}"),
        }
    }
    assert_eq!(host.standing().totals.tracked, 53);
}

#[test]
fn a_file_that_never_stands_still_is_unstable_and_ends_the_look() {
    let mut host = Host::new(everything());
    host.write("/busy", vec![0; 4 << 20]);
    host.compare();
    let path = host.at("/busy");
    let file = fs::File::options().append(true).open(&path).unwrap();
    let changes = compare_under(&mut host, 5, || {
        std::io::Write::write_all(&mut &file, b"x").unwrap();
    });
    assert!(changes.iter().any(|change| change["after"]["content"] == "Unstable"), "{changes:?}");
    let mut was_unstable = false;
    for change in &changes {
        // A compare that the writer was too slow for reads it well: then it can turn unstable once more.
        let is_unstable = change["after"]["content"] == "Unstable";
        let turns = is_unstable && !was_unstable;
        assert_eq!(tell(change).contains("ContentState"), turns, "turning unstable is said once: {changes:?}");
        was_unstable = is_unstable;
    }
    // The writer may have been too slow for the last one, too.
    std::io::Write::write_all(&mut &file, b"x").unwrap();
    let told = host.compare().told();
    let is_told = told.len() == 1 && told[0].starts_with("Modified /busy Content") && !told[0].contains("State");
    assert!(is_told, "the next good read is compared with the last one: {told:?}");
}

#[test]
fn a_directory_with_thousands_of_names_is_compared_and_emptied() {
    let mut host = Host::new(json!([{"name": "d", "path": "/d/*"}]));
    for at in 0..3000 {
        host.write(&format!("/d/f{at}"), "");
    }
    host.compare();
    assert_eq!(host.standing().totals.tracked, 3000);
    assert!(host.compare().lines.is_empty());
    for at in (0..3000).step_by(2) {
        host.remove(&format!("/d/f{at}"));
    }
    assert_eq!(host.compare().changes().len(), 1500);
    for at in (0..3000).step_by(2) {
        host.write(&format!("/d/f{at}"), "");
    }
    assert_eq!(host.compare().changes().len(), 1500);
    host.remove("/d");
    assert_eq!(host.compare().changes().len(), 3000);
    assert_eq!(host.standing().totals.tracked, 0);
}

#[test]
fn two_engines_in_one_process_do_not_share_a_state() {
    let mut host = Host::new(everything());
    host.write("/a", "1");
    host.compare();
    assert!(host.open().is_err());
    host.write("/a", "22");
    assert_eq!(host.compare().changes().len(), 1, "the refused one did no harm");
}

#[test]
fn a_committer_that_fails_ends_the_compare_with_its_error() {
    if !is_root("a full disk") {
        return;
    }
    support::with_own_mounts("a_committer_that_fails_ends_the_compare_with_its_error", || {
        let mut host = Host::new(everything());
        host.stop();
        let small = host.root().with_file_name("small");
        fs::create_dir(&small).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=1200k", "small"].map(std::ffi::OsStr::new);
        support::run("mount", &[&options[..], &[small.as_os_str()]].concat());
        host.set_state_dir(small.join("state"));
        host.write("/a", "1");
        host.start();
        host.compare();
        for at in 0..6000 {
            host.write(&format!("/d{}/f{at}", at % 100), "");
        }
        let error = host.try_compare().err().unwrap();
        let vedette_engine::EngineError::Store(error) = &error else { panic!("{error:?}") };
        assert!(error.is_full(), "{error:?}");
        host.engine().recover().unwrap();
        assert!(host.standing().totals.tracked <= 102, "of what did not fit nothing was committed");
        assert!(host.try_compare().is_err(), "the disk is full still");
        host.engine().recover().unwrap();
        support::run(
            "mount",
            &["-o", "remount,size=100m"]
                .map(std::ffi::OsStr::new)
                .into_iter()
                .chain([small.as_os_str()])
                .collect::<Vec<_>>(),
        );
        assert_eq!(host.compare().changes().len(), 6100, "nothing was lost");
    });
}
