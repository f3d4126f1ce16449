//! `vedette-agent`: see the library's head for what it does.

use clap::Parser;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use vedette_node_agent::cli::Arguments;

/// What the client of the API server logs of a failure is in the error that we get and log.
const DEFAULT_LOG: &str = "info,kube_client::client::builder=off";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("VEDETTE_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // Of a log that cannot be written it would speak on standard error, and panic there.
        .log_internal_errors(false)
        .init();
    vedette_node_agent::main(arguments)
}
