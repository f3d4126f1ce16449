//! The disk under the state fails: power lost at any write with any part of it torn, errors for a while, no room.
//! State and journal stay together, nothing is lost, nothing is said twice.
#![allow(clippy::unwrap_used)]

mod support;

use fastrand::Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::disk::{Disk, Kept};
use support::replay::{Replay, change};
use support::{Host, everything};
use vedette_engine::{Due, EngineError, StoreError};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// As many as fit into ten seconds; VEDETTE_CRASHES asks for more.
fn crashes() -> u64 {
    std::env::var("VEDETTE_CRASHES").ok().and_then(|crashes| crashes.parse().ok()).unwrap_or(400)
}

/// A small host with a baseline, whose state lies on a disk.
fn host_on(disk: &Disk) -> (Host, Replay) {
    let mut host = Host::new(everything());
    for at in 0..40 {
        host.write(&format!("/d{}/f{at}", at % 9), format!("{at}"));
    }
    host.compare();
    host.lines();
    let replay = Replay::of(&host);
    host.move_state_to(disk);
    (host, replay)
}

/// Compares until the state cannot be used or it was done often enough, while the host changes. Says the last sequence
/// that was committed as the engine told it.
fn live(host: &mut Host, random: &mut Rng) -> (u64, Result<(), EngineError>) {
    let mut committed = 0;
    let result = live_until_it_fails(host, random, &mut committed);
    (committed, result)
}

fn live_until_it_fails(host: &mut Host, random: &mut Rng, committed: &mut u64) -> Result<(), EngineError> {
    host.try_start()?;
    host.engine().announce_start()?;
    for _ in 0..3 {
        let mut engine = host.take_engine();
        let ended = AtomicBool::new(false);
        let mut changing = random.fork();
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    change(host, &mut changing);
                    std::thread::yield_now();
                }
            });
            let result = engine.compare(&Due::All, &Arc::default(), &mut |standing| {
                *committed = (*committed).max(standing.sequence);
            });
            ended.store(true, Ordering::Relaxed);
            result
        });
        host.put_engine(engine);
        result?;
    }
    Ok(())
}

#[test]
fn after_power_failures_at_any_write_the_journal_tells_exactly_what_happened() {
    let seed = std::env::var("VEDETTE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = Rng::with_seed(seed);
    let (mut left, mut failed, mut told) = (crashes(), 0, 0);
    while left > 0 {
        // A journal that grows without end would only make each crash slower.
        let crashes = left.min(50);
        left -= crashes;
        let disk = Disk::default();
        let (mut host, mut replay) = host_on(&disk);
        for _ in 0..crashes {
            disk.power_fails_at(random.u64(..120));
            let (committed, result) = live(&mut host, &mut random);
            failed += u64::from(result.is_err());
            if let Err(error) = result {
                assert!(
                    matches!(&error, EngineError::Store(StoreError::Io { .. } | StoreError::Open { .. })),
                    "{error:?}"
                );
            }
            host.stop();
            let kept = Kept::ALL[random.usize(..4)];
            disk.restart(kept, &mut random);
            host.start();
            assert!(host.standing().sequence >= committed, "what was committed is there: {kept:?}");
            replay.take(&host.lines());
            replay.take(&host.compare().lines);
            replay.take(&host.compare().lines);
            replay.check(&mut host);
            host.stop();
        }
        told += replay.changes();
    }
    assert!(failed > crashes() / 2 && told > crashes(), "{failed} failed, {told} changes were told");
}

#[test]
fn a_disk_that_fails_for_a_while_costs_nothing_but_time() {
    let mut random = Rng::with_seed(2);
    let disk = Disk::default();
    let (mut host, mut replay) = host_on(&disk);
    host.start();
    let mut failed = 0;
    for _ in 0..150 {
        disk.refuses_at(random.u64(..40), random.u64(1..30), if random.bool() { EIO } else { ENOSPC });
        for _ in 0..random.u64(1..20) {
            change(&host, &mut random);
        }
        match host.try_compare() {
            Ok(seen) => replay.take(&seen.lines),
            Err(error) => {
                failed += 1;
                assert!(matches!(&error, EngineError::Store(StoreError::Io { .. })), "{error:?}");
                while host.engine().recover().is_err() {}
            }
        }
        disk.is_mended();
        host.engine().recover().unwrap();
        replay.take(&host.lines());
        replay.take(&host.compare().lines);
        replay.take(&host.compare().lines);
        replay.check(&mut host);
    }
    assert!(failed > 30 && replay.changes() > 100, "{failed} failed, {} changes were told", replay.changes());
}
