//! `cargo bench-peers`: vedette-agent beside its peers on one machine, row by row. Prints Markdown; docs/performance.md holds
//! the last output and says what it means.
//!
//! ```text
//! arguments ─► corpora (made once, checked) ─► rows, each: pairs of runs, alternating who begins ─► medians of ratios ─► table
//!                                                │ baselines, recheck, cold, scale    what a row does
//!                                                │ vedette, aide, others              the programs, their configurations
//!                                                └ measured                           one process, and what it needed
//! ```
//! Before a figure counts, ours and the peer must have seen the same entries, found nothing changed, and agree on the
//! digests of sampled files. It writes to the corpora's folder alone.
#![allow(clippy::print_stdout)] // printing is what it is for

mod aide;
mod arguments;
mod baselines;
mod bench;
mod cold;
mod corpora;
mod measured;
mod others;
mod recheck;
mod rows;
mod scale;
mod table;
mod vedette;

use std::process::ExitCode;

use vedette_tests::Result;

use arguments::{Arguments, USAGE};
use bench::Bench;

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match compare(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::from(2)
        }
    }
}

fn compare(arguments: &Arguments) -> Result<()> {
    rows::prerequisites(&arguments.rows)?;
    let bench = Bench::new(arguments)?;
    table::machine(&bench.corpora.folder, &bench.agent)?;
    table::load("at the beginning")?;
    table::head(arguments.pairs, arguments.quick);
    let mut notes = Vec::new();
    for row in &arguments.rows {
        eprintln!("== {}", row.name());
        row.run(&bench, &mut notes)?.iter().for_each(table::Line::print);
    }
    println!();
    notes.iter().for_each(|note| println!("- {note}"));
    table::load("at the end")
}
