//! What a person wants to know and no record tells: entries that select nothing, and how far a long compare is.
//!
//! Produces sentences; `scan` says them on standard error, the services log them.

use crate::observe::Watch;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use vedette_engine::{IdleEntry, Progress, SoFar};

/// Entries that are named; the rest is a number.
const NAMED: usize = 8;
/// A log is read later: so often is enough.
const EVERY: Duration = Duration::from_secs(60);

/// A sentence for each entry that selects nothing, as many as someone reads.
pub(crate) fn idle(entries: &[IdleEntry]) -> Vec<String> {
    let mut sentences: Vec<String> = entries.iter().take(NAMED).map(IdleEntry::to_string).collect();
    match entries.len().saturating_sub(NAMED) {
        0 => {}
        1 => sentences.push("one more entry selects nothing on this host".into()),
        more => sentences.push(format!("{more} more entries select nothing on this host")),
    }
    sentences
}

/// How far a compare is.
pub(crate) fn so_far(so_far: &SoFar) -> String {
    format!("so far {} items looked at, {} read", so_far.items, mebibytes(so_far.hashed))
}

/// Bytes for people.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Logs entries that select nothing as they come to be known, and once a minute how far a compare is that takes longer.
pub(crate) async fn log(progress: Arc<Progress>, mut watch: Watch) -> Infallible {
    let mut said: Arc<[IdleEntry]> = Arc::default();
    let mut minutes = tokio::time::interval(EVERY);
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut running = None;
    loop {
        tokio::select! {
            changed = watch.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
                let idle_now = Arc::clone(&watch.borrow_and_update().standing.idle);
                let news: Vec<IdleEntry> = idle_now.iter().filter(|entry| !said.contains(entry)).cloned().collect();
                idle(&news).iter().for_each(|sentence| tracing::warn!("{sentence}"));
                said = idle_now;
            }
            _ = minutes.tick() => {
                let now = progress.so_far();
                if let Some(far) = now.filter(|now| running == Some(now.compare)) {
                    tracing::info!("the compare goes on: {}", so_far(&far));
                }
                running = now.map(|now| now.compare);
            }
        }
    }
}
