//! Whether this process leads, and how long that is certain. One task says so ([`crate::lease`]); everybody who writes
//! asks right before each write. Reads the system's clock, holds a time; talks to nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::time::{Moment, boottime};

/// Who wants the Lease of another waits until it has seen it unchanged for so long.
pub(crate) const LEASE_DURATION: Duration = Duration::from_secs(15);

/// Who holds the Lease leads for so long from the moment at which the last successful renewal was begun. What is left
/// of [`LEASE_DURATION`] is for writes that are on their way.
pub(crate) const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// Before any moment that a clock shows.
const NEVER: i64 = i64::MIN;

/// What this process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It decides and writes.
    Leader {
        /// For so long nobody was heard of who did.
        unled: Duration,
    },
    /// It knows all that the leader knows, and writes nothing.
    Standby,
}

/// The leadership of this process, held or not.
#[derive(Debug, Clone)]
pub(crate) struct Leadership(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The moment at which the term ends, in milliseconds.
    until: AtomicI64,
    role: watch::Sender<Role>,
}

impl Leadership {
    /// Nobody leads yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner { until: AtomicI64::new(NEVER), role: watch::Sender::new(Role::Standby) }))
    }

    /// The role, and a sign at each change of it.
    pub(crate) fn role(&self) -> watch::Receiver<Role> {
        self.0.role.subscribe()
    }

    /// Leads, or goes on leading, until this moment.
    pub(crate) fn hold_until(&self, end: Moment, unled: Duration) {
        self.0.until.store(end.milliseconds(), Ordering::SeqCst);
        self.0.role.send_if_modified(|role| {
            let begins = *role == Role::Standby;
            if begins {
                *role = Role::Leader { unled };
            }
            begins
        });
    }

    /// Leads no more.
    pub(crate) fn give_up(&self) {
        // The time first: who asks in between is told no.
        self.0.until.store(NEVER, Ordering::SeqCst);
        self.0.role.send_if_modified(|role| std::mem::replace(role, Role::Standby) != Role::Standby);
    }

    /// How long it is certain that this process leads; `None` when it does not.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.left_at(boottime())
    }

    /// How long something that is begun now may be on its way: by then another one may lead.
    pub(crate) fn time_to_write(&self) -> Option<Duration> {
        self.left().map(|left| left + (LEASE_DURATION - RENEW_DEADLINE))
    }

    fn left_at(&self, now: Moment) -> Option<Duration> {
        let until = Moment::of_milliseconds(self.0.until.load(Ordering::SeqCst));
        Some(until.since(now)).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn a_term_ends_by_the_clock_alone_whoever_is_told_too_late() {
        let leadership = Leadership::new();
        let role = leadership.role();
        assert_eq!(leadership.left_at(at(0)), None);
        leadership.hold_until(at(10), Duration::ZERO);
        assert_eq!(leadership.left_at(at(3)), Some(Duration::from_secs(7)));
        assert_eq!(leadership.left_at(at(10)), None);
        assert_eq!(*role.borrow(), Role::Leader { unled: Duration::ZERO }, "nobody has said so yet");
        leadership.give_up();
        assert_eq!(leadership.left_at(at(3)), None);
        assert_eq!(*role.borrow(), Role::Standby);
    }

    #[test]
    fn a_renewal_is_no_change_of_role() {
        let leadership = Leadership::new();
        leadership.hold_until(at(10), Duration::ZERO);
        let mut role = leadership.role();
        leadership.hold_until(at(20), Duration::ZERO);
        assert!(!role.has_changed().unwrap());
        leadership.give_up();
        assert!(role.has_changed().unwrap());
        assert_eq!(*role.borrow_and_update(), Role::Standby);
    }

    #[test]
    fn what_is_begun_at_the_end_of_a_term_is_over_before_another_may_lead() {
        let leadership = Leadership::new();
        assert_eq!(leadership.time_to_write(), None);
        leadership.hold_until(boottime() + RENEW_DEADLINE, Duration::ZERO);
        let longest = leadership.time_to_write().unwrap();
        assert!(longest <= LEASE_DURATION && longest > LEASE_DURATION - RENEW_DEADLINE, "{longest:?}");
    }
}
