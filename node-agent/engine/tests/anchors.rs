//! A state that is not the one that is known elsewhere: another journal begins and says so, and no change is lost by it.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use std::fs;
use support::{Host, everything, tell};
use vedette_engine::Anchor;
use vedette_engine::journal::Sink;

/// A host with a baseline and three changes in its journal.
fn host() -> Host {
    let mut host = Host::new(everything());
    host.write("/a", "1");
    host.compare();
    for content in ["22", "333", "4444"] {
        host.write("/a", content);
        host.compare();
    }
    host
}

fn database(host: &Host) -> std::path::PathBuf {
    host.state_dir().join("vedette.redb")
}

/// Lets the state be held against an anchor; returns what the journal says that follows from it, changes in words.
fn held_against(host: &mut Host, anchor: Anchor) -> (Value, Vec<String>) {
    let expected = anchor.journal.clone();
    host.engine().hold_against(anchor);
    host.engine().settle().unwrap();
    assert_ne!(host.standing().journal, expected);
    host.expect_new_journal();
    let first = host.lines().remove(0);
    assert_eq!(first["kind"], "BaselineReset", "{first}");
    let told = host.compare().changes().into_iter().map(tell).collect();
    assert!(host.compare().lines.is_empty(), "it is said once");
    (first, told)
}

fn kept(host: &Host) -> Vec<String> {
    let names = fs::read_dir(host.state_dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("vedette.redb.")).collect()
}

#[test]
fn a_state_that_is_the_anchored_one_or_further_goes_on() {
    let mut host = host();
    let anchors = [host.anchor(), Anchor { sequence: 0, ..host.anchor() }, {
        let line = host.engine().journal().after(1, 0).unwrap().remove(0);
        let line: Value = serde_json::from_slice(&line.bytes).unwrap();
        Anchor { sequence: 2, head: line["chain"].as_str().unwrap().to_owned(), ..host.anchor() }
    }];
    host.write("/a", "55555");
    host.compare();
    for anchor in anchors {
        host.engine().hold_against(anchor);
        host.engine().settle().unwrap();
    }
    assert!(host.compare().lines.is_empty());
    assert!(kept(&host).is_empty());
}

#[test]
fn a_state_that_is_opened_anew_after_a_fault_is_held_against_what_it_was() {
    let mut host = host();
    host.stop();
    let old = fs::read(database(&host)).unwrap();
    host.start();
    host.engine().recover().unwrap();
    assert!(host.compare().lines.is_empty());
    host.write("/a", "changed and told, then rolled back");
    host.compare();
    let (aside, journal) = (database(&host).with_extension("aside"), host.standing().journal);
    fs::write(&aside, &old).unwrap();
    fs::rename(&aside, database(&host)).unwrap();
    host.engine().recover().unwrap();
    host.engine().settle().unwrap();
    assert_ne!(host.standing().journal, journal);
    host.expect_new_journal();
    assert_eq!(host.lines()[0]["reason"], "StateRolledBack");
    assert_eq!(host.compare().told(), ["Modified /a Content,Size"]);
}

#[test]
fn a_state_that_was_rolled_back_begins_another_journal_and_is_compared() {
    let mut host = host();
    host.stop();
    let old = fs::read(database(&host)).unwrap();
    host.start();
    host.write("/a", "changed and told, then rolled back");
    host.write("/b", "1");
    assert_eq!(host.compare().changes().len(), 2);
    let anchor = host.anchor();
    host.stop();
    fs::write(database(&host), &old).unwrap();
    host.start();
    let found = host.anchor();
    let (reset, told) = held_against(&mut host, anchor.clone());
    assert_eq!(reset["reason"], "StateRolledBack");
    assert_eq!(
        (&reset["expectedJournal"], &reset["expectedSequence"]),
        (&anchor.journal.clone().into(), &anchor.sequence.into())
    );
    assert_eq!(reset["expectedHead"], anchor.head);
    assert_eq!(
        (&reset["foundJournal"], &reset["foundSequence"]),
        (&found.journal.clone().into(), &found.sequence.into())
    );
    assert_eq!(told, ["Modified /a Content,Size", "Added /b"], "what the lost lines told is told again");
    let totals = host.standing().totals;
    assert_eq!((totals.files.as_flattened().iter().sum::<u64>(), totals.tracked), (2, 3), "counted anew");
    assert_eq!(kept(&host), [format!("vedette.redb.{}-{}", found.journal, found.sequence)]);

    let journal = host.standing().journal;
    host.start();
    for anchor in [anchor, found] {
        host.engine().hold_against(anchor);
    }
    host.engine().settle().unwrap();
    assert_eq!(host.standing().journal, journal, "an anchor that lags names a journal that it took the place of");
}

#[test]
fn the_copy_that_is_kept_is_the_state_as_it_was_found() {
    let mut host = host();
    let found = host.anchor();
    held_against(&mut host, Anchor { sequence: found.sequence + 1, ..found.clone() });
    let kept = host.state_dir().join(kept(&host).remove(0));
    host.stop();
    let examined = host.state_dir().join("examined");
    fs::create_dir(&examined).unwrap();
    fs::rename(kept, examined.join("vedette.redb")).unwrap();
    host.set_state_dir(examined);
    host.start();
    assert_eq!(host.anchor(), found);
    assert_eq!(host.lines().len() as u64, found.sequence);
}

#[test]
fn a_journal_with_another_line_at_the_anchored_place_is_not_gone_on_with() {
    let mut host = host();
    let anchor = Anchor { sequence: 3, head: "0".repeat(64), ..host.anchor() };
    host.write("/b", "1");
    let (reset, told) = held_against(&mut host, anchor);
    assert_eq!(reset["reason"], "StateDiverged");
    assert_eq!(told, ["Added /b"]);
}

#[test]
fn the_state_of_another_journal_is_not_gone_on_with() {
    let mut host = host();
    let other = Anchor { journal: "f".repeat(32), sequence: 7, head: "0".repeat(64) };
    let (reset, told) = held_against(&mut host, other);
    assert_eq!((&reset["reason"], told.len()), (&"StateReplaced".into(), 0));
}

#[test]
fn a_state_that_is_gone_is_missed_where_an_anchor_names_its_journal() {
    let mut host = host();
    let anchor = host.anchor();
    host.stop();
    fs::remove_dir_all(host.state_dir()).unwrap();
    host.start();
    let (reset, told) = held_against(&mut host, anchor);
    assert_eq!((&reset["reason"], told.len()), (&"StateMissing".into(), 0));
    assert!(reset.get("foundJournal").is_none(), "{reset}");
    assert!(kept(&host).is_empty());
}

#[test]
fn a_database_that_alone_was_deleted_is_missed_by_the_mark_beside_it() {
    let mut host = host();
    let journal = host.standing().journal;
    host.stop();
    fs::remove_file(database(&host)).unwrap();
    host.start();
    host.expect_new_journal();
    let lines = host.compare().lines;
    assert_eq!(lines[0]["kind"], "BaselineReset");
    assert_eq!((&lines[0]["reason"], &lines[0]["expectedJournal"]), (&"StateMissing".into(), &journal.into()));
    assert!(lines[0].get("expectedSequence").is_none(), "{}", lines[0]);
    assert!(lines.iter().any(|line| line["kind"] == "BaselineMade"), "{lines:?}");
    host.start();
    assert!(host.compare().lines.is_empty(), "it is said once");
}

#[test]
fn a_mark_that_is_spoiled_costs_no_journal_and_names_none_that_is_missing() {
    for spoiled in [&b""[..], b"\xff\0", b"no id\n"] {
        let mut host = host();
        let journal = host.standing().journal;
        host.stop();
        fs::write(host.state_dir().join("vedette.journal"), spoiled).unwrap();
        host.start();
        assert_eq!(host.standing().journal, journal);
        assert_eq!(fs::read_to_string(host.state_dir().join("vedette.journal")).unwrap(), format!("{journal}\n"));
        host.stop();
        fs::write(host.state_dir().join("vedette.journal"), spoiled).unwrap();
        fs::remove_file(database(&host)).unwrap();
        host.start();
        host.expect_new_journal();
        let lines = host.compare().lines;
        assert_eq!((&lines[0]["reason"], lines[0].get("expectedJournal")), (&"StateMissing".into(), None));
    }
}

#[test]
fn a_state_of_which_only_something_beside_it_is_left_is_missed() {
    for left in ["vedette.redb.0123-2", "vedette.redb.copy", "vedette.journal.new", "agent.sock", "unreadable-plan"] {
        let mut host = host();
        host.stop();
        fs::remove_file(database(&host)).unwrap();
        fs::remove_file(host.state_dir().join("vedette.journal")).unwrap();
        fs::write(host.state_dir().join(left), "").unwrap();
        // A start that is killed before its first line forgets nothing.
        host.start();
        host.start();
        host.expect_new_journal();
        let lines = host.compare().lines;
        assert_eq!((&lines[0]["reason"], lines[0].get("expectedJournal")), (&"StateMissing".into(), None), "{left}");
        host.start();
        assert!(host.compare().lines.is_empty(), "it is said once");
    }
}

#[test]
fn a_state_that_is_missed_by_several_is_missed_once() {
    let mut host = host();
    let anchor = host.anchor();
    host.stop();
    fs::remove_file(database(&host)).unwrap();
    fs::remove_file(host.state_dir().join("vedette.journal")).unwrap();
    fs::write(host.state_dir().join("agent.sock"), "").unwrap();
    host.start();
    let (reset, _) = held_against(&mut host, anchor.clone());
    assert_eq!((&reset["reason"], &reset["expectedJournal"]), (&"StateMissing".into(), &anchor.journal.into()));
    assert!(kept(&host).is_empty(), "nothing was there to be kept");
}

#[test]
fn what_a_first_start_leaves_when_it_is_killed_is_no_state_that_is_missed() {
    let mut host = host();
    host.stop();
    fs::remove_dir_all(host.state_dir()).unwrap();
    fs::create_dir(host.state_dir()).unwrap();
    fs::write(host.state_dir().join("vedette.redb.new"), "").unwrap();
    host.start();
    host.expect_new_journal();
    assert!(host.compare().notices("BaselineReset").is_empty());
}

#[test]
fn every_sink_gets_another_journal_from_its_first_line() {
    let mut host = host();
    let journal = host.engine().journal().clone();
    let old = journal.cursor(Sink::File, 6).unwrap();
    let anchor = Anchor { sequence: 99, ..host.anchor() };
    held_against(&mut host, anchor);
    assert!(!journal.advance(Sink::File, &old).unwrap(), "it delivered lines of the journal that is gone");
    for sink in [Sink::Stdout, Sink::File, Sink::Status] {
        let cursor = journal.cursor(sink, host.standing().sequence).unwrap();
        assert_eq!((cursor.sequence, cursor.journal), (0, host.standing().journal), "{sink:?}");
    }
}

#[test]
fn a_journal_that_takes_the_place_of_one_whose_oldest_lines_had_gone_begins_whole() {
    let mut host = host();
    let journal = host.engine().journal().clone();
    journal.cursor(Sink::Stdout, 6).unwrap();
    host.engine().set_journal_max(2000);
    host.write("/a", "55555");
    host.compare();
    assert_ne!(journal.after(0, 0).unwrap()[0].sequence, 1, "the first lines are gone");
    let anchor = Anchor { sequence: 99, ..host.anchor() };
    host.engine().set_journal_max(1 << 20);
    held_against(&mut host, anchor);
    assert!(host.standing().totals.dropped.is_empty(), "{:?}", host.standing().totals);
    let state = host.state_dir();
    drop(journal);
    host.stop();
    let verdict = vedette_engine::verify::state(&state, None).unwrap().journal;
    assert!(verdict.is_whole(), "{verdict:?}");
}

#[test]
fn without_room_to_keep_it_aside_a_state_is_not_given_up() {
    if !support::is_root("a full disk") {
        return;
    }
    support::with_own_mounts("without_room_to_keep_it_aside_a_state_is_not_given_up", || {
        let mut host = host();
        host.stop();
        let small = host.root().with_file_name("small");
        fs::create_dir(&small).unwrap();
        let size = fs::metadata(database(&host)).unwrap().len();
        let options = format!("size={}k", size / 1024 + 64);
        let mount = ["-t", "tmpfs", "-o", &options, "small"].map(std::ffi::OsStr::new);
        support::run("mount", &[&mount[..], &[small.as_os_str()]].concat());
        host.set_state_dir(small.clone());
        host.start();
        host.compare();
        let filler = small.join("filler");
        let full = fs::write(&filler, vec![1; 1 << 20]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        let found = host.anchor();
        host.engine().hold_against(Anchor { sequence: 99, ..found.clone() });
        let error = host.try_compare().err().unwrap();
        assert!(matches!(&error, vedette_engine::EngineError::Store(store) if store.is_full()), "{error:?}");
        assert_eq!((host.anchor(), kept(&host).len()), (found, 0));
        fs::remove_file(filler).unwrap();
        support::run(
            "mount",
            &["-o", "remount,size=64m"]
                .map(std::ffi::OsStr::new)
                .into_iter()
                .chain([small.as_os_str()])
                .collect::<Vec<_>>(),
        );
        host.expect_new_journal();
        assert_eq!(host.compare().lines[0]["reason"], "StateRolledBack");
    });
}
