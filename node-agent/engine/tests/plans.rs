//! Plan changes: what comes under watch is baselined, what leaves is forgotten, and neither is invented as a change.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Host, everything, rule, rule_with};
use vedette_engine::Due;
use vedette_engine::engine::Outcome;

fn conf_and(more: Value) -> Value {
    let mut entries = vec![json!({"name": "conf", "path": "/etc/*.conf"})];
    entries.extend(more.as_array().unwrap().iter().cloned());
    Value::Array(entries)
}

#[test]
fn what_a_new_entry_selects_is_baselined_and_counted_not_added() {
    let mut host = Host::new(conf_and(json!([])));
    host.write("/etc/a.conf", "1");
    host.write("/etc/b.txt", "1");
    host.compare();
    host.set_entries(conf_and(json!([{"name": "txt", "path": "/etc/*.txt"}])));
    let seen = host.compare();
    assert!(seen.changes().is_empty(), "{:?}", seen.told());
    let applied = seen.notices("ConfigurationApplied");
    assert_eq!((&applied[0]["itemsAdded"], &applied[0]["itemsForgotten"]), (&json!(1), &json!(0)));
    assert_eq!(seen.summary.baselined, 1);
    host.write("/etc/b.txt", "22");
    assert_eq!(host.compare().told(), ["Modified /etc/b.txt Content,Size"]);
}

#[test]
fn what_leaves_is_forgotten_and_counted_not_removed() {
    let mut host = Host::new(conf_and(json!([{"name": "txt", "path": "/etc/*.txt"}])));
    host.write("/etc/a.conf", "1");
    host.write("/etc/b.txt", "1");
    host.compare();
    host.set_entries(conf_and(json!([])));
    host.remove("/etc/b.txt");
    let seen = host.compare();
    assert!(seen.changes().is_empty(), "{:?}", seen.told());
    assert_eq!(seen.notices("ConfigurationApplied")[0]["itemsForgotten"], 1);
    assert_eq!(host.standing().totals.tracked, 1);
}

#[test]
fn a_rule_edited_there_and_back_finds_what_changed_in_between() {
    let mut host = Host::new(everything());
    host.write("/a/x", "1");
    host.write("/b/y", "1");
    host.compare();
    host.set_entries(json!([{"name": "all", "path": "/a"}]));
    host.compare();
    host.write("/b/new", "1");
    host.write("/b/y", "22");
    host.set_entries(everything());
    let seen = host.compare();
    assert_eq!(seen.told(), ["Added /b/new", "Modified /b/y Content,Size"]);
    assert!(seen.changes().iter().all(|change| change["detection"] == "Resumed"));
    host.write("/b/y", "333");
    assert_eq!(host.compare().only()["detection"], "Scan");
}

#[test]
fn a_file_made_between_an_edit_and_its_first_compare_is_added_where_it_was_selected_before() {
    let mut host = Host::new(conf_and(json!([])));
    host.write("/etc/a.conf", "1");
    host.write("/opt/tool", "1");
    host.compare();
    let before = host.compare();
    host.set_entries(conf_and(json!([{"name": "opt", "path": "/opt/**"}])));
    host.write("/etc/new.conf", "1");
    host.write("/opt/new", "1");
    let seen = host.compare();
    assert_eq!(seen.told(), ["Added /etc/new.conf"]);
    let since = seen.only()["since"].as_str().unwrap();
    let began = vedette_crds::record::Nanos(before.summary.began.timestamp()).to_string();
    assert_eq!(since, began, "the compare under the old plan found it absent");
}

#[test]
fn links_that_are_recorded_from_now_on_are_baselined() {
    let ignore = json!([{"name": "all", "path": "/srv", "links": "Ignore"}]);
    let mut host = Host::new(ignore);
    host.write("/srv/file", "1");
    host.link("file", "/srv/link");
    host.compare();
    host.set_entries(json!([{"name": "all", "path": "/srv"}]));
    let seen = host.compare();
    assert!(seen.changes().is_empty(), "{:?}", seen.told());
    host.link("file", "/srv/second");
    assert_eq!(host.compare().told(), ["Added /srv/second"]);
}

#[test]
fn an_ignored_link_in_place_of_a_file_is_a_change_of_type_and_its_removal_is_seen() {
    let mut host = Host::new(json!([{"name": "all", "path": "/srv", "links": "Ignore"}]));
    host.write("/srv/file", "1");
    host.compare();
    host.remove("/srv/file");
    host.link("/etc/shadow", "/srv/file");
    let told = host.compare().told();
    assert!(told.len() == 1 && told[0].contains("LinkTarget") && told[0].contains("Type"), "{told:?}");
    assert!(host.compare().lines.is_empty());
    host.remove("/srv/file");
    assert_eq!(host.compare().told(), ["Removed /srv/file"]);
    assert_eq!(host.standing().totals.tracked, 1);
}

#[test]
fn a_suspended_rule_reports_nothing_and_its_differences_when_it_is_resumed() {
    let with = |suspend: bool| vec![rule_with("r", everything(), json!({"suspend": suspend}))];
    let mut host = Host::new(everything());
    host.write("/changed", "1");
    host.write("/dir/gone", "1");
    host.compare();
    host.set_rules(with(true));
    host.write("/changed", "22");
    host.write("/new", "1");
    host.remove("/dir");
    assert!(host.compare().changes().is_empty());
    assert!(host.compare().changes().is_empty());
    assert_eq!(host.standing().totals.tracked, 4);
    host.set_rules(with(false));
    let seen = host.compare();
    let told = seen.told();
    assert_eq!(told, ["Added /new", "Modified /changed Content,Size", "Removed /dir", "Removed /dir/gone"]);
    assert!(seen.changes().iter().all(|change| change["detection"] == "Resumed"));
    host.write("/new", "22");
    assert_eq!(host.compare().only()["detection"], "Scan");
}

#[test]
fn a_rule_that_was_born_suspended_makes_its_baseline_when_it_is_resumed() {
    let mut host = Host::new(conf_and(json!([])));
    host.write("/etc/a.conf", "1");
    host.write("/opt/tool", "1");
    host.compare();
    let opt = json!([{"name": "opt", "path": "/opt"}]);
    let conf = || rule("r", conf_and(json!([])));
    host.set_rules(vec![conf(), rule_with("s", opt.clone(), json!({"suspend": true}))]);
    assert!(host.compare().changes().is_empty());
    host.set_rules(vec![conf(), rule("s", opt)]);
    let seen = host.compare();
    assert!(seen.changes().is_empty(), "{:?}", seen.told());
    assert_eq!(seen.notices("ConfigurationApplied")[0]["itemsAdded"], 2);
}

#[test]
fn an_edit_of_a_suspended_rule_takes_effect_when_it_is_resumed() {
    let with = |entries: Value, suspend: bool| vec![rule_with("r", entries, json!({"suspend": suspend}))];
    let a = || json!([{"name": "a", "path": "/a"}]);
    let both = || json!([{"name": "a", "path": "/a"}, {"name": "b", "path": "/b"}]);
    let mut host = Host::new(a());
    host.write("/a/x", "1");
    host.write("/b/y", "1");
    host.compare();
    host.set_rules(with(a(), true));
    host.compare();
    host.set_rules(with(both(), true));
    host.write("/a/new", "1");
    assert!(host.compare().changes().is_empty());
    assert!(host.standing().baseline_ready);
    host.set_rules(with(both(), false));
    assert_eq!(host.compare().told(), ["Added /a/new"], "and /b is baselined");
    assert_eq!(host.standing().totals.tracked, 5);
}

#[test]
fn only_due_entries_are_compared() {
    let quick = rule_with("quick", json!([{"name": "q", "path": "/quick"}]), json!({}));
    let mut slow = rule("slow", json!([{"name": "s", "path": "/slow"}]));
    slow.files.as_mut().unwrap().interval = "1h".into();
    let mut host = Host::new(everything());
    host.set_rules(vec![quick, slow]);
    host.write("/quick/a", "1");
    host.write("/slow/a", "1");
    host.compare();
    host.write("/quick/a", "22");
    host.write("/slow/a", "22");
    host.write("/slow/new", "1");
    assert_eq!(host.compare_due(10).told(), ["Modified /quick/a Content,Size"]);
    assert_eq!(host.compare_due(3600).told(), ["Added /slow/new", "Modified /slow/a Content,Size"]);
}

#[test]
fn an_interrupted_first_compare_never_makes_an_added_record_of_what_it_left_out() {
    let mut host = Host::new(everything());
    for at in 0..200 {
        host.write(&format!("/d{}/f{at}", at % 7), vec![b'x'; 100_000]);
    }
    // Ended at ever later moments: by a flag that another thread raises while files are hashed.
    for micros in [0, 300, 1000, 3000, 6000, 10_000] {
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let begin = std::time::Instant::now();
                while begin.elapsed().as_micros() < micros {
                    std::hint::spin_loop();
                }
                stop.store(true, Ordering::Relaxed);
            });
            host.engine().compare(&Due::All, &stop, &mut |_| {}).unwrap();
        });
        assert!(host.lines().iter().all(|line| line["schema"] != "vedette.dev/change/v1"));
    }
    let seen = host.compare();
    assert!(seen.changes().is_empty(), "{:?}", seen.told());
    assert_eq!(host.standing().totals.tracked, 208);
}

#[test]
fn an_interrupted_compare_says_so_and_keeps_what_was_committed() {
    let mut host = Host::new(everything());
    host.write("/a", "1");
    host.compare();
    host.write("/a", "22");
    let stopped = host.engine().compare(&Due::All, &std::sync::Arc::new(AtomicBool::new(true)), &mut |_| {}).unwrap();
    assert_eq!(stopped, Outcome::Interrupted);
    assert_eq!(host.compare().told(), ["Modified /a Content,Size"]);
}

#[test]
fn without_rules_nothing_is_tracked_and_nothing_reported() {
    let mut host = Host::new(everything());
    host.write("/a", "1");
    host.compare();
    host.set_rules(vec![]);
    host.remove("/a");
    let seen = host.compare();
    assert!(seen.changes().is_empty());
    assert_eq!(seen.notices("ConfigurationApplied")[0]["itemsForgotten"], 2);
    assert!(host.standing().baseline_ready && host.standing().totals.rules.is_empty());
}

#[test]
fn digests_of_another_kind_come_in_silently_but_a_change_in_between_is_seen() {
    let with = |hash: &str| json!([{"name": "all", "path": "/srv", "hashes": [hash]}]);
    let mut host = Host::new(with("Md5"));
    host.write("/srv/same", "1");
    host.write("/srv/other", "1");
    host.compare();
    host.set_entries(with("Sha256"));
    host.write("/srv/other", "2");
    let seen = host.compare();
    assert_eq!(seen.told(), ["Modified /srv/other Content"], "the first read computes old and new");
    let change = seen.only();
    assert!(change["before"].get("md5").is_some() && change["after"].get("md5").is_some());
    host.write("/srv/same", "2");
    let seen = host.compare();
    let before = &seen.only()["before"];
    assert!(before.get("sha256").is_some() && before.get("md5").is_none(), "{before}");
}

#[test]
fn a_smaller_content_limit_is_no_change_of_the_file() {
    let with = |limit: u64| json!([{"name": "all", "path": "/srv", "maxContentSize": limit}]);
    let mut host = Host::new(with(100));
    host.write("/srv/file", "0123456789");
    host.compare();
    host.set_entries(with(5));
    assert!(host.compare().changes().is_empty());
    host.write("/srv/file", "9876543210");
    let seen = host.compare();
    assert_eq!(seen.told(), ["Modified /srv/file ModifiedTime"], "while it is not read, time and size stand in");
    assert_eq!(seen.only()["after"]["content"], "TooLarge");
    host.set_entries(with(100));
    assert_eq!(host.compare().told(), ["Modified /srv/file Content"], "the last good digests stayed behind");
}

#[test]
fn content_that_no_entry_compares_is_not_read() {
    let mut host = Host::new(json!([{"name": "mode", "path": "/srv", "compare": ["Mode"]}]));
    host.write("/srv/file", "1");
    let seen = host.compare();
    assert_eq!(seen.summary.hashed, 0);
    host.write("/srv/file", "22");
    assert!(host.compare().lines.is_empty());
    host.write("/srv/new", "1");
    let seen = host.compare();
    assert!(seen.only()["after"].get("content").is_none() && seen.only()["after"].get("md5").is_none());
}

#[test]
fn the_hosts_root_leaves_watch_like_any_item() {
    let mut host = Host::new(everything());
    host.write("/e", "");
    host.compare();
    host.set_entries(json!([{"name": "most", "path": "/*"}]));
    let seen = host.compare();
    assert_eq!(seen.notices("ConfigurationApplied")[0]["itemsForgotten"], 1);
    assert_eq!(host.standing().totals.tracked, 1);
    host.set_entries(everything());
    host.compare();
    assert_eq!(host.standing().totals.tracked, 2);
}
