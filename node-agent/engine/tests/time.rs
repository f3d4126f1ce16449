//! Time: ticks that hide a write, clocks that go back, content that changes though nothing says so.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use support::fuse::FaultyMount;
use support::{Host, SetClock, everything, with_own_mounts};
use vedette_engine::clock::Clock;

fn set_modified(host: &Host, path: &str, time: SystemTime) {
    File::options().write(true).open(host.at(path)).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_second_write_in_the_same_tick_is_found_at_the_next_compare() {
    let mut host = Host::new(everything());
    let time = SystemTime::now() - Duration::from_secs(100);
    for round in 0..20u8 {
        host.write("/a", [round, 0]);
        set_modified(&host, "/a", time);
        host.compare();
        host.write("/a", [round, 1]);
        set_modified(&host, "/a", time);
        let seen = host.compare();
        assert_eq!(seen.told(), ["Modified /a Content"], "round {round}");
        host.compare();
    }
}

#[test]
fn content_that_changes_with_its_old_times_put_back_is_found() {
    let mut host = Host::new(everything());
    host.write("/a", "1");
    let time = std::fs::metadata(host.at("/a")).unwrap().modified().unwrap();
    host.compare();
    host.write("/a", "2");
    set_modified(&host, "/a", time);
    let seen = host.compare();
    assert_eq!(seen.told(), ["Modified /a Content"]);
    assert_eq!(seen.only()["before"]["modified"], seen.only()["after"]["modified"]);
}

#[test]
fn content_is_read_again_once_in_its_interval_and_between_not_at_all() {
    let clock = Arc::new(SetClock::now());
    let mut host = Host::with_clock(everything(), clock.clone());
    for at in 0..50 {
        host.write(&format!("/f{at}"), "0123456789");
    }
    clock.advance(Duration::from_secs(1));
    host.compare();
    clock.advance(Duration::from_secs(1));
    assert_eq!(host.compare().summary.hashed, 0, "nothing is racy any more, and nothing is due");
    let mut hashed = 0;
    let mut most = 0;
    for _ in 0..24 {
        clock.advance(Duration::from_secs(3600));
        let once = host.compare().summary.hashed;
        most = most.max(once);
        hashed += once;
    }
    assert_eq!(hashed, 500, "each once in a day");
    assert!(most < 150, "spread over the day: {most} bytes at once");
}

#[test]
fn ten_thousand_files_are_read_again_evenly_over_the_day_whatever_restarts() {
    const SLOTS: usize = 24;
    let clock = Arc::new(SetClock::now());
    let mut host = Host::with_clock(json!([{"name": "files", "path": "/d/*/*"}]), clock.clone());
    for at in 0..10_000 {
        host.write(&format!("/d/{}/file-{at}", at % 100), "1");
    }
    clock.advance(Duration::from_secs(60));
    host.compare();
    let mut read = |slots: usize, restarts: bool| -> Vec<u64> {
        let slot = |at: usize| {
            clock.advance(Duration::from_secs(24 * 3600) / SLOTS as u32);
            if restarts && at.is_multiple_of(5) {
                host.stop();
                host.start();
            }
            let seen = host.compare();
            assert!(seen.lines.is_empty(), "{:?}", seen.told());
            seen.summary.hashed
        };
        (0..slots).map(slot).collect()
    };
    let first = read(SLOTS, true);
    assert_eq!(first.iter().sum::<u64>(), 10_000, "each once in a day");
    // 417 on average: five standard deviations to both sides.
    assert!(first.iter().all(|read| (316..=517).contains(read)), "{first:?}");
    assert_eq!(read(4, false), first[..4], "each at its own time of the day");
}

#[test]
fn content_that_is_another_one_under_the_same_metadata_is_found_by_reading_it_again() {
    const PAGES: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("pages");
    let clock = Arc::new(SetClock::now());
    let mut host = Host::with_clock(json!([{"name": "file", "path": "/file"}]), clock.clone());
    host.write("/file", "1");
    clock.advance(Duration::from_secs(60));
    host.compare();
    host.stop();
    // No file system lets a test write without a trace: so the state is given the digest of other content.
    let database = redb::Database::open(host.state_dir().join("vedette.redb")).unwrap();
    let writer = database.begin_write().unwrap();
    {
        let mut pages = writer.open_table(PAGES).unwrap();
        let (key, page) =
            pages.pop_first().unwrap().map(|(key, page)| (key.value().to_vec(), page.value().to_vec())).unwrap();
        let mut body = page[8..].to_vec();
        let digest = <md5::Md5 as md5::Digest>::digest("1");
        let at = body.windows(16).position(|window| window == &digest[..]).unwrap();
        body[at..at + 16].copy_from_slice(&<md5::Md5 as md5::Digest>::digest("0"));
        let sealed = [&xxhash_rust::xxh3::xxh3_64(&body).to_le_bytes()[..], &body].concat();
        pages.insert(key.as_slice(), sealed.as_slice()).unwrap();
    }
    writer.commit().unwrap();
    drop(database);
    host.start();
    assert!(host.compare().lines.is_empty(), "it is not due yet");
    clock.advance(Duration::from_secs(24 * 3600));
    let seen = host.compare();
    assert_eq!((seen.told(), &seen.only()["detection"]), (vec!["Modified /file Content".to_owned()], &json!("Rehash")));
    clock.advance(Duration::from_secs(24 * 3600));
    assert!(host.compare().lines.is_empty());
}

#[test]
fn a_restart_does_not_start_the_rehash_period_again() {
    let clock = Arc::new(SetClock::now());
    let mut host = Host::with_clock(everything(), clock.clone());
    host.write("/a", "1");
    clock.advance(Duration::from_secs(1));
    host.compare();
    host.stop();
    host.start();
    assert_eq!(host.compare().summary.hashed, 0);
    clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(host.compare().summary.hashed, 1);
}

#[test]
fn a_wall_clock_that_goes_back_makes_all_content_due() {
    let clock = Arc::new(SetClock::now());
    let mut host = Host::with_clock(everything(), clock.clone());
    host.write("/a", "1");
    clock.advance(Duration::from_secs(1));
    host.compare();
    clock.go_back(Duration::from_secs(40 * 86_400));
    assert_eq!(host.compare().summary.hashed, 1);
    assert_eq!(host.compare().summary.hashed, 1, "racy while its ctime lies ahead of the clock");
}

#[test]
fn what_was_changed_during_the_first_compare_is_not_lost() {
    let mut host = Host::new(json!([{"name": "all", "path": "/d"}]));
    for at in 0..300 {
        host.write(&format!("/d/f{at}"), "0");
    }
    let paths: Vec<_> = (0..300).map(|at| host.at(&format!("/d/f{at}"))).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| paths.iter().for_each(|path| std::fs::write(path, "1").unwrap()));
        host.compare();
    });
    host.compare();
    for path in &paths {
        std::fs::write(path, "2").unwrap();
    }
    let seen = host.compare();
    assert_eq!(seen.changes().len(), 300);
    let md5_of_1 = "c4ca4238a0b923820dcc509a6f75849b";
    assert!(seen.changes().iter().all(|change| change["before"]["md5"] == md5_of_1), "the last state before is known");
}

#[test]
fn a_restart_takes_no_baseline_back() {
    let mut host = Host::new(everything());
    host.write("/a", "1");
    host.compare();
    host.stop();
    host.start();
    assert!(host.standing().baseline_ready, "before the first compare after the restart");
    host.set_entries(json!([{"name": "other", "path": "/other"}]));
    assert!(!host.standing().baseline_ready, "other rules have no baseline yet");
}

#[test]
fn a_second_write_in_the_same_second_is_found_where_a_file_system_keeps_whole_seconds() {
    let test = "a_second_write_in_the_same_second_is_found_where_a_file_system_keeps_whole_seconds";
    with_own_mounts(test, || {
        let clock = Arc::new(SetClock::now());
        let mut host = Host::with_clock(json!([{"name": "all", "path": "/**", "mounts": "All"}]), clock.clone());
        let files = host.root().with_file_name("files");
        std::fs::create_dir(&files).unwrap();
        std::fs::write(files.join("a"), "good").unwrap();
        let Some(mount) = FaultyMount::new(&files, &host.at("/srv")) else { return };
        host.compare();
        clock.advance(Duration::from_secs(10));
        mount.stop_time_at(Clock::now(&*clock).secs as u64);
        clock.advance(Duration::from_millis(500));
        std::fs::write(files.join("a"), "new1").unwrap();
        assert_eq!(host.compare().told(), ["Modified /srv/a Content"]);
        std::fs::write(files.join("a"), "evil").unwrap();
        clock.advance(Duration::from_secs(10));
        let seen = host.compare();
        assert_eq!((seen.told(), &seen.only()["detection"]), (vec!["Modified /srv/a Content".into()], &json!("Scan")));
        assert_eq!(host.compare().summary.hashed, 0, "it is not read at each compare for ever");
    });
}
