//! Rules: what an entry selects, and who reports what two of them cover.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use support::{Host, SetClock, everything, rule, rule_with};

/// The paths that these entries select out of these files.
fn selected(entries: serde_json::Value, files: &[&str]) -> Vec<String> {
    let mut host = Host::new(entries);
    host.mkdir("/probe");
    host.compare();
    for file in files {
        host.write(file, "1");
    }
    let told = host.compare().told();
    let files = told.iter().map(|told| told.trim_start_matches("Added ").to_owned());
    files.filter(|path| host.at(path).is_file()).collect()
}

#[test]
fn an_exclude_beats_the_path_of_its_own_entry_and_blinds_no_other() {
    let mut host = Host::new(json!([
        {"name": "srv", "path": "/srv", "exclude": ["*.swp", "/srv/private"]},
    ]));
    let other = rule("other", json!([{"name": "private", "path": "/srv/private"}]));
    host.write("/srv/a", "1");
    host.write("/srv/a.swp", "1");
    host.write("/srv/private/key", "1");
    host.compare();
    assert_eq!(host.standing().totals.tracked, 2);
    let mut rules = vec![rule("r", json!([{"name": "srv", "path": "/srv", "exclude": ["*.swp", "/srv/private"]}]))];
    rules.push(other);
    host.set_rules(rules);
    host.compare();
    assert_eq!(host.standing().totals.tracked, 4);
    host.write("/srv/private/key", "22");
    let seen = host.compare();
    assert_eq!(seen.only()["rules"], json!(["other/private"]));
}

#[test]
fn globs_match_within_their_segment_and_two_stars_cross() {
    let files = [
        "/etc/a.conf",
        "/etc/.hidden.conf",
        "/etc/aXconf",
        "/etc/d/b.conf",
        "/etc/d/e/c.conf",
        "/etc/x1",
        "/etc/x2",
        "/etc/y",
    ];
    let one = |path: &str| selected(json!([{"name": "e", "path": path}]), &files);
    assert_eq!(one("/etc/*.conf"), ["/etc/.hidden.conf", "/etc/a.conf"], "a literal dot is a dot");
    assert_eq!(one("/etc/**/*.conf"), ["/etc/.hidden.conf", "/etc/a.conf", "/etc/d/b.conf", "/etc/d/e/c.conf"]);
    assert_eq!(one("/etc/*/*.conf"), ["/etc/d/b.conf"]);
    assert_eq!(one("/etc/x[12]"), ["/etc/x1", "/etc/x2"]);
    assert_eq!(one("/etc/{x1,y}"), ["/etc/x1", "/etc/y"]);
    assert_eq!(one("/etc/[!a-x]"), ["/etc/y"]);
    assert_eq!(one("/etc/x?"), ["/etc/x1", "/etc/x2"]);
    assert_eq!(one("/**/e"), ["/etc/d/e/c.conf"], "a directory that matches brings what lies under it");
    assert_eq!(one("/etc/a.conf/deeper"), Vec::<String>::new());
}

#[test]
fn a_path_with_comma_and_space_is_a_path() {
    assert_eq!(
        selected(json!([{"name": "e", "path": "/my files, all/*"}]), &["/my files, all/a", "/my"]),
        ["/my files, all/a"]
    );
}

#[test]
fn an_excluded_directory_is_not_walked() {
    let mut host = Host::new(json!([{"name": "all", "path": "/srv", "exclude": ["cache", "/srv/tmp/**"]}]));
    host.write("/srv/cache/deep/a", "1");
    host.write("/srv/tmp/deep/a", "1");
    host.write("/srv/a", "1");
    let seen = host.compare();
    assert_eq!(seen.summary.items, 2, "/srv and /srv/a");
}

#[test]
fn depth_is_counted_from_what_matches() {
    let files = ["/srv/one/a", "/srv/one/two/b", "/srv/one/two/three/c"];
    let depth = |depth: u32| selected(json!([{"name": "e", "path": "/srv/*", "maxDepth": depth}]), &files);
    assert_eq!(depth(0), Vec::<String>::new());
    assert_eq!(depth(1), ["/srv/one/a"]);
    assert_eq!(depth(2), ["/srv/one/a", "/srv/one/two/b"]);
    assert_eq!(selected(json!([{"name": "e", "path": "/srv/one", "recurse": false}]), &files), ["/srv/one/a"]);
}

#[test]
fn a_file_that_a_glob_starts_to_match_later_is_added() {
    let mut host = Host::new(json!([{"name": "conf", "path": "/opt/*/etc/*.conf"}]));
    host.mkdir("/opt");
    host.compare();
    host.write("/opt/app/etc/a.conf", "1");
    assert_eq!(host.compare().told(), ["Added /opt/app/etc/a.conf"]);
    host.rename("/opt/app/etc/a.conf", "/opt/app/etc/a.txt");
    assert_eq!(host.compare().told(), ["Removed /opt/app/etc/a.conf"]);
}

#[test]
fn only_entries_whose_own_compare_found_something_report_it_with_the_highest_severity_and_all_tags() {
    let low = rule_with(
        "low",
        json!([{"name": "mode", "path": "/etc", "compare": ["Mode"], "severity": "Low"},
               {"name": "content", "path": "/etc/passwd", "compare": ["Content"], "severity": "High"}]),
        json!({"tags": ["b", "a"]}),
    );
    let high = rule_with(
        "high",
        json!([{"name": "mode", "path": "/etc/passwd", "compare": ["Mode"], "severity": "Critical"}]),
        json!({"tags": ["c", "a"]}),
    );
    let mut host = Host::new(everything());
    host.set_rules(vec![low, high]);
    host.write("/etc/passwd", "1");
    host.compare();
    host.write("/etc/passwd", "22");
    let seen = host.compare();
    let change = seen.only();
    assert_eq!(
        (&change["rules"], &change["severity"], &change["tags"]),
        (&json!(["low/content"]), &json!("High"), &json!(["a", "b"]))
    );
    host.chmod("/etc/passwd", 0o600);
    let seen = host.compare();
    let change = seen.only();
    assert_eq!(change["rules"], json!(["high/mode", "low/mode"]));
    assert_eq!((&change["severity"], &change["tags"]), (&json!("Critical"), &json!(["a", "b", "c"])));
    host.write("/etc/passwd", "333");
    host.chmod("/etc/passwd", 0o644);
    let seen = host.compare();
    let change = seen.only();
    assert_eq!(
        (&change["fields"], &change["rules"]),
        (&json!(["Content", "Mode", "Size"]), &json!(["high/mode", "low/content", "low/mode"]))
    );
    let totals = host.standing().totals;
    let modified = |rule: usize| totals.rules[rule].changes[1];
    assert_eq!(
        (modified(0), modified(1)),
        ([0, 1, 0, 2, 0], [0, 0, 0, 0, 2]),
        "by the highest severity of the rule's own entries"
    );
    host.remove("/etc/passwd");
    let seen = host.compare();
    assert_eq!(seen.only()["rules"], json!(["high/mode", "low/content", "low/mode"]));
}

#[test]
fn a_path_under_two_rules_is_hashed_once_and_counts_in_both() {
    let mut host = Host::new(everything());
    host.set_rules(vec![
        rule("one", json!([{"name": "a", "path": "/a"}])),
        rule("two", json!([{"name": "a", "path": "/a"}])),
    ]);
    host.write("/a", "12345");
    let seen = host.compare();
    assert_eq!((seen.summary.hashed, host.standing().totals.tracked), (5, 1));
    let totals = host.standing().totals;
    assert_eq!((totals.rules[0].tracked, totals.rules[1].tracked), (1, 1));
}

#[test]
fn only_the_hashes_that_are_asked_for_are_computed_and_the_next_compare_reads_nothing() {
    for (asked, left_out) in [("Md5", "sha256"), ("Sha256", "md5")] {
        let clock = Arc::new(SetClock::now());
        let mut host = Host::with_clock(json!([{"name": "all", "path": "/**", "hashes": [asked]}]), clock.clone());
        host.write("/a", "1");
        clock.advance(Duration::from_secs(1));
        assert_eq!(host.compare().summary.hashed, 1);
        assert_eq!(host.compare().summary.hashed, 0);
        host.write("/b", "1");
        let seen = host.compare();
        let after = &seen.only()["after"];
        assert!(after[asked.to_lowercase()].is_string() && after.get(left_out).is_none(), "{after}");
    }
}

#[test]
fn the_larger_content_limit_of_two_entries_counts() {
    let mut host = Host::new(json!([
        {"name": "small", "path": "/a", "maxContentSize": 1},
        {"name": "large", "path": "/a", "maxContentSize": 100},
    ]));
    host.write("/a", "12345");
    assert_eq!(host.compare().summary.hashed, 5);
}

#[test]
fn the_counts_of_a_rule_that_is_gone_are_gone_and_those_of_the_others_stay() {
    let mut host = Host::new(everything());
    let (one, two) =
        (rule("one", json!([{"name": "a", "path": "/a"}])), rule("two", json!([{"name": "b", "path": "/b"}])));
    host.set_rules(vec![one, two.clone()]);
    host.write("/a", "1");
    host.write("/b", "1");
    host.compare();
    host.write("/a", "22");
    host.write("/b", "22");
    host.compare();
    host.set_rules(vec![two]);
    host.compare();
    let totals = host.standing().totals;
    assert_eq!((totals.rules.len(), totals.rules[0].name.as_str()), (1, "two"));
    assert_eq!(totals.rules[0].changes_of(vedette_crds::record::ChangeType::Modified), 1);
    assert_eq!(totals.changes_of(vedette_crds::record::ChangeType::Modified), 2, "the journal still has both");
}

#[test]
fn an_entry_with_an_empty_plan_directory_finds_what_comes_later() {
    let mut host = Host::new(json!([{"name": "conf", "path": "/not/there/yet/*.conf"}]));
    host.compare();
    host.write("/not/there/yet/a.conf", "1");
    assert_eq!(host.compare().told(), ["Added /not/there/yet/a.conf"]);
    host.remove("/not");
    assert_eq!(host.compare().told(), ["Removed /not/there/yet/a.conf"]);
}
