//! The driver: a configuration that arrives while a scan is under way ends it, and the next one is under the new rules.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use support::disk::Disk;
use support::{Host, rule, rule_with};
use vedette_crds::node_config::NodeRule;
use vedette_engine::clock::SystemClock;
use vedette_engine::driver::{Configuration, Driver, Observer};
use vedette_engine::engine::{Standing, Summary};
use vedette_engine::{EngineError, Identity};

/// Tells which configurations a compare came to its end under.
struct Tell {
    generation: Option<i64>,
    compared: Sender<(Option<i64>, u64)>,
}

impl Observer for Tell {
    fn stands(&mut self, standing: &Standing) {
        self.generation = standing.generation;
    }

    fn compared(&mut self, summary: &Summary, _: bool) {
        // The test may have seen enough.
        let _ = self.compared.send((self.generation, summary.items));
    }

    fn failed(&mut self, error: &EngineError) {
        panic!("{error}");
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

fn configure(driver: &Driver, generation: i64, rules: Vec<NodeRule>) {
    let identity = Identity { node: "n1".into(), ..Identity::default() };
    driver.handle().configure(Configuration { rules, identity, generation, remember: None });
}

/// Waits until the scan under way reads content.
fn reads(driver: &Driver) {
    let end = Instant::now() + PATIENCE;
    while driver.progress().so_far().is_none_or(|so_far| so_far.hashed == 0) {
        assert!(Instant::now() < end, "it reads nothing");
        std::thread::yield_now();
    }
}

/// The generation of the next compare that comes to its end.
fn compared(told: &Receiver<(Option<i64>, u64)>) -> i64 {
    told.recv_timeout(PATIENCE).unwrap().0.unwrap()
}

#[test]
fn a_configuration_in_mid_scan_ends_the_scan_and_the_next_one_is_under_the_new_rules() {
    // Long to read, made at once: nothing is written.
    const LONG: u64 = 8 << 30;
    let mut host = Host::new(json!([]));
    host.write("/quick/file", "1");
    host.mkdir("/long");
    File::create(host.at("/long/file")).unwrap().set_len(LONG).unwrap();
    host.stop();
    let quick = || rule("quick", json!([{"name": "q", "path": "/quick"}]));
    let slow = |suspend: bool| {
        let entries = json!([{"name": "s", "path": "/long", "maxContentSize": LONG}]);
        rule_with("long", entries, json!({"suspend": suspend}))
    };

    let (compared_by, told) = channel();
    let observer = Tell { generation: None, compared: compared_by };
    let driver = Driver::start(host.open().unwrap(), Arc::new(SystemClock), Box::new(observer)).unwrap();
    configure(&driver, 1, vec![quick(), slow(false)]);
    reads(&driver);
    configure(&driver, 2, vec![quick()]);
    assert_eq!(compared(&told), 2, "the first never came to its end");
    configure(&driver, 3, vec![quick(), slow(false)]);
    reads(&driver);
    configure(&driver, 4, vec![quick(), slow(true)]);
    assert_eq!(compared(&told), 4);
    configure(&driver, 5, vec![quick(), slow(false)]);
    reads(&driver);
    configure(&driver, 6, vec![quick()]);
    assert_eq!(compared(&told), 6);
    let engine = driver.shutdown();

    let lines = engine.journal().after(0, 1 << 20).unwrap();
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_slice(&line.bytes).unwrap()).collect();
    assert!(lines.iter().all(|line| line["changeType"].is_null()), "{lines:?}");
    let applied: Vec<&Value> = lines.iter().filter(|line| line["kind"] == "ConfigurationApplied").collect();
    let rules: Vec<&Value> = applied.iter().map(|line| &line["rules"]).collect();
    assert_eq!(rules, [&json!(["quick"]), &json!(["quick", "long"]), &json!(["quick"])]);
    assert_eq!(engine.standing().totals.tracked, 2);
}

/// Tells of faults and of compares that came to their end.
struct TellBoth(Sender<&'static str>);

impl Observer for TellBoth {
    fn stands(&mut self, _: &Standing) {}

    fn compared(&mut self, _: &Summary, _: bool) {
        let _ = self.0.send("compared"); // the test may have seen enough
    }

    fn failed(&mut self, _: &EngineError) {
        let _ = self.0.send("failed");
    }
}

#[test]
fn a_configuration_that_a_full_disk_did_not_take_is_kept_once_it_does() {
    const FULL: i32 = 28;
    let disk = Disk::default();
    let mut host = Host::new(json!([]));
    host.move_state_to(&disk);
    let (tells, told) = channel();
    let driver = Driver::start(host.open().unwrap(), Arc::new(SystemClock), Box::new(TellBoth(tells))).unwrap();
    disk.refuses_at(0, 1, FULL);
    let rules = || vec![rule("r", json!([{"name": "r", "path": "/"}]))];
    let configuration =
        |remember| Configuration { rules: rules(), identity: Identity::default(), generation: 1, remember };
    driver.handle().configure(configuration(Some(b"the plan".to_vec())));
    assert_eq!(told.recv_timeout(PATIENCE), Ok("failed"), "it is not kept");
    assert_eq!(told.recv_timeout(PATIENCE), Ok("failed"), "and the database refuses all work");
    // So that it need not wait for its next try.
    driver.handle().configure(configuration(None));
    while told.recv_timeout(PATIENCE).unwrap() != "compared" {}
    assert_eq!(driver.shutdown().remembered().unwrap().unwrap(), b"the plan");
}
