//! `kubectl vedette`: see the library's head for what it does.

use clap::Parser;
use kubectl_vedette::cli::Arguments;
use std::process::ExitCode;

fn main() -> ExitCode {
    kubectl_vedette::main(Arguments::parse())
}
