//! Time as the model takes it: a moment that only goes forward, and the wall clock for what is written. Reads the
//! clocks in one place, so that everything else can be driven by a test.

use std::ops::Add;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Milliseconds since a beginning that stays the same in one process: its start, or that of the system for
/// [`boottime`]. The two are never compared. What lay before is negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(i64);

impl Moment {
    /// How long ago `earlier` was; nothing when it is yet to come.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Moment {
    /// As a number, for a place that holds nothing else.
    pub(crate) fn milliseconds(self) -> i64 {
        self.0
    }

    /// From [`Moment::milliseconds`].
    pub(crate) fn of_milliseconds(milliseconds: i64) -> Self {
        Self(milliseconds)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// The system's clock that nothing sets and that goes on while the machine sleeps: what was promised to others until a
/// certain time ends then, whether or not this machine was awake.
pub(crate) fn boottime() -> Moment {
    let since_boot = clock_gettime(ClockId::Boottime);
    Moment(since_boot.tv_sec.saturating_mul(1_000).saturating_add(since_boot.tv_nsec / 1_000_000))
}

/// One reading of both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) moment: Moment,
    pub(crate) wall: Timestamp,
}

impl Now {
    /// The moment at which the wall clock showed this time; never later than now, whatever another machine's clock
    /// made of it.
    pub(crate) fn moment_of(self, wall: Timestamp) -> Moment {
        let ago = self.wall.as_millisecond().saturating_sub(wall.as_millisecond()).max(0);
        Moment(self.moment.0.saturating_sub(ago))
    }
}

/// The clocks of this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        let elapsed = self.start.elapsed().as_millis();
        Now { moment: Moment(i64::try_from(elapsed).unwrap_or(i64::MAX)), wall: Timestamp::now() }
    }

    /// The moment as the runtime's timers take it.
    pub(crate) fn instant(self, moment: Moment) -> Instant {
        self.start + Duration::from_millis(u64::try_from(moment.0).unwrap_or(0))
    }
}
