//! A machine without hardware: namespaces of its own for processes, mounts, network, host name and IPC. Produces processes in it
//! and a thread that lives in it, for everything else. Knows nothing of Kubernetes.
//!
//! ```text
//! this process ── thread "n1" (its mounts, root, network, host name are the machine's)
//!      │              ├── holder (first process; its end is the machine's)
//!      │              └── containerd, kubelet, … (children of this process, whose ids and ends it knows)
//!      └── pipe ──► holder: closed by the kernel when this process ends in any way
//! ```
use std::{
    fs::File,
    io::{self, PipeWriter},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
};

use rustix::thread::UnshareFlags;

use crate::{
    error::{Doing as _, Error, Result},
    nodes::network::unshare,
    process::Process,
};

type Job = Box<dyn FnOnce() + Send>;

/// Everything in it is killed, and its mounts and links are gone, when it is dropped.
pub(crate) struct Machine {
    name: String,
    holder: Child,
    // The order matters: closed before the thread is joined.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
    _life: PipeWriter,
}

impl Machine {
    /// Makes the namespaces and lets `prepare` lay out what is in them, on the machine's own thread.
    pub(crate) fn start(
        name: &str,
        holder: &Path,
        log: &Path,
        prepare: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let what = || format!("start the machine {name}");
        let (input, life) = io::pipe().doing(what)?;
        let log = File::create(log).doing(|| format!("open the log {}", log.display()))?;
        let mut command = Command::new(holder);
        command.arg("machine").env_clear().current_dir("/").process_group(0);
        command.stdin(input).stdout(Stdio::null()).stderr(log);
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let all = UnshareFlags::NEWNS
                    | UnshareFlags::NEWPID
                    | UnshareFlags::NEWNET
                    | UnshareFlags::NEWUTS
                    | UnshareFlags::NEWIPC;
                // The first child after this is the first process of the machine.
                let holder = unshare(all).and_then(|()| command.spawn());
                // It holds the reading end of the pipe, which must be in no other process.
                drop(command);
                let prepared = holder.doing(|| "give a machine namespaces of its own".into()).and_then(|mut holder| {
                    prepare().inspect_err(|_| end(&mut holder))?;
                    Ok(holder)
                });
                if ready.send(prepared).is_ok() {
                    for job in queue {
                        job();
                    }
                }
            })
            .doing(what)?;
        let holder =
            started.recv().map_err(|_| Error::Unexpected(format!("cannot {}: its thread ended", what())))??;
        Ok(Self { name: name.to_owned(), holder, jobs: Some(jobs), thread: Some(thread), _life: life })
    }

    /// The id of its first process, as this process sees it.
    pub(crate) fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Does `job` where paths, network and children are the machine's. Jobs are short, and start no thread: the kernel allows none there.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (answer, done) = mpsc::channel();
        let job: Job = Box::new(move || drop(answer.send(job())));
        let ended = || Error::Unexpected(format!("the machine {} does nothing any more: its thread ended", self.name));
        self.jobs.as_ref().ok_or_else(ended)?.send(job).map_err(|_| ended())?;
        done.recv().map_err(|_| ended())
    }

    /// Starts a process in it; its program is looked up in the machine.
    fn spawn(&self, mut command: Command) -> io::Result<Child> {
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root").current_dir("/");
        command.process_group(0).stdin(Stdio::null());
        self.run(move || command.spawn()).unwrap_or_else(|error| Err(io::Error::other(error.to_string())))
    }

    /// A process that runs until it is killed, or the machine is.
    pub(crate) fn start_process(&self, name: &str, command: Command, log: &Path) -> Result<Process> {
        Process::start_with(&format!("{name} on {}", self.name), command, log, |command| self.spawn(command))
    }

    /// Runs a program in it to its end.
    pub(crate) async fn output(&self, mut command: Command) -> Result<Output> {
        let what = format!("run {} on {}", command.get_program().to_string_lossy(), self.name);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.spawn(command).doing(|| what.clone())?;
        tokio::task::spawn_blocking(|| child.wait_with_output())
            .await
            .map_err(|panic| Error::Unexpected(panic.to_string()))?
            .doing(|| what)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        end(&mut self.holder);
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waiting for the first process of a namespace waits for all others in it. Those that this process started must have been
/// waited for before: the kernel does not let the first one go ahead of them.
fn end(holder: &mut Child) {
    if let Err(error) = holder.kill().and_then(|()| holder.wait()) {
        tracing::warn!("cannot end a machine: {error}");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{fs, path::PathBuf, time::Duration};

    use super::*;
    use crate::{
        binaries::find_or_build_holder,
        nodes::{
            prerequisites::{check, or_skip},
            root::Root,
        },
        wait::{eventually, not_yet},
    };

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    async fn says(machine: &Machine, script: &str) -> String {
        let output = machine.output(shell(script)).await.unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[tokio::test]
    async fn a_machine_is_its_own_and_what_runs_on_it_ends_with_it() {
        if or_skip(check()).unwrap().is_none() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("packages/usr/bin")).unwrap();
        fs::write(at("packages/usr/bin/from-a-package"), "").unwrap();
        let root = Root {
            name: "m1".into(),
            disk: at("disk"),
            mount_point: at("root"),
            packages: at("packages"),
            programs: vec![("here", folder.path().to_owned())],
        };
        root.make_disk().unwrap();
        let machine = Machine::start("m1", &find_or_build_holder().unwrap(), &at("log"), move || root.enter()).unwrap();

        assert_eq!(says(&machine, "hostname; cat /proc/1/comm").await, "m1\nholder");
        assert_eq!(says(&machine, "ls /sys/class/net").await, "lo");
        assert_eq!(
            says(&machine, "ls /opt/kubernetes; ls /usr/bin/from-a-package").await,
            "here\n/usr/bin/from-a-package"
        );
        assert!(!machine.output(shell("echo > /opt/kubernetes/here/x")).await.unwrap().status.success(), "read-only");
        says(&machine, "echo > /dev/null && echo evil > /usr/bin/ls && echo 1 > /proc/sys/vm/overcommit_memory").await;
        assert_eq!(machine.run(|| fs::read_to_string("/usr/bin/ls")).unwrap().unwrap(), "evil\n");
        assert_ne!(fs::read("/usr/bin/ls").unwrap(), b"evil\n");
        assert!(fs::read_dir(at("root")).unwrap().next().is_none(), "its disk is mounted in the machine alone");

        says(&machine, "sleep 600 >/dev/null 2>&1 &").await;
        let service = machine.start_process("sleep", shell("sleep 600"), &at("sleep")).unwrap();
        let processes: PathBuf = format!("/proc/{}", service.pid()).into();
        assert!(processes.exists());
        let spaces = fs::read_link(format!("/proc/{}/ns/mnt", machine.pid())).unwrap();
        drop(service);
        drop(machine);
        eventually("nobody is in it", Duration::from_secs(10), async || {
            for process in fs::read_dir("/proc")?.flatten() {
                if fs::read_link(process.path().join("ns/mnt")).is_ok_and(|found| found == spaces) {
                    return Err(not_yet(process.path().display()));
                }
            }
            Ok(())
        })
        .await
        .unwrap();
    }
}
