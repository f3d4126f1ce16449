//! Child processes that never outlive the harness. Reads nothing; produces processes whose output goes to a log file.
//!
//! A test process may be killed at any time and runs no destructors then, so every child asks the kernel to be killed when
//! its parent dies. The kernel means the parent *thread*: all children are therefore started by one thread that lives as
//! long as the process. The children have process groups of their own, so that Ctrl-C reaches the harness alone.
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{LazyLock, mpsc},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal};

use crate::{
    error::{Doing as _, Error, Result},
    wait::{eventually, not_yet},
};

/// Enough to hold a panic or the API server's last words, short enough to read.
const TAIL_LINES: usize = 40;

type Job = (Command, mpsc::Sender<io::Result<Child>>);

static SPAWNER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (jobs, queue) = mpsc::channel::<Job>();
    thread::Builder::new()
        .name("spawner".to_owned())
        .spawn(move || {
            for (mut command, reply) in queue {
                // A caller that is gone has no use for the child, and dropping the reply would only detach it.
                if let Err(mpsc::SendError(Ok(mut orphan))) = reply.send(command.spawn()) {
                    let _ = orphan.kill();
                }
            }
        })
        .expect("a thread can be started");
    jobs
});

#[allow(unsafe_code, reason = "pre_exec is the only way to set the parent death signal")]
fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let arm = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the signal was armed.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::NotConnected.into()) }
    };
    // SAFETY: between fork and exec `arm` makes two system calls and allocates nothing.
    unsafe { command.pre_exec(arm) };
}

/// Starts `command` so that it is killed when this process ends, however it ends.
pub(crate) fn spawn(mut command: Command) -> io::Result<Child> {
    die_with_parent(&mut command);
    command.process_group(0).stdin(Stdio::null());
    let (reply, child) = mpsc::channel();
    SPAWNER.send((command, reply)).expect("the spawner lives as long as the process");
    child.recv().expect("the spawner answers every job")
}

/// A running child, killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    log_begin: u64,
}

impl Process {
    /// Starts `command` with its standard error, and its standard output too, appended to `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(name: &str, command: Command, log: &Path) -> Result<Self> {
        Self::start_with(name, command, log, spawn)
    }

    /// Like [`Process::start`], where somebody else starts it, and sees to it that it does not outlive this process.
    pub(crate) fn start_with(
        name: &str,
        mut command: Command,
        log: &Path,
        spawn: impl FnOnce(Command) -> io::Result<Child>,
    ) -> Result<Self> {
        let open = || -> io::Result<(File, u64)> {
            let file = OpenOptions::new().create(true).append(true).open(log)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        let (file, log_begin) = open().doing(|| format!("open the log {}", log.display()))?;
        let copy = file.try_clone().doing(|| format!("share the log {}", log.display()))?;
        command.stdout(copy).stderr(file);
        let program = PathBuf::from(command.get_program());
        let child = spawn(command).doing(|| format!("start {}", program.display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), log_begin })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written since this start, invalid UTF-8 replaced.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn output(&self) -> Result<String> {
        let all = fs::read(&self.log).doing(|| format!("read {}", self.log.display()))?;
        let begin = usize::try_from(self.log_begin).unwrap_or(usize::MAX);
        Ok(String::from_utf8_lossy(all.get(begin..).unwrap_or_default()).into_owned())
    }

    /// Its last lines, for people; a log that cannot be read says so in their place.
    #[must_use]
    pub fn tail(&self) -> String {
        match self.output() {
            Ok(output) => {
                let lines: Vec<&str> = output.lines().collect();
                lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
            }
            Err(error) => format!("({error})"),
        }
    }

    /// Fails when it has ended.
    ///
    /// # Errors
    /// [`Error::Ended`] with the end of its log.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.status()? {
            None => Ok(()),
            Some(status) => {
                Err(Error::Ended { name: self.name.clone(), status, log: self.log.clone(), tail: self.tail() })
            }
        }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().doing(|| format!("wait for {}", self.name))
    }

    /// Kills it (SIGKILL) and waits until it is gone. One that has already ended is no error.
    ///
    /// # Errors
    /// When the system cannot kill or wait.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().and_then(|()| self.child.wait()).doing(|| format!("kill {}", self.name))?;
        Ok(())
    }

    /// Stops it where it is (SIGSTOP): its connections stay open and nothing on them is answered.
    ///
    /// # Errors
    /// When it has ended, or the system refuses.
    pub fn pause(&mut self) -> Result<()> {
        self.still_runs()?;
        self.signal(Signal::STOP, "pause")
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// When it has ended, or the system refuses.
    pub fn resume(&mut self) -> Result<()> {
        self.still_runs()?;
        self.signal(Signal::CONT, "resume")
    }

    /// It must not have been waited for: then its id cannot belong to somebody else.
    fn signal(&self, signal: Signal, verb: &str) -> Result<()> {
        let sent = kill_process(Pid::from_child(&self.child), signal);
        sent.map_err(io::Error::from).doing(|| format!("{verb} {}", self.name))
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// [`Error::Expired`] when it is still there after `within`; it goes on running then.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.status()? {
            return Ok(status);
        }
        self.signal(Signal::TERM, "terminate")?;
        let what = format!("{} ends after SIGTERM", self.name);
        eventually(&what, within, async || self.status()?.ok_or_else(|| not_yet(self.tail()))).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::warn!("{error:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::env;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let mut child = thread::spawn(|| spawn(shell("exec sleep 60")).unwrap()).join().unwrap();
        // The death signal of a wrong parent would arrive at the thread's end, which join has seen.
        assert_eq!(child.try_wait().unwrap(), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Set for the process that the test below starts and kills: the file where it says whom it has started.
    const VICTIM: &str = "VEDETTE_TEST_VICTIM";

    #[tokio::test]
    async fn children_die_with_a_killed_parent() {
        if let Some(file) = env::var_os(VICTIM) {
            let mut child = spawn(shell("exec sleep 600")).unwrap();
            fs::write(file, format!("{}\n", child.id())).unwrap();
            child.wait().unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("child");
        let mut parent = Command::new(env::current_exe().unwrap());
        parent.args(["--exact", "process::tests::children_die_with_a_killed_parent"]).env(VICTIM, &file);
        let mut parent = Process::start("victim", parent, &folder.path().join("log")).unwrap();
        let child = eventually("the child", Duration::from_secs(10), async || {
            parent.still_runs()?;
            let pid = fs::read_to_string(&file)?;
            pid.strip_suffix('\n').map(str::to_owned).ok_or_else(|| not_yet("half a pid"))
        })
        .await
        .unwrap();
        parent.kill().unwrap();
        eventually("the child is gone", Duration::from_secs(10), async || {
            // Nobody may be there to reap it: a zombie is dead enough.
            match fs::read_to_string(format!("/proc/{child}/stat")) {
                Ok(stat) if !stat.contains(") Z") => Err(not_yet(stat)),
                _ => Ok(()),
            }
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn the_end_of_a_needed_process_is_reported_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut process = Process::start("prophet", shell("echo doom >&2; exit 3"), &log).unwrap();
        let ended = eventually("the end", Duration::from_secs(10), async || {
            process.still_runs().err().ok_or_else(|| not_yet("running"))
        })
        .await
        .unwrap()
        .to_string();
        assert!(ended.starts_with("prophet ended with exit status: 3"), "{ended}");
        assert!(ended.ends_with("doom"), "{ended}");
    }

    #[tokio::test]
    async fn a_restart_reads_only_its_own_output() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        for word in ["first", "second"] {
            let mut process = Process::start(word, shell(&format!("echo {word}")), &log).unwrap();
            eventually("the end", Duration::from_secs(10), async || {
                process.status()?.ok_or_else(|| not_yet("running"))
            })
            .await
            .unwrap();
            assert_eq!(process.output().unwrap().trim(), word);
        }
    }

    #[tokio::test]
    async fn a_terminated_process_tells_how_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
        let mut process = Process::start("polite", shell(script), &log).unwrap();
        eventually("the trap", Duration::from_secs(10), async || match process.output()?.trim() {
            "ready" => Ok(()),
            other => Err(not_yet(other)),
        })
        .await
        .unwrap();
        let status = process.terminate(Duration::from_secs(10)).await.unwrap();
        assert_eq!(status.code(), Some(7));
    }
}
