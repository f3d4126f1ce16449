//! Whether lines are what a journal said: each follows the one before it, none is missing, changed or out of its place.
//!
//! Pure. Takes in lines of any number of journals, in the order of the file that they stand in; produces a verdict for each
//! journal. What a sink does after a crash is no fault: lines that come again, the same to the byte, and half a line that comes again whole.

use super::Anchor;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use vedette_crds::record::{Chain, ChainError, chain_of, unchain};

/// Faults that are spelled out; the rest is a number.
const SPELLED_OUT: usize = 100;
/// Halves of lines that may wait for their whole: each is a crash of a sink.
const HALVES: usize = 64;
/// They are kept, so together they are as long as the longest line at most.
const HALVES_BYTES: usize = 16 << 20;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum FaultKind {
    /// The line was changed, or the one before it was rewritten.
    Changed,
    /// Lines are not there.
    Missing,
    /// The line stands behind one that came after it.
    Reordered,
    /// Another line of the same sequence stands before it.
    Contradicted,
    /// It is the beginning of a line, and the whole never comes.
    Cut,
    /// It is no line of a journal.
    NotALine,
    /// The journal does not hold the head that it should.
    Head,
    /// A stored value is not what was written.
    Damaged,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where in the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Where in the journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// What.
    #[serde(rename = "reason")]
    pub kind: FaultKind,
    /// In words.
    pub message: String,
}

/// What the lines of one journal were found to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The journal; absent for what belongs to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
    /// The lowest sequence.
    pub from: u64,
    /// The highest.
    pub to: u64,
    /// Different lines.
    pub lines: u64,
    /// Lines that came again, the same to the byte.
    pub repeated: u64,
    /// Lines that are not there, and that a Gap notice says to be lost.
    pub lost: u64,
    /// The chain at the highest sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// All that is wrong, the first of it spelled out.
    pub faults: u64,
    /// What is wrong.
    pub broken: Vec<Fault>,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.faults == 0
    }

    pub(super) fn add(&mut self, fault: Fault) {
        self.faults += 1;
        if self.broken.len() < SPELLED_OUT {
            self.broken.push(fault);
        }
    }

    /// A head as statuses show it.
    pub(super) fn shown(head: Chain) -> String {
        format!("sha256:{head}")
    }

    pub(super) fn empty(journal: &str, sequence: u64, chain: Chain) -> Self {
        let head = Some(Self::shown(chain));
        Self { journal: Some(journal.to_owned()), from: sequence + 1, to: sequence, head, ..Self::default() }
    }

    pub(super) fn damaged(journal: Option<String>, message: String) -> Self {
        let mut verdict = Self { journal, ..Self::default() };
        verdict.add(Fault { line: None, sequence: None, kind: FaultKind::Damaged, message });
        verdict
    }
}

/// Lines under check.
#[derive(Debug, Default)]
pub struct Lines {
    journals: BTreeMap<String, Journal>,
    /// Lines so far.
    number: u64,
    /// Beginnings of lines, with where they stand.
    halves: Vec<(u64, Vec<u8>)>,
    /// What belongs to no journal.
    loose: Verdict,
    /// Whether there were lines of ours that are in no journal, as a dry run prints them.
    has_unplaced: bool,
}

/// What is known of one journal.
#[derive(Debug, Default)]
struct Journal {
    /// What the first line follows, where that is known.
    base: Option<(u64, Chain)>,
    known: BTreeMap<u64, Known>,
    gaps: Vec<Gap>,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    line: u64,
    chain: Chain,
    /// Of the whole line.
    digest: [u8; 32],
}

/// A notice that lines before it are lost.
#[derive(Clone, Copy, Debug)]
struct Gap {
    sequence: u64,
    from: u64,
    to: u64,
}

/// What tells a line's place.
#[derive(Deserialize)]
struct Place {
    schema: String,
    journal: String,
    sequence: u64,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    from: u64,
    #[serde(default)]
    to: u64,
}

/// A line of ours that a journal has not, or not so.
#[derive(Deserialize)]
struct Unplaced {
    schema: String,
    #[serde(default)]
    chain: Option<serde::de::IgnoredAny>,
}

impl Unplaced {
    fn is_ours(&self) -> bool {
        self.schema.starts_with("vedette.dev/") && self.chain.is_none()
    }
}

impl Lines {
    /// Lines of one journal that begin behind this sequence, where the chain is this.
    pub(super) fn following(journal: &str, sequence: u64, chain: Chain) -> Self {
        let mut lines = Self::default();
        let following = Journal { base: Some((sequence, chain)), ..Journal::default() };
        lines.journals.insert(journal.to_owned(), following);
        lines
    }

    /// Takes in the next line, without its newline.
    pub fn line(&mut self, line: &[u8]) {
        self.number += 1;
        if line.is_empty() {
            return;
        }
        // Whatever the parser has against it: it is no line, or half of one, and is named by its number.
        let place = serde_json::from_slice::<Place>(line).ok();
        let Some((place, chain)) =
            place.filter(|place| place.schema.starts_with("vedette.dev/") && place.sequence > 0).zip(chain_of(line))
        else {
            return self.half(line);
        };
        self.halves.retain(|(_, half)| !line.starts_with(half));
        self.journals.entry(place.journal.clone()).or_default().line(self.number, line, &place, chain);
    }

    /// Notes that a line cannot be read.
    pub(super) fn damaged(&mut self, sequence: Option<u64>, error: &dyn std::fmt::Display) {
        self.number += 1;
        let fault = Fault { line: None, sequence, kind: FaultKind::Damaged, message: error.to_string() };
        match self.journals.values_mut().next() {
            Some(journal) => journal.verdict.add(fault),
            None => self.loose.add(fault),
        }
    }

    /// How many different lines of journals there were.
    pub fn count(&self) -> usize {
        self.journals.values().map(|journal| journal.known.len()).sum()
    }

    /// The bytes of the beginnings of lines that wait for their whole.
    #[doc(hidden)]
    pub fn waiting(&self) -> usize {
        self.halves.iter().map(|(_, half)| half.len()).sum()
    }

    /// Whether anything in them was a line of ours.
    pub fn are_ours(&self) -> bool {
        self.count() > 0 || self.has_unplaced
    }

    fn half(&mut self, line: &[u8]) {
        // Half a line is no JSON.
        if serde_json::from_slice::<Unplaced>(line).is_ok_and(|line| line.is_ours()) {
            self.has_unplaced = true;
            let message =
                "it has no chain: what scan --dry-run prints is in no journal, and cannot be checked".to_owned();
            let line = Some(self.number);
            return self.loose.add(Fault { line, sequence: None, kind: FaultKind::NotALine, message });
        }
        if begins_a_line(line) && self.halves.len() < HALVES && self.waiting() + line.len() <= HALVES_BYTES {
            self.halves.push((self.number, line.to_vec()));
        } else {
            self.stray(self.number, line);
        }
    }

    fn stray(&mut self, number: u64, line: &[u8]) {
        let (kind, message) = match serde_json::from_slice::<serde_json::Value>(line) {
            Ok(_) => {
                (FaultKind::NotALine, "it is JSON, but no record or notice with journal, sequence and chain".to_owned())
            }
            Err(_) if begins_a_line(line) => (FaultKind::Cut, "it is cut, and does not come again whole".to_owned()),
            Err(error) => (FaultKind::NotALine, format!("it is no JSON: {error}")),
        };
        self.loose.add(Fault { line: Some(number), sequence: None, kind, message });
    }

    /// The verdicts, a journal each; last what belongs to none, if something is wrong there.
    pub fn end(mut self, anchor: Option<Anchor>) -> Vec<Verdict> {
        for (number, half) in std::mem::take(&mut self.halves) {
            self.stray(number, &half);
        }
        let mut is_held = false;
        let mut verdicts = Vec::new();
        for (id, journal) in self.journals {
            let at = anchor.and_then(|anchor| journal.place_of(&anchor));
            is_held |= at.is_some();
            verdicts.extend(journal.end(id, at));
        }
        if let Some(Anchor { sequence, head }) = anchor.filter(|_| !is_held) {
            let at = sequence.map(|sequence| format!(" at sequence {sequence}")).unwrap_or_default();
            let message = format!(
                "no line has the head sha256:{head}{at}: lines are missing at the end, or the journal is another one or was rewritten"
            );
            let of = if verdicts.len() == 1 { &mut verdicts[0] } else { &mut self.loose };
            of.add(Fault { line: None, sequence, kind: FaultKind::Head, message });
        }
        verdicts.extend((!self.loose.is_whole()).then_some(self.loose));
        verdicts
    }
}

fn begins_a_line(line: &[u8]) -> bool {
    const BEGIN: &[u8] = b"{\"schema\":\"vedette.dev/";
    line.starts_with(BEGIN) || BEGIN.starts_with(line)
}

impl Journal {
    fn line(&mut self, number: u64, line: &[u8], place: &Place, chain: Chain) {
        let sequence = place.sequence;
        let fault = |kind, message| Fault { line: Some(number), sequence: Some(sequence), kind, message };
        let digest = Sha256::digest(line).into();
        if let Some(first) = self.known.get(&sequence) {
            if first.digest == digest {
                self.verdict.repeated += 1;
            } else {
                let message = format!("another line of this sequence stands in line {}", first.line);
                self.verdict.add(fault(FaultKind::Contradicted, message));
            }
            return;
        }
        if let Some((last, before)) = self.known.last_key_value().filter(|(last, _)| **last > sequence) {
            let message = format!("it stands behind line {}, which has sequence {last}", before.line);
            self.verdict.add(fault(FaultKind::Reordered, message));
        }
        let before = match sequence - 1 {
            0 => Some((Chain::default(), "the beginning of the journal".to_owned())),
            before => match (self.known.get(&before), self.base) {
                (Some(known), _) => Some((known.chain, format!("line {}", known.line))),
                (None, Some((base, chain))) if base == before => Some((chain, "what was before it".to_owned())),
                _ => None,
            },
        };
        let follows = before.map(|(previous, before)| match unchain(line, previous) {
            Err(ChainError::Broken { .. }) => {
                let message =
                    format!("it does not follow from {before}: it was changed, or what is before it was rewritten");
                self.verdict.add(fault(FaultKind::Changed, message));
                false
            }
            _ => true,
        });
        // The journal keeps the line before a notice: one whose own chain cannot be checked may stand for any line.
        if place.kind.as_deref() == Some("Gap") && follows == Some(true) && place.to < sequence {
            self.gaps.push(Gap { sequence, from: place.from, to: place.to });
        }
        self.known.insert(sequence, Known { line: number, chain, digest });
    }

    /// Where this head stands.
    fn place_of(&self, anchor: &Anchor) -> Option<u64> {
        let is_it = |sequence: u64, chain: Chain| {
            chain == anchor.head && anchor.sequence.is_none_or(|expected| expected == sequence)
        };
        let base = self.base.filter(|(sequence, chain)| is_it(*sequence, *chain)).map(|(sequence, _)| sequence);
        let known = self.known.iter().find(|(sequence, known)| is_it(**sequence, known.chain));
        base.or(known.map(|(sequence, _)| *sequence))
    }

    /// `None` for a journal without a line. What comes after a head that was noted is proven by nothing: a notice there says
    /// of no line before it that it is lost.
    fn end(mut self, id: String, anchored: Option<u64>) -> Option<Verdict> {
        let mut verdict = std::mem::take(&mut self.verdict);
        let (Some((first, _)), Some((last, head))) = (self.known.first_key_value(), self.known.last_key_value()) else {
            return (!verdict.is_whole()).then_some(Verdict { journal: Some(id), ..verdict });
        };
        (verdict.journal, verdict.from, verdict.to) = (Some(id), *first, *last);
        (verdict.lines, verdict.head) = (self.known.len() as u64, Some(Verdict::shown(head.chain)));
        let mut next = self.base.map_or(*first, |(base, _)| base + 1);
        for (sequence, known) in &self.known {
            if *sequence > next {
                let (from, to) = (next, sequence - 1);
                let is_proven = |gap: &Gap| anchored.is_none_or(|at| at < from || gap.sequence <= at);
                if self.gaps.iter().any(|gap| gap.from <= from && to <= gap.to && is_proven(gap)) {
                    verdict.lost += to - from + 1;
                } else {
                    let message = match from == to {
                        true => format!("sequence {from} is missing before it"),
                        false => format!("sequences {from} to {to} are missing before it"),
                    };
                    let (line, sequence) = (Some(known.line), Some(*sequence));
                    verdict.add(Fault { line, sequence, kind: FaultKind::Missing, message });
                }
            }
            next = sequence + 1;
        }
        verdict.broken.sort_by_key(|fault| fault.line);
        Some(verdict)
    }
}
