//! Hard links: a file with several names is read once a compare, and each name is an item of its own.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use support::{Host, SetClock, everything, rule};

/// Its clock stands an hour ahead: nothing is racy.
fn host() -> Host {
    let clock = SetClock::now();
    clock.advance(Duration::from_secs(3600));
    Host::with_clock(everything(), Arc::new(clock))
}

fn link(host: &Host, from: &str, to: &str) {
    fs::hard_link(host.at(from), host.at(to)).unwrap();
}

#[test]
fn a_file_with_three_names_is_hashed_once() {
    let mut host = host();
    host.write("/d/a", "0123456789");
    for name in ["b", "c"] {
        link(&host, "/d/a", &format!("/d/{name}"));
    }
    assert_eq!(host.compare().summary.hashed, 10);
    fs::write(host.at("/d/b"), "9876543210").unwrap();
    let seen = host.compare();
    assert_eq!(seen.summary.hashed, 10);
    assert_eq!(seen.told(), ["Modified /d/a Content", "Modified /d/b Content", "Modified /d/c Content"]);
    let digests: Vec<_> = seen.changes().iter().map(|change| change["after"]["sha256"].clone()).collect();
    assert!(digests[0].is_string() && digests.iter().all(|digest| *digest == digests[0]));
    assert!(host.compare().lines.is_empty());
}

#[test]
fn new_names_of_a_file_are_read_once_together() {
    let mut host = host();
    host.compare();
    host.write("/a", "0123456789");
    link(&host, "/a", "/b");
    let seen = host.compare();
    assert_eq!((seen.told(), seen.summary.hashed), (vec!["Added /a".to_owned(), "Added /b".to_owned()], 10));
    link(&host, "/a", "/c");
    let seen = host.compare();
    assert_eq!((seen.told(), seen.summary.hashed), (vec!["Added /c".to_owned()], 10), "its ctime moved");
}

#[test]
fn a_name_under_another_rule_takes_over_only_what_that_asks_for() {
    let mut host = host();
    host.set_rules(vec![
        rule("both", json!([{"name": "e", "path": "/both"}])),
        rule("md5", json!([{"name": "e", "path": "/md5", "hashes": ["Md5"]}])),
        rule("small", json!([{"name": "e", "path": "/small", "maxContentSize": 3}])),
    ]);
    host.write("/both/a", "0123456789");
    for directory in ["md5", "small"] {
        host.mkdir(&format!("/{directory}"));
        link(&host, "/both/a", &format!("/{directory}/a"));
    }
    host.compare();
    fs::write(host.at("/both/a"), "9876543210").unwrap();
    let seen = host.compare();
    let after = |path: &str| seen.changes().into_iter().find(|change| change["path"] == path).unwrap()["after"].clone();
    assert!(after("/both/a")["sha256"].is_string() && after("/md5/a")["sha256"].is_null());
    assert_eq!(after("/both/a")["md5"], after("/md5/a")["md5"]);
    assert_eq!((&after("/small/a")["content"], &after("/small/a")["md5"]), (&json!("TooLarge"), &json!(null)));
    let again = host.compare();
    assert!(again.lines.is_empty() && again.summary.hashed == 0);
}

#[test]
fn a_racy_file_is_read_under_each_of_its_names() {
    let mut host = Host::with_clock(everything(), Arc::new(SetClock::now()));
    host.write("/a", "0123456789");
    link(&host, "/a", "/b");
    assert_eq!(host.compare().summary.hashed, 20, "a write between the two looks could have the same times");
}

#[test]
fn a_hard_link_to_the_agents_own_database_in_a_files_place_is_told_and_then_unknown() {
    let mut host = Host::with_state_inside(everything());
    host.write("/etc/passwd", "root");
    host.compare();
    let tracked = host.standing().totals.tracked;
    host.remove("/etc/passwd");
    link(&host, "/state/vedette.redb", "/etc/passwd");
    let seen = host.compare();
    assert_eq!(seen.only()["path"], "/etc/passwd");
    let fields = seen.only()["fields"].as_array().unwrap();
    assert!(fields.contains(&"ContentState".into()) && fields.contains(&"Size".into()), "{fields:?}");
    for _ in 0..2 {
        assert!(host.compare().lines.is_empty(), "it changes with every compare, and is said once");
        let unknowns = host.standing().unknowns;
        assert_eq!((unknowns.items(), unknowns.named()[0].path.to_string().as_str()), (1, "/etc/passwd"));
    }
    link(&host, "/state/vedette.redb", "/etc/new");
    assert!(host.compare().lines.is_empty(), "where nothing was it is left out");
    host.remove("/etc/passwd");
    host.write("/etc/passwd", "evil");
    let told = host.compare().told();
    assert!(told.len() == 1 && told[0].starts_with("Modified /etc/passwd Content"), "{told:?}");
    assert_eq!((host.standing().unknowns.items(), host.standing().totals.tracked), (0, tracked));
    host.remove("/etc/passwd");
    assert_eq!(host.compare().told(), ["Removed /etc/passwd"]);
}
