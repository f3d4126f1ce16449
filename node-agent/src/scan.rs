//! `vedette-agent scan`: one compare, records on standard output, and the answer as the exit code.

use crate::cli::Scan;
use crate::lines::{Delivered, Output, deliver};
use crate::narrate::{self, mebibytes};
use crate::{Trouble, rules, say, sentence};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use vedette_crds::node_config::NodeRule;
use vedette_crds::record::Detection;
use vedette_engine::engine::{Outcome, PlanChange, Summary};
use vedette_engine::journal::Sink;
use vedette_engine::{Due, Engine, EngineError, Identity};

const CHANGES: u8 = 1;
const UNKNOWN: u8 = 3;

/// Who looks at a terminal wants to know that it goes on.
const TERMINAL: Duration = Duration::from_secs(10);
/// A log wants to know it of a first baseline, which may take hours; every later scan stays silent there, or cron would send mail.
const LOG: Duration = Duration::from_secs(60);

/// Compares once.
///
/// # Errors
/// When a rule, the state, the host root or the output cannot be used.
pub fn scan(options: &Scan) -> Result<ExitCode, Trouble> {
    let rules = rules::load(&options.rules)?;
    let identity =
        Identity { node: rules::node_name(options.node.as_ref(), &options.places.host_root), ..Identity::default() };
    let asleep = asleep(&rules);
    let mut engine = options.places.open(Detection::Scan)?;
    let is_first = !engine.standing().baseline_made;
    engine.configure(rules, identity, 1);
    let are_rules_known = engine.standing().baseline_ready;
    let outcome = compare(&mut engine, is_first);
    // What was committed before a failure, now or at an earlier run, is still said.
    let delivered = deliver_all(&mut engine, &outcome);
    let summary = match (outcome, &delivered) {
        (Ok(Outcome::Complete(summary)), _) => summary,
        (Ok(Outcome::Interrupted), _) => return Err(Trouble::new("the compare was interrupted")),
        (Err(error), Err(undelivered)) if !is_full(&error) => {
            say(&format!("vedette-agent: {}", sentence(undelivered)));
            return Err(failed(options, error));
        }
        // For want of room both fail, and one sentence is enough.
        (Err(error), _) => return Err(failed(options, error)),
    };
    let standing = engine.standing();
    if is_first {
        say(&baseline(&summary, standing.totals.tracked, asleep.len()));
    } else if let Some(change) = &summary.plan_change {
        say_change(change, are_rules_known);
    }
    if !are_rules_known {
        asleep.iter().for_each(|sentence| say(sentence));
        narrate::idle(&standing.idle).iter().for_each(|sentence| say(sentence));
    }
    for unknown in standing.unknowns.named() {
        say(&format!("unknown: {}: {}", unknown.path, unknown.reason));
    }
    let unknown = standing.unknowns.items();
    if unknown > 0 {
        let items = if unknown == 1 { "item is" } else { "items are" };
        say(&format!("{unknown} {items} unknown: nothing is said of them"));
    }
    Ok(match (delivered?.changes, unknown) {
        (1.., _) => ExitCode::from(CHANGES),
        (0, 1..) => ExitCode::from(UNKNOWN),
        (0, 0) => ExitCode::SUCCESS,
    })
}

/// Compares, and says from time to time how far it is.
fn compare(engine: &mut Engine, is_first: bool) -> Result<Outcome, EngineError> {
    let every = match (std::io::stderr().is_terminal(), is_first) {
        (true, _) => Some(TERMINAL),
        (false, true) => Some(LOG),
        (false, false) => None,
    };
    let progress = engine.progress();
    let (ended, end) = channel::<()>();
    std::thread::scope(|scope| {
        if let Some(every) = every {
            scope.spawn(move || {
                while end.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                    if let Some(so_far) = progress.so_far() {
                        say(&narrate::so_far(&so_far));
                    }
                }
            });
        }
        let outcome = engine.compare(&Due::All, &Arc::default(), &mut |_| {});
        drop(ended);
        outcome
    })
}

fn deliver_all(engine: &mut Engine, outcome: &Result<Outcome, EngineError>) -> Result<Delivered, Trouble> {
    // After a fault the database refuses all work until it is opened anew.
    if let Err(EngineError::Store(_)) = outcome {
        engine.recover().map_err(|error| Trouble::because("cannot read the journal", error))?;
    }
    deliver(engine.journal(), Sink::Stdout, engine.standing().sequence, &mut Output::stdout())
}

fn failed(options: &Scan, error: EngineError) -> Trouble {
    if !is_full(&error) {
        return Trouble::because("the compare did not come to its end", error);
    }
    let state = options.places.state_dir.display();
    let message = format!(
        "no room is left for the state in {state}: make room, what was not committed is found by the next scan"
    );
    Trouble::because(message, error)
}

fn is_full(error: &EngineError) -> bool {
    matches!(error, EngineError::Store(store) if store.is_full())
}

/// A sentence for each rule that collects nothing because it says so.
fn asleep(rules: &[NodeRule]) -> Vec<String> {
    let sentence = |rule: &NodeRule| match rule {
        NodeRule { name, suspend: true, .. } => Some(format!("rule {name} is suspended: nothing of it is compared")),
        NodeRule { name, files, .. } if files.iter().all(|files| files.paths.is_empty()) => {
            Some(format!("rule {name} has no entry that is enabled: nothing of it is compared"))
        }
        _ => None,
    };
    rules.iter().filter_map(sentence).collect()
}

fn baseline(summary: &Summary, tracked: u64, asleep: usize) -> String {
    if tracked == 0 && asleep > 0 {
        return "baseline made, but nothing is there to watch".into();
    }
    if tracked == 0 {
        return "baseline made, but nothing is there to watch: no path of the rules is on this host".into();
    }
    let (read, seconds) = (mebibytes(summary.hashed), summary.duration.as_secs_f64());
    format!(
        "baseline made: {tracked} items, {read} read in {seconds:.2} s; run the same command again to see what changed since"
    )
}

fn say_change(change: &PlanChange, are_rules_known: bool) {
    let PlanChange { added, forgotten } = change;
    let moved = format!("{added} items came under watch, {forgotten} left it");
    match are_rules_known {
        false => say(&format!("the rules are not those of the last scan: {moved}")),
        true if added + forgotten > 0 => {
            say(&format!("links on the way of the rules' paths lead elsewhere than at the last scan: {moved}"));
        }
        true => {}
    }
}
