//! Moves: a file that is gone here and there again is told in two records that name each other, and read only if it must be.
#![allow(clippy::unwrap_used)]

mod support;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::sync::Arc;
use std::time::Duration;
use support::{Host, Seen, SetClock, everything, is_root, rule, run, tell, with_own_mounts};
use vedette_crds::record::ByteText;

/// The records in words, each with the path that it names as the other end of its move.
fn told(seen: &Seen) -> Vec<String> {
    let moved = |change: &Value| match (change["movedTo"].as_str(), change["movedFrom"].as_str()) {
        (Some(to), None) => format!(" -> {to}"),
        (None, Some(from)) => format!(" <- {from}"),
        (None, None) => String::new(),
        both => panic!("{both:?}"),
    };
    let mut told: Vec<String> =
        seen.changes().into_iter().map(|change| format!("{}{}", tell(change), moved(change))).collect();
    told.sort();
    told
}

/// A host on a file system with birth times, without which nothing is paired. Its clock stands an hour ahead: nothing is
/// racy, and no re-hash comes due.
fn host(entries: Value) -> Host {
    let clock = SetClock::now();
    clock.advance(Duration::from_secs(3600));
    let host = Host::with_clock(entries, Arc::new(clock));
    assert!(host.root().metadata().unwrap().created().is_ok(), "the temporary directory's file system has birth times");
    host
}

#[test]
fn a_renamed_file_is_removed_and_added_and_each_record_names_the_other() {
    let mut host = host(everything());
    host.write("/a/one", "1");
    host.mkdir("/b");
    host.compare();
    host.rename("/a/one", "/b/two");
    let seen = host.compare();
    assert_eq!(told(&seen), ["Added /b/two <- /a/one", "Removed /a/one -> /b/two"]);
    let item = |kind: &str, side: &str| {
        let change = seen.changes().into_iter().find(|change| change["changeType"] == kind).unwrap().clone();
        (change[side]["inode"].clone(), change[side]["sha256"].clone())
    };
    assert_eq!(item("Removed", "before"), item("Added", "after"));
    assert!(host.compare().lines.is_empty());
}

#[test]
fn paths_of_any_bytes_are_named_exactly() {
    use std::os::unix::ffi::OsStrExt as _;
    let mut host = host(everything());
    let at = |name: &[u8]| host.root().join(std::ffi::OsStr::from_bytes(name));
    let (old, new) = (at(b"old\xff"), at(b"new\xfe"));
    fs::write(&old, "1").unwrap();
    host.compare();
    fs::rename(&old, &new).unwrap();
    let seen = host.compare();
    for (kind, member, bytes) in [("Removed", "movedTo", "movedToBytes"), ("Added", "movedFrom", "movedFromBytes")] {
        let of = |kind: &str| seen.changes().into_iter().find(|change| change["changeType"] == kind).unwrap().clone();
        let other = of(if kind == "Removed" { "Added" } else { "Removed" });
        assert_eq!((&of(kind)[member], &of(kind)[bytes]), (&other["path"], &other["pathBytes"]));
        let text = ByteText(of(kind)[member].as_str().unwrap().to_owned());
        assert_eq!(text.to_bytes(of(kind)[bytes].as_str()).len(), 5);
    }
}

#[test]
fn a_moved_directory_pairs_all_that_lies_in_it_and_reads_nothing_again() {
    let mut host = host(everything());
    for at in 0..300 {
        host.write(&format!("/d/s{}/f{at}", at % 3), format!("{at}"));
    }
    host.write("/d/large", vec![7; 3 << 20]);
    host.compare();
    host.rename("/d", "/e");
    let seen = host.compare();
    assert_eq!(seen.summary.hashed, 0);
    let expected: Vec<String> = seen
        .changes()
        .iter()
        .filter(|change| change["after"]["type"] == "Regular" && change["movedFrom"].is_string())
        .map(|change| change["path"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(expected.len(), 301);
    for change in seen.changes() {
        let (path, to) = (change["path"].as_str().unwrap(), change["movedTo"].as_str());
        assert!(to.is_none_or(|to| path.replacen("/d", "/e", 1) == to), "{path} {to:?}");
        assert!(
            change["after"].is_null() || change["after"]["type"] != "Regular" || change["after"]["md5"].is_string()
        );
    }
    assert_eq!(seen.changes().len(), 2 * (301 + 4), "and the four directories");
    let again = host.compare();
    assert!(again.lines.is_empty() && again.summary.hashed == 0);
    assert_eq!(host.standing().totals.tracked, 301 + 4 + 1);
}

#[test]
fn a_new_tree_is_read_whole_though_it_waits() {
    let mut host = host(everything());
    host.compare();
    for at in 0..1000 {
        host.write(&format!("/d{}/f{at}", at % 7), format!("{at:06}"));
    }
    let seen = host.compare();
    assert_eq!((seen.changes().len(), seen.summary.hashed), (1007, 6000));
    assert!(seen.changes().iter().all(|change| change["movedFrom"].is_null()));
}

#[test]
fn a_moved_and_changed_file_is_two_files() {
    let mut host = host(everything());
    host.write("/grows", "1");
    host.write("/same-size", "1");
    host.write("/time-put-back", "1");
    host.compare();
    for name in ["grows", "same-size", "time-put-back"] {
        host.rename(&format!("/{name}"), &format!("/{name}.new"));
    }
    let modified = fs::metadata(host.at("/time-put-back.new")).unwrap().modified().unwrap();
    host.write("/grows.new", "12");
    host.write("/same-size.new", "2");
    host.write("/time-put-back.new", "2");
    File::options().write(true).open(host.at("/time-put-back.new")).unwrap().set_modified(modified).unwrap();
    let seen = host.compare();
    assert_eq!(seen.changes().len(), 6);
    assert!(!told(&seen).iter().any(|line| line.contains("<-") || line.contains("->")), "{:?}", told(&seen));
}

#[test]
fn a_move_with_another_mode_and_owner_is_still_a_move() {
    let mut host = host(everything());
    host.write("/a", "1");
    host.compare();
    host.rename("/a", "/b");
    host.chmod("/b", 0o600);
    assert_eq!(told(&host.compare()), ["Added /b <- /a", "Removed /a -> /b"]);
}

#[test]
fn a_move_while_the_agent_was_away_is_told_at_startup() {
    let mut host = host(everything());
    host.write("/d/a", "1");
    host.compare();
    host.stop();
    host.rename("/d", "/e");
    host.start();
    let seen = host.compare();
    assert_eq!(told(&seen), ["Added /e", "Added /e/a <- /d/a", "Removed /d", "Removed /d/a -> /e/a"]);
    assert!(seen.changes().iter().all(|change| change["detection"] == "Startup"));
    assert_eq!(seen.summary.hashed, 0);
}

#[test]
fn a_move_in_and_a_move_out_of_what_is_watched_stand_alone() {
    let mut host = host(json!([{"name": "in", "path": "/in"}]));
    host.write("/in/leaves", "1");
    host.write("/out/comes", "1");
    host.compare();
    host.rename("/in/leaves", "/out/leaves");
    host.rename("/out/comes", "/in/comes");
    assert_eq!(told(&host.compare()), ["Added /in/comes", "Removed /in/leaves"]);
}

#[test]
fn a_move_between_two_rules_is_told_by_each_for_its_own_end() {
    let mut host = host(json!([]));
    host.set_rules(vec![
        rule("one", json!([{"name": "e", "path": "/one", "hashes": ["Md5"]}])),
        rule("two", json!([{"name": "e", "path": "/two", "hashes": ["Sha256"]}])),
    ]);
    host.write("/one/a", "1");
    host.mkdir("/two");
    host.compare();
    host.rename("/one/a", "/two/a");
    let seen = host.compare();
    assert_eq!(told(&seen), ["Added /two/a <- /one/a", "Removed /one/a -> /two/a"]);
    for change in seen.changes() {
        let is_new = change["changeType"] == "Added";
        assert_eq!(change["rules"], if is_new { json!(["two/e"]) } else { json!(["one/e"]) });
        let digests = &change[if is_new { "after" } else { "before" }];
        assert_eq!((digests["md5"].is_string(), digests["sha256"].is_string()), (!is_new, is_new));
    }
    assert!(host.compare().lines.is_empty());
}

#[test]
fn a_file_under_other_digests_after_its_directory_moved_is_read_and_compared_by_the_old_ones() {
    let mut host = host(json!([]));
    host.set_rules(vec![
        rule("one", json!([{"name": "e", "path": "/one", "hashes": ["Md5"]}])),
        rule("two", json!([{"name": "e", "path": "/two", "hashes": ["Sha256"]}])),
        rule("three", json!([{"name": "e", "path": "/three", "compare": ["Mode"]}])),
    ]);
    host.write("/one/d/a", "1");
    host.write("/one/f/a", "1");
    host.mkdir("/two");
    host.mkdir("/three");
    host.compare();
    host.rename("/one/d", "/two/d");
    host.rename("/one/f", "/three/f");
    let seen = host.compare();
    assert_eq!(seen.summary.hashed, 1);
    let after = |path: &str| seen.changes().into_iter().find(|change| change["path"] == path).unwrap()["after"].clone();
    assert!(after("/two/d/a")["sha256"].is_string() && after("/two/d/a")["md5"].is_null());
    assert!(after("/three/f/a")["content"].is_null() && after("/three/f/a")["md5"].is_null());
    assert_eq!(told(&seen).iter().filter(|line| line.contains("<-")).count(), 2);
    let again = host.compare();
    assert!(again.lines.is_empty() && again.summary.hashed == 0);
}

#[test]
fn a_file_renamed_over_another_is_one_modified_and_one_removed() {
    let mut host = host(everything());
    host.write("/new", "2");
    host.write("/target", "1");
    host.compare();
    host.rename("/new", "/target");
    let seen = host.compare();
    assert_eq!(told(&seen), ["Modified /target Content", "Removed /new"]);
    let inode = |at: usize, side: &str| seen.changes()[at][side]["inode"].clone();
    assert!(inode(0, "before") == inode(1, "after") || inode(1, "before") == inode(0, "after"), "a reader can tell");
}

#[test]
fn an_editors_save_is_one_modified() {
    let mut host = host(everything());
    host.write("/file", "1");
    host.compare();
    // vim with a backup: the old file aside, a new one in its place, the old one gone.
    host.rename("/file", "/file~");
    host.write("/file", "22");
    host.remove("/file~");
    assert_eq!(told(&host.compare()), ["Modified /file Content,Size"]);
    // sed -i: a new file over the old one.
    host.write("/sedAbCdEf", "333");
    host.rename("/sedAbCdEf", "/file");
    assert_eq!(told(&host.compare()), ["Modified /file Content,Size"]);
    // With the backup kept it is the old file that moved, and another one in its place.
    host.rename("/file", "/file~");
    host.write("/file", "4444");
    assert_eq!(told(&host.compare()), ["Added /file~", "Modified /file Content,Size"]);
}

#[test]
fn two_files_that_change_places_are_modified_both() {
    let mut host = host(everything());
    host.write("/a", "1");
    host.write("/b", "2");
    host.compare();
    renameat_with(CWD, host.at("/a"), CWD, host.at("/b"), RenameFlags::EXCHANGE).unwrap();
    assert_eq!(told(&host.compare()), ["Modified /a Content", "Modified /b Content"]);
}

#[test]
fn a_chain_of_moves_pairs_the_ends_that_are_free() {
    let mut host = host(everything());
    host.write("/log", "3");
    host.write("/log.1", "2");
    host.compare();
    host.rename("/log.1", "/log.2");
    host.rename("/log", "/log.1");
    // In /log.1 there is a file as before, so nothing is gone from there.
    assert_eq!(told(&host.compare()), ["Added /log.2", "Modified /log.1 Content", "Removed /log"]);
    host.rename("/log.1", "/log.3");
    host.rename("/log.3", "/log.4");
    assert_eq!(told(&host.compare()), ["Added /log.4 <- /log.1", "Removed /log.1 -> /log.4"]);
}

#[test]
fn a_hard_link_that_takes_the_place_of_the_old_name_is_a_move() {
    let mut host = host(everything());
    host.write("/a", "1");
    host.compare();
    fs::hard_link(host.at("/a"), host.at("/b")).unwrap();
    host.remove("/a");
    assert_eq!(told(&host.compare()), ["Added /b <- /a", "Removed /a -> /b"]);
    fs::hard_link(host.at("/b"), host.at("/c")).unwrap();
    assert_eq!(told(&host.compare()), ["Added /c"], "nothing is gone");
}

#[test]
fn names_of_one_file_are_paired_one_to_one_and_the_same_way_each_time() {
    let mut host = host(everything());
    host.write("/d/a", "1");
    for name in ["b", "c"] {
        fs::hard_link(host.at("/d/a"), host.at(&format!("/d/{name}"))).unwrap();
    }
    host.mkdir("/e");
    host.compare();
    for name in ["a", "b", "c"] {
        host.rename(&format!("/d/{name}"), &format!("/e/{name}"));
    }
    let names = ["a", "b", "c"];
    let added = names.map(|name| format!("Added /e/{name} <- /d/{name}"));
    let removed = names.map(|name| format!("Removed /d/{name} -> /e/{name}"));
    assert_eq!(told(&host.compare()), [added, removed].concat());
    host.remove("/e/a");
    host.rename("/e/b", "/e/y");
    assert_eq!(told(&host.compare()), ["Added /e/y <- /e/a", "Removed /e/a -> /e/y", "Removed /e/b"]);
}

#[test]
fn a_deleted_file_and_a_new_one_of_the_same_content_are_two() {
    let mut host = host(everything());
    for at in 0..20 {
        host.write(&format!("/a{at}"), "1");
    }
    host.compare();
    for at in 0..20 {
        let modified = fs::metadata(host.at(&format!("/a{at}"))).unwrap().modified().unwrap();
        host.remove(&format!("/a{at}"));
        // Its inode number may be the one that was just given back.
        host.write(&format!("/b{at}"), "1");
        File::options().write(true).open(host.at(&format!("/b{at}"))).unwrap().set_modified(modified).unwrap();
    }
    let seen = host.compare();
    assert_eq!(seen.changes().len(), 40);
    assert!(seen.changes().iter().all(|change| change["movedTo"].is_null() && change["movedFrom"].is_null()));
}

#[test]
fn what_is_no_regular_file_is_told_unpaired() {
    let mut host = host(everything());
    host.mkdir("/directory");
    host.link("target", "/link");
    host.compare();
    host.rename("/directory", "/directory.new");
    host.rename("/link", "/link.new");
    let seen = host.compare();
    assert_eq!(told(&seen), ["Added /directory.new", "Added /link.new", "Removed /directory", "Removed /link"]);
}

#[test]
fn a_move_to_another_file_system_is_a_copy() {
    with_own_mounts("a_move_to_another_file_system_is_a_copy", || {
        if !is_root("mounting") {
            return;
        }
        let mut host = host(everything());
        host.write("/a", "1");
        host.mkdir("/other");
        run("mount", &["-t".as_ref(), "tmpfs".as_ref(), "none".as_ref(), host.at("/other").as_os_str()]);
        host.compare();
        run("mv", &[host.at("/a").as_os_str(), host.at("/other/a").as_os_str()]);
        assert_eq!(told(&host.compare()), ["Added /other/a", "Removed /a"]);
        run("umount", &[host.at("/other").as_os_str()]);
    });
}

#[test]
fn a_move_to_where_nothing_was_watched_before_is_removed_alone() {
    let mut host = host(json!([{"name": "e", "path": "/one"}]));
    host.write("/one/a", "1");
    host.mkdir("/two");
    host.compare();
    host.rename("/one/a", "/two/a");
    host.set_entries(json!([{"name": "e", "path": "/one"}, {"name": "f", "path": "/two"}]));
    assert_eq!(told(&host.compare()), ["Removed /one/a"]);
    host.rename("/two/a", "/one/b");
    host.set_entries(json!([{"name": "e", "path": "/one"}, {"name": "f", "path": "/two", "severity": "Low"}]));
    assert_eq!(told(&host.compare()), ["Added /one/b <- /two/a", "Removed /two/a -> /one/b"], "both were watched");
}

#[test]
fn a_compare_that_is_told_to_stop_splits_no_pair() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let mut host = host(everything());
    for at in 0..600 {
        host.write(&format!("/d/f{at}"), format!("{at}"));
    }
    host.compare();
    host.rename("/d", "/e");
    let mut lines = Vec::new();
    for commits in 0..3u32 {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, mut left) = (Arc::clone(&stop), commits);
        host.engine()
            .compare(&vedette_engine::Due::All, &stop, &mut |_| {
                told.store(left == 0, Ordering::Relaxed);
                left = left.saturating_sub(1);
            })
            .unwrap();
        lines.extend(host.lines());
    }
    lines.extend(host.compare().lines);
    let ends = |kind: &str, member: &str| {
        let of = lines.iter().filter(|line| line["changeType"] == kind && line[member].is_string());
        let mut ends: Vec<_> =
            of.map(|line| (line["path"].clone().to_string(), line[member].clone().to_string())).collect();
        ends.sort();
        ends
    };
    let back: Vec<_> = ends("Added", "movedFrom").into_iter().map(|(path, from)| (from, path)).collect();
    assert_eq!(back.len(), 600);
    assert_eq!(ends("Removed", "movedTo"), back);
}
