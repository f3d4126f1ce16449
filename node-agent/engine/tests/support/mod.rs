//! A scratch host, an engine on it, and what its compares say.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)] // each test file uses its own part of this

pub mod disk;
pub mod fuse;
pub mod replay;
mod schemas;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use vedette_crds::node_config::NodeRule;
use vedette_crds::record::{Chain, Detection, unchain};
use vedette_engine::clock::{Clock, SystemClock, Time};
use vedette_engine::engine::{Outcome, Standing, Summary};
use vedette_engine::journal::{Cursor, Sink};
use vedette_engine::{Anchor, Due, Engine, EngineError, Identity, Medium, Settings};

/// A clock that stands where it was set.
pub struct SetClock(Mutex<(SystemTime, Duration)>);

impl SetClock {
    pub fn now() -> Self {
        Self(Mutex::new((SystemTime::now(), Duration::from_secs(1000))))
    }

    pub fn advance(&self, by: Duration) {
        let mut clock = self.0.lock().unwrap();
        clock.0 += by;
        clock.1 += by;
    }

    /// Moves the wall clock alone.
    pub fn go_forward(&self, by: Duration) {
        self.0.lock().unwrap().0 += by;
    }

    /// The machine was off; its boot clock begins anew.
    pub fn reboot_after(&self, off: Duration) {
        let mut clock = self.0.lock().unwrap();
        *clock = (clock.0 + off, Duration::from_secs(10));
    }

    /// Moves the wall clock alone.
    pub fn go_back(&self, by: Duration) {
        self.0.lock().unwrap().0 -= by;
    }
}

impl Clock for SetClock {
    fn now(&self) -> Time {
        let since = self.0.lock().unwrap().0.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Time { secs: since.as_secs() as i64, nanos: since.subsec_nanos() }
    }

    fn since_boot(&self) -> Duration {
        self.0.lock().unwrap().1
    }
}

/// A directory tree of so many levels, each of this name, with a file `f` at its end; paths may be longer than the system's.
pub fn deep(root: &Path, name: &str, levels: usize, content: &[u8]) {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut here = openat(rustix::fs::CWD, root, flags, Mode::empty()).unwrap();
    for _ in 0..levels {
        match mkdirat(&here, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => panic!("{errno}"),
        }
        here = openat(&here, name, flags, Mode::empty()).unwrap();
    }
    let file = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = openat(&here, "f", file, Mode::from_raw_mode(0o644)).unwrap();
    rustix::io::write(file, content).unwrap();
}

/// A write lease on a file, held by another process; who opens the file without waiting is refused.
pub struct Lease(std::process::Child);

impl Lease {
    /// `None` where there are no leases, or no perl to take one.
    pub fn take(path: &Path) -> Option<Self> {
        const TAKE: &str = r#"$SIG{IO} = "IGNORE"; open(F, "+<", $ARGV[0]) or exit 1; fcntl(F, 1024, 1) or exit 1;
            $| = 1; print "held\n"; sleep 60"#;
        let mut perl = std::process::Command::new("perl");
        let perl = perl.args(["-e", TAKE]).arg(path).stdout(std::process::Stdio::piped()).spawn();
        let mut lease = Self(perl.ok()?);
        let mut said = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(lease.0.stdout.take()?), &mut said).ok()?;
        (said == "held\n").then_some(lease)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// Runs a test in a process of user 65534, or here when this one is not root's anyway.
pub fn as_nobody(test: &str, body: impl FnOnce()) {
    if !rustix::process::geteuid().is_root() {
        return body();
    }
    // The test binary lies where only root may go: a copy does not.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("test");
    // By another process: a thread that starts one of its own would keep the copy open for writing, and so from being run.
    run("cp", &[std::env::current_exe().unwrap().as_os_str(), copy.as_os_str()]);
    let ran = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"])
        .arg(&copy)
        .args(["--exact", test, "--nocapture"])
        .current_dir("/")
        .env_remove("TMPDIR")
        .output();
    let Ok(ran) = ran else {
        eprintln!("SKIPPED without setpriv: {test}");
        return;
    };
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

/// A host root and a state directory, and the engine between them.
pub struct Host {
    folder: TempDir,
    engine: Option<Engine>,
    state: PathBuf,
    medium: Medium,
    clock: Arc<dyn Clock>,
    seen: u64,
    chain: Chain,
    rules: Vec<NodeRule>,
}

impl Host {
    /// An empty host whose rule `r` has these entries, each a JSON object with name, path and what differs.
    pub fn new(entries: Value) -> Self {
        Self::make(entries, "state", Arc::new(SystemClock))
    }

    /// The same, on this clock.
    pub fn with_clock(entries: Value, clock: Arc<dyn Clock>) -> Self {
        Self::make(entries, "state", clock)
    }

    /// The same, with the state directory `/state` on the host itself.
    pub fn with_state_inside(entries: Value) -> Self {
        Self::make(entries, "host/state", Arc::new(SystemClock))
    }

    fn make(entries: Value, state: &str, clock: Arc<dyn Clock>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("host")).unwrap();
        let state = folder.path().join(state);
        let rules = vec![rule("r", entries)];
        let (medium, chain) = (Medium::File, Chain::default());
        let mut host = Self { folder, engine: None, state, medium, clock, seen: 0, chain, rules };
        host.start();
        host
    }

    /// The path of a host path on this machine.
    pub fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("host").join(path.trim_start_matches('/'))
    }

    pub fn state_dir(&self) -> PathBuf {
        self.state.clone()
    }

    /// Another place for the state, from the next start on.
    pub fn set_state_dir(&mut self, state: PathBuf) {
        (self.state, self.seen, self.chain) = (state, 0, Chain::default());
    }

    /// Takes the state from its file onto this disk, from the next start on.
    pub fn move_state_to(&mut self, disk: &disk::Disk) {
        self.stop();
        disk.insert(fs::read(self.state.join("vedette.redb")).unwrap());
        self.medium = disk.medium();
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

    /// The same, of a state that may be damaged.
    pub fn try_start(&mut self) -> Result<(), EngineError> {
        self.engine = None;
        self.engine = Some(self.open()?);
        self.configure();
        Ok(())
    }

    /// A compare of a state that may be damaged, and its lines, whose chain is not checked.
    pub fn try_compare_lines(&mut self) -> Result<Vec<Value>, EngineError> {
        let head = self.standing().sequence;
        self.engine().compare(&Due::All, &Arc::default(), &mut |_| {})?;
        let lines = self.engine().journal().after(head, 1 << 20)?;
        Ok(lines.iter().map(|line| serde_json::from_slice(&line.bytes).unwrap()).collect())
    }

    pub fn open(&self) -> Result<Engine, EngineError> {
        let settings = settings(self.state_dir(), self.root());
        Engine::open_on(settings, Arc::clone(&self.clock), self.medium.clone())
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

    pub fn rules(&self) -> &[NodeRule] {
        &self.rules
    }

    /// Replaces the rules from the next start on.
    pub fn keep_rules(&mut self, rules: Vec<NodeRule>) {
        self.rules = rules;
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

    /// The engine, for who needs the host meanwhile.
    pub fn take_engine(&mut self) -> Engine {
        self.engine.take().unwrap()
    }

    pub fn put_engine(&mut self, engine: Engine) {
        self.engine = Some(engine);
    }

    /// Says that a sink has delivered all lines up to this one.
    pub fn delivered(&mut self, sink: Sink, sequence: u64) {
        let journal = self.standing().journal;
        assert!(self.engine().journal().advance(sink, &Cursor { journal, sequence }).unwrap());
    }

    pub fn standing(&mut self) -> Standing {
        self.engine().standing()
    }

    /// Expects lines from the first one on: another journal has begun.
    pub fn expect_new_journal(&mut self) {
        (self.seen, self.chain) = (0, Chain::default());
    }

    /// Where the journal stands, as something outside of the state would tell it.
    pub fn anchor(&mut self) -> Anchor {
        let Standing { journal, sequence, head, .. } = self.standing();
        Anchor { journal, sequence, head }
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
        match self.engine().compare(due, &Arc::default(), &mut |_| {})? {
            Outcome::Complete(summary) => Ok(Seen { lines: self.lines(), summary }),
            Outcome::Interrupted => panic!("nobody interrupted it"),
        }
    }

    /// The lines since the last call; their chain is checked, and that they are what their schemas say.
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
                let line = serde_json::from_slice(&line.bytes).unwrap();
                schemas::check(&line);
                lines.push(line);
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

/// What engines of the tests work on.
pub fn settings(state_dir: PathBuf, host_root: PathBuf) -> Settings {
    let (threads, answer_within) = (2, Duration::from_secs(3));
    Settings { state_dir, host_root, threads, first_detection: Detection::Startup, answer_within }
}

/// A record in words.
pub fn tell(change: &Value) -> String {
    let fields: Vec<&str> =
        change["fields"].as_array().into_iter().flatten().map(|field| field.as_str().unwrap()).collect();
    let told =
        format!("{} {} {}", change["changeType"].as_str().unwrap(), change["path"].as_str().unwrap(), fields.join(","));
    told.trim_end().to_owned()
}

/// One compare of everything whose lines nobody reads.
pub fn compare_unread(host: &mut Host) {
    host.engine().compare(&Due::All, &Arc::default(), &mut |_| {}).unwrap();
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
    let ran = unshare(&[
        this.as_os_str(),
        "--exact".as_ref(),
        test.as_ref(),
        "--nocapture".as_ref(),
        "--include-ignored".as_ref(),
    ])
    .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

/// Runs a program that must succeed.
pub fn run(program: &str, args: &[&std::ffi::OsStr]) {
    let ran = std::process::Command::new(program).args(args).output().unwrap();
    assert!(ran.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
}
