//! `vedette-agent scan`: one compare, records on standard output, and the answer as the exit code.

use crate::cli::Scan;
use crate::lines::{Output, deliver};
use crate::{Trouble, rules, say};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use vedette_crds::record::Detection;
use vedette_engine::clock::SystemClock;
use vedette_engine::engine::{Outcome, Summary};
use vedette_engine::journal::Sink;
use vedette_engine::{Due, Engine, Identity, Settings};

const CHANGES: u8 = 1;
const UNKNOWN: u8 = 3;

/// Compares once.
///
/// # Errors
/// When a rule, the state, the host root or the output cannot be used.
pub fn scan(options: &Scan) -> Result<ExitCode, Trouble> {
    let rules = rules::load(&options.rules)?;
    let identity =
        Identity { node: rules::node_name(options.node.as_ref(), &options.places.host_root), ..Identity::default() };
    let mut engine = open(options)?;
    let is_first = !engine.standing().baseline_made;
    engine.configure(rules, identity, 1);
    let outcome = engine.compare(&Due::All, &AtomicBool::new(false), &mut |_| {});
    // What was committed before a failure, now or at an earlier run, is still said.
    let delivered = deliver(engine.journal(), Sink::Stdout, engine.standing().sequence, &mut Output::stdout());
    let summary = match outcome.map_err(|error| Trouble::because("the compare did not come to its end", error))? {
        Outcome::Complete(summary) => summary,
        Outcome::Interrupted => return Err(Trouble::new("the compare was interrupted")),
    };
    let changes = delivered?.changes;
    let standing = engine.standing();
    if is_first {
        say(&baseline(&summary, standing.totals.tracked));
    }
    for unknown in standing.unknowns.named() {
        say(&format!("unknown: {}: {}", unknown.path, unknown.reason));
    }
    let unknown = standing.unknowns.items();
    if unknown > 0 {
        say(&format!("{unknown} items are unknown: nothing is said of them"));
    }
    Ok(match (changes, unknown) {
        (1.., _) => ExitCode::from(CHANGES),
        (0, 1..) => ExitCode::from(UNKNOWN),
        (0, 0) => ExitCode::SUCCESS,
    })
}

fn open(options: &Scan) -> Result<Engine, Trouble> {
    let settings = Settings {
        state_dir: options.places.state_dir.clone(),
        host_root: options.places.host_root.clone(),
        threads: crate::observe::threads(),
        first_detection: Detection::Scan,
    };
    Engine::open(settings, Arc::new(SystemClock)).map_err(|error| Trouble::because("cannot start", error))
}

fn baseline(summary: &Summary, tracked: u64) -> String {
    let mib = summary.hashed as f64 / f64::from(1 << 20);
    format!(
        "baseline made: {tracked} items, {mib:.1} MiB read in {:.2} s; run the same command again to see what changed since",
        summary.duration.as_secs_f64()
    )
}
