//! The main job: what changes on a host is said once, with what it was and what it is.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use support::{Host, everything};

#[test]
fn the_first_compare_makes_the_baseline_and_says_so() {
    let mut host = Host::new(everything());
    host.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
    host.link("passwd", "/etc/link");
    let seen = host.compare();
    assert!(seen.changes().is_empty(), "{:?}", seen.told());
    assert_eq!(seen.notices("BaselineMade")[0]["items"], 4, "/, /etc, and what is in it");
    assert_eq!(seen.notices("ConfigurationApplied")[0]["itemsAdded"], 4);
    assert!(host.standing().baseline_ready);
    assert_eq!(host.standing().totals.tracked, 4);
    assert!(host.compare().lines.is_empty(), "nothing changed");
}

#[test]
fn a_changed_file_is_reported_with_both_digests() {
    let mut host = Host::new(everything());
    host.write("/etc/passwd", "abc");
    host.compare();
    host.write("/etc/passwd", "abcd");
    let seen = host.compare();
    let change = seen.only();
    assert_eq!(support::tell(change), "Modified /etc/passwd Content,Size");
    assert_eq!(change["before"]["md5"], "900150983cd24fb0d6963f7d28e17f72");
    assert_eq!(change["before"]["sha256"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(change["before"]["size"], 3);
    assert_eq!(change["after"]["md5"], "e2fc714c4727ee9395f324cd2e7f331f");
    assert_eq!(change["after"]["mode"], "0644");
    assert_eq!(change["rules"], json!(["r/all"]));
    assert_eq!(change["detection"], "Scan");
    assert!(change["since"].as_str().unwrap() < change["time"].as_str().unwrap());
    assert!(host.compare().lines.is_empty(), "it is reported once");
}

#[test]
fn a_created_a_removed_and_a_chmodded_file_are_each_one_record() {
    let mut host = Host::new(everything());
    host.write("/a", "1");
    host.write("/b", "2");
    host.compare();
    host.write("/c", "3");
    host.remove("/a");
    host.chmod("/b", 0o600);
    let seen = host.compare();
    assert_eq!(seen.told(), ["Added /c", "Modified /b Mode", "Removed /a"]);
    let removed = seen.changes().into_iter().find(|change| change["changeType"] == "Removed").unwrap().clone();
    assert_eq!(removed["before"]["md5"], "c4ca4238a0b923820dcc509a6f75849b");
    assert!(removed.get("after").is_none());
}

#[test]
fn a_retargeted_symlink_is_reported_with_both_targets() {
    let mut host = Host::new(everything());
    host.link("one", "/link");
    host.compare();
    host.remove("/link");
    host.link("two", "/link");
    let seen = host.compare();
    assert_eq!(support::tell(seen.only()), "Modified /link LinkTarget");
    assert_eq!(seen.only()["before"]["linkTarget"], "one");
    assert_eq!(seen.only()["after"]["linkTarget"], "two");
}

#[test]
fn a_removed_directory_is_one_removed_record_an_item() {
    let mut host = Host::new(json!([{"name": "conf", "path": "/srv/**/*.conf"}]));
    host.write("/srv/app/a.conf", "1");
    host.write("/srv/app/deep/b.conf", "2");
    host.write("/srv/app/ignored.txt", "3");
    host.compare();
    host.remove("/srv/app");
    assert_eq!(host.compare().told(), ["Removed /srv/app/a.conf", "Removed /srv/app/deep/b.conf"]);
    assert_eq!(host.standing().totals.tracked, 0);
}

#[test]
fn a_touched_file_and_the_same_content_again_are_no_change() {
    let mut host = Host::new(everything());
    host.write("/a", "1");
    host.compare();
    host.write("/a", "1");
    assert!(host.compare().lines.is_empty());
    host.remove("/a");
    host.write("/a", "1");
    assert!(host.compare().lines.is_empty(), "deleted and recreated with the same content");
}

#[test]
fn an_editors_save_is_one_modified_record() {
    let mut host = Host::new(everything());
    host.write("/conf", "old");
    host.compare();
    host.write("/conf.new", "new!");
    host.rename("/conf.new", "/conf");
    assert_eq!(host.compare().told(), ["Modified /conf Content,Size"]);
}

#[test]
fn a_change_while_the_agent_was_away_is_marked_startup() {
    let mut host = Host::new(everything());
    host.write("/a", "1");
    host.compare();
    host.stop();
    host.write("/a", "2");
    host.start();
    let seen = host.compare();
    assert_eq!(seen.only()["detection"], "Startup");
    host.write("/a", "3");
    let seen = host.compare();
    assert_eq!(seen.only()["detection"], "Scan");
}

#[test]
fn a_file_that_became_a_directory_is_a_change_of_type() {
    let mut host = Host::new(everything());
    host.write("/a", "1");
    host.mkdir("/b");
    host.write("/b/inside", "x");
    host.compare();
    host.remove("/a");
    host.mkdir("/a");
    host.remove("/b");
    host.write("/b", "file");
    let told = host.compare().told();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].starts_with("Modified /a Content,Mode,Size,Type"), "{told:?}");
    assert!(told[1].starts_with("Modified /b Content,Mode,Size,Type"), "{told:?}");
    assert_eq!(told[2], "Removed /b/inside");
}
