//! The pace of all threads that look and read: who would take more than the budget waits, in steps, and sees a stop at once.
//!
//! Processor time is that of the threads that look and of the one that commits, which never waits: each is charged by its own
//! clock. Answers to others are not, so nobody holds up a compare by asking. Only where the system stops the whole process
//! beyond a quota do looks leave room for them, down to half of what is theirs.
//! What is owed is kept, up to a minute's budget, so the average holds; no one waits while nothing is to be done.

mod charge;
mod processors;

pub(crate) use charge::Charged;

use crate::background;
use crate::budget::{Budget, Usage, Wait};
use crate::machine::{Machine, System};
use crate::pressure::Pressure;
use crate::stop::Stop;
use processors::Processors;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The accounts are looked at, and each thread is charged, so often: asking for a thread's processor time is a system call,
/// asking for the time is none.
const EVERY: Duration = Duration::from_millis(2);
/// Who waits looks so often whether it is told to stop.
const STEP: Duration = Duration::from_millis(20);
/// So much of a second's budget may be taken at once: the period of a cgroup's quota, so that a pace below it is not throttled.
const BURST: f64 = 0.1;
/// So many seconds of it may be owed. One commit of what is found in a chunk takes less.
const DEBT: f64 = 60.0;

/// Keeps a budget.
pub struct Pace {
    budget: Budget,
    machine: Box<dyn Machine>,
    /// When the accounts are looked at next, in nanoseconds since boot.
    next: AtomicU64,
    /// Nanoseconds of processor time that threads were charged.
    charged: AtomicU64,
    read: AtomicU64,
    /// Nanoseconds, in the order of [`Wait::ALL`].
    waited: [AtomicU64; 3],
    accounts: Mutex<Accounts>,
}

struct Accounts {
    /// When they were last looked at,
    at: Duration,
    /// and what had been taken by then.
    taken: Taken,
    cpu: Option<Processors>,
    read: Option<Bucket>,
    pressure: Option<Pressure>,
}

/// What was taken since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    /// Processor time of threads that look and commit,
    cpu: Duration,
    /// and of the whole process, where that counts.
    process: Duration,
    read: u64,
}

/// What is left of a budget that comes in evenly.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In a second.
    rate: f64,
    left: f64,
    /// So many seconds of it may be owed.
    debt: f64,
    /// Who waits does so until half of a burst is there, not for every grain of it.
    is_empty: bool,
}

impl Bucket {
    fn new(rate: f64, debt: f64) -> Self {
        let rate = rate.max(f64::MIN_POSITIVE);
        Self { rate, left: rate * BURST, debt, is_empty: false }
    }

    fn pass(&mut self, time: Duration, taken: f64) {
        let left = self.left + self.rate * time.as_secs_f64() - taken;
        self.left = left.clamp(-self.rate * self.debt, self.rate * BURST);
    }

    /// How long nothing more may be taken.
    fn owed(&mut self) -> Duration {
        let enough = self.rate * BURST / 2.0;
        self.is_empty = self.left < if self.is_empty { enough } else { 0.0 };
        if self.is_empty { Duration::from_secs_f64((enough - self.left) / self.rate) } else { Duration::ZERO }
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace").field("budget", &self.budget).finish_non_exhaustive()
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new(Budget::default(), Box::new(System))
    }
}

impl Pace {
    pub(crate) fn new(budget: Budget, machine: Box<dyn Machine>) -> Self {
        let accounts = Accounts {
            at: machine.since_boot(),
            taken: Taken { process: machine.cpu(), ..Taken::default() },
            cpu: budget.cpu.map(|cpu| Processors::new(cpu, budget.process)),
            read: budget.read.map(|read| Bucket::new(read as f64, DEBT)),
            pressure: (budget.is_background && machine.stalls().is_some()).then(Pressure::default),
        };
        let (next, charged, read, waited) = Default::default();
        Self { budget, machine, next, charged, read, waited, accounts: Mutex::new(accounts) }
    }

    /// What it keeps.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// What was taken since the start.
    pub fn usage(&self) -> Usage {
        let waited = self.waited.each_ref().map(|waited| Duration::from_nanos(waited.load(Ordering::Relaxed)));
        Usage { cpu: self.machine.cpu(), read: self.read.load(Ordering::Relaxed), waited }
    }

    /// The calling thread is one that looks until the result is dropped: in the background it goes behind all others from now
    /// on. The one that commits is charged alone, for whoever reads the state would wait with it.
    pub(crate) fn enlist(self: &Arc<Self>) -> Charged {
        if self.budget.is_background {
            background::enter();
        }
        Charged::begin(self)
    }

    /// So much content was read; the next [`Pace::keep`] pays for it.
    pub(crate) fn read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Waits while the budget is overdrawn, or until told to stop. Costs no system call but every few milliseconds.
    pub(crate) fn keep(&self, stop: &Stop) {
        if self.budget == Budget::default() {
            return;
        }
        let mut now = self.machine.since_boot();
        self.charge_at(now);
        if nanos(now) < self.next.load(Ordering::Relaxed) {
            return;
        }
        while let Some((why, long)) = self.owed(now) {
            if stop.is_set() {
                return;
            }
            self.machine.wait(long.min(STEP));
            let then = std::mem::replace(&mut now, self.machine.since_boot());
            self.waited[why as usize].fetch_add(nanos(now.saturating_sub(then)), Ordering::Relaxed);
        }
    }

    /// Why and how long to wait.
    fn owed(&self, now: Duration) -> Option<(Wait, Duration)> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let Accounts { at, taken: before, cpu, read, pressure } = &mut *accounts;
        let taken = self.taken();
        let passed = now.saturating_sub(*at);
        let mut longest: Option<(Wait, Duration)> = None;
        let mut owes = |why, long: Duration| {
            if long > longest.map_or(Duration::ZERO, |(_, long)| long) {
                longest = Some((why, long));
            }
        };
        if let Some(cpu) = cpu {
            cpu.pass(passed, taken.cpu.saturating_sub(before.cpu), taken.process.saturating_sub(before.process));
            owes(Wait::Cpu, cpu.owed());
        }
        if let Some(read) = read {
            read.pass(passed, taken.read.saturating_sub(before.read) as f64);
            owes(Wait::Read, read.owed());
        }
        if let Some(pressure) = pressure {
            owes(Wait::Pressure, pressure.owed(now, taken.cpu, || self.machine.stalls()));
        }
        (*at, *before) = (now.max(*at), taken);
        let next = if longest.is_some() { now } else { now + EVERY };
        self.next.store(nanos(next), Ordering::Relaxed);
        longest
    }

    fn taken(&self) -> Taken {
        Taken {
            cpu: Duration::from_nanos(self.charged.load(Ordering::Relaxed)),
            process: self.budget.process.map_or(Duration::ZERO, |_| self.machine.cpu()),
            read: self.read.load(Ordering::Relaxed),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
