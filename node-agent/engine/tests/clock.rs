//! Clocks that step: one notice, all content read again, and no change lost or invented.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use support::{Host, SetClock, everything, rule, rule_with};
use vedette_crds::record::Nanos;
use vedette_engine::Due;
use vedette_engine::clock::{Clock, Time};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A host of ten files of one byte each whose ctimes lie well before its clock, compared.
fn host(clock: &Arc<SetClock>) -> Host {
    let mut host = Host::with_clock(everything(), clock.clone());
    for at in 0..10 {
        host.write(&format!("/f{at}"), "1");
    }
    clock.advance(HOUR);
    host.compare();
    host
}

fn shown(time: Time) -> String {
    Nanos(time.timestamp()).to_string()
}

#[test]
fn a_clock_that_goes_back_is_said_once_and_all_content_is_read_again_once() {
    let clock = Arc::new(SetClock::now());
    let mut host = host(&clock);
    assert_eq!(host.compare().summary.hashed, 0);
    let from = shown(clock.now());
    clock.go_back(10 * SECOND);
    let seen = host.compare();
    let notices = seen.notices("ClockStepped");
    assert_eq!((&notices[0]["from"], &notices[0]["to"]), (&json!(from), &json!(shown(clock.now()))));
    assert_eq!((seen.lines.len(), seen.summary.hashed, seen.summary.records), (1, 10, 0));
    let seen = host.compare();
    assert_eq!((seen.lines.len(), seen.summary.hashed), (0, 0));
}

#[test]
fn what_it_would_show_is_known_from_the_time_since_boot() {
    let clock = Arc::new(SetClock::now());
    let mut host = host(&clock);
    clock.advance(HOUR);
    let from = shown(clock.now());
    clock.go_back(HOUR / 2);
    let seen = host.compare();
    assert_eq!(seen.notices("ClockStepped")[0]["from"], from, "though it shows more than at the last compare");
}

#[test]
fn a_clock_that_went_back_while_the_agent_was_down_is_said_after_the_start() {
    let clock = Arc::new(SetClock::now());
    let mut host = host(&clock);
    let from = shown(clock.now());
    host.stop();
    clock.go_back(HOUR / 2);
    host.start();
    host.engine().announce_start().unwrap();
    let mut lines = host.lines();
    let seen = host.compare();
    lines.extend(seen.lines);
    let kinds: Vec<_> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Started", "ClockStepped"]);
    assert_eq!((&lines[0]["stoppedSince"], &lines[1]["from"]), (&json!(from), &json!(from)));
    assert_eq!(seen.summary.hashed, 10);
    host.stop();
    host.start();
    let seen = host.compare();
    assert_eq!((seen.lines.len(), seen.summary.hashed), (0, 0));
}

#[test]
fn a_clock_that_is_corrected_a_little_or_goes_forward_is_not_said() {
    let clock = Arc::new(SetClock::now());
    let mut host = host(&clock);
    for step in [1, 20, 999, 900].map(Duration::from_millis) {
        clock.go_back(step);
        assert!(host.compare().lines.is_empty(), "{step:?}");
        host.stop();
        host.start();
    }
    // The boot clock stands: the wall alone goes forward.
    clock.go_forward(400 * DAY);
    let seen = host.compare();
    assert_eq!((seen.lines.len(), seen.summary.hashed), (0, 10), "content is due, as after any 400 days");
    host.write("/f0", "22");
    assert_eq!(host.compare().told(), ["Modified /f0 Content,Size"]);
}

#[test]
fn content_stays_due_until_a_compare_has_come_to_its_end() {
    let clock = Arc::new(SetClock::now());
    let mut host = host(&clock);
    clock.go_back(HOUR / 2);
    host.engine().compare(&Due::All, &Arc::new(AtomicBool::new(true)), &mut |_| {}).unwrap();
    assert_eq!(host.lines()[0]["kind"], "ClockStepped");
    host.stop();
    host.start();
    let seen = host.compare();
    assert_eq!((seen.lines.len(), seen.summary.hashed), (0, 10), "it is said once");
    assert_eq!(host.compare().summary.hashed, 0);
}

#[test]
fn entries_that_are_not_due_yet_are_compared_with_the_others_after_a_step() {
    let clock = Arc::new(SetClock::now());
    let mut host = host(&clock);
    let mut slow = rule("slow", json!([{"name": "s", "path": "/slow"}]));
    slow.files.as_mut().unwrap().interval = "1h".into();
    host.set_rules(vec![rule_with("quick", json!([{"name": "q", "path": "/f*"}]), json!({})), slow]);
    host.write("/slow", "1");
    clock.advance(HOUR);
    host.compare();
    host.write("/slow", "22");
    assert!(host.compare_due(10).lines.is_empty());
    clock.go_back(HOUR);
    assert_eq!(host.compare_due(10).told(), ["Modified /slow Content,Size"]);
}

#[test]
fn changes_around_a_step_are_reported_once_and_never_since_a_time_to_come() {
    let clock = Arc::new(SetClock::now());
    let mut host = host(&clock);
    host.write("/f0", "22");
    clock.go_back(30 * DAY);
    host.write("/f1", "22");
    host.write("/new", "1");
    host.remove("/f2");
    let seen = host.compare();
    let told = ["Added /new", "Modified /f0 Content,Size", "Modified /f1 Content,Size", "Removed /f2"];
    assert_eq!(seen.told(), told);
    for change in seen.changes() {
        let time = |member: &str| change[member].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert!(time("since") <= time("time"), "{change}");
        assert_eq!(change["detection"], "Scan");
    }
    host.write("/f1", "333");
    assert_eq!(host.compare().told(), ["Modified /f1 Content,Size"]);
}

#[test]
fn after_a_step_content_is_read_again_once_in_each_interval_like_before() {
    let clock = Arc::new(SetClock::now());
    let mut host = host(&clock);
    clock.go_back(5 * HOUR / 2);
    host.compare();
    // The ctimes lie ahead of the clock now; once it has passed them nothing is racy any more.
    clock.advance(2 * HOUR);
    host.compare();
    let mut hashed = 0;
    for _ in 0..24 {
        clock.advance(HOUR);
        hashed += host.compare().summary.hashed;
    }
    assert_eq!(hashed, 10);
}
