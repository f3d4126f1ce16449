//! Time as the model takes it: a moment that only goes forward, and the wall clock for what is written. Reads the
//! clocks in one place, so that everything else can be driven by a test.

use std::ops::Add;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// Milliseconds since the process started; what lay before is negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(i64);

impl Moment {
    /// How long ago `earlier` was; nothing when it is yet to come.
    #[cfg(test)]
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
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
