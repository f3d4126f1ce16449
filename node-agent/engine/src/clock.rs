//! Time, from a clock that tests can drive: the wall for what is written down, the boot clock for intervals.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An instant as file systems keep it: any second, with nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time {
    /// Seconds since 1970, negative before.
    pub secs: i64,
    /// 0..1,000,000,000.
    pub nanos: u32,
}

impl Time {
    /// The same instant for a record; what no calendar holds becomes its first or last instant.
    pub fn timestamp(self) -> Timestamp {
        let nanos = i32::try_from(self.nanos).unwrap_or(0);
        Timestamp::new(self.secs, nanos).unwrap_or(if self.secs < 0 { Timestamp::MIN } else { Timestamp::MAX })
    }

    /// This instant moved by `duration` towards the future.
    pub fn after(self, duration: Duration) -> Self {
        let nanos = self.nanos + duration.subsec_nanos();
        let secs = self.secs.saturating_add_unsigned(duration.as_secs());
        if nanos >= 1_000_000_000 {
            Self { secs: secs.saturating_add(1), nanos: nanos - 1_000_000_000 }
        } else {
            Self { secs, nanos }
        }
    }

    /// This instant moved by `duration` towards the past.
    pub fn before(self, duration: Duration) -> Self {
        let nanos = i64::from(self.nanos) - i64::from(duration.subsec_nanos());
        let secs = self.secs.saturating_sub_unsigned(duration.as_secs());
        if nanos < 0 {
            Self { secs: secs.saturating_sub(1), nanos: (nanos + 1_000_000_000) as u32 }
        } else {
            Self { secs, nanos: nanos as u32 }
        }
    }
}

impl From<Timestamp> for Time {
    fn from(timestamp: Timestamp) -> Self {
        let mut secs = timestamp.as_second();
        let mut nanos = timestamp.subsec_nanosecond();
        if nanos < 0 {
            secs -= 1;
            nanos += 1_000_000_000;
        }
        Self { secs, nanos: nanos as u32 }
    }
}

/// Where the engine takes time from.
pub trait Clock: Send + Sync {
    /// The wall clock; it can step.
    fn now(&self) -> Time;
    /// Time since boot, sleep included; it never goes back.
    fn since_boot(&self) -> Duration;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Time { secs: time.tv_sec, nanos: u32::try_from(time.tv_nsec).unwrap_or(0) }
    }

    fn since_boot(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_out_of_any_calendar_are_kept_and_shown_as_its_edge() {
        let far = Time { secs: i64::MAX, nanos: 5 };
        assert_eq!(far.timestamp(), Timestamp::MAX);
        assert_eq!(Time { secs: i64::MIN, nanos: 5 }.timestamp(), Timestamp::MIN);
    }

    #[test]
    fn an_instant_before_1970_survives_both_ways() {
        let time = Time { secs: -2, nanos: 999_999_999 };
        assert_eq!(Time::from(time.timestamp()), time);
        let (one, other) = (Time { secs: 5, nanos: 1 }, Time { secs: 4, nanos: 980_000_001 });
        assert_eq!((one.before(Duration::from_millis(20)), other.after(Duration::from_millis(20))), (other, one));
    }
}
