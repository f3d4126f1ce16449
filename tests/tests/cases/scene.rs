//! A scratch host, its rules and a state directory of one test's own, and the real agent run on them.
//!
//! Every line that it writes is held to its schema and to the chain, every exit code to what was said.
use std::{
    cell::RefCell,
    ffi::OsStr,
    fs::{self, File},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    runtime::{Builder, Runtime},
};
use vedette_crds::record::{CHANGE_SCHEMA, Chain, unchain};
use vedette_tests::{
    ScratchHost, eventually,
    mounts::{own_mounts, run},
    not_yet, products,
};

use crate::schemas;

/// A command that has not ended by then hangs.
pub(crate) const ENDS_WITHIN: Duration = Duration::from_secs(120);
/// Somebody who is not the agent.
pub(crate) const NOBODY: u32 = 65534;

pub(crate) struct Scene {
    folder: tempfile::TempDir,
    pub(crate) host: ScratchHost,
    /// On the test's own thread: its children see the mounts that it sees.
    runtime: Runtime,
    agent: PathBuf,
    /// Where the journal stood after the last scan.
    journal: RefCell<Journal>,
    mounts: RefCell<Vec<PathBuf>>,
}

#[derive(Default)]
struct Journal {
    id: Value,
    sequence: u64,
    head: Chain,
    /// After a kill lines may come again.
    may_repeat: bool,
}

impl Scene {
    /// An empty host and the one rule `web` with these entries.
    pub(crate) fn new(entries: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = ScratchHost::empty(folder.path().join("host"));
        fs::create_dir(host.root()).unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let agent = runtime.block_on(products()).unwrap().agent.clone();
        let scene = Self { folder, host, runtime, agent, journal: RefCell::default(), mounts: RefCell::default() };
        scene.entries(entries);
        scene
    }

    /// The same on a host that has these files, and with its baseline made.
    pub(crate) fn with(entries: Value, files: &[(&str, &str)]) -> Self {
        let scene = Self::new(entries);
        files.iter().for_each(|(path, content)| scene.write(path, content));
        scene.baseline();
        scene
    }

    /// The same in a mount namespace of the test's own.
    pub(crate) fn with_own_mounts(entries: Value) -> Self {
        own_mounts();
        Self::new(entries)
    }

    /// Gives the rule `web` other entries.
    pub(crate) fn entries(&self, entries: Value) {
        self.rules(&[rule("web", entries)]);
    }

    /// Puts these in the place of all rules.
    pub(crate) fn rules(&self, rules: &[Value]) {
        let documents: Vec<String> = rules.iter().map(Value::to_string).collect();
        fs::write(self.path("rules.yaml"), documents.join("\n---\n")).unwrap();
    }

    /// A path beside the host.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where a path of the host is on this machine.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.host.at(path)
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        self.host.write(path, content).unwrap();
    }

    pub(crate) fn mkdir(&self, path: &str) {
        fs::create_dir_all(self.at(path)).unwrap();
    }

    pub(crate) fn chmod(&self, path: &str, mode: u32) {
        self.host.chmod(path, mode).unwrap();
    }

    pub(crate) fn chown(&self, path: &str, uid: u32, gid: u32) {
        chown(self.at(path), Some(uid), Some(gid)).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        self.host.remove(path).unwrap();
    }

    pub(crate) fn link(&self, path: &str, target: &str) {
        self.host.link(path, target).unwrap();
    }

    pub(crate) fn hard_link(&self, from: &str, to: &str) {
        fs::hard_link(self.at(from), self.at(to)).unwrap();
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    /// Mounts something at a directory of the host, which is made if need be; gone with the test.
    pub(crate) fn mount(&self, path: &str, arguments: &[&str]) {
        let at = self.at(path);
        if !at.exists() {
            self.mkdir(path);
        }
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).chain([at.as_os_str()]).collect();
        run("mount", &arguments);
        self.mounts.borrow_mut().push(at);
    }

    /// Shows `from` at `to`, both of the host.
    pub(crate) fn bind(&self, from: &str, to: &str) {
        self.mount(to, &["--bind", self.at(from).to_str().unwrap()]);
    }

    pub(crate) fn unmount(&self, path: &str) {
        let at = self.at(path);
        run("umount", &[at.as_os_str()]);
        self.mounts.borrow_mut().retain(|mounted| *mounted != at);
    }

    /// The agent with this subcommand on the scene.
    pub(crate) fn agent(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.agent);
        command.arg(subcommand).arg("--rule").arg(self.path("rules.yaml"));
        command.arg("--state-dir").arg(self.path("state")).arg("--host-root").arg(self.host.root());
        command.stdin(Stdio::null()).kill_on_drop(true).env_remove("VEDETTE_LOG");
        command
    }

    /// One scan.
    pub(crate) fn scan(&self) -> Seen {
        self.scan_by(self.agent("scan"))
    }

    /// One scan by this command.
    pub(crate) fn scan_by(&self, command: Command) -> Seen {
        self.begin(command).end()
    }

    /// One scan by an agent that is still root, but may read only what is open to everybody or its own.
    pub(crate) fn scan_without_rights(&self) -> Seen {
        let scan = self.agent("scan");
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]);
        command.arg(scan.as_std().get_program()).args(scan.as_std().get_args()).kill_on_drop(true);
        self.scan_by(command)
    }

    /// The first scan, of which nothing is told.
    pub(crate) fn baseline(&self) -> Seen {
        let seen = self.scan();
        assert!(seen.changes().is_empty(), "{:?}", seen.told());
        assert!(seen.err.starts_with("baseline made"), "{}", seen.err);
        seen
    }

    /// One scan: its changes in words.
    pub(crate) fn told(&self) -> Vec<String> {
        self.scan().told()
    }

    /// Starts a command that writes lines and ends.
    pub(crate) fn begin(&self, mut command: Command) -> Running<'_> {
        let _context = self.runtime.enter();
        // A pipe that nobody reads yet would stop it when it is full.
        let file = |name: &str| File::create(self.path(name)).unwrap();
        command.stdout(file("out")).stderr(file("err"));
        Running { scene: self, child: command.spawn().unwrap() }
    }

    /// Waits until this is so.
    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let look = async || if is_so() { Ok(()) } else { Err(not_yet("not so")) };
        self.block_on(eventually(what, ENDS_WITHIN, look)).unwrap();
    }

    /// Runs what is asynchronous.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Another state directory: the journal is followed from its first line.
    pub(crate) fn forget_the_state(&self) {
        fs::remove_dir_all(self.path("state")).unwrap();
        *self.journal.borrow_mut() = Journal::default();
    }

    /// The next scan goes on with the journal whose lines a service has written here.
    pub(crate) fn goes_on_with(&self, records: &Path) {
        *self.journal.borrow_mut() = Journal::default();
        fs::read_to_string(records).unwrap().lines().for_each(|line| drop(self.follow(line)));
    }

    /// Each line has to continue the journal.
    fn follow(&self, line: &str) -> Option<Value> {
        let value: Value = serde_json::from_str(line).unwrap();
        schemas::check(&value);
        let mut journal = self.journal.borrow_mut();
        if journal.sequence == 0 {
            journal.id = value["journal"].clone();
        }
        if journal.may_repeat && value["sequence"].as_u64() <= Some(journal.sequence) {
            return None;
        }
        assert_eq!(
            (&value["journal"], value["sequence"].as_u64()),
            (&journal.id, Some(journal.sequence + 1)),
            "{line}"
        );
        journal.head = unchain(line.as_bytes(), journal.head).unwrap();
        journal.sequence += 1;
        Some(value)
    }

    /// The lines that the last command has written; half a line at the end is of one that was killed.
    fn written(&self) -> Vec<Value> {
        let mut written = fs::read_to_string(self.path("out")).unwrap();
        written.truncate(written.rfind('\n').map_or(0, |end| end + 1));
        written.lines().filter_map(|line| self.follow(line)).collect()
    }

    fn seen(&self, status: ExitStatus) -> Seen {
        let exit = status.code().unwrap_or_else(|| panic!("{status}"));
        let (lines, err) = (self.written(), fs::read_to_string(self.path("err")).unwrap());
        self.journal.borrow_mut().may_repeat = false;
        let seen = Seen { exit, lines, err };
        let expected = match (seen.changes().is_empty(), seen.unknown().is_empty()) {
            (false, _) => 1,
            (true, false) => 3,
            (true, true) => 0,
        };
        assert!(exit == 2 || exit == expected, "exit {exit}: {:?}\n{}", seen.told(), seen.err);
        seen
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for mounted in self.mounts.borrow().iter().rev() {
            run("umount", &["--lazy".as_ref(), mounted.as_os_str()]);
        }
    }
}

/// A scan under way.
pub(crate) struct Running<'s> {
    scene: &'s Scene,
    child: Child,
}

impl Running<'_> {
    /// Waits until it has a file of the host open.
    pub(crate) fn reads(&self, path: &str) {
        let (at, pid) = (self.scene.at(path), self.child.id().unwrap());
        self.scene.until("the file is being read", || {
            let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
            open.flatten().any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|open| open == at))
        });
    }

    /// Kills it; the changes that it had told by then, in words.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.scene.block_on(self.child.kill()).unwrap();
        self.scene.journal.borrow_mut().may_repeat = true;
        self.scene.written().iter().filter(|line| line["schema"] == CHANGE_SCHEMA).map(tell).collect()
    }

    pub(crate) fn end(mut self) -> Seen {
        let ended = async { tokio::time::timeout(ENDS_WITHIN, self.child.wait()).await };
        let status = self.scene.block_on(ended).expect("it ends").unwrap();
        self.scene.seen(status)
    }
}

/// What one scan said.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) exit: i32,
    pub(crate) lines: Vec<Value>,
    pub(crate) err: String,
}

impl Seen {
    /// The change records.
    pub(crate) fn changes(&self) -> Vec<&Value> {
        self.lines.iter().filter(|line| line["schema"] == CHANGE_SCHEMA).collect()
    }

    /// The notices of a kind.
    pub(crate) fn notices(&self, kind: &str) -> Vec<&Value> {
        self.lines.iter().filter(|line| line["kind"] == kind).collect()
    }

    /// The changes in words, sorted.
    pub(crate) fn told(&self) -> Vec<String> {
        let mut told: Vec<String> = self.changes().into_iter().map(tell).collect();
        told.sort();
        told
    }

    /// The only change, which these words tell.
    pub(crate) fn only(&self, told: &str) -> &Value {
        assert_eq!(self.told(), [told]);
        self.changes()[0]
    }

    /// The paths that are named as unknown, each with the reason.
    pub(crate) fn unknown(&self) -> Vec<&str> {
        self.err.lines().filter_map(|line| line.strip_prefix("unknown: ")).collect()
    }

    /// Nothing is told, and nothing is unknown.
    pub(crate) fn nothing(&self) {
        assert_eq!((self.exit, self.told()), (0, vec![]), "{}", self.err);
    }
}

/// A record in words: `Modified /etc/passwd Content,Size`, `Removed /a -> /b`.
pub(crate) fn tell(change: &Value) -> String {
    let text = |member: &str| change[member].as_str().unwrap_or_default();
    let fields: Vec<&str> =
        change["fields"].as_array().into_iter().flatten().map(|field| field.as_str().unwrap()).collect();
    let mut told = format!("{} {}", text("changeType"), text("path"));
    for (sign, more) in [(" ", fields.join(",").as_str()), (" -> ", text("movedTo")), (" <- ", text("movedFrom"))] {
        if !more.is_empty() {
            told += &format!("{sign}{more}");
        }
    }
    told
}

/// A rule with these entries.
pub(crate) fn rule(name: &str, entries: Value) -> Value {
    json!({
        "apiVersion": "vedette.dev/v1alpha1", "kind": "DataCollectionRule", "metadata": {"name": name},
        "spec": {"files": {"interval": "10s", "paths": entries}},
    })
}

/// One entry for `/srv`.
pub(crate) fn srv() -> Value {
    json!([{"name": "srv", "path": "/srv"}])
}
