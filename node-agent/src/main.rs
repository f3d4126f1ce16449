//! `vedette-agent`: see the library's head for what it does.

use clap::Parser;
use std::process::ExitCode;
use vedette_node_agent::cli::Arguments;

/// With musl's own, threads wait for each other at each allocation: a baseline of small files took 1.4 times the processor time.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.logging.begin();
    vedette_node_agent::main(arguments)
}
