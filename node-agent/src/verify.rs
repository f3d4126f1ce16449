//! `vedette-agent verify`: reads lines or a state, says whether they are what was written, and where they are not.

use crate::cli::Verify;
use crate::{Trouble, answer, say};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::ExitCode;
use vedette_engine::StoreError;
use vedette_engine::verify::{Anchor, Lines, Verdict, state};

const BROKEN: u8 = 1;
/// No line of a journal is so long: a path has at most 64 KiB, and what of it is escaped at most six times that.
const LONGEST_LINE: u64 = 16 << 20;

/// Checks a file of lines, standard input or a state.
///
/// # Errors
/// When what is to be checked cannot be read, or the output cannot be written.
pub fn verify(options: &Verify) -> Result<ExitCode, Trouble> {
    let anchor = options.head.map(|head| Anchor { sequence: options.sequence, head });
    let verdicts = if let Some(directory) = &options.state_dir {
        let verdict = state(directory, anchor).map_err(refused)?;
        answer::write(&verdict)?;
        tell(&verdict.journal);
        if verdict.journal.is_whole() {
            say(&format!("{} items, each page of them whole", verdict.items));
        }
        vec![verdict.journal]
    } else {
        let path = options.file.as_deref().unwrap_or(Path::new("-"));
        let verdicts = lines(path)?.end(anchor);
        for verdict in &verdicts {
            answer::write(verdict)?;
            tell(verdict);
        }
        verdicts
    };
    let is_whole = verdicts.iter().all(Verdict::is_whole);
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(BROKEN) })
}

fn refused(error: StoreError) -> Trouble {
    let StoreError::InUse { path, holder } = &error else { return Trouble::of(error) };
    let (path, holder) = (path.display(), holder.as_ref().map_or("an agent".into(), ToString::to_string));
    Trouble::new(format!(
        "the state in {path} is in use by {holder}: verify the lines that it writes, for example with --records FILE, or stop it first"
    ))
}

fn lines(path: &Path) -> Result<Lines, Trouble> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { "standard input".into() } else { path.display().to_string() };
    let unread = |source| Trouble::because(format!("cannot read {name}"), source);
    let mut input: Box<dyn BufRead> = match is_stdin {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(path).map_err(unread)?)),
    };
    let mut lines = Lines::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut input).take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(unread)?;
        if read == 0 {
            break;
        }
        lines.line(line.strip_suffix(b"\n").unwrap_or(&line));
    }
    if !lines.are_ours() {
        return Err(Trouble::new(format!("{name} holds no line of a journal: nothing was checked")));
    }
    Ok(lines)
}

/// Says a verdict in words.
fn tell(verdict: &Verdict) {
    let Verdict { journal, from, to, lines, repeated, lost, head, faults, broken } = verdict;
    let name = journal.as_ref().map_or_else(|| "in no journal".to_owned(), |id| format!("journal {id}"));
    for fault in broken {
        let line = fault.line.map(|line| format!(", line {line}")).unwrap_or_default();
        let sequence = fault.sequence.map(|sequence| format!(", sequence {sequence}")).unwrap_or_default();
        say(&format!("{name}{line}{sequence}: {}", fault.message));
    }
    let more = faults - broken.len() as u64;
    if more > 0 {
        say(&format!("{name}: and {more} more faults"));
    }
    if *lost > 0 {
        say(&format!("{name}: {lost} lines left the journal before they were delivered, as a Gap notice says"));
    }
    if *repeated > 0 {
        say(&format!("{name}: {repeated} lines came again, the same to the byte"));
    }
    if !verdict.is_whole() {
        return say(&format!("{name}: broken"));
    }
    let head = head.as_deref().unwrap_or_default();
    say(&format!("{name}: {lines} lines, sequences {from} to {to}, each follows from the one before it; head {head}"));
    if *from > 1 {
        let message = "what was before it is not here, and only that could tell whether the first line is as it was";
        say(&format!("{name}: it begins at sequence {from}: {message}"));
    }
}
