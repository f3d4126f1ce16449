//! What leaves watch is kept for seven days as it was: back within them it is compared, later it is baselined.
#![allow(clippy::unwrap_used)]

mod support;

use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use support::{Host, SetClock, as_nobody, rule};
use vedette_crds::node_config::NodeRule;
use vedette_engine::Due;
use vedette_engine::engine::Outcome;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn one(entries: Value) -> Vec<NodeRule> {
    vec![rule("r", entries)]
}

/// Only what stays.
fn stays() -> Vec<NodeRule> {
    one(json!([{"name": "stays", "path": "/stays"}]))
}

/// And `/srv`, which leaves and comes back.
fn both() -> Vec<NodeRule> {
    one(json!([{"name": "stays", "path": "/stays"}, {"name": "srv", "path": "/srv"}]))
}

/// A host that watches `/srv` and has left it alone since.
fn left(clock: &Arc<SetClock>) -> Host {
    let mut host = Host::with_clock(json!([]), clock.clone());
    host.set_rules(both());
    host.write("/stays", "1");
    for name in ["same", "changed", "gone"] {
        host.write(&format!("/srv/deep/{name}"), "1");
    }
    clock.advance(HOUR);
    host.compare();
    host.set_rules(stays());
    let applied = host.compare();
    assert_eq!(applied.told(), [""; 0]);
    assert_eq!(applied.notices("ConfigurationApplied")[0]["itemsForgotten"], 5);
    assert_eq!(host.standing().totals.tracked, 1, "what is kept is not tracked");
    host
}

fn change(host: &Host) {
    host.write("/srv/deep/changed", "22");
    host.remove("/srv/deep/gone");
    host.write("/srv/deep/new", "1");
}

const CHANGED: [&str; 3] = ["Added /srv/deep/new", "Modified /srv/deep/changed Content,Size", "Removed /srv/deep/gone"];

/// How many pages of items that left the state keeps. The host is stopped.
fn kept(host: &Host) -> u64 {
    let table = TableDefinition::<&[u8], &[u8]>::new("kept");
    let database = Database::open(host.state_dir().join("vedette.redb")).unwrap();
    database.begin_read().unwrap().open_table(table).unwrap().len().unwrap()
}

#[test]
fn what_comes_back_within_seven_days_is_compared_with_what_it_was() {
    let clock = Arc::new(SetClock::now());
    let mut host = left(&clock);
    change(&host);
    assert!(host.compare().changes().is_empty());
    clock.advance(7 * DAY - HOUR);
    host.compare();
    host.stop();
    host.start();
    host.set_rules(both());
    let seen = host.compare();
    assert_eq!(seen.told(), CHANGED);
    assert!(seen.changes().iter().all(|change| change["detection"] == "Resumed"));
    let applied = seen.notices("ConfigurationApplied");
    assert_eq!((&applied[0]["itemsAdded"], &applied[0]["itemsForgotten"]), (&json!(5), &json!(0)));
    assert_eq!((host.standing().totals.tracked, host.standing().totals.rules[0].tracked), (6, 6));
    assert!(host.compare().lines.is_empty());
    host.write("/srv/deep/new", "22");
    assert_eq!(host.compare().only()["detection"], "Scan");
}

#[test]
fn what_comes_back_later_is_baselined() {
    let clock = Arc::new(SetClock::now());
    let mut host = left(&clock);
    change(&host);
    clock.advance(7 * DAY + HOUR);
    host.set_rules(both());
    let seen = host.compare();
    assert_eq!(seen.told(), [""; 0]);
    assert_eq!(seen.notices("ConfigurationApplied")[0]["itemsAdded"], 5);
    host.write("/srv/deep/new", "22");
    assert_eq!(host.compare().told(), ["Modified /srv/deep/new Content,Size"]);
}

#[test]
fn what_is_kept_goes_after_seven_days_without_any_new_configuration() {
    let clock = Arc::new(SetClock::now());
    let mut host = left(&clock);
    host.stop();
    assert_eq!(kept(&host), 3, "one page for each directory");
    host.start();
    host.set_rules(stays());
    clock.advance(7 * DAY + HOUR);
    host.compare();
    host.stop();
    assert_eq!(kept(&host), 0);
}

#[test]
fn the_seven_days_begin_anew_when_it_leaves_again() {
    let clock = Arc::new(SetClock::now());
    let mut host = left(&clock);
    clock.advance(6 * DAY);
    host.set_rules(both());
    host.compare();
    host.set_rules(stays());
    host.compare();
    change(&host);
    clock.advance(6 * DAY);
    host.set_rules(both());
    assert_eq!(host.compare().told(), CHANGED);
}

#[test]
fn by_whatever_change_of_rules_it_leaves_it_is_kept() {
    let entry = |more: Value| {
        let mut entry = json!({"name": "srv", "path": "/srv"});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        one(json!([{"name": "stays", "path": "/stays"}, entry]))
    };
    let whole = || entry(json!({}));
    let mut again = vec![
        rule("r", json!([{"name": "stays", "path": "/stays"}])),
        rule("srv", json!([{"name": "e", "path": "/srv"}])),
    ];
    let deleted = vec![again[0].clone()];
    let first = again.clone();
    again[1].uid = "another-uid".into();
    let ways: [(&str, [Vec<NodeRule>; 3]); 8] = [
        ("an entry that is removed", [whole(), stays(), whole()]),
        ("an exclude by name", [whole(), entry(json!({"exclude": ["deep"]})), whole()]),
        ("an exclude by path", [whole(), entry(json!({"exclude": ["/srv/deep/**"]})), whole()]),
        ("fewer levels", [whole(), entry(json!({"maxDepth": 1})), entry(json!({"maxDepth": 2}))]),
        ("no recursion", [whole(), entry(json!({"recurse": false})), whole()]),
        ("a narrower pattern", [whole(), entry(json!({"path": "/srv/*.conf"})), entry(json!({"path": "/srv/**"}))]),
        ("a rule that is deleted and made again", [first.clone(), deleted, again]),
        ("another rule that takes over", [first, vec![], whole()]),
    ];
    for (way, [watched, unwatched, returned]) in ways {
        let mut host = Host::new(json!([]));
        host.set_rules(watched);
        host.write("/stays", "1");
        for name in ["same", "changed", "gone"] {
            host.write(&format!("/srv/deep/{name}"), "1");
        }
        host.compare();
        host.set_rules(unwatched);
        host.compare();
        change(&host);
        assert_eq!(host.compare().told(), [""; 0], "{way}");
        host.set_rules(returned);
        let seen = host.compare();
        assert_eq!(seen.told(), CHANGED, "{way}");
        assert!(seen.changes().iter().all(|change| change["detection"] == "Resumed"), "{way}");
        assert!(host.compare().lines.is_empty(), "{way}");
    }
}

#[test]
fn links_that_are_ignored_for_a_while_are_compared_with_what_they_were() {
    let with = |links: &str| one(json!([{"name": "all", "path": "/srv", "links": links}]));
    let mut host = Host::new(json!([]));
    host.set_rules(with("Record"));
    host.mkdir("/srv");
    host.link("old", "/srv/retargeted");
    host.link("old", "/srv/becomes-a-file");
    host.link("old", "/srv/gone");
    host.compare();
    host.set_rules(with("Ignore"));
    assert_eq!(host.compare().told(), [""; 0]);
    for name in ["retargeted", "becomes-a-file", "gone"] {
        host.remove(&format!("/srv/{name}"));
    }
    host.link("new", "/srv/retargeted");
    host.write("/srv/becomes-a-file", "1");
    assert_eq!(host.compare().told(), ["Added /srv/becomes-a-file"], "links are no items now, files are");
    host.set_rules(with("Record"));
    assert_eq!(host.compare().told(), ["Modified /srv/retargeted LinkTarget", "Removed /srv/gone"]);
}

#[test]
fn a_link_on_the_way_that_leads_elsewhere_and_back_loses_nothing() {
    let mut host = Host::new(json!([{"name": "app", "path": "/opt/current/**"}]));
    host.write("/opt/v1/conf", "1");
    host.write("/opt/v2/conf", "1");
    host.link("v1", "/opt/current");
    host.compare();
    host.remove("/opt/current");
    host.link("v2", "/opt/current");
    assert_eq!(host.compare().told(), ["Modified /opt/current LinkTarget"]);
    host.write("/opt/v1/conf", "22");
    host.write("/opt/v1/new", "1");
    assert_eq!(host.compare().told(), [""; 0]);
    host.remove("/opt/current");
    host.link("v1", "/opt/current");
    let told = ["Added /opt/v1/new", "Modified /opt/current LinkTarget", "Modified /opt/v1/conf Content,Size"];
    assert_eq!(host.compare().told(), told);
}

#[test]
fn what_comes_under_watch_for_the_first_time_is_baselined_beside_what_comes_back() {
    let clock = Arc::new(SetClock::now());
    let mut host = left(&clock);
    change(&host);
    host.write("/var/never-watched", "1");
    host.set_rules(one(json!([{"name": "srv", "path": "/srv"}, {"name": "var", "path": "/var"}])));
    let seen = host.compare();
    assert_eq!(seen.told(), CHANGED);
    let applied = seen.notices("ConfigurationApplied");
    assert_eq!((&applied[0]["itemsAdded"], &applied[0]["itemsForgotten"]), (&json!(7), &json!(1)));
}

#[test]
fn configurations_that_never_came_to_a_compare_hide_nothing() {
    let clock = Arc::new(SetClock::now());
    let mut host = left(&clock);
    change(&host);
    let stopped = |host: &mut Host, rules| {
        host.set_rules(rules);
        let stop = Arc::new(AtomicBool::new(true));
        assert_eq!(host.engine().compare(&Due::All, &stop, &mut |_| {}).unwrap(), Outcome::Interrupted);
    };
    let other = || one(json!([{"name": "srv", "path": "/srv/deep"}, {"name": "opt", "path": "/opt"}]));
    stopped(&mut host, both());
    stopped(&mut host, vec![]);
    host.stop();
    host.start();
    stopped(&mut host, other());
    stopped(&mut host, stays());
    host.set_rules(both());
    let seen = host.compare();
    assert_eq!(seen.told(), CHANGED);
    let applied = seen.notices("ConfigurationApplied");
    assert_eq!((&applied[0]["itemsAdded"], &applied[0]["itemsForgotten"]), (&json!(5), &json!(0)));
}

#[test]
fn a_clock_that_steps_makes_no_change_of_what_stood_all_the_time() {
    for (forward, back) in [(10, 20), (0, 10), (30, 0), (10, 10)] {
        let clock = Arc::new(SetClock::now());
        let mut host = left(&clock);
        clock.advance(forward * DAY);
        host.compare();
        clock.go_back(back * DAY);
        host.set_rules(both());
        assert_eq!(host.compare().told(), [""; 0], "{forward} days forward, {back} back");
        host.set_rules(stays());
        host.compare();
        change(&host);
        host.set_rules(both());
        assert_eq!(host.compare().told(), CHANGED, "{forward} days forward, {back} back");
    }
}

#[test]
fn a_clock_that_jumps_ahead_and_is_corrected_makes_nothing_forgotten() {
    for restarts in [false, true] {
        let clock = Arc::new(SetClock::now());
        let mut host = left(&clock);
        change(&host);
        for step in [SetClock::go_forward, SetClock::go_back] {
            step(&clock, 8 * DAY);
            if restarts {
                host.start();
            }
            host.compare();
        }
        host.set_rules(both());
        let seen = host.compare();
        assert_eq!(seen.told(), CHANGED);
        assert!(seen.changes().iter().all(|change| change["detection"] == "Resumed"));
    }
}

#[test]
fn what_leaves_while_the_clock_is_far_ahead_is_kept_for_seven_days_too() {
    let clock = Arc::new(SetClock::now());
    let mut host = left(&clock);
    clock.go_forward(3650 * DAY);
    host.set_rules(both());
    host.compare();
    host.set_rules(stays());
    host.compare();
    clock.go_back(3650 * DAY);
    clock.advance(7 * DAY - HOUR);
    host.compare();
    host.stop();
    assert_eq!(kept(&host), 3);
    host.start();
    clock.advance(2 * HOUR);
    host.compare();
    host.stop();
    assert_eq!(kept(&host), 0);
}

#[test]
fn the_seven_days_are_those_in_which_the_machine_runs() {
    let clock = Arc::new(SetClock::now());
    let mut host = left(&clock);
    for _ in 0..2 {
        clock.advance(3 * DAY);
        host.compare();
        host.stop();
        clock.reboot_after(30 * DAY);
        host.start();
        host.compare();
    }
    host.stop();
    assert_eq!(kept(&host), 3);
    host.start();
    clock.advance(DAY + HOUR);
    host.compare();
    host.stop();
    assert_eq!(kept(&host), 0);
}

#[test]
fn a_directory_that_was_never_seen_is_baselined_when_it_comes_back_readable() {
    as_nobody("a_directory_that_was_never_seen_is_baselined_when_it_comes_back_readable", || {
        let mut host = Host::new(json!([]));
        host.set_rules(both());
        host.write("/stays", "1");
        host.write("/srv/dark/file", "1");
        host.write("/srv/known", "1");
        host.chmod("/srv/dark", 0);
        host.compare();
        assert_eq!(host.standing().unknowns.items(), 1);
        host.set_rules(stays());
        host.compare();
        host.chmod("/srv/dark", 0o755);
        host.write("/srv/new", "1");
        host.set_rules(both());
        assert_eq!(host.compare().told(), ["Added /srv/new", "Modified /srv/dark Mode"]);
        host.write("/srv/dark/file", "22");
        assert_eq!(host.compare().told(), ["Modified /srv/dark/file Content,Size"]);
    });
}

#[test]
fn thousands_of_items_leave_and_come_back_as_they_were() {
    let mut host = Host::new(json!([]));
    host.set_rules(both());
    host.write("/stays", "1");
    for at in 0..3000 {
        host.write(&format!("/srv/d{}/{at}", at % 3), "1");
    }
    host.compare();
    host.set_rules(one(json!([{"name": "stays", "path": "/stays"}, {"name": "srv", "path": "/srv/*/*[02468]"}])));
    host.compare();
    assert_eq!(host.standing().totals.tracked, 1501);
    host.set_rules(stays());
    host.compare();
    host.write("/srv/d1/1", "22");
    host.write("/srv/d1/4", "22");
    host.set_rules(both());
    assert_eq!(host.compare().told(), ["Modified /srv/d1/1 Content,Size", "Modified /srv/d1/4 Content,Size"]);
    assert_eq!(host.standing().totals.tracked, 3005);
    assert!(host.compare().lines.is_empty());
    host.stop();
    assert_eq!(kept(&host), 0, "what came back is not kept any more");
}
