//! `vedette-operator`: reads the command line, runs the operator until SIGTERM or SIGINT, says how it ended.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing::error;
use vedette_operator::{Settings, run};
use vedette_service::{Logging, Signals, report};

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
}

#[derive(Debug, Args)]
struct Run {
    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, value_name = "IP:PORT", value_parser = listen, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
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

fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write an IP address and a port, for example 127.0.0.1:8080")
}

fn main() -> ExitCode {
    let CommandLine { logging, command: Command::Run(arguments) } = CommandLine::parse();
    logging.begin();
    let Run { listen, namespace, cluster_name, kubeconfig } = arguments;
    let settings = Settings { listen, namespace, cluster_name, kubeconfig };
    match start(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            error!("{trouble}");
            ExitCode::from(TROUBLE)
        }
    }
}

fn start(settings: Settings) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        let mut signals = Signals::take().map_err(|error| format!("cannot wait for signals: {error}"))?;
        let shutdown = async move { signals.received().await };
        run(settings, shutdown).await.map_err(|error| report(&error))
    })
}
