//! What a person wants to know and no record tells: entries that select nothing, items that are unknown, and how far a long
//! compare is.
//!
//! Produces sentences; `scan` says them on standard error, the services log them, a condition carries one.

use crate::observe::Watch;
use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use vedette_crds::record::escape_controls;
use vedette_engine::{Aspect, HostPath, IdleEntry, Progress, SoFar, Unknown, Unknowns};

/// Entries that are named; the rest is a number.
const NAMED: usize = 8;
/// Bytes of a condition's message that counts them, and names those that it has room for.
const MAX_MESSAGE: usize = 100;
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

/// The same for a condition: no fault, but often a typing mistake.
pub(crate) fn idle_on_node(entries: &[IdleEntry]) -> String {
    let mut message = match entries.len() {
        0 => return String::new(),
        1 => "1 entry selects nothing on this node".to_owned(),
        many => format!("{many} entries select nothing on this node"),
    };
    let mut separator = ": ";
    for IdleEntry { rule, entry, path, .. } in entries {
        let next = format!("{separator}{rule}/{entry} ({path})");
        if message.len() + next.len() > MAX_MESSAGE {
            continue;
        }
        message.push_str(&next);
        separator = ", ";
    }
    message
}

/// How far a compare is.
pub(crate) fn so_far(so_far: &SoFar) -> String {
    format!("so far {} items looked at, {} read", so_far.items, mebibytes(so_far.hashed))
}

/// Bytes for people.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Logs entries that select nothing and what is unknown as they come to be known, and once a minute how far a compare is that
/// takes longer.
pub(crate) async fn log(progress: Arc<Progress>, mut watch: Watch) -> Infallible {
    let mut said: Arc<[IdleEntry]> = Arc::default();
    let mut unknown = HashSet::new();
    let mut minutes = tokio::time::interval(EVERY);
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut running = None;
    loop {
        tokio::select! {
            changed = watch.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
                let (known, unknowns) = {
                    let standing = &watch.borrow_and_update().standing;
                    (Arc::clone(&standing.idle), standing.unknowns.clone())
                };
                unknown = log_unknown(&unknowns, &unknown);
                if known != said {
                    let before: HashSet<&IdleEntry> = said.iter().collect();
                    let news: Vec<IdleEntry> = known.iter().filter(|entry| !before.contains(entry)).cloned().collect();
                    idle(&news).iter().for_each(|sentence| tracing::warn!("{sentence}"));
                    said = known;
                }
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

/// Logs what was not unknown before; returns what is now.
fn log_unknown(unknowns: &Unknowns, before: &HashSet<(HostPath, Aspect)>) -> HashSet<(HostPath, Aspect)> {
    let of = |unknown: &Unknown| (unknown.path.clone(), unknown.aspect);
    for unknown in unknowns.named().iter().filter(|unknown| !before.contains(&of(unknown))) {
        tracing::warn!("{}", escape_controls(&sentence(unknown)));
    }
    unknowns.named().iter().map(of).collect()
}

/// What is unknown, and why.
pub(crate) fn sentence(Unknown { path, reason, .. }: &Unknown) -> String {
    format!("unknown: {path}: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn entries(count: usize, path: &str) -> Vec<IdleEntry> {
        let entry = |at| IdleEntry {
            rule: "web".into(),
            entry: format!("e{at}"),
            path: path.into(),
            interval: Duration::from_secs(900),
        };
        (0..count).map(entry).collect()
    }

    #[test]
    fn entries_that_select_nothing_are_counted_and_named_as_far_as_there_is_room() {
        assert_eq!(idle_on_node(&[]), "");
        assert_eq!(
            idle_on_node(&entries(1, "/etc/ngnix")),
            "1 entry selects nothing on this node: web/e0 (/etc/ngnix)"
        );
        let two = "2 entries select nothing on this node: web/e0 (/a), web/e1 (/a)";
        assert_eq!(idle_on_node(&entries(2, "/a")), two);
        let many = idle_on_node(&entries(8192, "/etc/ngnix"));
        assert!(
            many.starts_with("8192 entries select nothing on this node: web/e0") && many.len() <= MAX_MESSAGE,
            "{many}"
        );
        assert_eq!(idle_on_node(&entries(1, &"/é".repeat(500))), "1 entry selects nothing on this node");
    }
}
