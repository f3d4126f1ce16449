//! A state that is not what was written: refused with a sentence or not minded, never a panic, a wrong record or a fresh start.
#![allow(clippy::unwrap_used)]

mod support;

use fastrand::Rng;
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use support::disk::Disk;
use support::{Host, everything, rule, rule_with};
use vedette_engine::EngineError;
use vedette_engine::engine::Standing;

const HEADER_BITS: usize = 320 * 8;

/// A host with a state that has all kinds of values in it, and one change since.
fn changed_host() -> Host {
    let mut host = Host::new(everything());
    for at in 0..300 {
        host.write(&format!("/d{}/f{at}", at % 10), format!("{at}"));
    }
    host.compare();
    host.write("/d3/new", "1");
    host.remove("/d4");
    let s = |suspend: bool| rule_with("s", json!([{"name": "s", "path": "/d8"}]), json!({"suspend": suspend}));
    host.set_rules(vec![rule("r", everything()), s(false)]);
    host.compare();
    host.set_rules(vec![rule("r", json!([{"name": "all", "path": "/**", "exclude": ["/d8/f?8", "/d9"]}])), s(true)]);
    host.engine().remember(b"{}").unwrap();
    host.compare();
    host.write("/d5/f5", "changed");
    host.write("/d8/f8", "changed while it is frozen");
    host.write("/d9/f9", "changed while it is kept");
    host
}

/// What an engine on this state makes of the host: its whole journal, and where it stands.
fn live(host: &mut Host) -> Result<(Vec<Value>, Standing), EngineError> {
    host.try_start()?;
    host.engine().remembered()?;
    host.engine().compare(&vedette_engine::Due::All, &std::sync::Arc::default(), &mut |_| {})?;
    let rules = host.rules().to_vec();
    host.set_rules(vec![rule("r", everything()), rule("s", json!([{"name": "s", "path": "/d8"}]))]);
    let compared = host.engine().compare(&vedette_engine::Due::All, &std::sync::Arc::default(), &mut |_| {});
    let (lines, standing) = (host.engine().journal().after(0, usize::MAX), host.standing());
    host.keep_rules(rules);
    compared?;
    let lines = lines?.iter().map(|line| serde_json::from_slice(&line.bytes).unwrap()).collect();
    Ok((lines, standing))
}

/// The same without what depends on the moment.
fn timeless((mut lines, standing): (Vec<Value>, Standing)) -> (Vec<Value>, u64, u64) {
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        line.retain(|member, _| !["time", "chain", "since", "until", "window"].contains(&member.as_str()));
    }
    (lines, standing.sequence, standing.totals.tracked)
}

/// Gives the engine this state; says whether it was refused.
fn is_refused(host: &mut Host, disk: &Disk, state: Vec<u8>, expected: &(Vec<Value>, u64, u64), what: &str) -> bool {
    disk.insert(state);
    let outcome = catch_unwind(AssertUnwindSafe(|| live(host)));
    host.stop();
    match outcome {
        Ok(Ok(lived)) => {
            assert_eq!(&timeless(lived), expected, "{what}");
            false
        }
        Ok(Err(error)) => {
            assert!(matches!(error, EngineError::Store(_)), "{what}: {error:?}");
            true
        }
        Err(_) => panic!("{what}: it panicked"),
    }
}

#[test]
fn no_flipped_byte_makes_it_panic_or_say_anything_wrong() {
    let mut host = changed_host();
    let disk = Disk::default();
    host.move_state_to(&disk);
    let good = std::fs::read(host.state_dir().join("vedette.redb")).unwrap();
    disk.insert(good.clone());
    let expected = timeless(live(&mut host).unwrap());
    let resumed: Vec<&Value> = expected.0.iter().filter(|line| line["detection"] == "Resumed").collect();
    assert_eq!(resumed.len(), 2, "what was frozen and what was kept are read too: {resumed:?}");
    host.stop();
    let mut random = Rng::with_seed(3);
    let used: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    let (mut refused, flips) = (0, flips());
    for flip in 0..flips {
        // Every bit of what the file begins with: where its roots are, and which of the two last commits is the last.
        let (at, by) = match flip {
            0..HEADER_BITS => (flip / 8, 1 << (flip % 8)),
            _ if flip % 8 == 0 => (random.usize(..good.len()), random.u8(1..)),
            _ => (used[random.usize(..used.len())], random.u8(1..)),
        };
        let mut bad = good.clone();
        bad[at] ^= by;
        let what = format!("byte {at} of {} is {:02x}, was {:02x}", good.len(), bad[at], good[at]);
        refused += usize::from(is_refused(&mut host, &disk, bad, &expected, &what));
    }
    assert!(refused > flips / 8, "{refused} of {flips} were refused");
    eprintln!("{refused} of {flips} refused, {} of {} bytes used", used.len(), good.len());
}

/// As many as fit into ten seconds; VEDETTE_FLIPS asks for more.
fn flips() -> usize {
    std::env::var("VEDETTE_FLIPS").ok().and_then(|flips| flips.parse().ok()).unwrap_or(4500)
}

#[test]
fn a_state_that_was_cut_anywhere_is_refused_or_whole() {
    let mut host = changed_host();
    let disk = Disk::default();
    host.move_state_to(&disk);
    let good = std::fs::read(host.state_dir().join("vedette.redb")).unwrap();
    disk.insert(good.clone());
    let expected = timeless(live(&mut host).unwrap());
    host.stop();
    let mut random = Rng::with_seed(4);
    let pages = (0..good.len()).step_by(4096).flat_map(|page| [page.saturating_sub(1), page, page + 1]);
    let lengths = (1..400).chain(pages).chain((0..100).map(|_| random.usize(1..good.len())));
    for length in lengths.collect::<Vec<_>>() {
        if length > 0 && length < good.len() {
            let what = format!("cut to {length} of {} bytes", good.len());
            assert!(is_refused(&mut host, &disk, good[..length].to_vec(), &expected, &what), "{what}");
        }
    }
}
