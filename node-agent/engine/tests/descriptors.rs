//! A process that has no descriptor left sees nothing: it says so, and neither forgets nor makes up an item.
//!
//! One test alone, for the limit is the whole process's.
#![allow(clippy::unwrap_used)]

mod support;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use support::Host;

/// The link, the directory behind it, the tool in that; /etc and what is in it.
const ITEMS: u64 = 5;

fn limit(descriptors: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(descriptors), maximum }).unwrap();
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
    let mut host = Host::new(json!([{"name": "linked", "path": "/bin"}, {"name": "real", "path": "/etc"}]));
    host.write("/usr/bin/tool", "1");
    host.link("usr/bin", "/bin");
    host.write("/etc/a", "1");
    host.compare();
    let before = getrlimit(Resource::Nofile).current.unwrap();
    let free = u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&File::open("/dev/null").unwrap())).unwrap();
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
