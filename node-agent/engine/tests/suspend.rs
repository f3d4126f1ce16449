//! A suspended rule's items are frozen for as long as it lasts; its own differences are reported when it is resumed.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use support::{Host, Seen, SetClock, rule_with, tell};
use vedette_crds::node_config::NodeRule;
use vedette_engine::Due;
use vedette_engine::engine::Outcome;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn entry(name: &str, path: &str) -> Value {
    json!([{"name": name, "path": path}])
}

fn running(name: &str, entries: Value) -> NodeRule {
    rule_with(name, entries, json!({}))
}

fn suspended(name: &str, entries: Value) -> NodeRule {
    rule_with(name, entries, json!({"suspend": true}))
}

/// The rule under test, and another one that watches `/srv/both` of its `/srv`.
fn r(suspend: bool) -> NodeRule {
    rule_with("r", entry("r", "/srv"), json!({"suspend": suspend}))
}

fn other() -> NodeRule {
    running("other", entry("o", "/srv/both"))
}

/// A host with three files in each half, compared.
fn host(clock: &Arc<SetClock>, rules: Vec<NodeRule>) -> Host {
    let mut host = Host::with_clock(json!([]), clock.clone());
    for name in ["same", "changed", "gone"] {
        host.write(&format!("/srv/both/{name}"), "1");
        host.write(&format!("/srv/alone/{name}"), "1");
    }
    clock.advance(Duration::from_secs(60));
    host.set_rules(rules);
    host.compare();
    host
}

fn change(host: &Host, directory: &str) {
    host.write(&format!("{directory}/changed"), "22");
    host.remove(&format!("{directory}/gone"));
    host.write(&format!("{directory}/new"), "1");
}

/// Records in words, each with the rules that report it and what detected it; sorted.
fn told(seen: &Seen) -> Vec<String> {
    let rules = |change: &Value| {
        let rules = change["rules"].as_array().unwrap().iter();
        rules.map(|rule| rule.as_str().unwrap().split_once('/').unwrap().0).collect::<Vec<_>>().join("+")
    };
    let mut told: Vec<String> = seen
        .changes()
        .into_iter()
        .map(|change| format!("{} {} {}", rules(change), change["detection"].as_str().unwrap(), tell(change)))
        .collect();
    told.sort();
    told
}

/// What one set of rules says, with one detection, of a directory that was changed.
fn of(rules: &str, detection: &str, directory: &str) -> Vec<String> {
    let change =
        |what: &str, name: &str, fields: &str| format!("{rules} {detection} {what} {directory}/{name}{fields}");
    vec![change("Added", "new", ""), change("Modified", "changed", " Content,Size"), change("Removed", "gone", "")]
}

fn sorted(parts: &[Vec<String>]) -> Vec<String> {
    let mut all = parts.concat();
    all.sort();
    all
}

#[test]
fn what_another_rule_reported_meanwhile_is_reported_for_the_resumed_rule_alone() {
    let clock = Arc::new(SetClock::now());
    let mut host = host(&clock, vec![r(false), other()]);
    host.set_rules(vec![r(true), other()]);
    host.compare();
    change(&host, "/srv/both");
    change(&host, "/srv/alone");
    assert_eq!(told(&host.compare()), of("other", "Scan", "/srv/both"));
    clock.advance(100 * DAY);
    host.compare();
    host.stop();
    host.start();
    let totals = host.standing().totals;
    assert_eq!((totals.rules[0].tracked, totals.rules[1].tracked, totals.tracked), (9, 4, 9));

    host.set_rules(vec![r(false), other()]);
    let seen = host.compare();
    let resumed = sorted(&[of("r", "Resumed", "/srv/both"), of("r", "Resumed", "/srv/alone")]);
    assert_eq!(told(&seen), resumed);
    assert_eq!(seen.summary.records, 6);
    let modified = seen.changes().into_iter().find(|change| change["path"] == "/srv/both/changed").unwrap().clone();
    assert_eq!((&modified["before"]["size"], &modified["after"]["size"]), (&json!(1), &json!(2)));
    assert!(host.compare().lines.is_empty());
    let totals = host.standing().totals;
    assert_eq!((totals.rules[0].tracked, totals.rules[1].tracked, totals.tracked), (9, 4, 9));
    host.write("/srv/both/changed", "333");
    assert_eq!(told(&host.compare()), ["other+r Scan Modified /srv/both/changed Content,Size"]);
}

#[test]
fn what_changed_and_changed_back_while_it_was_suspended_is_nothing_to_it() {
    let clock = Arc::new(SetClock::now());
    let mut host = host(&clock, vec![r(false), other()]);
    host.set_rules(vec![r(true), other()]);
    host.compare();
    host.chmod("/srv/both/same", 0o600);
    host.write("/srv/both/new", "1");
    assert_eq!(host.compare().changes().len(), 2);
    host.chmod("/srv/both/same", 0o644);
    host.remove("/srv/both/new");
    assert_eq!(host.compare().changes().len(), 2);
    host.set_rules(vec![r(false), other()]);
    assert_eq!(told(&host.compare()), [""; 0]);
}

#[test]
fn what_changes_after_the_last_look_of_the_other_rule_is_reported_by_both() {
    let clock = Arc::new(SetClock::now());
    let mut host = host(&clock, vec![r(false), other()]);
    host.set_rules(vec![r(true), other()]);
    host.compare();
    host.write("/srv/both/changed", "22");
    host.compare();
    host.write("/srv/both/changed", "333");
    host.set_rules(vec![r(false), other()]);
    let seen = host.compare();
    assert_eq!(
        told(&seen),
        ["other+r Scan Modified /srv/both/changed Content,Size", "r Resumed Modified /srv/both/changed Content,Size"]
    );
    let sizes: Vec<_> =
        seen.changes().iter().map(|change| [&change["before"]["size"], &change["after"]["size"]]).collect();
    assert_eq!(sizes, [[&json!(1), &json!(2)], [&json!(2), &json!(3)]]);
}

#[test]
fn a_rule_that_comes_to_watch_what_is_frozen_finds_what_changed_and_so_does_the_frozen_one_later() {
    let clock = Arc::new(SetClock::now());
    let mut host = host(&clock, vec![r(false)]);
    host.set_rules(vec![r(true)]);
    host.compare();
    change(&host, "/srv/both");
    host.set_rules(vec![r(true), other()]);
    assert_eq!(told(&host.compare()), of("other", "Resumed", "/srv/both"));
    host.set_rules(vec![r(false), other()]);
    assert_eq!(told(&host.compare()), of("r", "Resumed", "/srv/both"));
    assert!(host.compare().lines.is_empty());
}

#[test]
fn a_rule_that_watches_for_a_while_and_leaves_takes_nothing_of_what_is_frozen() {
    let clock = Arc::new(SetClock::now());
    for days in [1, 30] {
        let mut host = host(&clock, vec![r(false), other()]);
        host.set_rules(vec![r(true), other()]);
        host.compare();
        change(&host, "/srv/both");
        host.compare();
        host.set_rules(vec![r(true)]);
        host.compare();
        clock.advance(days * DAY);
        host.compare();
        host.set_rules(vec![r(false)]);
        assert_eq!(told(&host.compare()), of("r", "Resumed", "/srv/both"), "{days} days");
        assert!(host.compare().lines.is_empty());
    }
}

#[test]
fn a_rule_that_comes_again_says_nothing_twice() {
    let clock = Arc::new(SetClock::now());
    let mut host = host(&clock, vec![r(false), other()]);
    host.set_rules(vec![r(true), other()]);
    host.compare();
    change(&host, "/srv/both");
    host.compare();
    for days in [1, 30] {
        host.set_rules(vec![r(true)]);
        host.compare();
        clock.advance(days * DAY);
        host.set_rules(vec![r(true), other()]);
        assert_eq!(told(&host.compare()), [""; 0], "{days} days");
    }
    host.set_rules(vec![r(false), other()]);
    assert_eq!(told(&host.compare()), of("r", "Resumed", "/srv/both"));
}

#[test]
fn two_suspended_rules_each_report_from_where_they_stopped() {
    let s = |suspend: bool| rule_with("s", entry("s", "/srv/both"), json!({"suspend": suspend}));
    for order in [[(false, true), (false, false)], [(true, false), (false, false)], [(false, false), (false, false)]] {
        let clock = Arc::new(SetClock::now());
        let mut host = host(&clock, vec![r(false), s(false)]);
        host.set_rules(vec![r(true), s(false)]);
        host.compare();
        host.write("/srv/both/changed", "22");
        assert_eq!(told(&host.compare()), ["s Scan Modified /srv/both/changed Content,Size"]);
        host.set_rules(vec![r(true), s(true)]);
        host.compare();
        let totals = host.standing().totals;
        assert_eq!((totals.rules[0].tracked, totals.rules[1].tracked, totals.tracked), (9, 4, 9));
        host.write("/srv/both/changed", "333");
        assert!(host.compare().changes().is_empty());
        let mut last = Vec::new();
        for (r_suspended, s_suspended) in order {
            host.set_rules(vec![r(r_suspended), s(s_suspended)]);
            last.extend(host.compare().changes().into_iter().cloned());
        }
        // The sizes that each rule was told, one after the other.
        let of = |name: &str| -> Vec<u64> {
            let rule = json!(format!("{name}/{name}"));
            let told = last.iter().filter(|change| change["rules"].as_array().unwrap().contains(&rule));
            let sizes = told
                .map(|change| (change["before"]["size"].as_u64().unwrap(), change["after"]["size"].as_u64().unwrap()));
            let sizes: Vec<_> = sizes.collect();
            assert!(sizes.windows(2).all(|pair| pair[0].1 == pair[1].0), "{order:?}: {sizes:?}");
            vec![sizes.first().unwrap().0, sizes.last().unwrap().1]
        };
        assert_eq!((of("r"), of("s")), (vec![1, 3], vec![2, 3]), "{order:?}");
        assert!(host.compare().lines.is_empty());
    }
}

#[test]
fn a_rule_that_is_suspended_again_and_again_reports_each_difference_once() {
    let clock = Arc::new(SetClock::now());
    let mut host = host(&clock, vec![r(false), other()]);
    for round in 1..4 {
        host.set_rules(vec![r(true), other()]);
        host.compare();
        host.write("/srv/both/changed", "2".repeat(1 + round));
        host.write("/srv/alone/changed", "2".repeat(1 + round));
        host.compare();
        host.set_rules(vec![r(false), other()]);
        let expected =
            ["r Resumed Modified /srv/alone/changed Content,Size", "r Resumed Modified /srv/both/changed Content,Size"];
        assert_eq!(told(&host.compare()), expected);
    }
}

#[test]
fn a_resumption_that_is_taken_back_before_its_compare_loses_nothing() {
    let clock = Arc::new(SetClock::now());
    let mut host = host(&clock, vec![r(false), other()]);
    host.set_rules(vec![r(true), other()]);
    host.compare();
    change(&host, "/srv/both");
    change(&host, "/srv/alone");
    host.compare();
    let mut lines = Vec::new();
    for _ in 0..2 {
        host.set_rules(vec![r(false), other()]);
        let stop = Arc::new(AtomicBool::new(true));
        assert_eq!(host.engine().compare(&Due::All, &stop, &mut |_| {}).unwrap(), Outcome::Interrupted);
        lines.extend(host.lines());
        host.stop();
        host.start();
        host.set_rules(vec![r(true), other()]);
        lines.extend(host.compare().lines);
    }
    host.set_rules(vec![r(false), other()]);
    lines.extend(host.compare().lines);
    let mut told: Vec<String> = lines
        .iter()
        .filter(|line| line["rules"][0] == "r/r")
        .map(|line| format!("{} {}", line["detection"].as_str().unwrap(), tell(line)))
        .collect();
    told.sort();
    let expected = sorted(&[of("r", "Resumed", "/srv/both"), of("r", "Resumed", "/srv/alone")]);
    assert_eq!(told, expected.iter().map(|line| line.trim_start_matches("r ")).collect::<Vec<_>>());
}

#[test]
fn a_rule_that_is_deleted_while_it_is_suspended_has_left_watch() {
    let clock = Arc::new(SetClock::now());
    for (days, is_compared) in [(6, true), (8, false)] {
        let mut host = host(&clock, vec![r(false), other()]);
        host.set_rules(vec![r(true), other()]);
        host.compare();
        change(&host, "/srv/alone");
        clock.advance(30 * DAY);
        host.set_rules(vec![other()]);
        host.compare();
        assert_eq!(host.standing().totals.tracked, 4);
        clock.advance(days * DAY);
        let mut again = r(false);
        again.uid = "another-uid".into();
        host.set_rules(vec![again, other()]);
        let expected = if is_compared { of("r", "Resumed", "/srv/alone") } else { vec![] };
        assert_eq!(told(&host.compare()), expected, "{days} days");
        assert!(host.compare().lines.is_empty());
    }
}

#[test]
fn a_rule_that_is_edited_while_it_is_suspended_reports_what_it_still_selects() {
    let clock = Arc::new(SetClock::now());
    let edited = |suspend: bool| {
        let entries = json!([{"name": "r", "path": "/srv/both"}, {"name": "more", "path": "/opt"}]);
        rule_with("r", entries, json!({"suspend": suspend}))
    };
    let mut host = host(&clock, vec![r(false), other()]);
    host.write("/opt/tool", "1");
    host.set_rules(vec![r(true), other()]);
    host.compare();
    change(&host, "/srv/both");
    change(&host, "/srv/alone");
    host.set_rules(vec![edited(true), other()]);
    assert_eq!(told(&host.compare()), of("other", "Scan", "/srv/both"));
    host.set_rules(vec![edited(false), other()]);
    let seen = host.compare();
    assert_eq!(told(&seen), of("r", "Resumed", "/srv/both"), "/opt is baselined");
    let applied = seen.notices("ConfigurationApplied");
    assert_eq!((&applied[0]["itemsAdded"], &applied[0]["itemsForgotten"]), (&json!(2), &json!(0)));
    host.set_rules(vec![r(false), other()]);
    assert_eq!(told(&host.compare()), of("r", "Resumed", "/srv/alone"), "what left with the edit was kept");
}

#[test]
fn only_what_the_resumed_rule_compares_is_reported_for_it() {
    let clock = Arc::new(SetClock::now());
    let with = |suspend: bool| {
        let entries = json!([{"name": "mode", "path": "/srv/both/*", "compare": ["Mode"]}]);
        rule_with("r", entries, json!({"suspend": suspend}))
    };
    let mut host = host(&clock, vec![with(false), other()]);
    host.set_rules(vec![with(true), other()]);
    host.compare();
    host.chmod("/srv/both/same", 0o600);
    host.write("/srv/both/changed", "22");
    host.compare();
    host.set_rules(vec![with(false), other()]);
    assert_eq!(told(&host.compare()), ["r Resumed Modified /srv/both/same Mode"]);
}

#[test]
fn content_is_compared_in_the_hashes_of_the_suspended_rule_too() {
    let clock = Arc::new(SetClock::now());
    let hashing = |name: &str, hash: &str, suspend: bool| {
        let entries = json!([{"name": "e", "path": "/srv/both/*", "hashes": [hash]}]);
        rule_with(name, entries, json!({"suspend": suspend}))
    };
    for watched_before in [true, false] {
        let q = || hashing("q", "Sha512", false);
        let mut first = vec![hashing("r", "Blake3", false)];
        first.extend(watched_before.then(q));
        let mut host = host(&clock, first);
        host.set_rules(vec![hashing("r", "Blake3", true), q()]);
        host.compare();
        host.write("/srv/both/changed", "2");
        assert_eq!(told(&host.compare()), ["q Scan Modified /srv/both/changed Content"]);
        host.set_rules(vec![hashing("r", "Blake3", false), q()]);
        let seen = host.compare();
        assert_eq!(told(&seen), ["r Resumed Modified /srv/both/changed Content"]);
        assert_ne!(seen.only()["before"]["blake3"], seen.only()["after"]["blake3"]);
    }
}

#[test]
fn content_that_only_the_suspended_rule_compares_is_read_when_it_is_resumed() {
    let clock = Arc::new(SetClock::now());
    let mode = || running("mode", json!([{"name": "m", "path": "/srv/both", "compare": ["Mode"]}]));
    let mut host = host(&clock, vec![r(false), mode()]);
    host.set_rules(vec![r(true), mode()]);
    assert_eq!(host.compare().summary.hashed, 0);
    host.write("/srv/both/changed", "2");
    let seen = host.compare();
    assert_eq!((told(&seen).len(), seen.summary.hashed), (0, 0));
    host.set_rules(vec![r(false), mode()]);
    assert_eq!(told(&host.compare()), ["r Resumed Modified /srv/both/changed Content"]);
}

#[test]
fn a_rule_that_was_never_running_has_nothing_frozen() {
    let clock = Arc::new(SetClock::now());
    let mut host = host(&clock, vec![other()]);
    host.set_rules(vec![suspended("r", entry("r", "/srv")), other()]);
    host.compare();
    assert_eq!(host.standing().totals.rules[0].tracked, 0);
    change(&host, "/srv/both");
    change(&host, "/srv/alone");
    assert_eq!(told(&host.compare()), of("other", "Scan", "/srv/both"));
    host.set_rules(vec![r(false), other()]);
    assert_eq!(told(&host.compare()), [""; 0]);
    host.write("/srv/alone/new", "22");
    assert_eq!(told(&host.compare()), ["r Scan Modified /srv/alone/new Content,Size"]);
}

#[test]
fn what_comes_into_being_where_the_suspended_rule_had_no_item_is_reported_when_it_is_resumed() {
    let p = |suspend: bool| rule_with("p", entry("p", "/etc/ld.so.preload"), json!({"suspend": suspend}));
    let etc = || running("etc", entry("e", "/etc"));
    for others in [vec![etc()], vec![]] {
        let with = |suspend: bool| [vec![p(suspend)], others.clone()].concat();
        let mut host = Host::new(json!([]));
        host.write("/etc/passwd", "1");
        host.set_rules(with(false));
        host.compare();
        host.set_rules(with(true));
        host.compare();
        host.write("/etc/ld.so.preload", "1");
        let meanwhile: Vec<_> = others.iter().map(|_| "etc Scan Added /etc/ld.so.preload").collect();
        assert_eq!(told(&host.compare()), meanwhile);
        host.set_rules(with(false));
        assert_eq!(told(&host.compare()), ["p Resumed Added /etc/ld.so.preload"], "{} others", others.len());
        assert!(host.compare().lines.is_empty());
    }
}

#[test]
fn what_lies_on_a_file_system_that_was_not_there_is_no_news_to_a_rule_without_items() {
    support::with_own_mounts(
        "what_lies_on_a_file_system_that_was_not_there_is_no_news_to_a_rule_without_items",
        || {
            let p = |suspend: bool| rule_with("p", entry("p", "/srv/both/data/*"), json!({"suspend": suspend}));
            let clock = Arc::new(SetClock::now());
            let mut host = host(&clock, vec![p(false), other()]);
            host.mkdir("/srv/both/data");
            host.compare();
            host.set_rules(vec![p(true), other()]);
            host.compare();
            support::run(
                "mount",
                &["-t".as_ref(), "tmpfs".as_ref(), "x".as_ref(), host.at("/srv/both/data").as_os_str()],
            );
            host.write("/srv/both/data/file", "1");
            host.compare();
            host.set_rules(vec![p(false), other()]);
            let seen = host.compare();
            assert!(!seen.told().iter().any(|line| line.contains("file")), "{:?}", seen.told());
        },
    );
}

#[test]
fn what_lies_on_a_file_system_that_was_not_there_is_no_news_to_the_resumed_rule() {
    support::with_own_mounts("what_lies_on_a_file_system_that_was_not_there_is_no_news_to_the_resumed_rule", || {
        let clock = Arc::new(SetClock::now());
        let mut host = host(&clock, vec![r(false), other()]);
        host.mkdir("/srv/both/data");
        host.compare();
        host.set_rules(vec![r(true), other()]);
        host.compare();
        support::run("mount", &["-t".as_ref(), "tmpfs".as_ref(), "x".as_ref(), host.at("/srv/both/data").as_os_str()]);
        host.write("/srv/both/data/file", "1");
        host.compare();
        host.set_rules(vec![r(false), other()]);
        let seen = host.compare();
        assert!(!seen.told().iter().any(|line| line.contains("file")), "{:?}", seen.told());
    });
}
