//! The journal's bound: the oldest lines go first, what stays can be checked, and what a sink lost is said.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Host, everything};
use vedette_crds::record::{chain_of, unchain};
use vedette_engine::journal::{Journal, Line, Sink};

const MAX: u64 = 64 * 1024;

/// A host with a baseline, whose journal holds little.
fn host() -> Host {
    let mut host = Host::new(everything());
    host.write("/a", "0");
    host.compare();
    host.engine().set_journal_max(MAX);
    host
}

/// Changes a hundred files and compares, without reading the journal.
fn change(host: &mut Host, round: usize) {
    (0..100).for_each(|file| host.write(&format!("/f{file}"), format!("{round}")));
    support::compare_unread(host);
}

fn lines(journal: &Journal, after: u64) -> Vec<Line> {
    journal.after(after, usize::MAX).unwrap()
}

fn gaps(lines: &[Line]) -> Vec<Value> {
    let lines = lines.iter().map(|line| serde_json::from_slice::<Value>(&line.bytes).unwrap());
    lines.filter(|line| line["kind"] == "Gap").collect()
}

#[test]
fn the_oldest_lines_go_first_and_what_is_counted_is_what_is_there() {
    let mut host = host();
    let journal = host.engine().journal().clone();
    for round in 0..8 {
        change(&mut host, round);
        let standing = host.standing();
        let there = lines(&journal, 0);
        let bytes: usize = there.iter().map(|line| line.bytes.len()).sum();
        assert_eq!(standing.totals.journal_bytes, bytes as u64);
        assert!(bytes as u64 <= MAX, "{bytes}");
        let sequences: Vec<u64> = there.iter().map(|line| line.sequence).collect();
        let newest = (standing.sequence - there.len() as u64 + 1..=standing.sequence).collect::<Vec<_>>();
        assert_eq!(sequences, newest, "without a gap, up to the head");
        assert!(gaps(&there).is_empty(), "no sink has read it: nobody lost anything");
    }
    let counted = host.standing().totals;
    assert_eq!(counted.files.iter().flatten().sum::<u64>(), 800, "totals count what has gone too");
    assert!(lines(&journal, 0)[0].sequence > 500);
    assert!(
        lines(&journal, 0).iter().map(|line| line.bytes.len() as u64).sum::<u64>() > MAX / 2,
        "and no more than must"
    );
}

#[test]
fn what_a_sink_lost_is_said_once_and_it_goes_on_with_the_first_line_that_is_there() {
    let mut host = host();
    let journal = host.engine().journal().clone();
    let read = host.standing().sequence;
    host.delivered(Sink::File, read);
    (0..4).for_each(|round| change(&mut host, round));
    let there = lines(&journal, read);
    let lost = there[0].sequence - 1;
    let said = gaps(&there);
    let ranges: Vec<(u64, u64)> =
        said.iter().map(|gap| (gap["from"].as_u64().unwrap(), gap["to"].as_u64().unwrap())).collect();
    // Earlier notices may have gone with the lines: the last one says all that is lost.
    assert_eq!(ranges.last(), Some(&(read + 1, lost)), "{ranges:?}");
    assert!(ranges.iter().all(|(from, _)| *from == read + 1), "{ranges:?}");
    assert!(said.iter().all(|gap| gap["reason"] == "JournalFull"));
    assert_eq!(host.standing().totals.dropped.get("File"), Some(&(lost - read)));

    let head = host.standing().sequence;
    assert_eq!(journal.cursor(Sink::File, head).unwrap().sequence, read, "its own word is not changed");
    host.delivered(Sink::File, head);
    let dropped = host.standing().totals.dropped.clone();
    for round in 0..80 {
        host.write("/a", format!("{round}"));
        support::compare_unread(&mut host);
        let head = host.standing().sequence;
        host.delivered(Sink::File, head);
    }
    assert!(lines(&journal, 0)[0].sequence > read + 400, "more lines have gone");
    assert_eq!(host.standing().totals.dropped, dropped, "what it has read is not lost");
    assert!(gaps(&lines(&journal, head)).is_empty());
}

#[test]
fn one_loss_of_many_lines_is_one_notice() {
    let mut host = host();
    let journal = host.engine().journal().clone();
    host.delivered(Sink::Status, 1);
    change(&mut host, 0);
    let said = gaps(&lines(&journal, 0));
    assert_eq!(said.len(), 1, "{said:?}");
    let lost = lines(&journal, 0)[0].sequence - 1;
    assert_eq!((said[0]["from"].as_u64(), said[0]["to"].as_u64()), (Some(2), Some(lost)));
    assert!(lost > 10 && host.standing().totals.dropped["Status"] == lost - 1, "{lost}");
}

#[test]
fn the_line_before_a_notice_of_what_was_lost_stays_however_long_it_is() {
    let mut host = host();
    let journal = host.engine().journal().clone();
    host.delivered(Sink::File, 1);
    host.engine().set_journal_max(100);
    for round in 0..3 {
        host.write("/a", format!("{round}{round}"));
        support::compare_unread(&mut host);
        let there = lines(&journal, 0);
        assert_eq!(gaps(&there[1..]).len(), 1, "{there:?}");
        unchain(&there[1].bytes, chain_of(&there[0].bytes).unwrap()).unwrap();
        assert_eq!(there.len(), 2);
    }
    assert_eq!(host.standing().totals.dropped["File"], lines(&journal, 0)[0].sequence - 2);
}

#[test]
fn a_journal_that_was_pruned_goes_on_after_a_restart() {
    let mut host = host();
    (0..4).for_each(|round| change(&mut host, round));
    let (before, first) = (host.standing(), lines(host.engine().journal(), 0)[0].clone());
    host.start();
    assert_eq!((host.standing().head, host.standing().totals), (before.head, before.totals));
    assert_eq!(lines(host.engine().journal(), 0)[0], first);
    host.write("/a", "1");
    support::compare_unread(&mut host);
    let last = lines(host.engine().journal(), before.sequence);
    assert_eq!(serde_json::from_slice::<Value>(&last[0].bytes).unwrap()["path"], json!("/a"));
}
