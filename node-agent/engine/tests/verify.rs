//! Verification: whatever is done to lines or to a state after they were written is found, named by its place; what a sink does
//! after a crash is no fault.
#![allow(clippy::unwrap_used)]

mod support;

use redb::{Database, TableDefinition};
use serde_json::json;
use std::fs;
use support::{Host, everything, rule, rule_with, run, with_own_mounts};
use vedette_crds::record::Chain;
use vedette_engine::StoreError;
use vedette_engine::journal::Sink;
use vedette_engine::verify::{Anchor, FaultKind, Lines, Verdict, state};

const JOURNAL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journal");

/// The lines of a scratch host: a few more than two dozen.
fn lines() -> Vec<Vec<u8>> {
    let mut host = host();
    host.engine().journal().after(0, usize::MAX).unwrap().into_iter().map(|line| line.bytes).collect()
}

fn host() -> Host {
    let mut host = Host::new(everything());
    host.compare();
    (0..24).for_each(|file| host.write(&format!("/f{file}"), "1"));
    host.compare();
    host
}

fn check<L: AsRef<[u8]>>(lines: &[L]) -> Vec<Verdict> {
    check_with(lines, None)
}

fn check_with<L: AsRef<[u8]>>(lines: &[L], anchor: Option<Anchor>) -> Vec<Verdict> {
    let mut checked = Lines::default();
    lines.iter().for_each(|line| checked.line(line.as_ref()));
    checked.end(anchor)
}

/// The faults in the order of their lines: line, sequence, kind.
fn faults<L: AsRef<[u8]>>(lines: &[L]) -> Vec<(Option<u64>, Option<u64>, FaultKind)> {
    let verdicts = check(lines);
    verdicts.iter().flat_map(|verdict| &verdict.broken).map(|fault| (fault.line, fault.sequence, fault.kind)).collect()
}

fn replaced(line: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(line.to_vec()).unwrap();
    assert!(text.contains(from), "{text}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn lines_as_they_were_written_are_whole() {
    let lines = lines();
    let verdict = &check(&lines)[0];
    assert!(verdict.is_whole() && (verdict.from, verdict.to) == (1, lines.len() as u64), "{verdict:?}");
    let last = String::from_utf8(lines.last().unwrap().clone()).unwrap();
    let head = verdict.head.as_deref().unwrap().strip_prefix("sha256:").unwrap();
    assert!(last.ends_with(&format!(",\"chain\":\"{head}\"}}")));
}

#[test]
fn a_file_that_begins_in_mid_journal_is_whole() {
    let lines = lines();
    let verdict = &check(&lines[4..])[0];
    assert!(verdict.is_whole() && verdict.from == 5, "{verdict:?}");
}

#[test]
fn what_a_sink_does_after_a_crash_is_no_fault() {
    let lines = lines();
    let mut again = lines[..6].to_vec();
    again.push(lines[6][..100].to_vec());
    again.extend_from_slice(&lines[3..]);
    again.push(Vec::new());
    let verdict = &check(&again)[0];
    assert!(verdict.is_whole() && (verdict.repeated, verdict.lines) == (3, lines.len() as u64), "{verdict:?}");
}

#[test]
fn each_journal_in_a_file_is_checked() {
    let (one, other) = (lines(), lines());
    let mut mixed: Vec<Vec<u8>> = Vec::new();
    for (one, other) in one.iter().zip(&other) {
        mixed.extend([one.clone(), other.clone()]);
    }
    let verdicts = check(&mixed);
    assert!(verdicts.len() == 2 && verdicts.iter().all(Verdict::is_whole), "{verdicts:?}");
    mixed[9] = replaced(&mixed[9], "\"severity\":\"Medium\"", "\"severity\":\"Info\"");
    let verdicts = check(&mixed);
    let whole: Vec<bool> = verdicts.iter().map(Verdict::is_whole).collect();
    assert!(whole == [true, false] || whole == [false, true], "{verdicts:?}");
}

#[test]
fn a_changed_line_is_named() {
    let mut lines = lines();
    lines[7] = replaced(&lines[7], "\"severity\":\"Medium\"", "\"severity\":\"Info\"");
    assert_eq!(faults(&lines), [(Some(8), Some(8), FaultKind::Changed)]);
}

#[test]
fn a_line_that_was_rewritten_with_a_chain_of_its_own_is_found_at_the_next() {
    let mut lines = lines();
    let body = replaced(&lines[7], "\"severity\":\"Medium\"", "\"severity\":\"Info\"");
    let cut = body.len() - 76;
    let before = vedette_crds::record::chain_of(&lines[6]).unwrap();
    let chain = before.next(&[&body[..cut], b"}"].concat());
    lines[7] = [&body[..cut], format!(",\"chain\":\"{chain}\"}}").as_bytes()].concat();
    assert_eq!(faults(&lines), [(Some(9), Some(9), FaultKind::Changed)]);
}

#[test]
fn a_missing_line_is_named() {
    let mut lines = lines();
    lines.drain(9..12);
    assert_eq!(faults(&lines), [(Some(10), Some(13), FaultKind::Missing)]);
    assert!(check(&lines)[0].broken[0].message.contains("sequences 10 to 12 are missing"));
}

#[test]
fn lines_that_changed_places_are_named() {
    let mut lines = lines();
    lines.swap(9, 10);
    assert_eq!(faults(&lines), [(Some(11), Some(10), FaultKind::Reordered)]);
}

#[test]
fn two_lines_of_one_sequence_are_named() {
    let mut lines = lines();
    let other = replaced(&lines[7], "\"severity\":\"Medium\"", "\"severity\":\"Info\"");
    lines.insert(8, other);
    assert_eq!(faults(&lines), [(Some(9), Some(8), FaultKind::Contradicted)]);
}

#[test]
fn a_line_that_is_cut_is_named() {
    let mut lines = lines();
    let half = lines[7].len() / 2;
    lines[7].truncate(half);
    assert_eq!(faults(&lines), [(Some(9), Some(9), FaultKind::Missing), (Some(8), None, FaultKind::Cut)]);
    lines.truncate(8);
    assert_eq!(faults(&lines), [(Some(8), None, FaultKind::Cut)], "at the end too");
}

#[test]
fn what_is_no_line_is_named() {
    for other in [&b"{}"[..], b"nonsense", b"\xff\xfe", b"{\"schema\":\"x\"}", b"[1]", b"null"] {
        let mut lines = lines();
        lines.insert(2, other.to_vec());
        assert_eq!(faults(&lines), [(Some(3), None, FaultKind::NotALine)], "{}", String::from_utf8_lossy(other));
    }
}

#[test]
fn every_byte_of_a_line_counts() {
    let lines = lines();
    for at in 0..lines[5].len() {
        let mut changed = lines.clone();
        changed[5][at] ^= 1;
        assert!(!check(&changed).iter().all(Verdict::is_whole), "byte {at}");
    }
}

#[test]
fn a_noted_head_tells_that_the_end_is_missing() {
    let lines = lines();
    let last = lines.len() as u64;
    let head = vedette_crds::record::chain_of(lines.last().unwrap()).unwrap();
    let anchor = |sequence| Some(Anchor { sequence, head });
    for good in [None, Some(last)] {
        assert!(check_with(&lines, anchor(good))[0].is_whole());
    }
    let short = check_with(&lines[..lines.len() - 1], anchor(None));
    assert_eq!(short[0].broken[0].kind, FaultKind::Head);
    assert_eq!(check_with(&lines, anchor(Some(last - 1)))[0].broken[0].kind, FaultKind::Head);
}

#[test]
fn lines_that_a_gap_notice_says_to_be_lost_are_no_fault() {
    let mut host = host();
    let journal = host.engine().journal().clone();
    host.delivered(Sink::File, 3);
    host.engine().set_journal_max(16 * 1024);
    (0..24).for_each(|file| host.write(&format!("/f{file}"), "2"));
    let first = journal.after(0, usize::MAX).unwrap();
    support::compare_unread(&mut host);
    let lines: Vec<Vec<u8>> =
        first[..3].iter().cloned().chain(journal.after(3, usize::MAX).unwrap()).map(|line| line.bytes).collect();
    let verdict = &check(&lines)[0];
    assert!(verdict.is_whole() && verdict.lost > 5, "{verdict:?}");
    let more_is_gone: Vec<Vec<u8>> =
        lines.iter().enumerate().filter(|(at, _)| *at != 3).map(|(_, line)| line.clone()).collect();
    assert_eq!(check(&more_is_gone)[0].broken[0].kind, FaultKind::Missing);
}

/// A Gap notice that says that these lines are lost, in the place of a line.
fn gap(line: &[u8], (from, to): (u64, u64), chain: Chain) -> Vec<u8> {
    let line: serde_json::Value = serde_json::from_slice(line).unwrap();
    let (journal, sequence, time) = (&line["journal"], &line["sequence"], &line["time"]);
    format!(
        r#"{{"schema":"vedette.dev/notice/v1","node":"n1","journal":{journal},"sequence":{sequence},"time":{time},"kind":"Gap","reason":"JournalFull","from":{from},"to":{to},"chain":"{chain}"}}"#
    )
    .into_bytes()
}

/// The same, with the chain that it has behind this line.
fn gap_after(before: &[u8], line: &[u8], lost: (u64, u64)) -> Vec<u8> {
    let notice = gap(line, lost, Chain::default());
    let body = [&notice[..notice.len() - 76], b"}"].concat();
    gap(line, lost, vedette_crds::record::chain_of(before).unwrap().next(&body))
}

#[test]
fn a_notice_whose_own_chain_does_not_follow_says_of_no_line_that_it_is_lost() {
    let lines = lines();
    let chain = |line: &[u8]| vedette_crds::record::chain_of(line).unwrap();
    let head = Some(Anchor { sequence: None, head: chain(lines.last().unwrap()) });
    let forged = gap(&lines[9], (6, 9), chain(&lines[9]));
    let verdict = |forged: &[u8], kept: std::ops::Range<usize>| {
        let lines = [&lines[..5], &lines[kept.clone()], &[forged.to_vec()], &lines[kept.end + 1..]].concat();
        check_with(&lines, head).remove(0)
    };
    let at_the_hole = verdict(&forged, 9..9);
    assert_eq!((at_the_hole.lost, at_the_hole.broken[0].kind), (0, FaultKind::Missing), "{at_the_hole:?}");
    let later = verdict(&gap(&lines[10], (6, 9), chain(&lines[10])), 9..10);
    let kinds: Vec<_> = later.broken.iter().map(|fault| fault.kind).collect();
    assert_eq!((later.lost, kinds), (0, vec![FaultKind::Missing, FaultKind::Changed]));
    let of_itself = verdict(&gap_after(&lines[9], &lines[10], (6, 11)), 9..10);
    assert_eq!((of_itself.lost, of_itself.broken[0].kind), (0, FaultKind::Missing), "{of_itself:?}");
}

#[test]
fn a_notice_after_the_noted_head_says_of_no_line_before_it_that_it_is_lost() {
    let lines = lines();
    let last = lines.last().unwrap();
    let next = replaced(last, &format!("\"sequence\":{}", lines.len()), &format!("\"sequence\":{}", lines.len() + 1));
    let forged = [&lines[..5], &lines[9..], &[gap_after(last, &next, (6, 9))]].concat();
    assert!(check(&forged)[0].is_whole(), "without a head nothing tells it from a journal that was full");
    let head = vedette_crds::record::chain_of(last).unwrap();
    let verdict = check_with(&forged, Some(Anchor { sequence: None, head })).remove(0);
    assert_eq!((verdict.lost, verdict.broken[0].kind), (0, FaultKind::Missing));
    let later = vedette_crds::record::chain_of(forged.last().unwrap()).unwrap();
    assert!(check_with(&forged, Some(Anchor { sequence: None, head: later }))[0].is_whole());
}

#[test]
fn beginnings_of_lines_wait_for_their_whole_in_no_more_room_than_the_longest_line() {
    let lines = lines();
    let mut checked = Lines::default();
    let halves = (0..4).map(|at| {
        let mut half = format!("{{\"schema\":\"vedette.dev/{at}").into_bytes();
        half.resize(5 << 20, b'x');
        half
    });
    halves.for_each(|half| checked.line(&half));
    assert_eq!(checked.waiting(), 15 << 20);
    lines.iter().for_each(|line| checked.line(line));
    let cut: Vec<_> = checked.end(None).pop().unwrap().broken.into_iter().map(|fault| fault.line).collect();
    assert_eq!(cut, [Some(4), Some(1), Some(2), Some(3)], "each is named");
}

#[test]
fn a_state_is_whole_also_after_lines_have_left_it_and_is_not_touched() {
    let mut host = host();
    host.engine().set_journal_max(16 * 1024);
    (0..24).for_each(|file| host.write(&format!("/f{file}"), "2"));
    support::compare_unread(&mut host);
    let standing = host.standing();
    host.stop();
    let before = fs::read(database(&host)).unwrap();
    let verdict = state(&host.state_dir(), None).unwrap();
    assert!(verdict.journal.is_whole() && verdict.items == standing.totals.tracked, "{verdict:?}");
    assert_eq!(
        (verdict.journal.to, verdict.journal.head),
        (standing.sequence, Some(format!("sha256:{}", standing.head)))
    );
    assert!(verdict.journal.from > 1);
    assert_eq!(fs::read(database(&host)).unwrap(), before);
    let anchor = Anchor { sequence: None, head: Chain([7; 32]) };
    assert_eq!(state(&host.state_dir(), Some(anchor)).unwrap().journal.broken[0].kind, FaultKind::Head);
}

#[test]
fn a_state_that_is_in_use_or_not_there_is_no_verdict() {
    let mut host = host();
    assert!(matches!(state(&host.state_dir(), None), Err(StoreError::InUse { .. })));
    host.stop();
    let nowhere = host.root().join("nowhere");
    assert!(matches!(state(&nowhere, None), Err(StoreError::NoState { .. })));
    assert!(!nowhere.exists());
}

#[test]
fn a_state_whose_lines_were_changed_or_taken_out_is_broken() {
    let mut host = host();
    let last = host.standing().sequence;
    host.stop();
    let whole = fs::read(database(&host)).unwrap();
    type Spoil = fn(&mut redb::Table<'_, u64, &[u8]>, u64);
    let spoils: [(FaultKind, Spoil); 4] = [
        (FaultKind::Missing, |journal, _| drop(journal.remove(5).unwrap())),
        (FaultKind::Head, |journal, last| drop(journal.remove(last).unwrap())),
        (FaultKind::Damaged, |journal, _| put(journal, 5, |sealed| sealed[40] ^= 1)),
        (FaultKind::Changed, |journal, _| {
            put(journal, 5, |sealed| {
                let at = sealed.windows(4).position(|text| text == b"\"n1\"").unwrap();
                sealed[at + 2] = b'2';
                let checksum = xxhash_rust::xxh3::xxh3_64(&sealed[8..]).to_le_bytes();
                sealed[..8].copy_from_slice(&checksum);
            });
        }),
    ];
    for (kind, spoil) in spoils {
        fs::write(database(&host), &whole).unwrap();
        let database = Database::open(database(&host)).unwrap();
        let writer = database.begin_write().unwrap();
        spoil(&mut writer.open_table(JOURNAL).unwrap(), last);
        writer.commit().unwrap();
        drop(database);
        let verdict = state(&host.state_dir(), None).unwrap().journal;
        assert!(verdict.broken.iter().any(|fault| fault.kind == kind), "{kind:?}: {verdict:?}");
    }
}

#[test]
fn a_damaged_file_is_a_verdict() {
    let mut host = host();
    host.stop();
    let whole = fs::read(database(&host)).unwrap();
    for damaged in [&whole[..5000], &[0; 5000], b"nonsense"] {
        fs::write(database(&host), damaged).unwrap();
        let verdict = state(&host.state_dir(), None).unwrap().journal;
        assert_eq!(verdict.broken.first().map(|fault| fault.kind), Some(FaultKind::Damaged), "{verdict:?}");
        assert_eq!(fs::read(database(&host)).unwrap(), damaged);
    }
}

#[test]
fn a_damaged_value_of_any_table_is_named() {
    with_own_mounts("a_damaged_value_of_any_table_is_named", || {
        let mut host = host();
        host.mkdir("/mnt");
        run("mount", &["-t".as_ref(), "tmpfs".as_ref(), "test".as_ref(), host.at("/mnt").as_os_str()]);
        host.compare();
        let s = |suspend: bool| rule_with("s", json!([{"name": "s", "path": "/f2*"}]), json!({"suspend": suspend}));
        host.set_rules(vec![rule("r", everything()), s(false)]);
        host.compare();
        host.set_rules(vec![rule("r", json!([{"name": "all", "path": "/**", "exclude": ["f1*"]}])), s(true)]);
        host.compare();
        host.stop();
        let whole = fs::read(database(&host)).unwrap();
        assert!(state(&host.state_dir(), None).unwrap().journal.is_whole());
        for name in ["pages", "kept", "frozen:uid-s", "mounts"] {
            fs::write(database(&host), &whole).unwrap();
            let database = Database::open(database(&host)).unwrap();
            let writer = database.begin_write().unwrap();
            {
                let mut table = writer.open_table(TableDefinition::<'_, &[u8], &[u8]>::new(name)).unwrap();
                let (key, mut value) = {
                    let (key, value) = redb::ReadableTable::last(&table).unwrap().expect(name);
                    (key.value().to_vec(), value.value().to_vec())
                };
                *value.last_mut().unwrap() ^= 1;
                table.insert(key.as_slice(), value.as_slice()).unwrap();
            }
            writer.commit().unwrap();
            drop(database);
            let broken = state(&host.state_dir(), None).unwrap().journal.broken;
            assert_eq!(broken.iter().map(|fault| fault.kind).collect::<Vec<_>>(), [FaultKind::Damaged], "{name}");
        }
    });
}

fn database(host: &Host) -> std::path::PathBuf {
    host.state_dir().join("vedette.redb")
}

fn put(journal: &mut redb::Table<'_, u64, &[u8]>, sequence: u64, change: impl FnOnce(&mut [u8])) {
    let mut sealed = redb::ReadableTable::get(journal, sequence).unwrap().unwrap().value().to_vec();
    change(&mut sealed);
    journal.insert(sequence, sealed.as_slice()).unwrap();
}
