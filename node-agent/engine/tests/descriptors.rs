//! A process that has no descriptor left sees nothing: it says so, and neither forgets nor makes up an item.
//!
//! One test at a time, for the limit is the whole process's.
#![allow(clippy::unwrap_used)]

mod support;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::Host;
use vedette_engine::Due;
use vedette_engine::engine::Outcome;

static ALONE: Mutex<()> = Mutex::new(());

/// The link, the directory behind it, the tool in that; /etc and what is in it.
const ITEMS: u64 = 5;

fn limit(descriptors: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(descriptors), maximum }).unwrap();
}

/// The lowest descriptor that is free: with it as the limit there is none.
fn lowest() -> u64 {
    u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&File::open("/dev/null").unwrap())).unwrap()
}

/// Compares; nothing that is not so may come of it.
fn compare(host: &mut Host, what: &str) -> bool {
    let Ok(seen) = host.try_compare() else { return false };
    assert!(seen.lines.is_empty(), "{what}: {:?}", seen.lines);
    let standing = host.standing();
    assert!(standing.idle.is_empty(), "{what}: {:?}", standing.idle);
    assert_eq!(standing.totals.tracked, ITEMS, "{what}");
    let (items, unknown) = (seen.summary.items, standing.unknowns.items());
    assert!(items == ITEMS || unknown > 0, "{what}: {items} items looked at, {unknown} unknown");
    items == ITEMS
}

#[test]
fn an_agent_without_descriptors_says_that_it_sees_nothing_and_forgets_nothing() {
    let _alone = ALONE.lock();
    let mut host = Host::new(json!([{"name": "linked", "path": "/bin"}, {"name": "real", "path": "/etc"}]));
    host.write("/usr/bin/tool", "1");
    host.link("usr/bin", "/bin");
    host.write("/etc/a", "1");
    host.compare();
    let before = getrlimit(Resource::Nofile).current.unwrap();
    let free = lowest();
    let mut saw = Vec::new();
    for left in 0..12 {
        limit(free + left);
        saw.push(compare(&mut host, &format!("{left} descriptors left")));
    }
    assert!(!saw[0] && saw[11], "{saw:?}");

    // And while others take them and give them back at any moment.
    limit(free + 24);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
                drop(taken);
            }
        });
        (0..500).for_each(|_| _ = compare(&mut host, "while others take descriptors"));
        ended.store(true, Ordering::Relaxed);
    });
    limit(before);
    host.write("/usr/bin/tool", "22");
    let seen = host.compare();
    assert_eq!(seen.told(), ["Modified /usr/bin/tool Content,Size"]);
}

#[test]
fn without_descriptors_for_a_second_look_what_is_new_or_moved_is_unknown_and_told_by_a_later_compare() {
    let _alone = ALONE.lock();
    let mut host = Host::new(json!([{"name": "srv", "path": "/srv"}]));
    host.write("/srv/old", "1");
    host.write("/srv/there", "1");
    host.compare();
    let has_birth = |path: &Path| path.metadata().unwrap().created().is_ok();
    if !has_birth(&host.at("/srv/old")) {
        eprintln!("SKIPPED without birth times: nothing is looked at twice");
        return;
    }
    host.rename("/srv/old", "/srv/moved");
    host.write("/srv/new", "1");
    let before = getrlimit(Resource::Nofile).current.unwrap();
    let take_all = || {
        limit(before);
        limit(lowest());
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut told = Vec::new();
    let mut missed = jiff::Timestamp::MIN;
    for round in 0.. {
        // The commit of this one comes when all names were seen, and before those that are new are looked at.
        host.write("/srv/there", "1".repeat(2 + round));
        let ended = host.engine().compare(&Due::All, &Arc::default(), &mut |_| take_all()).unwrap();
        limit(before);
        told.extend(host.lines().iter().map(support::tell));
        let unknowns = host.standing().unknowns;
        let named: Vec<String> = unknowns.named().iter().map(|unknown| unknown.path.to_string()).collect();
        if named == ["/srv/moved", "/srv/new"] {
            let Outcome::Complete(summary) = ended else { panic!("{ended:?}") };
            missed = summary.began.timestamp();
            break;
        }
        // A walk that took seconds is committed in parts.
        assert!(Instant::now() < deadline, "{unknowns:?} {told:?}");
    }
    assert!(told.iter().all(|told| told == "Modified /srv/there Content,Size"), "{told:?}");
    let seen = host.compare();
    let mut told = seen.told();
    told.sort();
    assert_eq!(told, ["Added /srv/moved", "Added /srv/new", "Removed /srv/old"]);
    let removed = seen.changes().into_iter().find(|change| change["changeType"] == "Removed").unwrap();
    assert_eq!(removed["movedTo"], "/srv/moved");
    let since: jiff::Timestamp = removed["since"].as_str().unwrap().parse().unwrap();
    assert!(since < missed, "the compare that could not see its other name has not found it there: {removed}");
    assert_eq!(host.standing().unknowns.items(), 0);
}
