//! A host, a rule and a state directory of one test's own, and the binary run on them.
use std::{
    ffi::{OsStr, OsString},
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{process::Command, sync::OnceCell};
use vedette_tests::{Metrics, Products, eventually, not_yet, process::Process, products};

/// A command that has not ended by then hangs.
pub(crate) const ENDS_WITHIN: Duration = Duration::from_secs(120);
const NOBODY: u32 = 65534;

pub(crate) const RULE: &str = "apiVersion: vedette.dev/v1alpha1\nkind: DataCollectionRule\nmetadata: {name: web}\n\
                               spec: {files: {interval: 10s, paths: [{name: etc, path: /etc}]}}\n";

/// What a binary said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its exit code, or `goes on`.
    pub(crate) exit: String,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let exit = output.status.code().map_or_else(|| format!("{}", output.status), |code| code.to_string());
        Self { exit, out: text(output.stdout), err: text(output.stderr) }
    }

    /// Records and notices.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The change records, in words.
    pub(crate) fn changes(&self) -> Vec<String> {
        let changes = self.lines().into_iter().filter(|line| line["schema"] == "vedette.dev/change/v1");
        let told =
            |change: Value| format!("{} {}", change["changeType"].as_str().unwrap(), change["path"].as_str().unwrap());
        changes.map(told).collect()
    }
}

pub(crate) struct Scene {
    folder: tempfile::TempDir,
    pub(crate) products: &'static Products,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let scene = Self { folder, products: products().await.unwrap() };
        scene.write("host/etc/a", "1");
        scene.write("rule.yaml", RULE);
        scene
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// The agent with this subcommand, on the scene but for what is said otherwise; a value of "" leaves the option out.
    pub(crate) fn agent(&self, subcommand: &str, options: &[(&str, &str)]) -> Command {
        let mut arguments = vec![OsString::from(subcommand)];
        let (rule, state, host) = (self.text("rule.yaml"), self.text("state"), self.text("host"));
        let mut defaults = vec![("--state-dir", state.as_str()), ("--host-root", host.as_str())];
        match subcommand {
            "run" => defaults.extend([("--node", "n1"), ("--listen", "127.0.0.1:0"), ("--records", "none")]),
            _ => defaults.push(("--rule", &rule)),
        }
        defaults.retain(|(name, _)| options.iter().all(|(given, _)| given != name));
        for (name, value) in defaults.iter().chain(options).filter(|(_, value)| !value.is_empty()) {
            arguments.extend([OsString::from(name), OsString::from(value)]);
        }
        command(&self.products.agent, &arguments)
    }

    pub(crate) async fn scan(&self, options: &[(&str, &str)]) -> Said {
        ended(self.agent("scan", options)).await
    }

    /// The same with this text as the rule file.
    pub(crate) async fn scan_rule(&self, rule: &str) -> Said {
        let file = self.write("given.yaml", rule);
        self.scan(&[("--rule", &file)]).await
    }

    /// The same as a user who may do little.
    pub(crate) async fn scan_as_nobody(&self, options: &[(&str, &str)]) -> Said {
        ended(self.agent_as_nobody("scan", options).await).await
    }

    pub(crate) async fn agent_as_nobody(&self, subcommand: &str, options: &[(&str, &str)]) -> Command {
        let mut command = self.agent(subcommand, options);
        as_nobody(&mut command).await;
        command
    }

    /// Runs it until its log has a line that this accepts, then ends it as a kubelet would: it has to exit 0.
    pub(crate) async fn goes_on(&self, command: Command, until: impl Fn(&str) -> bool) -> Said {
        let mut service = Service::start(self, command);
        let err = service.says(until).await;
        service.end().await;
        Said { exit: "goes on".into(), out: String::new(), err }
    }
}

/// A service under way; killed with the test.
pub(crate) struct Service {
    process: Process,
}

impl Service {
    pub(crate) fn start(scene: &Scene, command: Command) -> Self {
        let log = scene.path("service.log");
        // What an earlier one said is not waited for.
        if log.exists() {
            fs::remove_file(&log).unwrap();
        }
        Self { process: Process::start("service", command.into_std(), &log).unwrap() }
    }

    pub(crate) fn log(&self) -> String {
        self.process.output().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it listens, by its log.
    pub(crate) fn address(&self) -> SocketAddr {
        let log = self.log();
        let (_, rest) = log.split_once("listening on http://").unwrap_or_else(|| panic!("it listens nowhere:\n{log}"));
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics::scrape(self.address()).await.unwrap()
    }

    /// Waits for a line that this accepts; returns all lines.
    pub(crate) async fn says(&mut self, accepts: impl Fn(&str) -> bool) -> String {
        eventually("the service says it", ENDS_WITHIN, async || {
            if let Err(ended) = self.process.still_runs() {
                panic!("{ended}");
            }
            let log = self.process.output()?;
            // A line that is still being written is none.
            let whole = log.rfind('\n').map_or("", |end| &log[..end]);
            if whole.lines().any(&accepts) { Ok(log) } else { Err(not_yet(log)) }
        })
        .await
        .unwrap()
    }

    /// Waits until it has come to the end of a compare that begins from now on.
    pub(crate) async fn compares_again(&self) {
        let compares = async || self.metrics().await.sum("vedette_agent_scan_duration_seconds_count", &[]);
        let now = compares().await;
        eventually("two more compares", ENDS_WITHIN, async || {
            let then = compares().await;
            if then >= now + 2.0 { Ok(()) } else { Err(not_yet(then)) }
        })
        .await
        .unwrap();
    }

    pub(crate) async fn end(&mut self) {
        let status = self.process.terminate(Duration::from_secs(60)).await.unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }
}

pub(crate) fn command(program: &Path, arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command.env_remove("KUBECONFIG").env_remove("NODE_NAME").env_remove("VEDETTE_LOG").env("HOME", "/nonexistent");
    command
}

/// Runs it to its end.
pub(crate) async fn ended(mut command: Command) -> Said {
    Said::of(tokio::time::timeout(ENDS_WITHIN, command.output()).await.expect("it ends").unwrap())
}

/// Lets it run as a user without any right, from a place that such a user may enter.
async fn as_nobody(command: &mut Command) {
    static COPY: OnceCell<(tempfile::TempDir, PathBuf)> = OnceCell::const_new();
    let (_, program) = COPY
        .get_or_init(async || {
            let folder = tempfile::tempdir().unwrap();
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
            let copy = folder.path().join("vedette-agent");
            // By another process: one that a test beside this forks off would keep it open for writing, and nobody could run it.
            let copied = Command::new("cp").arg(&products().await.unwrap().agent).arg(&copy).status().await.unwrap();
            assert!(copied.success());
            (folder, copy)
        })
        .await;
    let arguments: Vec<OsString> = command.as_std().get_args().map(OsStr::to_owned).collect();
    *command = self::command(program, &arguments);
    command.uid(NOBODY).gid(NOBODY).current_dir("/");
}

/// A mount namespace with a small file system of its own at a folder of the scene; gone with the test.
pub(crate) struct SmallDisk {
    holder: Process,
    at: PathBuf,
}

impl SmallDisk {
    /// A tmpfs with these options.
    pub(crate) async fn mounted(scene: &Scene, at: &str, options: &str) -> Self {
        let at = scene.path(at);
        fs::create_dir_all(&at).unwrap();
        let mut holder = std::process::Command::new("unshare");
        let script = "mount -t tmpfs -o \"$1\" none \"$2\" && echo mounted && exec sleep 3600";
        holder.args(["--mount", "sh", "-c", script, "sh", options]).arg(&at);
        let mut holder = Process::start("holder", holder, &scene.path("holder.log")).unwrap();
        eventually("the mount", ENDS_WITHIN, async || {
            holder.still_runs()?;
            let said = holder.output()?;
            if said.contains("mounted\n") { Ok(()) } else { Err(not_yet(said)) }
        })
        .await
        .unwrap();
        Self { holder, at }
    }

    /// The same command where the mount is.
    pub(crate) fn inside(&self, command: &Command) -> Command {
        let mut arguments =
            vec![OsString::from("--target"), self.holder.pid().to_string().into(), "--mount".into(), "--".into()];
        arguments.push(command.as_std().get_program().to_owned());
        arguments.extend(command.as_std().get_args().map(OsStr::to_owned));
        self::command(Path::new("nsenter"), &arguments)
    }

    /// A path of the mount, as this process gets there.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let at = self.at.strip_prefix("/").unwrap();
        Path::new("/proc").join(self.holder.pid().to_string()).join("root").join(at).join(name)
    }

    pub(crate) async fn shell(&self, script: &str) {
        let mut shell = self.inside(&command(Path::new("sh"), &["-c", script]));
        let output = shell.output().await.unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Takes all room that is left, up to the last block.
    pub(crate) fn fill(&self) {
        let mut fill = fs::File::create(self.path("fill")).unwrap();
        let full = loop {
            if let Err(error) = std::io::Write::write_all(&mut fill, &[b'x'; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    pub(crate) fn make_room(&self) {
        fs::remove_file(self.path("fill")).unwrap();
    }
}
