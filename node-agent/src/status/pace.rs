//! When a status is written: a process's first one at a moment of its own, so that a fleet that starts together does not
//! write together; the first change after quiet at once, or when what is under way has had a moment to end; then at most one
//! write each `minInterval`; without a change one each `refreshInterval`; what fails, later each time.

use super::Target;
use std::time::Duration;
use tokio::time::Instant;
use vedette_crds::duration;
use vedette_service::Retry;

/// Where the spec says nothing that can be read.
const MIN_INTERVAL: Duration = Duration::from_secs(10);
const REFRESH_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// No spec makes an agent write without a pause.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// A small fleet's first reports are spread over this, a larger one's over `minInterval`: so long is that where the fleet
/// may write once in it. It is as good as at once for who waits for a node.
const FIRST_WITHIN: Duration = Duration::from_secs(1);
/// What is said while a plan takes effect or a first compare goes on is worth a write when it lasts longer than this: most
/// have ended by then, and what came of them would wait for another `minInterval`.
const SETTLE: Duration = Duration::from_secs(2);
/// A failed write is tried again at most this much later, or `minInterval` where that is longer: the operator sets it so
/// that the whole fleet may write once in it.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// When the next write may go out.
pub(super) struct Pace {
    min: Duration,
    refresh: Duration,
    /// When the first report is due: drawn when there is something to report.
    first: Option<Instant>,
    last: Option<Instant>,
    /// Since when something is under way.
    unsettled: Option<Instant>,
    retry: Retry,
    /// When a failed write is tried again.
    again: Option<Instant>,
    /// How often the API server had come back when it was last looked.
    returns: u64,
    /// 0 to 0.2, the node's own, so that a fleet does not write in step.
    spread: f64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            min: MIN_INTERVAL,
            refresh: REFRESH_INTERVAL,
            first: None,
            last: None,
            unsettled: None,
            retry: Retry::new(LONGEST_PAUSE),
            again: None,
            returns: 0,
            spread: 0.0,
        }
    }

    /// Takes the intervals from the plan. When the API server is back, what failed is tried within `minInterval`, each node
    /// at a moment of its own: a fleet that was cut off comes back no faster than it may write anyway.
    pub(super) fn set(&mut self, to: &Target, node: &str) {
        let Some(plan) = to.state.plan() else { return };
        let reporting = &plan.spec.reporting;
        let min = duration::parse(&reporting.min_interval).unwrap_or(MIN_INTERVAL);
        let refresh = duration::parse(&reporting.refresh_interval).unwrap_or(REFRESH_INTERVAL);
        self.min = min.max(SHORTEST_INTERVAL);
        self.refresh = refresh.max(self.min);
        self.retry.set_longest(self.min.max(LONGEST_PAUSE));
        let sum = node.bytes().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
        self.spread = 0.2 * f64::from(sum) / 255.0;
        if std::mem::replace(&mut self.returns, to.returns) != to.returns
            && let Some(again) = &mut self.again
        {
            *again = (*again).min(Instant::now() + self.min.mul_f64(fastrand::f64()));
        }
    }

    /// Takes in whether what is to be said will be something else in a moment.
    pub(super) fn settle(&mut self, is_under_way: bool, now: Instant) {
        self.unsettled = is_under_way.then(|| self.unsettled.unwrap_or(now));
    }

    /// When a write is due: with a change as soon as allowed, without one at the refresh.
    pub(super) fn due(&mut self, changed: bool, now: Instant) -> Instant {
        let quiet = match (self.last, changed) {
            (None, _) => {
                let within = if self.min > MIN_INTERVAL { self.min } else { FIRST_WITHIN };
                *self.first.get_or_insert_with(|| now + within.mul_f64(fastrand::f64()))
            }
            // Never less than the interval, or all of a fleet together would reach its limit.
            (Some(last), true) => last + self.min.mul_f64(1.0 + self.spread),
            (Some(last), false) => last + self.refresh.mul_f64(0.9 + self.spread),
        };
        let settled = self.unsettled.filter(|_| changed).map_or(quiet, |since| quiet.max(since + SETTLE));
        self.again.unwrap_or(settled)
    }

    /// Returns how long writes had failed, when that is to be said.
    pub(super) fn wrote(&mut self, now: Instant) -> Option<Duration> {
        self.last = Some(now);
        self.again = None;
        self.retry.succeeded(now)
    }

    /// Returns how long writes have failed, when that is to be said.
    pub(super) fn failed(&mut self, now: Instant) -> Option<Duration> {
        let failed = self.retry.failed(now);
        self.again = Some(now + failed.pause);
        failed.say
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{NodePlan, PlanState};
    use serde_json::json;

    #[test]
    fn the_first_change_after_quiet_goes_out_at_once_and_the_next_waits() {
        let mut pace = Pace::new();
        let now = Instant::now();
        pace.last = Some(now - MIN_INTERVAL * 2);
        assert!(pace.due(true, now) <= now, "quiet for longer than minInterval");
        pace.last = Some(now);
        assert_eq!(pace.due(true, now), now + MIN_INTERVAL);
        assert_eq!(pace.due(false, now), now + REFRESH_INTERVAL.mul_f64(0.9));
    }

    #[test]
    fn a_fleet_that_starts_together_reports_within_one_interval_and_not_together() {
        let now = Instant::now();
        let first = |_| {
            let mut pace = Pace::new();
            pace.set(&target("250s", 0), "n");
            let due = pace.due(true, now);
            assert_eq!(pace.due(true, now + Duration::from_secs(1)), due, "it is drawn once");
            due - now
        };
        let mut due: Vec<Duration> = (0..100).map(first).collect();
        due.sort_unstable();
        assert!(due[99] <= Duration::from_secs(250), "{due:?}");
        assert!(due[75] - due[25] > Duration::from_secs(60), "{due:?}");
    }

    #[test]
    fn a_node_of_a_small_fleet_reports_as_good_as_at_once() {
        let now = Instant::now();
        for _ in 0..100 {
            let mut pace = Pace::new();
            pace.set(&target("10s", 0), "n");
            assert!(pace.due(true, now) <= now + FIRST_WITHIN);
        }
    }

    #[test]
    fn what_is_under_way_has_a_moment_to_end_and_not_more_however_often_it_is_asked() {
        let mut pace = Pace::new();
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        pace.last = Some(now - MIN_INTERVAL * 2);
        pace.settle(true, now);
        assert_eq!(pace.due(true, now), now + SETTLE);
        pace.settle(true, later(1));
        assert_eq!(pace.due(true, later(1)), now + SETTLE, "it goes on");
        pace.settle(false, later(1));
        assert!(pace.due(true, later(1)) <= later(1), "it has ended");
        pace.settle(true, later(5));
        assert_eq!(pace.due(true, later(5)), later(5) + SETTLE, "another one has begun");
        pace.wrote(later(7));
        assert_eq!(pace.due(true, later(8)), later(7) + MIN_INTERVAL, "no write comes sooner for that");
    }

    fn target(min: &str, returns: u64) -> Target {
        let spec = json!({"nodeUid": "n", "reporting": {"minInterval": min, "refreshInterval": "15m"}, "rules": []});
        let state = PlanState::Current(NodePlan::of("u", 1, &spec).unwrap());
        Target { state, returns, ..Target::default() }
    }

    #[test]
    fn failed_writes_back_off_as_far_as_the_fleet_is_large_and_a_good_one_ends_that() {
        for (min, longest) in [("10s", 60), ("250s", 250)] {
            let mut pace = Pace::new();
            pace.set(&target(min, 0), "n");
            let now = Instant::now();
            let mut pauses = Vec::new();
            for _ in 0..12 {
                pace.failed(now);
                pauses.push(pace.due(true, now) - now);
            }
            let longest = Duration::from_secs(longest);
            assert!(pauses[0] <= Duration::from_secs(1), "{pauses:?}");
            assert!(pauses[11] <= longest && pauses[11] >= longest / 2, "{pauses:?}");
            pace.wrote(now);
            assert_eq!(pace.due(false, now), now + Duration::from_secs(900).mul_f64(0.9 + pace.spread));
        }
    }

    #[test]
    fn a_fleet_that_was_cut_off_comes_back_within_one_interval_and_not_in_step() {
        let mut due: Vec<Duration> = (0..100)
            .map(|_| {
                let mut pace = Pace::new();
                pace.set(&target("250s", 0), "n");
                let now = Instant::now();
                (0..12).for_each(|_| {
                    pace.failed(now);
                });
                pace.set(&target("250s", 1), "n");
                pace.due(true, now) - now
            })
            .collect();
        due.sort_unstable();
        assert!(due[99] <= Duration::from_secs(251), "{due:?}");
        assert!(due[75] - due[25] > Duration::from_secs(60), "{due:?}");
    }
}
