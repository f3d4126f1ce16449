//! `vedette-agent scan`: one compare, records on standard output, and the answer as the exit code.

use crate::cli::Scan;
use crate::lines::{Output, deliver, lost, show_changes};
use crate::narrate::{self, mebibytes};
use crate::{Trouble, rules, say, sentence};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use vedette_crds::node_config::NodeRule;
use vedette_crds::record::Detection;
use vedette_engine::engine::{Outcome, PlanChange, Standing, Summary};
use vedette_engine::journal::{Journal, Sink};
use vedette_engine::{Due, Engine, EngineError, Identity, StoreError};

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
    let share = options.limits.of_command();
    let mut engine = match options.dry_run {
        false => options.places.open(share, Detection::Scan)?,
        true => options.places.rehearse(share, Detection::Scan)?,
    };
    let is_first = !engine.standing().baseline_made;
    engine.configure(rules, identity, 1);
    let are_rules_known = engine.standing().baseline_ready;
    let before = engine.standing();
    // Before a sink looks for its place in what another journal is about to take the place of.
    engine.settle().map_err(|error| failed(options, EngineError::Store(error)))?;
    let start = if engine.standing().journal == before.journal { before.sequence } else { 0 };
    let mut delivery =
        Delivery::new(&engine, start, options.dry_run).map_err(|error| failed(options, EngineError::Store(error)))?;
    if options.reread {
        engine.reread();
    }
    let outcome = compare(&mut engine, is_first, &mut delivery);
    // After a fault the database refuses all work until it is opened anew; what is in memory alone would be gone.
    if let Err(EngineError::Store(_)) = outcome
        && !options.dry_run
    {
        engine.recover().map_err(|error| Trouble::because("cannot read the journal", error))?;
    }
    // What was committed before a failure, now or at an earlier run, is still said.
    let delivered = delivery.end();
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
        say(&baseline(&summary, standing.totals.tracked, asleep.len(), options.dry_run));
    } else if let Some(change) = &summary.plan_change {
        say_change(change, are_rules_known);
    }
    if !are_rules_known {
        asleep.iter().for_each(|sentence| say(sentence));
        narrate::idle(&standing.idle).iter().for_each(|sentence| say(sentence));
    }
    for unknown in standing.unknowns.named() {
        say(&narrate::sentence(unknown));
    }
    let unknown = standing.unknowns.items();
    if unknown > 0 {
        let (items, them) = if unknown == 1 { ("item is", "it") } else { ("items are", "them") };
        say(&format!("{unknown} {items} unknown: nothing is said of {them}"));
    }
    Ok(match (delivered?, unknown) {
        (true, _) => ExitCode::from(CHANGES),
        (false, 1..) => ExitCode::from(UNKNOWN),
        (false, 0) => ExitCode::SUCCESS,
    })
}

/// Compares, and says from time to time how far it is.
fn compare(engine: &mut Engine, is_first: bool, delivery: &mut Delivery) -> Result<Outcome, EngineError> {
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
        let mut committed = |_: &Standing| delivery.deliver();
        let outcome = engine.compare(&Due::All, &Arc::default(), &mut committed);
        drop(ended);
        outcome
    })
}

/// Standard output, written as lines are committed: a journal that is full would else lose the first of them.
struct Delivery {
    journal: Journal,
    /// The last sequence before this scan: its own lines are said at the first scan of a state that an agent made, too.
    start: u64,
    output: Output,
    /// In a dry run the last line that was looked at: no cursor moves.
    dry: Option<u64>,
    /// Whether there was a change, or the state was not the expected one.
    has_news: bool,
    lost: u64,
    /// Why the output is left alone from then on.
    failed: Option<Trouble>,
}

impl Delivery {
    /// `start` is where the journal stood before this scan.
    fn new(engine: &Engine, start: u64, is_dry: bool) -> Result<Self, StoreError> {
        let (journal, dry) = (engine.journal().clone(), is_dry.then_some(start));
        if !is_dry {
            // A run that is killed behind its first commit would else leave lines that the next one takes for old.
            journal.cursor(Sink::Stdout, start)?;
        }
        Ok(Self { journal, start, output: Output::stdout(), dry, has_news: false, lost: 0, failed: None })
    }

    /// Delivers what is there.
    fn deliver(&mut self) {
        if self.failed.is_some() {
            return;
        }
        let delivered = match &mut self.dry {
            None => deliver(&self.journal, Sink::Stdout, self.start, &mut self.output),
            Some(after) => {
                show_changes(&self.journal, *after, &mut self.output).inspect(|shown| *after = shown.sequence)
            }
        };
        match delivered {
            Ok(delivered) => {
                self.has_news |= delivered.changes > 0 || delivered.was_reset;
                self.lost += delivered.lost;
            }
            Err(trouble) => self.failed = Some(trouble),
        }
    }

    /// Delivers the rest; returns whether there was something that whoever looks at the exit code has to know.
    fn end(mut self) -> Result<bool, Trouble> {
        self.deliver();
        match self.failed {
            Some(trouble) => Err(trouble),
            None if self.lost > 0 => Err(Trouble::new(lost(self.lost))),
            None => Ok(self.has_news),
        }
    }
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

fn baseline(summary: &Summary, tracked: u64, asleep: usize, is_dry: bool) -> String {
    let made = if is_dry { "a baseline would be made" } else { "baseline made" };
    if tracked == 0 && asleep > 0 {
        return format!("{made}, but nothing is there to watch");
    }
    if tracked == 0 {
        return format!("{made}, but nothing is there to watch: no path of the rules is on this host");
    }
    let (read, seconds) = (mebibytes(summary.hashed), summary.duration.as_secs_f64());
    let next = match is_dry {
        true => "nothing was written; run it without --dry-run to make it",
        false => "run the same command again to see what changed since",
    };
    format!("{made}: {tracked} items, {read} read in {seconds:.2} s; {next}")
}

fn say_change(change: &PlanChange, are_rules_known: bool) {
    let PlanChange { added, forgotten } = change;
    let items = if *added == 1 { "item" } else { "items" };
    let moved = format!("{added} {items} came under watch, {forgotten} left it");
    match are_rules_known {
        false => say(&format!("the rules are not those of the last scan: {moved}")),
        true if added + forgotten > 0 => {
            say(&format!("links on the way of the rules' paths lead elsewhere than at the last scan: {moved}"));
        }
        true => {}
    }
}
