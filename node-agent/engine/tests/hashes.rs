//! Hashes change: the first read computes old and new and compares the old, so that no change is lost and none invented.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Host, Lease};

type Hashes = &'static [&'static str];

const ALL: Hashes = &["Md5", "Sha256", "Sha512", "Blake3"];
/// Content that is not compared at all, sets that share a kind and sets that share none.
const SETS: [Hashes; 6] = [&[], &["Md5"], &["Sha256"], &["Sha512", "Blake3"], &["Md5", "Sha256"], ALL];

fn entries(hashes: Hashes) -> Value {
    match hashes {
        [] => json!([{"name": "all", "path": "/srv", "compare": ["Mode"]}]),
        hashes => json!([{"name": "all", "path": "/srv", "compare": ["Content", "Mode"], "hashes": hashes}]),
    }
}

/// The kinds of digests that an item of a record has.
fn shown(item: &Value) -> Vec<&'static str> {
    ALL.iter().copied().filter(|hash| item.get(hash.to_lowercase()).is_some()).collect()
}

/// Whether before and after have digests of one kind, and they differ.
fn is_proved(change: &Value) -> bool {
    let differs = |hash: &&&str| {
        let of = |item: &Value| item.get(hash.to_lowercase()).cloned();
        of(&change["before"]).zip(of(&change["after"])).is_some_and(|(before, after)| before != after)
    };
    ALL.iter().any(|hash| differs(&hash))
}

/// A host that was compared with the first hashes; its file `changed` changes with the move to the second, after which
/// `restarts`; and what the first compare with the second says.
fn moved(from: Hashes, to: Hashes, restarts: bool) -> (Host, Vec<String>) {
    let mut host = Host::new(entries(from));
    for name in ["same", "changed", "both"] {
        host.write(&format!("/srv/{name}"), "1");
    }
    host.compare();
    host.set_entries(entries(to));
    host.write("/srv/changed", "2");
    host.write("/srv/both", "2");
    host.chmod("/srv/both", 0o600);
    if restarts {
        host.stop();
        host.start();
    }
    let seen = host.compare();
    for change in seen.changes().iter().filter(|change| change["fields"][0] == "Content") {
        assert!(is_proved(change), "{from:?} to {to:?}: {change}");
    }
    let told = seen.told();
    (host, told)
}

#[test]
fn from_any_hashes_to_any_others_a_change_is_reported_once_and_nothing_else() {
    for (at, (from, to)) in SETS.iter().flat_map(|from| SETS.iter().map(move |to| (*from, *to))).enumerate() {
        let (mut host, told) = moved(from, to, at % 2 == 0);
        let expected: &[&str] = match from.is_empty() || to.is_empty() {
            true => &["Modified /srv/both Mode"],
            false => &["Modified /srv/both Content,Mode", "Modified /srv/changed Content"],
        };
        assert_eq!(told, expected, "{from:?} to {to:?}");
        host.write("/srv/same", "2");
        let seen = host.compare();
        if to.is_empty() {
            assert!(seen.changes().is_empty(), "{from:?} to {to:?}");
            continue;
        }
        assert_eq!(seen.told(), ["Modified /srv/same Content"], "{from:?} to {to:?}");
        assert_eq!((shown(&seen.only()["before"]), shown(&seen.only()["after"])), (to.to_vec(), to.to_vec()));
    }
}

#[test]
fn content_that_was_not_compared_for_a_while_is_compared_with_what_it_was_before() {
    for (from, to) in SETS[1..].iter().flat_map(|from| SETS[1..].iter().map(move |to| (*from, *to))) {
        let mut host = Host::new(entries(from));
        for name in ["same", "early", "late", "touched"] {
            host.write(&format!("/srv/{name}"), "1");
        }
        host.compare();
        host.set_entries(entries(&[]));
        host.compare();
        host.write("/srv/early", "2");
        host.chmod("/srv/touched", 0o600);
        assert_eq!(host.compare().told(), ["Modified /srv/touched Mode"]);
        host.write("/srv/late", "2");
        host.set_entries(entries(to));
        let seen = host.compare();
        assert_eq!(seen.told(), ["Modified /srv/early Content", "Modified /srv/late Content"], "{from:?} to {to:?}");
        assert!(seen.changes().iter().all(|change| change["detection"] == "Resumed"), "{:?}", seen.changes());
        host.write("/srv/early", "3");
        let seen = host.compare();
        assert_eq!((&seen.only()["detection"], shown(&seen.only()["before"])), (&json!("Scan"), to.to_vec()));
    }
}

#[test]
fn a_first_read_that_fails_leaves_the_old_digests_to_the_next_one() {
    for (from, to, then) in [(&["Md5"], &["Sha256"], &["Blake3"]), (&["Sha512"], &["Md5"], &["Md5"])]
        .map(|(a, b, c)| (&a[..], &b[..], &c[..]))
    {
        for changes in [false, true] {
            let mut host = Host::new(entries(from));
            host.write("/srv/file", "1");
            host.compare();
            host.set_entries(entries(to));
            let Some(lease) = Lease::take(&host.at("/srv/file")) else {
                eprintln!("SKIPPED: no leases here");
                return;
            };
            assert_eq!(host.compare().told(), ["Modified /srv/file ContentState"]);
            drop(lease);
            if changes {
                host.write("/srv/file", "2");
            }
            host.set_entries(entries(then));
            let told = host.compare().told();
            assert_eq!(
                told,
                if changes { &["Modified /srv/file Content"][..] } else { &[] },
                "{from:?}, {to:?}, {then:?}"
            );
            host.write("/srv/file", "3");
            assert_eq!(shown(&host.compare().only()["before"]), then);
        }
    }
}

#[test]
fn the_hashes_of_all_entries_of_a_path_are_computed_and_one_that_leaves_takes_only_its_own() {
    let with = |all: bool| {
        let mut entries = vec![json!({"name": "a", "path": "/srv", "hashes": ["Sha256"]})];
        entries.extend(all.then(|| json!({"name": "b", "path": "/srv/*", "hashes": ["Blake3"]})));
        Value::Array(entries)
    };
    let mut host = Host::new(with(true));
    host.write("/srv/file", "1");
    host.compare();
    host.write("/srv/file", "2");
    assert_eq!(shown(&host.compare().only()["after"]), ["Sha256", "Blake3"]);
    host.set_entries(with(false));
    host.write("/srv/file", "3");
    let seen = host.compare();
    assert_eq!(seen.only()["rules"], json!(["r/a"]));
    host.write("/srv/file", "4");
    assert_eq!(shown(&host.compare().only()["before"]), ["Sha256"]);
}
