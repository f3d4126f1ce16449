//! Killed at any moment: state and journal stay together, nothing is lost, nothing is said twice.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::replay::{Replay, change};
use support::{Host, everything};
use vedette_engine::clock::SystemClock;
use vedette_engine::{Due, Engine, Identity};

const FOLDER: &str = "VEDETTE_TEST_COMPARES_IN";

/// Not a test of its own: the process that the tests below kill. It compares without end.
#[test]
fn helper_that_compares_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let settings = support::settings(folder.join("state"), folder.join("host"));
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

/// Fifty in CI; VEDETTE_KILLS asks for more.
fn kills() -> u64 {
    std::env::var("VEDETTE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(50)
}

#[test]
fn after_kills_in_mid_scan_the_journal_tells_exactly_what_happened() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut left = kills();
    while left > 0 {
        let kills = left.min(50);
        left -= kills;
        let mut host = Host::new(everything());
        for at in 0..400 {
            host.write(&format!("/d{}/f{at}", at % 9), format!("{at}"));
        }
        host.compare();
        host.stop();
        let mut replay = Replay::of(&host);
        for _ in 0..kills {
            let mut child = start(host.root().parent().unwrap());
            let end = Instant::now() + Duration::from_millis(random.u64(40..200));
            while Instant::now() < end {
                change(&host, &mut random);
                std::thread::yield_now();
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
        host.start();
        replay.take(&host.lines());
        replay.take(&host.compare().lines);
        replay.take(&host.compare().lines);
        replay.check(&mut host);
        assert!(replay.changes() > kills && replay.starts as u64 > kills / 4, "{} {}", replay.changes(), replay.starts);
    }
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
