//! The agent as a service, `standalone`, on a scene: its records in a file, its metrics on loopback.
use std::{cell::RefCell, fs, net::SocketAddr, time::Duration};

use serde_json::Value;
use vedette_crds::record::{CHANGE_SCHEMA, Chain, unchain};
use vedette_tests::{Metrics, eventually, not_yet, process::Process};

use crate::{
    scene::{ENDS_WITHIN, Scene, tell},
    schemas,
};

pub(crate) struct Service<'s> {
    scene: &'s Scene,
    process: RefCell<Process>,
}

impl<'s> Service<'s> {
    pub(crate) fn start(scene: &'s Scene) -> Self {
        let mut command = scene.agent("standalone");
        command.args(["--listen", "127.0.0.1:0", "--records"]).arg(scene.path("records"));
        let process = Process::start("standalone", command.into_std(), &scene.path("log")).unwrap();
        Self { scene, process: RefCell::new(process) }
    }

    /// Waits for the baseline.
    pub(crate) fn baseline(&self) {
        self.until("the baseline", || !self.notices("BaselineMade").is_empty());
    }

    /// Waits for the end of a compare.
    pub(crate) fn compared(&self) {
        self.until("the pages", || self.process.borrow().output().unwrap().contains("listening on http://"));
        let address = self.address();
        let compare = eventually("a compare", ENDS_WITHIN, async || {
            let metrics = Metrics::scrape(address).await?;
            let compares = metrics.sum("vedette_agent_scan_duration_seconds_count", &[]);
            if compares >= 1.0 { Ok(()) } else { Err(not_yet(metrics)) }
        });
        self.scene.block_on(compare).unwrap();
    }

    /// Waits for so many change records, of which there may not be more.
    pub(crate) fn changes(&self, count: usize) -> Vec<Value> {
        let begin = format!("{{\"schema\":\"{CHANGE_SCHEMA}\"");
        self.until("the changes", || self.written().lines().filter(|line| line.starts_with(&begin)).count() >= count);
        let changes: Vec<Value> = self.lines().into_iter().filter(|line| line["schema"] == CHANGE_SCHEMA).collect();
        assert_eq!(changes.len(), count, "{:?}", changes.iter().map(tell).collect::<Vec<_>>());
        changes
    }

    pub(crate) fn notices(&self, kind: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["kind"] == kind).collect()
    }

    pub(crate) fn metrics(&self) -> Metrics {
        self.scene.block_on(Metrics::scrape(self.address())).unwrap()
    }

    /// Where it listens, by its log.
    fn address(&self) -> SocketAddr {
        let log = self.process.borrow().output().unwrap();
        let (_, rest) = log.split_once("listening on http://").unwrap_or_else(|| panic!("it listens nowhere:\n{log}"));
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Ends it as systemd or a kubelet would.
    pub(crate) fn end(self) {
        let mut process = self.process.borrow_mut();
        let status = self.scene.block_on(process.terminate(Duration::from_secs(60))).unwrap();
        assert_eq!(status.code(), Some(0), "{}", process.tail());
    }

    pub(crate) fn kill(self) {
        self.process.borrow_mut().kill().unwrap();
    }

    /// What the file holds up to its last whole line.
    fn written(&self) -> String {
        // It is made when the agent starts.
        let mut written = fs::read_to_string(self.scene.path("records")).unwrap_or_default();
        written.truncate(written.rfind('\n').map_or(0, |end| end + 1));
        written
    }

    /// Every line of the file, of one journal.
    fn lines(&self) -> Vec<Value> {
        let mut chain = Chain::default();
        let mut last = 0;
        let mut lines = Vec::new();
        for line in self.written().lines() {
            let value: Value = serde_json::from_str(line).unwrap();
            let sequence = value["sequence"].as_u64().unwrap();
            // After a crash lines may come again.
            if sequence > last {
                chain = unchain(line.as_bytes(), chain).unwrap();
                schemas::check(&value);
                lines.push(value);
                last = sequence;
            }
        }
        lines
    }

    fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        self.scene.until(what, || {
            let mut process = self.process.borrow_mut();
            process.still_runs().unwrap();
            drop(process);
            is_so()
        });
    }
}
