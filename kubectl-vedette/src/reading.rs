//! What the log of a node's agent says: reads its lines one by one, says which are wanted, and what is missing, broken or not of
//! this node. A log is written by whoever has the node: it is held against the journal's head in the node's status. Pure.

use crate::filter::Wanted;
use crate::log_lines::Line;
use crate::record_line::{Entry, NotAnAgents};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;
use vedette_crds::node_config::{JournalHead, RecentChange};
use vedette_crds::record::{CHANGE_SCHEMA, Chain, chain_of};

/// A log that says something else in every line is not told in every line.
const MOST_NOTES: usize = 20;
/// Lines that are known again. After a crash no more come again than a sink had not confirmed.
const REMEMBERED: usize = 65_536;

/// A node's logs, as they are read.
pub(crate) struct Reading<'r> {
    node: &'r str,
    wanted: &'r Wanted<'r>,
    /// Where its status says that its journal stood before its log was asked for.
    head: Option<&'r JournalHead>,
    journal: String,
    /// Of the last line of that journal.
    sequence: u64,
    /// The newest lines of that journal by their sequence.
    seen: BTreeMap<u64, Option<Chain>>,
    /// Lines that stand behind later ones, or beside another one of their sequence.
    misplaced: u64,
    /// Whether lines have come to the time that is asked for.
    is_in_time: bool,
    /// Lines that begin like a record and are none of ours.
    broken: u64,
    too_long: u64,
    foreign: u64,
    /// The first other node that a line is of.
    of_another: Option<String>,
    /// Whether log and status cannot both be true.
    is_contradicted: bool,
    notes: Vec<String>,
    noted: usize,
}

impl<'r> Reading<'r> {
    pub(crate) fn new(node: &'r str, wanted: &'r Wanted<'r>, head: Option<&'r JournalHead>) -> Self {
        Self {
            node,
            wanted,
            head,
            journal: String::new(),
            sequence: 0,
            seen: BTreeMap::new(),
            misplaced: 0,
            is_in_time: wanted.since().is_none(),
            broken: 0,
            too_long: 0,
            foreign: 0,
            of_another: None,
            is_contradicted: false,
            notes: Vec::new(),
            noted: 0,
        }
    }

    /// Takes in a line, and gives it back when it is wanted.
    pub(crate) fn line<'l>(&mut self, line: &Line<'l>) -> Option<&'l str> {
        let Line::Whole(line) = *line else {
            self.too_long += 1;
            return None;
        };
        let (line, entry) = match Entry::read(line)? {
            Ok(read) => read,
            Err(NotAnAgents) => {
                self.broken += 1;
                return None;
            }
        };
        if entry.node != self.node {
            self.foreign += 1;
            self.of_another.get_or_insert(entry.node);
            return None;
        }
        self.hold_against_head(line, &entry);
        if entry.journal != self.journal {
            if !self.journal.is_empty() {
                self.note(format!("the journal {} ends, {} begins", self.journal, entry.journal));
            }
            (self.journal, self.sequence) = (entry.journal.clone(), 0);
            self.seen.clear();
        }
        // After a crash the last lines come again, the same to the byte.
        if self.is_known(line, &entry) {
            return None;
        }
        let is_in_time = self.wanted.since().is_none_or(|since| entry.time >= since);
        // What was before the time that is asked for is of no interest, here or not.
        if entry.sequence.checked_sub(1).is_some_and(|before| before > self.sequence) && is_in_time {
            let (from, to) = (self.sequence + 1, entry.sequence - 1);
            self.note(format!("records and notices {from} to {to} are not in its log any more"));
        }
        self.sequence = self.sequence.max(entry.sequence);
        self.is_in_time |= is_in_time;
        if self.wanted.is_everything() {
            // They are links of a chain, which holds only when none is left out.
            return self.is_in_time.then_some(line);
        }
        if entry.schema != CHANGE_SCHEMA {
            return None;
        }
        let path = entry.path.to_bytes(entry.path_bytes.as_deref());
        let change = RecentChange {
            sequence: entry.sequence,
            time: Time(entry.time),
            category: entry.category,
            change_type: entry.change_type,
            detection: String::new(),
            path: entry.path.0,
            fields: Vec::new(),
            severity: entry.severity,
        };
        self.wanted.record(&change, &path, &entry.rules).then_some(line)
    }

    /// Whether a line was there before. Another one in its place is news, and no agent's doing.
    fn is_known(&mut self, line: &str, entry: &Entry) -> bool {
        let chain = chain_of(line.as_bytes());
        if entry.sequence <= self.sequence {
            let oldest = self.seen.first_key_value().map(|(oldest, _)| *oldest);
            let is_forgotten = self.seen.len() == REMEMBERED && oldest.is_some_and(|oldest| entry.sequence < oldest);
            if is_forgotten || self.seen.get(&entry.sequence) == Some(&chain) {
                return true;
            }
            self.misplaced += 1;
        }
        self.seen.insert(entry.sequence, chain);
        if self.seen.len() > REMEMBERED {
            self.seen.pop_first();
        }
        false
    }

    /// The line that a status names is that line in the log, or somebody changed one of them.
    fn hold_against_head(&mut self, line: &str, entry: &Entry) {
        let Some(head) = self.head else { return };
        if (&head.id, head.sequence) != (&entry.journal, entry.sequence) {
            return;
        }
        let chain = chain_of(line.as_bytes()).map(|chain| format!("sha256:{chain}"));
        if chain.as_ref() != Some(&head.head) && !self.is_contradicted {
            self.is_contradicted = true;
            let sequence = head.sequence;
            self.notes
                .push(format!("its log has another line {sequence} than its status names: one of them was changed"));
        }
    }

    /// Takes in that the logs have ended, all of it or not.
    pub(crate) fn end(&mut self, is_whole: bool) {
        if self.broken > 0 {
            let broken = self.broken;
            self.notes
                .push(format!("{broken} lines of its log look like records and are not whole, or not an agent's"));
        }
        if self.too_long > 0 {
            self.notes.push(format!("{} lines of its log are longer than any record", self.too_long));
        }
        if let Some(other) = self.of_another.take() {
            let foreign = self.foreign;
            self.notes.push(format!(
                "{foreign} lines of its log claim to be of other nodes, the first of {other}: they are not shown"
            ));
        }
        if self.misplaced > 0 {
            let misplaced = self.misplaced;
            self.notes
                .push(format!("{misplaced} lines of its log are out of order, or other ones than were there before"));
        }
        if !is_whole {
            return;
        }
        let head = self.head.filter(|head| head.sequence > 0);
        if self.sequence == 0 {
            let has = head.map(|head| format!(", and its journal has {}", head.sequence)).unwrap_or_default();
            self.notes.push(format!(
                "its log holds no record{has}: does the agent write them elsewhere (--records, in the chart agent.records)?"
            ));
            return;
        }
        match head {
            Some(head) if head.id != self.journal => {
                self.is_contradicted = true;
                self.notes
                    .push(format!("its log ends in the journal {}, and its status names {}", self.journal, head.id));
            }
            Some(head) if head.sequence > self.sequence => {
                let (from, to) = (self.sequence + 1, head.sequence);
                self.notes.push(format!("records and notices {from} to {to} of its journal are not in its log"));
            }
            _ => {}
        }
    }

    /// What there is to say since this was asked for last.
    pub(crate) fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Whether the log can be what the node's agent wrote.
    pub(crate) fn is_believed(&self) -> bool {
        self.foreign == 0 && self.misplaced == 0 && !self.is_contradicted
    }

    /// Of one of any number of lines.
    fn note(&mut self, what: String) {
        self.noted += 1;
        match self.noted {
            ..MOST_NOTES => self.notes.push(what),
            MOST_NOTES => self.notes.push("and more is said of its log than is shown here".to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::Filter;
    use serde::Serialize;
    use std::time::Duration;
    use vedette_crds::record::render;

    const JOURNAL: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "ffffffffffffffffffffffffffffffff";

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Written<'w> {
        schema: &'static str,
        node: &'w str,
        journal: &'w str,
        sequence: u64,
        time: String,
        change_type: &'static str,
        path: String,
    }

    /// A journal with a record at each of these hours, and its head.
    fn journal(id: &str, node: &str, hours: &[u64]) -> (Vec<String>, JournalHead) {
        let (mut chain, mut lines) = (Chain::default(), Vec::new());
        for (sequence, hour) in (1..).zip(hours) {
            let time = format!("2026-11-24T{hour:02}:00:00Z");
            let (schema, change_type, path) = (CHANGE_SCHEMA, "Added", format!("/etc/{sequence}"));
            let rendered = render(&Written { schema, node, journal: id, sequence, time, change_type, path }, chain);
            chain = rendered.chain;
            lines.push(String::from_utf8(rendered.line).unwrap());
        }
        (lines, JournalHead { id: id.into(), sequence: hours.len() as u64, head: format!("sha256:{chain}") })
    }

    /// What of these lines in n1's log is shown at 12:00, the sequences; what is said; whether it is believed.
    fn read(lines: &[impl AsRef<[u8]>], head: Option<&JournalHead>, filter: &Filter) -> (Vec<u64>, Vec<String>, bool) {
        let wanted = Wanted::new(filter, "2026-11-24T12:00:00Z".parse().unwrap());
        let mut reading = Reading::new("n1", &wanted, head);
        let mut shown = Vec::new();
        for line in lines {
            let line = reading.line(&Line::Whole(line.as_ref()));
            shown.extend(line.map(|line| serde_json::from_str::<Entry>(line).unwrap().sequence));
        }
        reading.end(true);
        (shown, reading.notes(), reading.is_believed())
    }

    fn since(hours: u64) -> Filter {
        Filter { since: Some(Duration::from_secs(hours * 3600)), ..Filter::default() }
    }

    fn all() -> Filter {
        Filter::default()
    }

    #[test]
    fn a_whole_log_is_shown_and_nothing_is_said_of_it() {
        let (lines, head) = journal(JOURNAL, "n1", &[1, 2, 3]);
        assert_eq!(read(&lines, Some(&head), &all()), (vec![1, 2, 3], vec![], true));
        assert_eq!(read(&lines, None, &all()), (vec![1, 2, 3], vec![], true));
        let again = [&lines[..], &lines[1..]].concat();
        assert_eq!(read(&again, Some(&head), &all()), (vec![1, 2, 3], vec![], true), "once each");
    }

    #[test]
    fn what_is_not_in_a_log_is_said_at_its_beginning_in_its_middle_and_at_its_end() {
        let (lines, head) = journal(JOURNAL, "n1", &[1, 2, 3, 4, 5, 6, 7]);
        let some = [&lines[2], &lines[4]];
        let (shown, said, is_believed) = read(&some, Some(&head), &all());
        assert_eq!((shown, is_believed), (vec![3, 5], true));
        assert_eq!(
            said,
            [
                "records and notices 1 to 2 are not in its log any more",
                "records and notices 4 to 4 are not in its log any more",
                "records and notices 6 to 7 of its journal are not in its log"
            ]
        );
        let none: [&str; 0] = [];
        let (_, said, _) = read(&none, Some(&head), &since(1));
        assert!(
            said[0].starts_with("its log holds no record, and its journal has 7: does the agent write"),
            "{said:?}"
        );
    }

    #[test]
    fn a_log_that_began_anew_within_the_time_that_is_asked_for_says_so() {
        let (lines, head) = journal(JOURNAL, "n1", &[1, 2, 9, 10, 11]);
        assert_eq!(read(&lines[1..], Some(&head), &since(4)), (vec![3, 4, 5], vec![], true), "it reaches back");
        let (shown, said, _) = read(&lines[3..], Some(&head), &since(4));
        assert_eq!(
            (shown, said),
            (vec![4, 5], vec!["records and notices 1 to 3 are not in its log any more".to_owned()])
        );
        // A chain has no holes, also where the clock went back.
        let (lines, head) = journal(JOURNAL, "n1", &[1, 11, 2, 11]);
        assert_eq!(read(&lines, Some(&head), &since(2)).0, [2, 3, 4]);
    }

    #[test]
    fn a_line_that_moves_a_terminal_is_none_of_an_agent() {
        let (lines, head) = journal(JOURNAL, "n1", &[1, 2, 3]);
        for hostile in ["\u{9b}31m", "\u{7f}", "\u{202e}", "\u{2028}", "\r", "\u{1b}[2J"] {
            let bad = lines[1].replace("/etc", hostile);
            let (shown, said, _) = read(&[&lines[0], &bad, &lines[2]], Some(&head), &all());
            assert_eq!(shown, [1, 3], "{hostile:?}");
            assert_eq!(said[1], "1 lines of its log look like records and are not whole, or not an agent's");
        }
        let between = lines[1].replacen(",\"node\"", "\r,\"node\"", 1);
        assert_eq!(read(&[&between], None, &all()).0, [0; 0]);
        let bytes: [&[u8]; 3] = [lines[0].as_bytes(), b"{\"schema\":\"vedette.dev/\xff", lines[1].as_bytes()];
        assert_eq!(read(&bytes, None, &all()).0, [1, 2]);
    }

    #[test]
    fn a_log_speaks_for_its_own_node_alone() {
        let (lines, head) = journal(JOURNAL, "n1", &[1]);
        let (others, _) = journal(OTHER, "worker-7", &[1, 2]);
        let mixed = [&others[0], &lines[0], &others[1]];
        let (shown, said, is_believed) = read(&mixed, Some(&head), &all());
        assert_eq!((shown, is_believed), (vec![1], false));
        assert_eq!(said, ["2 lines of its log claim to be of other nodes, the first of worker-7: they are not shown"]);
    }

    #[test]
    fn a_log_that_its_nodes_status_does_not_know_is_not_believed() {
        let (_, head) = journal(JOURNAL, "n1", &[1, 2, 3]);
        let (rewritten, _) = journal(JOURNAL, "n1", &[1, 2, 4]);
        let (shown, said, is_believed) = read(&rewritten, Some(&head), &all());
        assert_eq!((shown, is_believed), (vec![1, 2, 3], false));
        assert_eq!(said, ["its log has another line 3 than its status names: one of them was changed"]);
        let (another, _) = journal(OTHER, "n1", &[1]);
        let (_, said, is_believed) = read(&another, Some(&head), &all());
        let both = format!("its log ends in the journal {OTHER}, and its status names {JOURNAL}");
        assert_eq!((said, is_believed), (vec![both], false));
    }

    #[test]
    fn a_line_from_the_end_of_time_hides_none_that_come_after_it() {
        let (lines, head) = journal(JOURNAL, "n1", &[1, 2, 3]);
        let late = lines[0].replace("\"sequence\":1", &format!("\"sequence\":{}", u64::MAX));
        let (shown, said, is_believed) = read(&[&lines[0], &late, &lines[1], &lines[2]], Some(&head), &all());
        assert_eq!((shown, is_believed), (vec![1, u64::MAX, 2, 3], false));
        assert_eq!(said[1], "2 lines of its log are out of order, or other ones than were there before");
        let (rewritten, _) = journal(JOURNAL, "n1", &[1, 2, 4]);
        let both = [&lines[..], &rewritten[2..]].concat();
        assert_eq!(read(&both, None, &all()).0, [1, 2, 3, 3]);
    }

    #[test]
    fn a_log_that_changes_its_journal_in_every_line_is_not_told_in_every_line() {
        let lines: Vec<String> = (0..1_000).map(|id| journal(&format!("{id:032x}"), "n1", &[1]).0.remove(0)).collect();
        let (shown, said, _) = read(&lines, None, &all());
        assert_eq!((shown.len(), said.len()), (1_000, MOST_NOTES));
    }
}
