//! Every target over its seeds and a bounded number of random changes of them; PROPTEST_CASES asks for more.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use vedette_crds::compile::standalone;
use vedette_crds::parse::parse_rules;
use vedette_crds::record::Detection;
use vedette_engine::clock::SystemClock;
use vedette_engine::{Due, Engine, Identity, Settings};
use vedette_fuzz::TARGETS;

const PAGES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pages");

/// A random change of some bytes; places are taken modulo their number.
#[derive(Clone, Debug)]
enum Change {
    Set(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    /// What stands there comes once more, so often.
    Repeat(usize, usize, usize),
    /// The rest of another seed.
    Splice(usize, usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<usize>;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (place(), proptest::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (place(), 1..64usize).prop_map(|(at, count)| Change::Remove(at, count)),
        (place(), 1..32usize, 1..300usize).prop_map(|(at, count, times)| Change::Repeat(at, count, times)),
        (place(), place(), place()).prop_map(|(at, seed, from)| Change::Splice(at, seed, from)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change], seeds: &[Vec<u8>]) -> Vec<u8> {
    for change in changes {
        let place = |at: usize| at % (bytes.len() + 1);
        let end = |at: usize, count: usize| bytes.len().min(place(at) + count);
        match change {
            Change::Set(at, byte) => {
                let at = place(*at);
                bytes.splice(at..bytes.len().min(at + 1), [*byte]);
            }
            Change::Insert(at, more) => drop(bytes.splice(place(*at)..place(*at), more.iter().copied())),
            Change::Remove(at, count) => drop(bytes.drain(place(*at)..end(*at, *count))),
            Change::Repeat(at, count, times) => {
                let more = bytes[place(*at)..end(*at, *count)].repeat(*times);
                bytes.splice(place(*at)..place(*at), more);
            }
            Change::Splice(at, seed, from) => {
                let other = &seeds[seed % seeds.len()];
                bytes.truncate(place(*at));
                bytes.extend(&other[from % (other.len() + 1)..]);
            }
        }
    }
    bytes
}

fn folder_of(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target)
}

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut seeds: Vec<_> = fs::read_dir(folder_of(target))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn every_seed_is_taken_for_what_it_is() {
    if std::env::var_os("VEDETTE_REGENERATE").is_some() {
        write_page_seeds();
    }
    for (name, target) in TARGETS {
        for (file, seed) in seeds(name) {
            let is_good = !file.starts_with("bad-");
            assert_eq!(target(&seed), is_good, "seeds/{name}/{file}; VEDETTE_REGENERATE=1 writes seeds of pages anew");
        }
    }
}

/// The pages of a real state, without their checksums, which the target sets.
fn write_page_seeds() {
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().join("host");
    fs::create_dir_all(host.join("etc/empty")).unwrap();
    for name in ["passwd", "passwd-", "shadow", "\u{e9}"] {
        fs::write(host.join("etc").join(name), name).unwrap();
    }
    std::os::unix::fs::symlink("../else where", host.join("etc/link")).unwrap();
    let settings = Settings {
        state_dir: folder.path().join("state"),
        host_root: host,
        threads: 1,
        first_detection: Detection::Startup,
        answer_within: std::time::Duration::from_secs(3),
    };
    let mut engine = Engine::open(settings, Arc::new(SystemClock)).unwrap();
    let rule = "apiVersion: vedette.dev/v1alpha1\nkind: DataCollectionRule\nmetadata: {name: all}\n\
                spec: {files: {paths: [{name: all, path: '/**'}]}}\n";
    engine.configure(standalone(&parse_rules(rule).unwrap()).unwrap(), Identity::default(), 1);
    engine.compare(&Due::All, &Arc::default(), &mut |_| {}).unwrap();
    drop(engine);
    let database = Database::open(folder.path().join("state/vedette.redb")).unwrap();
    let pages = database.begin_read().unwrap().open_table(PAGES).unwrap();
    for (at, page) in pages.iter().unwrap().enumerate() {
        let (_, value) = page.unwrap();
        fs::write(folder_of("page").join(format!("page-{at}")), &value.value()[8..]).unwrap();
    }
}

fn hold_under_changes(name: &str) {
    let target = TARGETS.iter().find(|(of, _)| *of == name).unwrap().1;
    let seeds: Vec<Vec<u8>> = seeds(name).into_iter().map(|(_, seed)| seed).collect();
    let strategy = (0..seeds.len(), proptest::collection::vec(change(), 0..6));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&strategy, |(seed, changes)| {
        target(&changed(seeds[seed].clone(), &changes, &seeds));
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{name}: {error}"));
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2000)
}

#[test]
fn rules_hold() {
    hold_under_changes("rule");
}

#[test]
fn patterns_hold() {
    hold_under_changes("pattern");
}

#[test]
fn attributes_hold() {
    hold_under_changes("attributes");
}

#[test]
fn pages_hold() {
    hold_under_changes("page");
}

#[test]
fn records_hold() {
    hold_under_changes("record");
}

#[test]
fn digests_hold() {
    hold_under_changes("digests");
}
