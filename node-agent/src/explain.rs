//! `vedette-agent explain`: why a path is tracked or not, in words or as JSON.

use crate::cli::{Explain, OutputForm};
use crate::socket::Agent;
use crate::{Trouble, answer, rules};
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use vedette_crds::node_config::NodeRule;
use vedette_crds::record::{ByteText, ContentState, escape_controls};
use vedette_engine::StoreError;
use vedette_engine::explain::{Decision, EntryDecision, Explanation, Question, Tracking, Watched, explain_rules};
use vedette_engine::inspect::{Inspector, Tracked};

/// Entries that decide nothing are named as long as they are few.
const NEAR: usize = 8;

/// Explains one path.
///
/// # Errors
/// When the path is none, a rule, the state or the host cannot be used, or the output cannot be written.
pub fn explain(options: &Explain) -> Result<ExitCode, Trouble> {
    let (path, path_bytes) = ByteText::exact(absolute(&options.path)?);
    let (given, disabled) = match options.rules.as_slice() {
        [] => (None, Vec::new()),
        files => (Some(rules::load(files)?), rules::disabled(files)?),
    };
    let question = Question { path, path_bytes, rules: given };
    let mut explanation = ask(options, &question)?;
    for entry in would_select(options, &question, disabled)? {
        explanation.entries.insert(0, entry);
    }
    explanation.entries.sort_by_key(|entry| entry.decision);
    match options.output {
        OutputForm::Json => answer::write(&explanation)?,
        OutputForm::Text => answer::text(words(&explanation).as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The path's bytes, if it is one that can be meant only one way.
fn absolute(path: &OsStr) -> Result<&[u8], Trouble> {
    let bytes = path.as_bytes();
    let shown = || path.to_string_lossy().into_owned();
    if !bytes.starts_with(b"/") {
        let message =
            format!("the path {:?} is relative: write it from the host's /, for example /etc/passwd", shown());
        return Err(Trouble::new(message));
    }
    if bytes.split(|byte| *byte == b'/').any(|component| component == b"." || component == b"..") {
        return Err(Trouble::new(format!("the path {:?} has . or .. in it: write it without", shown())));
    }
    Ok(bytes)
}

fn ask(options: &Explain, question: &Question) -> Result<Explanation, Trouble> {
    let Some(state_dir) = &options.state_dir else {
        if question.rules.is_none() {
            return Err(Trouble::new(
                "by which rules? Give --rule FILE, or --state-dir DIR for the rules in force there",
            ));
        }
        return explain_rules(&options.host_root, question).map_err(Trouble::of);
    };
    match Inspector::open(state_dir, &options.host_root) {
        Ok(inspector) => inspector.explain(question).map_err(Trouble::of),
        Err(StoreError::InUse { holder, .. }) => Agent::new(state_dir, holder).explain(question),
        Err(error) => Err(Trouble::of(error)),
    }
}

/// Entries that would select the path if they were enabled.
fn would_select(
    options: &Explain,
    question: &Question,
    disabled: Vec<NodeRule>,
) -> Result<Vec<EntryDecision>, Trouble> {
    if disabled.is_empty() {
        return Ok(Vec::new());
    }
    let question = Question { rules: Some(disabled), ..question.clone() };
    let explanation = explain_rules(&options.host_root, &question).map_err(Trouble::of)?;
    let selecting = explanation.entries.into_iter().filter(|entry| entry.decision == Decision::Selects);
    let told = selecting.map(|mut entry| {
        (entry.decision, entry.asks) = (Decision::Disabled, None);
        entry.message = "it would select it, but says enabled: false".to_owned();
        entry
    });
    Ok(told.collect())
}

/// The answer for people.
fn words(explanation: &Explanation) -> String {
    let Explanation { path, real_path, found, tracking, entries, watched, tracked, notes, .. } = explanation;
    let mut text = String::new();
    // Names of the host are in it: nothing but the ends of these lines may move a terminal, or look like another line.
    let mut line = |words: String| {
        let _ = writeln!(text, "{}", escape_controls(&words)); // writing to a String cannot fail
    };
    let verdict = match tracking {
        Tracking::Tracked => "is tracked",
        Tracking::WouldBeTracked => "would be tracked",
        Tracking::NotCompared => "is tracked, but not compared now",
        Tracking::LeavesWatch => "is not tracked any more",
        Tracking::NotTracked => "is not tracked",
    };
    match real_path {
        Some(real) => line(format!("{}, which is {}, {verdict}", path.0, real.0)),
        None => line(format!("{} {verdict}", path.0)),
    }
    for note in notes {
        line(format!("  {note}"));
    }
    if let Some(found) = found {
        line(format!("  on the host now: {found}"));
    }
    let (deciding, others): (Vec<&EntryDecision>, Vec<_>) =
        entries.iter().partition(|entry| entry.decision == Decision::Selects);
    let differ = deciding.windows(2).any(|two| two[0].asks != two[1].asks);
    for EntryDecision { entry, message, asks, .. } in deciding {
        line(format!("  {entry}: {message}"));
        if let Some(asks) = asks.as_ref().filter(|_| differ) {
            line(format!("    it compares {}", asked(asks)));
        }
    }
    if let Some(watched) = watched {
        let Watched { interval, compare, .. } = watched;
        match differ {
            true => line(format!("  compared every {interval}, each time for all of these entries")),
            false => line(format!("  compared every {interval}: {}", compare.join(", "))),
        }
        if let Some(content) = content(watched, tracked.as_ref().filter(|_| *tracking == Tracking::Tracked)) {
            line(format!("  {content}"));
        }
    }
    if let Some(Tracked { last_looked, last_read, item, .. }) = tracked {
        line(format!("  last looked at {last_looked}"));
        if let Some(read) = last_read {
            let known = if item.content == Some(ContentState::Read) { "" } else { ": its digests are of then" };
            line(format!("  last read {read}{known}"));
        }
    }
    if !others.is_empty() {
        line("not by".to_owned());
    }
    for EntryDecision { entry, message, .. } in others.iter().take(NEAR) {
        line(format!("  {entry}: {message}"));
    }
    if others.len() > NEAR {
        line(format!("  and {} more entries that lead elsewhere", others.len() - NEAR));
    }
    text
}

/// What one of several entries asks for.
fn asked(Watched { compare, interval, hashes, .. }: &Watched) -> String {
    let hashes = if hashes.is_empty() { String::new() } else { format!("; content by {}", hashes.join(", ")) };
    format!("{}, every {interval}{hashes}", compare.join(", "))
}

/// Whether its content is read, and how often; of what is no file, nothing.
fn content(watched: &Watched, tracked: Option<&Tracked>) -> Option<String> {
    let Watched { hashes, rehash_interval: Some(rehash), max_content_size: Some(max), .. } = watched else {
        return None;
    };
    let item = tracked.map(|tracked| &tracked.item);
    match item.and_then(|item| item.content) {
        Some(ContentState::NotRegular) => None,
        Some(ContentState::TooLarge) if item.and_then(|item| item.size).is_some_and(|size| size > *max) => {
            Some(format!("content is not read: it is larger than {max} bytes"))
        }
        Some(ContentState::Unreadable) => {
            Some("content is not read: it could not be opened or read; it is tried again with every compare".to_owned())
        }
        Some(ContentState::Unstable) => {
            Some("content is not read: it changed during every try; it is tried again with every compare".to_owned())
        }
        state => {
            let pending = if state == Some(ContentState::Pending) { "content is not read yet: it" } else { "content" };
            let hashes = hashes.join(", ");
            Some(format!(
                "{pending} is read when that says so, and at least every {rehash}, up to {max} bytes: {hashes}"
            ))
        }
    }
}
