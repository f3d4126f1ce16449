//! The budget of an agent, on the real binary: what it takes, who goes before it, and that it ends while it waits.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use vedette_tests::{Metrics, eventually, loopback::free_port, not_yet, process::Process, products};

/// Under a tenth of a core all takes ten times as long, and the machine may be busy.
const SOON: Duration = Duration::from_secs(300);
const RULE: &str = "apiVersion: vedette.dev/v1alpha1\nkind: DataCollectionRule\nmetadata: {name: r}\n\
                    spec: {files: {interval: 10s, paths: [{name: data, path: /data}]}}\n";
/// SCHED_IDLE of sched(7).
const IDLE: &str = "5";

/// A host and an agent on it.
struct Scene {
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Scene {
    /// So many files of so many bytes.
    fn new(files: usize, bytes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("host/data");
        fs::create_dir_all(&data).unwrap();
        for file in 0..files {
            fs::write(data.join(file.to_string()), vec![7; bytes]).unwrap();
        }
        fs::write(folder.path().join("rule.yaml"), RULE).unwrap();
        Self { folder, address: SocketAddr::from(([127, 0, 0, 1], free_port().unwrap())) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn agent(&self, subcommand: &str, options: &[&str]) -> Command {
        let mut command = Command::new(&products().await.unwrap().agent);
        command.arg(subcommand).arg("--rule").arg(self.path("rule.yaml")).arg("--state-dir").arg(self.path("state"));
        command.arg("--host-root").arg(self.path("host")).args(options);
        command
    }

    async fn service(&self, options: &[&str]) -> Command {
        let mut command = self.agent("standalone", options).await;
        command.arg("--records").arg(self.path("records")).arg("--listen").arg(self.address.to_string());
        command
    }

    fn start(&self, command: Command) -> Process {
        Process::start("agent", command, &self.path("log")).unwrap()
    }

    async fn has_baseline(&self, agent: &mut Process) {
        eventually("the baseline", SOON, async || {
            agent.still_runs()?;
            let text = fs::read_to_string(self.path("records"))?;
            if text.contains("BaselineMade") { Ok(()) } else { Err(not_yet(text)) }
        })
        .await
        .unwrap();
    }
}

/// A cgroup of one test with a tenth of a core; gone with it.
struct Tenth {
    folder: PathBuf,
}

impl Tenth {
    /// `None` where no cgroup can be made, by cgroup v2 or by v1.
    fn new() -> Option<Self> {
        let name = format!("vedette-test-{}", std::process::id());
        let tops = [
            ("/sys/fs/cgroup", "cpu.max", "10000 100000"),
            ("/sys/fs/cgroup/cpu,cpuacct", "cpu.cfs_quota_us", "10000"),
            ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "10000"),
        ];
        let made = tops.into_iter().find_map(|(top, file, quota)| {
            let folder = Path::new(top).join(&name);
            fs::create_dir(&folder).ok()?;
            // Not made: in a folder that is no cgroup it is not there.
            let file = fs::OpenOptions::new().write(true).open(folder.join(file));
            let is_given = file.and_then(|mut file| file.write_all(quota.as_bytes())).is_ok();
            if !is_given {
                fs::remove_dir(&folder).unwrap();
            }
            is_given.then_some(Self { folder })
        });
        if made.is_none() {
            eprintln!("SKIPPED without the right to make a cgroup with a quota of processor time");
        }
        made
    }

    /// The same command inside.
    fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("sh");
        let script = "echo $$ > \"$0\" && exec \"$@\"";
        inside.args(["-c", script]).arg(self.folder.join("cgroup.procs")).arg(command.get_program());
        inside.args(command.get_args());
        inside
    }
}

impl Drop for Tenth {
    fn drop(&mut self) {
        // A process that was killed is a member until the kernel is done with it.
        while fs::remove_dir(&self.folder).is_err_and(|error| error.raw_os_error() == Some(16)) {
            std::thread::yield_now();
        }
    }
}

#[tokio::test]
async fn under_a_tenth_of_a_core_a_first_baseline_ends_and_costs_what_the_limit_says() {
    let Some(tenth) = Tenth::new() else { return };
    let scene = Scene::new(3000, 4096);
    let command = scene.service(&["--read-limit", "none"]).await;
    let began = Instant::now();
    let mut agent = scene.start(tenth.inside(&command));
    scene.has_baseline(&mut agent).await;
    let metrics = Metrics::scrape(scene.address).await.unwrap();
    let most = began.elapsed().as_secs_f64() * 0.1;
    let get = |name: &str| metrics.get(&format!("vedette_agent_{name}"), &[]).unwrap();
    let cpu = get("cpu_seconds_total");
    eprintln!("{cpu:.3} s of processor time, at most {most:.3} s were given");
    assert!(cpu <= most + 0.05, "{cpu} s of processor time, {most} s were given");
    assert_eq!((get("cpu_limit_cores"), get("scan_threads")), (0.09, 1.0), "it stays below the quota of its cgroup");
    assert_eq!(get("read_bytes_total"), 3000.0 * 4096.0);
    let waited = metrics.get("vedette_agent_scan_waited_seconds_total", &[("reason", "Cpu")]).unwrap();
    assert!(waited > 0.0, "it waits by itself, so that its answers are not held up by the kernel");
    agent.kill().unwrap();
}

#[tokio::test]
async fn threads_that_look_run_behind_all_others_and_a_wait_ends_at_once() {
    let scene = Scene::new(1, 256 << 20);
    let mut agent = scene.start(scene.service(&["--read-limit", "1Mi"]).await);
    // Minutes of reading lie before it.
    let walker = eventually("a walker", SOON, async || {
        agent.still_runs()?;
        let threads = threads(agent.pid());
        let is_waiting = Metrics::scrape(scene.address).await?;
        let waited = is_waiting.get("vedette_agent_scan_waited_seconds_total", &[("reason", "Read")]);
        match threads.iter().find(|(name, _)| name == "walker") {
            Some((_, policy)) if waited > Some(0.0) => Ok(policy.clone()),
            _ => Err(not_yet(format!("{threads:?} {waited:?}"))),
        }
    });
    assert_eq!(walker.await.unwrap(), IDLE);
    let others: Vec<_> = threads(agent.pid()).into_iter().filter(|(name, _)| name != "walker").collect();
    assert!(others.len() >= 2 && others.iter().all(|(_, policy)| policy == "0"), "{others:?}");
    let status = agent.terminate(SOON).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", agent.tail());
    let records = fs::read_to_string(scene.path("records")).unwrap();
    assert!(!records.contains("BaselineMade"), "the read went on to its end");
}

/// Names and scheduling policies of a process's threads.
fn threads(pid: u32) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    // One that ends meanwhile is none.
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    let thread = |stat: String| {
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        Some((name.to_owned(), rest.split_whitespace().nth(38)?.to_owned()))
    };
    stats.filter_map(thread).collect()
}

#[tokio::test]
async fn a_scan_takes_as_long_as_its_read_limit_says_from_the_environment_too() {
    let scene = Scene::new(4, 1 << 20);
    for state in ["flag", "environment"] {
        let mut scan = scene.agent("scan", &[]).await;
        match state {
            "flag" => scan.args(["--read-limit", "1Mi", "--background"]),
            _ => scan.env("VEDETTE_READ_LIMIT", "1Mi"),
        };
        let began = Instant::now();
        let output = tokio::task::spawn_blocking(move || scan.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{output:?}");
        // A tenth of a second's budget is there at once, and no one waits for the last of the four files.
        assert!(began.elapsed() > Duration::from_millis(2900), "4 MiB in {:?}", began.elapsed());
        fs::remove_dir_all(scene.path("state")).unwrap();
    }
}
