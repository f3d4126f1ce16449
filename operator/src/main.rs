//! `vedette-operator`: reads the command line, runs the operator until SIGTERM or SIGINT, or looks at what is installed; says how
//! it ended.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::runtime::Runtime;
use tracing::error;
use vedette_operator::{CheckSettings, Settings, check, run};
use vedette_service::http::Guarding;
use vedette_service::{Logging, Signals, report};

const FAILS: u8 = 1;
const TROUBLE: u8 = 2;

/// Vedette's operator: turns DataCollectionRules into one NodeConfig for each node.
#[derive(Debug, Parser)]
#[command(name = "vedette-operator", version)]
struct CommandLine {
    #[command(flatten)]
    logging: Logging,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs until SIGTERM or SIGINT.
    Run(Run),
    /// Says whether Vedette is whole in this cluster: definitions, admission policy, operators, an agent on each node, rules.
    ///
    /// Needs rights to read alone. Exit: 0 when all holds, 1 when something does not, 2 when that cannot be known.
    Check(Check),
}

#[derive(Debug, Args)]
struct Run {
    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, value_name = "IP:PORT", value_parser = listen, default_value = "[::]:8080")]
    listen: SocketAddr,
    #[command(flatten)]
    guarding: Guarding,
    /// The namespace of the agents' pods and of the operators' Lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "vedette-system")]
    namespace: String,
    /// What records call this cluster.
    #[arg(long, value_name = "NAME", env = "CLUSTER_NAME", default_value = "")]
    cluster_name: String,
    /// How to reach the API server; without it, as a pod of the cluster or as kubectl would.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Check {
    /// Where operator and agents are.
    #[arg(long, env = "POD_NAMESPACE", default_value = "vedette-system")]
    namespace: String,
    /// Looks again for this long until all holds.
    #[arg(long, value_name = "DURATION", value_parser = within, default_value = "0s")]
    within: Duration,
    /// How to reach the API server; without it, as a pod of the cluster or as kubectl would.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

fn within(text: &str) -> Result<Duration, String> {
    vedette_crds::duration::parse(text).map_err(|error| error.to_string())
}

fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write an IP address and a port, for example 127.0.0.1:8080")
}

fn main() -> ExitCode {
    let CommandLine { logging, command } = CommandLine::parse();
    logging.begin();
    let ended = runtime().and_then(|runtime| match command {
        Command::Run(Run { listen, guarding, namespace, cluster_name, kubeconfig }) => {
            start(&runtime, Settings { listen, guarding, namespace, cluster_name, kubeconfig })
                .map(|()| ExitCode::SUCCESS)
        }
        Command::Check(Check { namespace, within, kubeconfig }) => {
            let settings = CheckSettings { namespace, kubeconfig, within };
            let holds = runtime.block_on(check(&settings, &mut io::stdout().lock()));
            holds
                .map(|holds| if holds { ExitCode::SUCCESS } else { ExitCode::from(FAILS) })
                .map_err(|error| report(&error))
        }
    });
    ended.unwrap_or_else(|trouble| {
        error!("{trouble}");
        ExitCode::from(TROUBLE)
    })
}

fn runtime() -> Result<Runtime, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| format!("cannot start: {error}"))
}

fn start(runtime: &Runtime, settings: Settings) -> Result<(), String> {
    runtime.block_on(async {
        let mut signals = Signals::take().map_err(|error| format!("cannot wait for signals: {error}"))?;
        let shutdown = async move { signals.received().await };
        run(settings, shutdown).await.map_err(|error| report(&error))
    })
}
