//! The command line: flags, where their values come from, and the words that explain them.

use crate::Trouble;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use vedette_crds::record::Detection;
use vedette_engine::clock::SystemClock;
use vedette_engine::{Engine, Settings};

/// Says when a file on this node changes: what it was, and what it is.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "vedette-agent",
    version,
    after_help = "VEDETTE_LOG sets what is logged on standard error: error, warn, info (the default), debug."
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Watch this node as its NodeConfig says, and report into the cluster
    Run(Run),
    /// Watch this host by rule files, without a cluster: records on standard output
    Standalone(Standalone),
    /// Compare once: records on standard output; exit 0: no change, 1: changes, 2: trouble, 3: no change found, but some items are unknown
    Scan(Scan),
}

/// Where state and host are.
#[derive(Clone, Debug, Args)]
pub struct Places {
    /// Where the state lies; one process holds it
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Where the host's / is mounted: every path is resolved inside it
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub host_root: PathBuf,
}

impl Places {
    /// Opens the state and the host.
    pub(crate) fn open(&self, first_detection: Detection) -> Result<Engine, Trouble> {
        let settings = Settings {
            state_dir: self.state_dir.clone(),
            host_root: self.host_root.clone(),
            threads: walkers(),
            first_detection,
        };
        Engine::open(settings, Arc::new(SystemClock)).map_err(|error| Trouble::because("cannot start", error))
    }
}

/// How many threads walk: two reach what one disk gives, and leave a node's other cores alone.
fn walkers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2))
}

/// `vedette-agent run`.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// The node's name
    #[arg(long, env = "NODE_NAME")]
    pub node: String,
    /// State and host.
    #[command(flatten)]
    pub places: Places,
    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, value_name = "IP:PORT", value_parser = listen, default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// How to reach the API server; without it, as a pod of the cluster or as kubectl would
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Where records and notices go, beside the status: stdout, a file, or none
    #[arg(long, value_name = "stdout|FILE|none", default_value = "stdout")]
    pub records: Records,
}

/// `vedette-agent standalone`.
#[derive(Clone, Debug, Args)]
pub struct Standalone {
    /// DataCollectionRules as YAML, as in the cluster, nodeSelector ignored; may be given several times
    #[arg(long = "rule", value_name = "FILE", required = true)]
    pub rules: Vec<PathBuf>,
    /// State and host.
    #[command(flatten)]
    pub places: Places,
    /// The name that records give this host; without it, the host's own
    #[arg(long)]
    pub node: Option<String>,
    /// Where /metrics, /healthz and /readyz are served; without it, nowhere
    #[arg(long, value_name = "IP:PORT", value_parser = listen)]
    pub listen: Option<SocketAddr>,
    /// Where records and notices go: stdout, a file, or none
    #[arg(long, value_name = "stdout|FILE|none", default_value = "stdout")]
    pub records: Records,
}

/// `vedette-agent scan`.
#[derive(Clone, Debug, Args)]
pub struct Scan {
    /// DataCollectionRules as YAML, as in the cluster, nodeSelector ignored; may be given several times
    #[arg(long = "rule", value_name = "FILE", required = true)]
    pub rules: Vec<PathBuf>,
    /// State and host.
    #[command(flatten)]
    pub places: Places,
    /// The name that records give this host; without it, the host's own
    #[arg(long)]
    pub node: Option<String>,
}

fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write an IP address and a port, for example 127.0.0.1:8080")
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
    /// Nowhere.
    None,
}

impl std::str::FromStr for Records {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "stdout" => Self::Stdout,
            "none" => Self::None,
            path => Self::File(path.into()),
        })
    }
}
