//! Large files: read in a lane of their own, so that none of them holds up the rest, and told like any other.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Host, SetClock, everything, rule};
use vedette_engine::clock::{Clock, Time};
use vedette_engine::driver::{Configuration, Driver, Observer};
use vedette_engine::engine::{Standing, Summary};
use vedette_engine::{Due, EngineError, Identity};

const LARGE: usize = 3 << 20;
const JUST_LARGE: u64 = (256 << 10) + 1;
/// So many may wait.
const WAITING: u64 = 4096;
/// Sparse; no machine reads so much while a test runs.
const ENDLESS: u64 = 8 << 40;
const DEADLINE: Duration = Duration::from_secs(60);

fn endless(host: &Host, path: &str) {
    // Not emptied before: a compare that meets half of a change tells two.
    let file = File::options().write(true).create(true).truncate(false).open(host.at(path)).unwrap();
    file.set_len(ENDLESS).unwrap();
}

fn entries() -> serde_json::Value {
    json!([{"name": "all", "path": "/**", "maxContentSize": 1u64 << 60}])
}

#[test]
fn large_files_are_baselined_with_their_digests_and_told_once() {
    let mut host = Host::new(everything());
    for at in 0..5u8 {
        host.write(&format!("/d{at}/f"), vec![at; LARGE]);
    }
    let seen = host.compare();
    assert!(seen.changes().is_empty());
    assert_eq!((seen.summary.items, seen.summary.hashed), (11, 5 * LARGE as u64));
    host.write("/d3/f", vec![9; LARGE]);
    let seen = host.compare();
    assert_eq!(seen.told(), ["Modified /d3/f Content"]);
    assert_eq!((&seen.only()["before"]["content"], &seen.only()["after"]["content"]), (&json!("Read"), &json!("Read")));
    host.write("/d3/f", vec![9; LARGE]);
    assert!(host.compare().changes().is_empty(), "the same content again");
}

#[test]
fn more_large_files_than_may_wait_are_all_read() {
    let mut host = Host::new(everything());
    const FILES: u64 = WAITING + 76;
    for at in 0..FILES {
        File::create(host.at(&format!("/f{at}"))).unwrap().set_len(JUST_LARGE).unwrap();
    }
    let seen = host.compare();
    assert_eq!(seen.summary.hashed, FILES * JUST_LARGE);
    assert_eq!((seen.summary.items, host.standing().totals.tracked), (FILES + 1, FILES + 1));
}

#[test]
fn in_a_baseline_that_is_stopped_a_large_file_is_pending_and_then_filled_in_silently() {
    let mut host = Host::new(entries());
    endless(&host, "/endless");
    host.write("/small", "1");
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    // The rest is committed while the file is being read; only that ends the compare here.
    host.engine()
        .compare(&Due::All, &stop, &mut |standing| {
            if standing.totals.tracked == 3 {
                told.store(true, Ordering::Relaxed);
            }
        })
        .unwrap();
    assert_eq!(host.standing().totals.tracked, 3);
    assert!(!host.standing().baseline_ready, "ready means read");
    host.write("/endless", "2");
    let seen = host.compare();
    assert_eq!(seen.told(), ["Modified /endless Size"]);
    assert_eq!(seen.only()["before"]["content"], "Pending");
    assert!(host.standing().baseline_ready && host.compare().lines.is_empty());
}

#[test]
fn a_large_file_that_moved_is_read_and_paired() {
    let clock = SetClock::now();
    clock.advance(Duration::from_secs(3600));
    let mut host = Host::with_clock(everything(), Arc::new(clock));
    host.write("/a", vec![1; LARGE]);
    host.compare();
    host.rename("/a", "/b");
    let seen = host.compare();
    assert_eq!(seen.told(), ["Added /b", "Removed /a"]);
    assert!(seen.changes().iter().all(|change| change["movedTo"] == "/b" || change["movedFrom"] == "/a"));
    assert_eq!(seen.summary.hashed, LARGE as u64, "its ctime moved");
}

#[test]
fn a_large_file_that_cannot_be_read_is_unknown_in_the_same_compare() {
    let mut host = Host::new(everything());
    host.write("/a", vec![1; LARGE]);
    let Some(_lease) = support::Lease::take(&host.at("/a")) else { return };
    host.compare();
    assert_eq!(host.standing().unknowns.items(), 1);
    assert!(host.compare().lines.is_empty());
    assert_eq!(host.standing().unknowns.items(), 1);
}

/// Hands on what an engine's thread says.
struct Told(Mutex<Sender<Standing>>, Mutex<Sender<Summary>>);

impl Observer for Told {
    fn stands(&mut self, standing: &Standing) {
        drop(self.0.lock().unwrap().send(standing.clone())); // the test may have ended
    }

    fn compared(&mut self, summary: &Summary, _: bool) {
        drop(self.1.lock().unwrap().send(summary.clone())); // the test may have ended
    }

    fn failed(&mut self, error: &EngineError) {
        panic!("{error}");
    }
}

/// Time passes as fast as it is asked for: what is due every ten seconds is due at each look.
#[derive(Default)]
struct Hasty(Mutex<u64>);

impl Clock for Hasty {
    fn now(&self) -> Time {
        vedette_engine::clock::SystemClock.now()
    }

    fn since_boot(&self) -> Duration {
        let mut seconds = self.0.lock().unwrap();
        *seconds += 10;
        Duration::from_secs(*seconds)
    }
}

fn drive(host: &mut Host) -> (Driver, Receiver<Standing>, Receiver<Summary>) {
    host.stop();
    let engine = host.open().unwrap();
    let ((standing, stands), (summary, compared)) = (channel(), channel());
    let told = Box::new(Told(Mutex::new(standing), Mutex::new(summary)));
    let driver = Driver::start(engine, Arc::new(Hasty::default()), told).unwrap();
    let rules = vec![rule("r", entries())];
    let identity = Identity { node: "n1".into(), ..Identity::default() };
    driver.handle().configure(Configuration { rules, identity, generation: 1, remember: None });
    (driver, stands, compared)
}

fn until(stands: &Receiver<Standing>, what: impl Fn(&Standing) -> bool) -> Standing {
    loop {
        let standing = stands.recv_timeout(DEADLINE).expect("it comes to that");
        if what(&standing) {
            return standing;
        }
    }
}

#[test]
fn while_one_huge_file_is_read_all_else_goes_on_being_compared() {
    let mut host = Host::new(entries());
    host.write("/small", "1");
    host.write("/huge", "1");
    let (driver, stands, compared) = drive(&mut host);
    let records = |standing: &Standing| standing.totals.files.iter().flatten().sum::<u64>();
    until(&stands, |standing| standing.baseline_ready);
    endless(&host, "/huge");
    for round in 0..3u64 {
        compared.recv_timeout(DEADLINE).unwrap();
        // In one step, so that no compare meets half of it.
        let new = host.root().with_file_name("new");
        fs::write(&new, format!("{round} and more")).unwrap();
        fs::rename(new, host.at("/small")).unwrap();
        until(&stands, |standing| records(standing) == round + 1);
    }
    // What is being read ends now, and the lane has its turn with the rest.
    File::options().write(true).open(host.at("/huge")).unwrap().set_len(LARGE as u64).unwrap();
    until(&stands, |standing| records(standing) == 4);
    drop(driver.shutdown());
    host.start();
    let lines = host.lines();
    let told: Vec<String> = lines.iter().filter(|line| line["changeType"].is_string()).map(support::tell).collect();
    assert_eq!(told[3], "Modified /huge Content,Size");
    assert!(lines.last().unwrap()["after"]["md5"].is_string());
    assert!(host.compare().changes().is_empty(), "all was said");
}

#[test]
fn an_engine_that_ends_does_not_wait_for_what_it_reads_and_reads_it_again() {
    let mut host = Host::new(entries());
    host.write("/huge", "1");
    let (driver, stands, compared) = drive(&mut host);
    until(&stands, |standing| standing.baseline_ready);
    endless(&host, "/huge");
    for _ in 0..3 {
        compared.recv_timeout(DEADLINE).unwrap();
    }
    drop(driver.shutdown());
    host.write("/huge", vec![7; LARGE]);
    host.start();
    assert_eq!(host.compare().told(), ["Modified /huge Content,Size"]);
}

/// A host with its baseline made, whose large files are then read aside; each that was read is told.
fn aside(files: impl IntoIterator<Item = String>) -> (Host, Receiver<()>) {
    let mut host = Host::new(json!([{"name": "srv", "path": "/srv", "maxContentSize": 1u64 << 60}]));
    host.mkdir("/out");
    for path in files {
        host.write(&path, "1");
    }
    let (told, read) = channel();
    host.engine().read_large_files_aside(move || {
        let _ = told.send(()); // the test may have ended
    });
    host.compare();
    (host, read)
}

fn commit(host: &mut Host) -> Vec<String> {
    host.engine().commit_read(&mut |_| {}).unwrap();
    host.lines().iter().filter(|line| line["changeType"].is_string()).map(support::tell).collect()
}

#[test]
fn what_was_read_of_a_large_file_does_not_bring_it_back_when_it_was_removed_meanwhile() {
    let (mut host, read) = aside(["/srv/big".to_owned()]);
    host.write("/srv/big", vec![1; LARGE]);
    assert!(host.compare().lines.is_empty());
    read.recv_timeout(DEADLINE).unwrap();
    host.remove("/srv/big");
    assert_eq!(host.compare().told(), ["Removed /srv/big"]);
    assert_eq!(commit(&mut host), [""; 0]);
    assert!(host.compare().lines.is_empty());
    assert_eq!(host.standing().totals.tracked, 1);
    host.write("/srv/big", vec![2; LARGE]);
    assert!(host.compare().lines.is_empty(), "it is queued again");
    read.recv_timeout(DEADLINE).unwrap();
    assert_eq!(commit(&mut host), ["Added /srv/big"]);
}

#[test]
fn of_what_waited_and_is_small_again_the_compare_that_left_it_is_not_said_to_have_found_nothing() {
    let (mut host, read) = aside(["/srv/changed".to_owned()]);
    host.write("/srv/changed", vec![1; LARGE]);
    host.write("/srv/new", vec![1; LARGE]);
    let seen = host.compare();
    assert!(seen.lines.is_empty());
    for _ in 0..2 {
        read.recv_timeout(DEADLINE).unwrap();
    }
    host.write("/srv/changed", "22");
    host.write("/srv/new", "22");
    let next = host.compare();
    let mut told = next.told();
    told.sort();
    assert_eq!(told, ["Added /srv/new", "Modified /srv/changed Content,Size"]);
    for change in next.changes() {
        let since: jiff::Timestamp = change["since"].as_str().unwrap().parse().unwrap();
        assert!(since < seen.summary.began.timestamp(), "{change}");
    }
    assert_eq!(commit(&mut host), [""; 0]);
}

/// Waits until somebody has a file open, or nobody has.
fn until_open(host: &Host, path: &str, ought: bool) {
    let deadline = Instant::now() + DEADLINE;
    let is_open = || {
        let open = fs::read_dir("/proc/self/fd").unwrap();
        open.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).any(|of| of == host.at(path))
    };
    while is_open() != ought {
        assert!(Instant::now() < deadline, "{path}: open ought to be {ought}");
        std::thread::yield_now();
    }
}

#[test]
fn a_read_that_is_under_way_when_its_file_goes_with_its_directory_does_not_bring_that_back() {
    let (mut host, _read) = aside(["/srv/d/big".to_owned()]);
    endless(&host, "/srv/d/big");
    assert!(host.compare().lines.is_empty());
    until_open(&host, "/srv/d/big", true);
    host.rename("/srv/d", "/out/d");
    assert_eq!(host.compare().told(), ["Removed /srv/d", "Removed /srv/d/big"]);
    // It changed: the next try is made by its name, which is not there.
    File::options().write(true).open(host.at("/out/d/big")).unwrap().set_len(LARGE as u64).unwrap();
    until_open(&host, "/out/d/big", false);
    assert_eq!(commit(&mut host), [""; 0]);
    assert!(host.compare().lines.is_empty());
}

#[test]
fn more_large_files_than_may_wait_are_left_to_later_compares_and_unknown_until_then() {
    const FILES: u64 = WAITING + 76;
    let name = |at: u64| format!("/srv/d/{at:04}");
    let (mut host, read) = aside((0..FILES).map(name));
    for at in 0..FILES {
        endless(&host, &name(at));
    }
    let seen = host.compare();
    assert!(seen.lines.is_empty(), "no walker reads one of them");
    let unknown = host.standing().unknowns.items();
    assert_eq!(unknown, FILES - WAITING);
    for at in 0..FILES {
        File::options().write(true).open(host.at(&name(at))).unwrap().set_len(7).unwrap();
    }
    // By the compares, as they are large no more, or by the thread that has them already: each once.
    let next = host.compare();
    let since = |change: &&serde_json::Value| change["since"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let is_before = |change: &serde_json::Value| since(&change) < seen.summary.began.timestamp();
    assert!(next.changes().into_iter().all(is_before), "the compare that left them did not find them as they were");
    let mut told = next.told();
    while told.len() < FILES as usize {
        read.recv_timeout(DEADLINE).unwrap();
        told.extend(commit(&mut host));
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), FILES as usize);
    assert!(host.compare().lines.is_empty());
    assert_eq!(host.standing().unknowns.items(), 0);
}
