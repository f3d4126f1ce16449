//! Debian's Prometheus and its promtool: a server on loopback that scrapes what it is told, and the tool that judges rules and
//! metrics. Fetched once and unpacked into the cache, never installed. Reads a configuration; produces answers to queries.
use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::{
    error::{Doing as _, Error, Result},
    loopback,
    packages::{PROMETHEUS, find_or_fetch},
    process::Process,
    wait::{eventually, not_yet},
};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// Somebody may take the port between its choice and its use.
const STARTS: usize = 5;

/// promtool.
#[derive(Debug, Clone)]
pub struct Promtool(PathBuf);

impl Promtool {
    /// Finds it in the cache, or fetches it there. Blocks.
    ///
    /// # Errors
    /// When apt has no such package.
    pub fn find_or_fetch() -> Result<Self> {
        Ok(Self(find_or_fetch(&PROMETHEUS)?.join("usr/bin/promtool")))
    }

    /// Runs it, with this on its standard input. What it says is the result where it finds a fault, and also where it finds none.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn run<A: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: &str,
    ) -> Result<Result<String, String>> {
        let doing = || format!("run {}", self.0.display());
        let mut command = Command::new(&self.0);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().doing(doing)?;
        // It reads all of it before it says anything, and closes the pipe early where it wants none.
        let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().doing(doing)?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            written.doing(doing)?;
            // Advice comes on standard error, with success.
            return Ok(Ok(said(&output.stdout) + &said(&output.stderr)));
        }
        Ok(Err(said(&output.stdout) + &said(&output.stderr)))
    }
}

/// A running Prometheus; it ends when dropped.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    promtool: Promtool,
    process: Process,
    /// Its configuration and its data.
    _folder: TempDir,
}

impl Prometheus {
    /// Starts it with a configuration and waits until it answers.
    ///
    /// # Errors
    /// When it is not to be had or does not start: then with the end of its log.
    pub async fn start(configuration: &str) -> Result<Self> {
        let fetched = spawn_blocking(|| find_or_fetch(&PROMETHEUS)).await;
        let programs = fetched.map_err(|panic| Error::Unexpected(panic.to_string()))??.join("usr/bin");
        let folder = tempfile::tempdir().doing(|| "make a folder for Prometheus".into())?;
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, configuration).doing(|| format!("write {}", file.display()))?;
        let promtool = Promtool(programs.join("promtool"));
        for start in 1.. {
            let address = SocketAddr::from(([127, 0, 0, 1], loopback::free_port()?));
            let mut command = Command::new(programs.join("prometheus"));
            command
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
                .arg(format!("--web.listen-address={address}"));
            let mut process = Process::start("prometheus", command, &folder.path().join("log"))?;
            let ready = eventually("Prometheus is ready", READY_WITHIN, async || {
                if let Err(ended) = process.still_runs() {
                    return Ok(Err(ended));
                }
                let answer = loopback::get(address, "/-/ready").await?;
                if answer.status == 200 { Ok(Ok(())) } else { Err(not_yet(process.tail())) }
            })
            .await?;
            match ready {
                Ok(()) => return Ok(Self { address, promtool, process, _folder: folder }),
                Err(ended) if start == STARTS => return Err(ended),
                Err(_) => {}
            }
        }
        unreachable!("the last start returns")
    }

    /// Asks it over HTTP, as in `get("/api/v1/rules")`.
    ///
    /// # Errors
    /// When it does not answer with success, or not in JSON.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let answer = loopback::get(self.address, path).await?;
        let parsed = serde_json::from_str(&answer.body).ok().filter(|_| answer.status == 200);
        parsed.ok_or_else(|| Error::Unexpected(format!("{path}: {} {}", answer.status, answer.body)))
    }

    /// The series that a query gives now; a query that it does not take is the sentence that says why.
    ///
    /// # Errors
    /// When promtool cannot be run, or prints something else than series.
    pub fn query(&self, query: &str) -> Result<Result<Vec<Value>, String>> {
        let server = format!("http://{}", self.address);
        let asked = self.promtool.run(["query", "instant", "--format=json", &server, query], "")?;
        let Ok(text) = asked else { return Ok(asked.map(|_| Vec::new())) };
        let parsed: Result<Value, _> = serde_json::from_str(&text);
        match parsed {
            Ok(Value::Array(series)) => Ok(Ok(series)),
            // A number, where the query is one.
            Ok(value) => Ok(Ok(vec![value])),
            Err(error) => Err(Error::Unexpected(format!("promtool query says {text}: {error}"))),
        }
    }

    /// The end of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        self.process.tail()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
