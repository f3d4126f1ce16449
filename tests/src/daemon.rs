//! The product's long-running binaries as processes: start, kill, end, start again, ask. Reads their logs, metrics and records;
//! never their state.
use std::{
    ffi::{OsStr, OsString},
    fs, io,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use serde_json::Value;

use crate::{
    error::{Doing as _, Error, Result},
    loopback::{self, Answer},
    metrics::Metrics,
    process::Process,
    wait::{eventually, not_yet},
};

const LISTENS_WITHIN: Duration = Duration::from_secs(60);
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// What a daemon logs when it accepts connections; the address follows, for it was told to take any port.
const LISTENING: &str = "listening on http";

/// A binary with its arguments, and its process while it runs. Killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    process: Process,
    address: SocketAddr,
}

impl Daemon {
    pub(crate) fn new(name: &str, program: &Path, log: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments: Vec::new(),
            log: log.to_owned(),
            running: None,
        }
    }

    /// Adds an argument; it counts from the next start.
    pub fn argument(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds an option with its value; it counts from the next start.
    pub fn option(&mut self, option: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.argument(option).argument(value)
    }

    /// Starts it and waits until it listens. Again after it was killed or has ended: with the same arguments, on another port.
    ///
    /// # Errors
    /// When it runs already, ends, or does not listen in time: then with the end of its log.
    pub async fn start(&mut self) -> Result<()> {
        if let Some(running) = &mut self.running {
            if running.process.status()?.is_none() {
                return Err(Error::Unexpected(format!("{} runs already", self.name)));
            }
            self.running = None;
        }
        let mut command = Command::new(&self.program);
        // All tests share one cgroup with what they start: in the background an agent would get what they leave, which is nothing.
        command.args(&self.arguments).env("VEDETTE_BACKGROUND", "false");
        let mut process = Process::start(&self.name, command, &self.log)?;
        let what = format!("{} listens", self.name);
        let address = eventually(&what, LISTENS_WITHIN, async || {
            if let Err(ended) = process.still_runs() {
                return Ok(Err(ended));
            }
            let address = listening_address(&process.output()?);
            address.map(Ok).ok_or_else(|| not_yet(process.tail()))
        })
        .await??;
        self.running = Some(Running { process, address });
        Ok(())
    }

    /// Waits until it says at /readyz that it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time: then with the end of its log.
    pub async fn ready_within(&mut self, within: Duration) -> Result<()> {
        let what = format!("{} is ready", self.name);
        let Running { process, address } = self.running_mut()?;
        eventually(&what, within, async || {
            if let Err(ended) = process.still_runs() {
                return Ok(Err(ended));
            }
            let answer = loopback::get(*address, "/readyz").await?;
            if answer.status == 200 {
                Ok(Ok(()))
            } else {
                let tail = process.tail();
                Err(not_yet(format!("{} {}\n{tail}", answer.status, answer.body)))
            }
        })
        .await?
    }

    /// Kills it as a power cut would (SIGKILL).
    ///
    /// # Errors
    /// When it does not run, or the system cannot kill it.
    pub fn kill(&mut self) -> Result<()> {
        self.running_mut()?.process.kill()?;
        self.running = None;
        Ok(())
    }

    /// Stops it (SIGSTOP), as a machine does that is frozen; it knows nothing of it.
    ///
    /// # Errors
    /// When it does not run, or the system cannot signal it.
    pub fn pause(&mut self) -> Result<()> {
        self.running_mut()?.process.pause()
    }

    /// Lets it run on (SIGCONT).
    ///
    /// # Errors
    /// When it does not run, or the system cannot signal it.
    pub fn resume(&mut self) -> Result<()> {
        self.running_mut()?.process.resume()
    }

    /// Ends it as a kubelet would (SIGTERM), and returns how it ended.
    ///
    /// # Errors
    /// When it does not run, or is still there after 30 s.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        let status = self.running_mut()?.process.terminate(ENDS_WITHIN).await?;
        self.running = None;
        Ok(status)
    }

    /// How it ended by itself, if it has.
    ///
    /// # Errors
    /// When it was not started or was ended from here.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.running_mut()?.process.status()
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When it does not run.
    pub fn address(&self) -> Result<SocketAddr> {
        match &self.running {
            Some(running) => Ok(running.address),
            None => Err(self.does_not_run()),
        }
    }

    /// Its process id.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> Result<u32> {
        match &self.running {
            Some(running) => Ok(running.process.pid()),
            None => Err(self.does_not_run()),
        }
    }

    /// Asks it over HTTP, as in `get("/healthz")`.
    ///
    /// # Errors
    /// When it does not run or does not answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        loopback::get(self.address()?, path).await
    }

    /// What it counts now.
    ///
    /// # Errors
    /// When it does not run, does not answer, or what it answers are no metrics.
    pub async fn metrics(&self) -> Result<Metrics> {
        Metrics::scrape(self.address()?).await
    }

    /// All that it has logged, over all starts.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).doing(|| format!("read {}", self.log.display()))
    }

    fn running_mut(&mut self) -> Result<&mut Running> {
        let error = self.does_not_run();
        self.running.as_mut().ok_or(error)
    }

    fn does_not_run(&self) -> Error {
        Error::Unexpected(format!("{} does not run", self.name))
    }
}

/// The operator.
#[derive(Debug)]
pub struct Operator(pub(crate) Daemon);

/// A node's agent.
#[derive(Debug)]
pub struct Agent {
    pub(crate) daemon: Daemon,
    pub(crate) node: String,
    pub(crate) state_dir: PathBuf,
    pub(crate) records: PathBuf,
}

impl Agent {
    /// The node it works for.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Where it keeps its state; another agent on this node would find it there.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The file that it writes them to.
    #[must_use]
    pub fn records_file(&self) -> &Path {
        &self.records
    }

    /// The lines it has written: records and notices in their order, over all starts. A line still being written is left out.
    ///
    /// # Errors
    /// When the file cannot be read, or a line in it is not JSON.
    pub fn lines(&self) -> Result<Vec<Value>> {
        let text = match fs::read_to_string(&self.records) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.doing(|| format!("read {}", self.records.display()))?,
        };
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| {
                serde_json::from_str(line)
                    .map_err(|error| Error::Unexpected(format!("{}: {error} in {line}", self.records.display())))
            })
            .collect()
    }

    /// The change records among its lines.
    ///
    /// # Errors
    /// As [`Agent::lines`].
    pub fn changes(&self) -> Result<Vec<Value>> {
        self.lines_of("vedette.dev/change/v1")
    }

    /// The notices among its lines.
    ///
    /// # Errors
    /// As [`Agent::lines`].
    pub fn notices(&self) -> Result<Vec<Value>> {
        self.lines_of("vedette.dev/notice/v1")
    }

    fn lines_of(&self, schema: &str) -> Result<Vec<Value>> {
        let mut lines = self.lines()?;
        lines.retain(|line| line["schema"] == schema);
        Ok(lines)
    }
}

impl Deref for Operator {
    type Target = Daemon;
    fn deref(&self) -> &Daemon {
        &self.0
    }
}

impl DerefMut for Operator {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.0
    }
}

impl Deref for Agent {
    type Target = Daemon;
    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Agent {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

fn listening_address(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once(LISTENING)?;
    // The line has to be complete, or the port might be cut.
    let (line, _) = rest.split_once('\n')?;
    let line = line.strip_prefix("s").unwrap_or(line).strip_prefix("://")?;
    let end = line.find(|c: char| !c.is_ascii_hexdigit() && !"[].:".contains(c)).unwrap_or(line.len());
    line[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shell(folder: &Path, script: &str) -> Daemon {
        let mut daemon = Daemon::new("shell", Path::new("sh"), &folder.join("log"));
        daemon.option("-c", script);
        daemon
    }

    #[test]
    fn the_address_is_read_off_any_log_format() {
        let expected: SocketAddr = "127.0.0.1:4711".parse().unwrap();
        for line in [
            "2026-11-24 INFO listening on http://127.0.0.1:4711\n",
            "\u{1b}[32mINFO\u{1b}[0m listening on http://127.0.0.1:4711\u{1b}[0m\n",
            "{\"message\":\"listening on http://127.0.0.1:4711\",\"level\":\"INFO\"}\n",
            "listening on http://127.0.0.1:4711/\nmore\n",
            "listening on https://127.0.0.1:4711\n",
        ] {
            assert_eq!(listening_address(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn a_half_written_address_is_not_taken() {
        assert_eq!(listening_address("listening on http://127.0.0.1:47"), None);
        assert_eq!(listening_address("starting\n"), None);
    }

    #[tokio::test]
    async fn a_daemon_that_ends_before_it_listens_shows_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = shell(folder.path(), "echo no such rule >&2; exit 2");
        let error = daemon.start().await.unwrap_err().to_string();
        assert!(error.contains("exit status: 2") && error.ends_with("no such rule"), "{error}");
    }

    #[tokio::test]
    async fn a_killed_daemon_can_be_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let script = "echo listening on http://127.0.0.1:$$ >&2; exec sleep 600";
        let mut daemon = shell(folder.path(), script);
        daemon.start().await.unwrap();
        assert!(daemon.start().await.is_err(), "it runs already");
        let first = daemon.pid().unwrap();
        daemon.kill().unwrap();
        assert!(daemon.address().is_err());
        daemon.start().await.unwrap();
        assert_ne!(daemon.pid().unwrap(), first);
        assert_eq!(daemon.log().unwrap().lines().count(), 2);
    }
}
