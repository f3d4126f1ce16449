//! A scratch host, an engine on it, and what its compares say.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)] // each test file uses its own part of this

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tempfile::TempDir;
use vedette_crds::node_config::NodeRule;
use vedette_crds::record::{Chain, Detection, unchain};
use vedette_engine::clock::SystemClock;
use vedette_engine::engine::{Outcome, Standing, Summary};
use vedette_engine::{Due, Engine, EngineError, Identity, Settings};

/// A host root and a state directory, and the engine between them.
pub struct Host {
    folder: TempDir,
    engine: Option<Engine>,
    seen: u64,
    chain: Chain,
    rules: Vec<NodeRule>,
}

impl Host {
    /// An empty host whose rule `r` has these entries, each a JSON object with name, path and what differs.
    pub fn new(entries: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("host")).unwrap();
        let mut host = Self { folder, engine: None, seen: 0, chain: Chain::default(), rules: vec![rule("r", entries)] };
        host.start();
        host
    }

    /// The path of a host path on this machine.
    pub fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("host").join(path.trim_start_matches('/'))
    }

    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("host")
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn mkdir(&self, path: &str) {
        fs::create_dir_all(self.at(path)).unwrap();
    }

    pub fn link(&self, target: &str, path: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, self.at(path)).unwrap();
    }

    pub fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn remove(&self, path: &str) {
        let path = self.at(path);
        if path.symlink_metadata().unwrap().is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
            .unwrap();
    }

    pub fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    /// Opens the engine as after a start of the agent.
    pub fn start(&mut self) {
        self.engine = None;
        self.engine = Some(self.open().unwrap());
        self.configure();
    }

    pub fn open(&self) -> Result<Engine, EngineError> {
        let settings = Settings {
            state_dir: self.state_dir(),
            host_root: self.root(),
            threads: 2,
            first_detection: Detection::Startup,
        };
        Engine::open(settings, Arc::new(SystemClock))
    }

    /// Closes the engine.
    pub fn stop(&mut self) {
        self.engine = None;
    }

    /// Replaces the rules.
    pub fn set_rules(&mut self, rules: Vec<NodeRule>) {
        self.rules = rules;
        self.configure();
    }

    /// Replaces the entries of the one rule.
    pub fn set_entries(&mut self, entries: Value) {
        self.set_rules(vec![rule("r", entries)]);
    }

    fn configure(&mut self) {
        let identity = Identity { node: "n1".into(), ..Identity::default() };
        let rules = self.rules.clone();
        self.engine().configure(rules, identity, 1);
    }

    pub fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().unwrap()
    }

    pub fn standing(&mut self) -> Standing {
        self.engine().standing()
    }

    /// One compare of the entries with one interval.
    pub fn compare_due(&mut self, seconds: u64) -> Seen {
        self.compare_of(&Due::Intervals(vec![Duration::from_secs(seconds)])).unwrap()
    }

    /// One compare of everything; the lines that it made.
    pub fn compare(&mut self) -> Seen {
        self.try_compare().unwrap()
    }

    pub fn try_compare(&mut self) -> Result<Seen, EngineError> {
        self.compare_of(&Due::All)
    }

    fn compare_of(&mut self, due: &Due) -> Result<Seen, EngineError> {
        match self.engine().compare(due, &AtomicBool::new(false), &mut |_| {})? {
            Outcome::Complete(summary) => Ok(Seen { lines: self.lines(), summary }),
            Outcome::Interrupted => panic!("nobody interrupted it"),
        }
    }

    /// The lines since the last call; their chain is checked.
    pub fn lines(&mut self) -> Vec<Value> {
        let journal = self.engine().journal().clone();
        let mut lines = Vec::new();
        loop {
            let batch = journal.after(self.seen, 1 << 20).unwrap();
            if batch.is_empty() {
                assert_eq!(self.standing().head, self.chain.to_string());
                return lines;
            }
            for line in batch {
                assert_eq!(line.sequence, self.seen + 1, "the journal has no gap");
                self.chain = unchain(&line.bytes, self.chain).unwrap();
                self.seen = line.sequence;
                lines.push(serde_json::from_slice(&line.bytes).unwrap());
            }
        }
    }
}

/// What one compare said.
pub struct Seen {
    pub lines: Vec<Value>,
    pub summary: Summary,
}

impl Seen {
    /// The change records.
    pub fn changes(&self) -> Vec<&Value> {
        self.lines.iter().filter(|line| line["schema"] == "vedette.dev/change/v1").collect()
    }

    /// The notices of a kind.
    pub fn notices(&self, kind: &str) -> Vec<&Value> {
        self.lines.iter().filter(|line| line["kind"] == kind).collect()
    }

    /// The changes in words: `Modified /etc/passwd Content,Size`, sorted.
    pub fn told(&self) -> Vec<String> {
        let mut told: Vec<String> = self.changes().into_iter().map(tell).collect();
        told.sort();
        told
    }

    /// The only change.
    pub fn only(&self) -> &Value {
        let changes = self.changes();
        assert_eq!(changes.len(), 1, "{:?}", self.told());
        changes[0]
    }
}

/// A record in words.
pub fn tell(change: &Value) -> String {
    let fields: Vec<&str> =
        change["fields"].as_array().into_iter().flatten().map(|field| field.as_str().unwrap()).collect();
    let told =
        format!("{} {} {}", change["changeType"].as_str().unwrap(), change["path"].as_str().unwrap(), fields.join(","));
    told.trim_end().to_owned()
}

/// A rule with these entries, and the default settings.
pub fn rule(name: &str, entries: Value) -> NodeRule {
    rule_with(name, entries, json!({}))
}

/// A rule with these entries; `extra` is laid over the rule.
pub fn rule_with(name: &str, entries: Value, extra: Value) -> NodeRule {
    let mut rule = json!({
        "name": name, "uid": format!("uid-{name}"), "generation": 1, "hash": "h",
        "files": {
            "interval": "10s", "rehashInterval": "24h", "realtime": false,
            "defaults": {
                "recurse": true, "links": "Record", "mounts": "Local", "severity": "Medium", "hashes": ["Md5", "Sha256"],
                "compare": ["Content", "Type", "Mode", "Owner", "Acl", "Xattrs", "Flags", "LinkTarget"],
                "maxContentSize": 4_294_967_296u64,
            },
            "paths": entries,
        },
    });
    for (key, value) in extra.as_object().unwrap() {
        rule[key] = value.clone();
    }
    serde_json::from_value(rule).unwrap()
}

/// The rule's one entry `all` for the whole host.
pub fn everything() -> Value {
    json!([{"name": "all", "path": "/**"}])
}

/// Whether this runs as root; if not, says visibly what is left out.
pub fn is_root(what: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED without root: {what}");
    }
    is_root
}

/// Runs a test in a process with a mount namespace of its own, or says visibly that it could not.
pub fn with_own_mounts(test: &str, body: impl FnOnce()) {
    const INSIDE: &str = "VEDETTE_TEST_OWN_MOUNTS";
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let unshare = |command: &[&std::ffi::OsStr]| {
        std::process::Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .args(command)
            .env(INSIDE, "1")
            .output()
    };
    if !unshare(&["true".as_ref()]).is_ok_and(|tried| tried.status.success()) {
        eprintln!("SKIPPED without the right to make a mount namespace: {test}");
        return;
    }
    let this = std::env::current_exe().unwrap();
    let ran = unshare(&[this.as_os_str(), "--exact".as_ref(), test.as_ref(), "--nocapture".as_ref()]).unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

/// Runs a program that must succeed.
pub fn run(program: &str, args: &[&std::ffi::OsStr]) {
    let ran = std::process::Command::new(program).args(args).output().unwrap();
    assert!(ran.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
}
