//! What the machine says of itself: the time, what this process took, and how long others had to wait.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// How long, since boot, at least one task had to wait for a processor and for a disk: the kernel's `some` of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stalls {
    pub(crate) cpu: Duration,
    pub(crate) io: Duration,
}

/// Where a pace takes its numbers from, and how it waits.
pub(crate) trait Machine: Send + Sync {
    fn since_boot(&self) -> Duration;
    /// Processor time that this process took.
    fn cpu(&self) -> Duration;
    /// Processor time that the calling thread took.
    fn thread_cpu(&self) -> Duration;
    /// `None` where the kernel does not say.
    fn stalls(&self) -> Option<Stalls>;
    fn wait(&self, long: Duration);
}

/// This one.
pub(crate) struct System;

impl Machine for System {
    fn since_boot(&self) -> Duration {
        time(ClockId::Boottime)
    }

    fn cpu(&self) -> Duration {
        time(ClockId::ProcessCPUTime)
    }

    fn thread_cpu(&self) -> Duration {
        time(ClockId::ThreadCPUTime)
    }

    fn stalls(&self) -> Option<Stalls> {
        // Not the host's below its root: the kernel has one pressure for all, whoever asks.
        let total = |resource| some(&std::fs::read_to_string(format!("/proc/pressure/{resource}")).ok()?);
        Some(Stalls { cpu: total("cpu")?, io: total("io")? })
    }

    fn wait(&self, long: Duration) {
        // Not for a state to come: to give away the time that the budget does not have.
        std::thread::sleep(long);
    }
}

fn time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn some(text: &str) -> Option<Duration> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = some.split(' ').find_map(|word| word.strip_prefix("total="))?;
    Some(Duration::from_micros(total.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_total_of_some_is_read_and_not_that_of_full() {
        let text = "some avg10=37.64 avg60=16.63 avg300=11.06 total=52067016\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(some(text), Some(Duration::from_micros(52_067_016)));
        assert_eq!(some(""), None);
        assert_eq!(some("some avg10=0.00 total=many"), None);
    }

    #[test]
    fn this_machine_counts_this_process_and_in_it_each_thread_alone() {
        let before = System.thread_cpu();
        while System.thread_cpu() == before {
            std::hint::spin_loop();
        }
        let of_another = std::thread::spawn(|| System.thread_cpu()).join().unwrap();
        let own = System.thread_cpu();
        assert!(own + of_another <= System.cpu());
        assert!(System.since_boot() > System.cpu());
    }
}
