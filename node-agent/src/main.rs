//! `vedette-agent`: see the library's head for what it does.

use clap::Parser;
use std::process::ExitCode;
use vedette_node_agent::cli::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    vedette_service::log_to_stderr();
    vedette_node_agent::main(arguments)
}
