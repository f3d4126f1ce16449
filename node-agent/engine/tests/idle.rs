//! Entries that select nothing are named, what cannot be seen is not called nothing, and a plan says what it changed.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use std::time::Duration;
use support::{Host, rule};
use vedette_engine::engine::PlanChange;

fn idle(host: &mut Host) -> Vec<String> {
    host.standing().idle.iter().map(ToString::to_string).collect()
}

#[test]
fn an_entry_with_a_mistyped_path_is_named_until_something_is_there() {
    let mut host = Host::new(json!([{"name": "nginx", "path": "/etc/ngnix"}, {"name": "a", "path": "/a"}]));
    host.write("/a", "1");
    host.compare();
    assert_eq!(idle(&mut host), ["rule r, entry nginx: /etc/ngnix selects nothing on this host"]);
    host.start();
    assert!(idle(&mut host).is_empty(), "nobody knows before the first compare");
    host.compare();
    assert_eq!(idle(&mut host).len(), 1);
    host.write("/etc/ngnix/x", "1");
    host.compare();
    assert!(idle(&mut host).is_empty());
    host.remove("/a");
    host.compare();
    assert_eq!(idle(&mut host), ["rule r, entry a: /a selects nothing on this host"]);
}

#[test]
fn a_glob_without_a_match_and_an_entry_that_excludes_all_of_it_select_nothing() {
    let mut host = Host::new(json!([
        {"name": "glob", "path": "/etc/**/*.cnf"},
        {"name": "out", "path": "/etc/*", "exclude": ["*"]},
        {"name": "link", "path": "/l"},
    ]));
    host.write("/etc/a.conf", "1");
    host.link("/nowhere", "/l");
    host.compare();
    let named: Vec<String> = host.standing().idle.iter().map(|idle| idle.entry.clone()).collect();
    assert_eq!(named, ["glob", "out"]);
}

#[test]
fn what_lies_where_nothing_can_be_seen_is_not_called_nothing() {
    support::as_nobody("what_lies_where_nothing_can_be_seen_is_not_called_nothing", || {
        let mut host = Host::new(json!([
            {"name": "hidden", "path": "/secret/**/*.key"},
            {"name": "below", "path": "/secret/deep/a"},
            {"name": "typo", "path": "/sceret/a"},
        ]));
        host.write("/secret/deep/a", "1");
        host.chmod("/secret", 0o000);
        host.compare();
        let named: Vec<String> = host.standing().idle.iter().map(|idle| idle.entry.clone()).collect();
        host.chmod("/secret", 0o755);
        assert_eq!(named, ["typo"]);
    });
}

#[test]
fn a_compare_of_one_interval_says_nothing_of_the_entries_of_another() {
    let mut host = Host::new(json!([]));
    let fast = rule("fast", json!([{"name": "e", "path": "/fast"}]));
    let mut slow = rule("slow", json!([{"name": "e", "path": "/slow"}]));
    slow.files.as_mut().unwrap().interval = "1h".into();
    host.set_rules(vec![fast, slow]);
    host.compare();
    assert_eq!(idle(&mut host).len(), 2);
    host.write("/fast", "1");
    host.write("/slow", "1");
    host.compare_due(10);
    assert_eq!(idle(&mut host), ["rule slow, entry e: /slow selects nothing on this host"]);
    host.compare_due(3600);
    assert!(idle(&mut host).is_empty());
}

#[test]
fn the_first_compare_of_a_plan_says_what_came_under_watch_and_what_left() {
    let mut host = Host::new(json!([{"name": "a", "path": "/a"}]));
    host.write("/a/1", "1");
    host.write("/b/1", "1");
    host.write("/b/2", "1");
    assert_eq!(host.compare().summary.plan_change, Some(PlanChange { added: 2, forgotten: 0 }));
    assert_eq!(host.compare().summary.plan_change, None);
    host.set_rules(vec![rule("r", json!([{"name": "b", "path": "/b"}]))]);
    assert_eq!(host.compare().summary.plan_change, Some(PlanChange { added: 3, forgotten: 2 }));
    assert_eq!(host.compare().summary.plan_change, None);
}

#[test]
fn a_compare_shows_how_far_it_is_while_it_runs_and_only_then() {
    let mut host = Host::new(json!([{"name": "all", "path": "/"}]));
    host.write("/a", "12345");
    let progress = host.engine().progress();
    assert_eq!(progress.so_far(), None);
    let summary = host.compare().summary;
    assert_eq!((progress.so_far(), summary.hashed), (None, 5));

    // Larger than what is read in the time of one look at the clock: seen while it is read.
    host.write("/large", "");
    std::fs::File::options().write(true).open(host.root().join("large")).unwrap().set_len(1 << 40).unwrap();
    host.set_entries(json!([{"name": "all", "path": "/", "maxContentSize": 1u64 << 41}]));
    let progress = host.engine().progress();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let deadline = std::time::Instant::now() + Duration::from_secs(60);
            let seen = std::iter::repeat_with(|| {
                // Only how often it looks: without a pause it would take the core from the compare it watches.
                std::thread::sleep(Duration::from_millis(10));
                progress.so_far()
            });
            let seen = seen.take_while(|_| std::time::Instant::now() < deadline);
            let far = seen.flatten().find(|far| far.items >= 2 && far.hashed > 1 << 20);
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            far
        });
        let outcome = host.engine().compare(&vedette_engine::Due::All, &stop, &mut |_| {}).unwrap();
        assert_eq!(outcome, vedette_engine::engine::Outcome::Interrupted);
        assert!(watching.join().unwrap().is_some(), "the large file was read for a minute, and nothing showed it");
    });
    assert_eq!(progress.so_far(), None);
}
