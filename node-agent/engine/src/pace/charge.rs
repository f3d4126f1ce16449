//! What threads are charged: each reads its own clock every few milliseconds, and adds what it took to what all took.

use super::{EVERY, Pace, nanos};
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

thread_local! {
    /// What the calling thread is charged for; a thread works for one pace at a time.
    static ACCOUNT: Cell<Option<Account>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Account {
    /// Its own clock, up to which it was charged,
    charged: Duration,
    /// and when it is charged next, since boot.
    next: Duration,
}

/// The calling thread is charged what it takes until this is dropped.
#[must_use]
pub(crate) struct Charged {
    pace: Arc<Pace>,
    /// It ends on the thread that it began on.
    on_one_thread: PhantomData<*const ()>,
}

impl Charged {
    pub(crate) fn begin(pace: &Arc<Pace>) -> Self {
        let next = pace.machine.since_boot() + EVERY;
        ACCOUNT.set(Some(Account { charged: pace.machine.thread_cpu(), next }));
        Self { pace: Arc::clone(pace), on_one_thread: PhantomData }
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.pace.charge();
        ACCOUNT.set(None);
    }
}

impl Pace {
    /// Charges the calling thread what it took since it last was; nothing if it neither looks nor commits.
    pub(crate) fn charge(&self) {
        self.charge_from(ACCOUNT.get(), self.machine.since_boot());
    }

    /// The same, when it is time.
    pub(super) fn charge_at(&self, now: Duration) {
        self.charge_from(ACCOUNT.get().filter(|account| account.next <= now), now);
    }

    fn charge_from(&self, account: Option<Account>, now: Duration) {
        let Some(Account { charged, .. }) = account else { return };
        let cpu = self.machine.thread_cpu();
        self.charged.fetch_add(nanos(cpu.saturating_sub(charged)), Ordering::Relaxed);
        ACCOUNT.set(Some(Account { charged: cpu, next: now + EVERY }));
    }
}
