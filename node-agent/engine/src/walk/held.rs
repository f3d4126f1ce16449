//! What a walker has found and not sent yet, because digests in it are still to be computed.
//!
//! It is sent in the order in which it was found: what a report says of a directory comes before what lies below that.

use super::Walker;
use crate::batch::Ticket;
use crate::commit::{Finding, Report, What};
use crate::crew::Sent;
use crate::item::ItemState;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// It is sent when it takes so many bytes,
const LIMIT: usize = 1024 * 1024;
/// or has waited so long when a directory ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// A finding, and where its digests will be when its state lacks them.
pub(super) struct Found {
    pub(super) finding: Finding,
    pub(super) ticket: Option<Ticket>,
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        Self { finding, ticket: None }
    }
}

/// What waits to be sent.
#[derive(Default)]
pub(super) struct Held {
    sent: Vec<Waiting>,
    bytes: usize,
    /// Since when, on the boot clock, the first of it waits.
    since: Option<Duration>,
}

struct Waiting {
    sent: Sent,
    /// Which of its findings lack their digests.
    tickets: Vec<(usize, Ticket)>,
}

impl Walker<'_> {
    /// Sends what was found, at once where nothing waits.
    pub(super) fn send(&mut self, reports: &SyncSender<Sent>, sent: Sent) {
        self.hold(reports, Waiting { sent, tickets: Vec::new() });
    }

    /// Sends a report when the digests of all that was found are known.
    pub(super) fn send_found(&mut self, reports: &SyncSender<Sent>, report: Report, mut found: Vec<Found>) {
        found.sort_by(|a, b| a.finding.name.cmp(&b.finding.name));
        let ticket = |(at, found): (usize, &Found)| Some((at, found.ticket?));
        let tickets = found.iter().enumerate().filter_map(ticket).collect();
        let findings = found.into_iter().map(|found| found.finding).collect();
        self.hold(reports, Waiting { sent: Sent::Report(Report { findings, ..report }), tickets });
    }

    fn hold(&mut self, reports: &SyncSender<Sent>, waiting: Waiting) {
        if self.held.sent.is_empty() && waiting.tickets.is_empty() {
            return self.send_now(reports, vec![waiting.sent]);
        }
        self.held.since.get_or_insert_with(|| self.walk.ground.clock.since_boot());
        self.held.bytes += waiting.sent.bytes();
        self.held.sent.push(waiting);
        if self.held.bytes >= LIMIT || self.looker.batch.is_full() {
            self.release(reports);
        }
    }

    /// The state that was found, its digests computed.
    pub(super) fn state_of(&mut self, Found { finding, ticket }: &Found) -> Option<ItemState> {
        let What::Seen(state) = &finding.what else { return None };
        let mut state = (**state).clone();
        if let Some(ticket) = ticket {
            self.looker.hash_batch();
            state.digests = self.looker.batch.digests(*ticket);
        }
        Some(state)
    }

    /// Sends all that waits.
    fn release(&mut self, reports: &SyncSender<Sent>) {
        let Held { sent, .. } = std::mem::take(&mut self.held);
        if sent.is_empty() {
            return;
        }
        self.looker.hash_batch();
        let with_digests = |Waiting { mut sent, tickets }| {
            if let Sent::Report(Report { findings, .. }) = &mut sent {
                for (at, ticket) in tickets {
                    if let What::Seen(state) = &mut findings[at].what {
                        state.digests = self.looker.batch.digests(ticket);
                    }
                }
            }
            sent
        };
        self.send_now(reports, sent.into_iter().map(with_digests).collect());
    }

    /// Sends all that waits, if that has waited long.
    pub(super) fn release_old(&mut self, reports: &SyncSender<Sent>) {
        let now = || self.walk.ground.clock.since_boot();
        if self.held.since.is_some_and(|since| now() >= since + PATIENCE) {
            self.release_all(reports);
        }
    }

    /// Sends all that waits, between two directories.
    pub(super) fn release_all(&mut self, reports: &SyncSender<Sent>) {
        self.release(reports);
        self.forget_tickets();
    }

    /// All that was found so far was given to be sent: without anything that waits, no ticket is looked at again.
    pub(super) fn forget_tickets(&mut self) {
        if self.held.sent.is_empty() {
            self.looker.batch.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::scratch::Scratch;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn what_is_held_is_sent_at_the_end_of_a_directory_once_it_has_waited_for_a_second() {
        let mut host = Scratch::new();
        host.write("d/f", "1");
        let walk = host.walk();
        let (sender, receiver) = sync_channel(64);
        let mut walker = Walker::new(&walk);
        let mut waiting = vec![walk.frontier.next().unwrap()];
        while let Some(directory) = waiting.pop() {
            waiting.extend(walker.directory(directory, &sender).unwrap());
        }
        // What lies above holds no file, and was sent at once.
        assert_eq!(receiver.try_iter().count(), 1);
        for (passed, sent) in [(0, 0), (999, 0), (1, 1), (1000, 0)] {
            host.clock.advance(Duration::from_millis(passed));
            walker.release_old(&sender);
            assert_eq!(receiver.try_iter().count(), sent, "after {passed} ms more");
        }
    }
}
