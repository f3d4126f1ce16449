//! Killed at any moment: state and journal stay together, nothing is lost, nothing is said twice.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Host, everything};
use vedette_crds::record::{ChangeType, Detection};
use vedette_engine::clock::SystemClock;
use vedette_engine::{Due, Engine, Identity, Settings};

const FOLDER: &str = "VEDETTE_TEST_COMPARES_IN";

/// Not a test of its own: the process that the tests below kill. It compares without end.
#[test]
fn helper_that_compares_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let settings = Settings {
        state_dir: folder.join("state"),
        host_root: folder.join("host"),
        threads: 2,
        first_detection: Detection::Startup,
    };
    let mut engine = Engine::open(settings, Arc::new(SystemClock)).unwrap();
    engine.configure(vec![support::rule("r", everything())], Identity { node: "n1".into(), ..Identity::default() }, 1);
    engine.announce_start().unwrap();
    loop {
        engine.compare(&Due::All, &Arc::default(), &mut |_| {}).unwrap();
    }
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper_that_compares_until_it_is_killed", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// What a record says of an item, as far as these tests change it.
fn shown(item: &Value) -> Option<String> {
    let item = item.as_object()?;
    let text = |key: &str| item.get(key).map(|value| value.to_string()).unwrap_or_default();
    Some(format!("{} {} {}", text("type"), text("mode"), text("md5")))
}

/// The same of the host as it is.
fn walk(root: &Path, here: &Path, found: &mut BTreeMap<String, String>) {
    let metadata = here.symlink_metadata().unwrap();
    let mode = format!("\"{:04o}\"", metadata.mode() & 0o7777);
    let path = format!("/{}", here.strip_prefix(root).unwrap().display());
    if metadata.is_dir() {
        found.insert(path, format!("\"Directory\" {mode} "));
        fs::read_dir(here).unwrap().for_each(|entry| walk(root, &entry.unwrap().path(), found));
    } else {
        let md5 = <md5::Md5 as md5::Digest>::digest(fs::read(here).unwrap());
        let md5: String = md5.iter().map(|byte| format!("{byte:02x}")).collect();
        found.insert(path, format!("\"Regular\" {mode} \"{md5}\""));
    }
}

#[test]
fn after_twenty_kills_in_mid_scan_the_journal_tells_exactly_what_happened() {
    let mut host = Host::new(everything());
    for at in 0..400 {
        host.write(&format!("/d{}/f{at}", at % 9), format!("{at}"));
    }
    host.compare();
    host.stop();
    let mut state = BTreeMap::new();
    walk(&host.root(), &host.root(), &mut state);

    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for round in 0..20u64 {
        let mut child = start(host.root().parent().unwrap());
        let end = Instant::now() + Duration::from_millis(40 + next(160));
        while Instant::now() < end {
            let (directory, file) = (next(9), next(60));
            let path = format!("/d{directory}/f{}", file * 9 + directory);
            match next(5) {
                0 => drop(fs::remove_file(host.at(&path))), // it may be gone
                1 => {
                    if host.at(&path).exists() {
                        fs::set_permissions(host.at(&path), fs::Permissions::from_mode(0o600 + next(64) as u32))
                            .unwrap();
                    }
                }
                2 => host.write(&format!("/new{}/{round}", next(5)), "new"),
                3 => drop(fs::remove_dir_all(host.at(&format!("/new{}", next(5))))), // it may not be there
                _ => host.write(&path, format!("{round} {}", next(1000))),
            }
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    host.start();
    let mut lines = host.lines();
    let last = host.compare();
    lines.extend(last.lines);
    lines.extend(host.compare().lines);
    let mut counted = [0u64; 3];
    for line in &lines {
        let Some(change) = line["changeType"].as_str() else { continue };
        let path = line["path"].as_str().unwrap().to_owned();
        let (before, after) = (shown(&line["before"]), shown(&line["after"]));
        assert_eq!(before, state.get(&path).cloned(), "{line}");
        assert_ne!(before, after, "{line}");
        match after {
            Some(after) => state.insert(path, after),
            None => state.remove(&path),
        };
        counted[["Added", "Modified", "Removed"].iter().position(|of| of == &change).unwrap()] += 1;
    }
    let mut found = BTreeMap::new();
    walk(&host.root(), &host.root(), &mut found);
    assert_eq!(state, found, "the baseline and all records give what is there");
    let totals = host.standing().totals;
    let counts = ChangeType::ALL.map(|change| totals.changes_of(change));
    assert_eq!(counts, counted);
    assert_eq!(ChangeType::ALL.map(|change| totals.rules[0].changes_of(change)), counted);
    assert_eq!(totals.tracked, found.len() as u64);
    assert!(counted.iter().sum::<u64>() > 100, "{counted:?}");
    assert!(lines.iter().filter(|line| line["kind"] == "Started").count() > 5);
}

#[test]
fn killed_in_its_first_compare_it_makes_its_baseline_at_the_next_and_reports_nothing() {
    let mut host = Host::new(everything());
    host.stop();
    fs::remove_dir_all(host.state_dir()).unwrap();
    for at in 0..3000 {
        host.write(&format!("/d{}/f{at}", at % 50), format!("{at}"));
    }
    for millis in [5, 20, 30, 40, 60, 80, 120] {
        let mut child = start(host.root().parent().unwrap());
        std::thread::sleep(Duration::from_millis(millis));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    host.start();
    let mut lines = host.lines();
    lines.extend(host.compare().lines);
    assert!(lines.iter().all(|line| line["changeType"].is_null()), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line["kind"] == "BaselineMade").count(), 1);
    assert_eq!(host.standing().totals.tracked, 3051);
}
