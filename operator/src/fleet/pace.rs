//! How often agents may write, so that the whole fleet stays under 20 writes a second.

use std::time::Duration;

use vedette_crds::duration;
use vedette_crds::node_config::Reporting;

use crate::time::Moment;

/// What a cluster's API server is to bear from all agents together.
const WRITES_PER_SECOND: usize = 20;

const SHORTEST_SECONDS: u64 = 10;

/// A changed interval is written to every NodeConfig: nodes that come and go one by one must not cause that each.
const BETWEEN_CHANGES: Duration = Duration::from_secs(60);

/// Agents refresh their status this often while nothing changes.
pub(crate) const REFRESH: Duration = Duration::from_secs(15 * 60);

/// Whatever the size of the fleet: an agent that has not confirmed for so long is worth a word.
const LONGEST_ANSWER: Duration = Duration::from_secs(60);

/// The interval that NodeConfigs carry now.
#[derive(Debug)]
pub(crate) struct Pace {
    seconds: u64,
    changed: Option<Moment>,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { seconds: SHORTEST_SECONDS, changed: None }
    }

    /// Begins with the interval that NodeConfigs carry already: a restart is no reason to write them all.
    pub(crate) fn resume(&mut self, carried: impl Iterator<Item = Duration>) {
        self.seconds = carried.map(|interval| interval.as_secs()).max().unwrap_or(0).max(SHORTEST_SECONDS);
    }

    /// Fits the interval to the number of nodes, and says whether it changed.
    pub(crate) fn fit(&mut self, nodes: usize, now: Moment) -> bool {
        let needed = u64::try_from(nodes.div_ceil(WRITES_PER_SECOND)).unwrap_or(u64::MAX).max(SHORTEST_SECONDS);
        let good = (needed..=needed + needed / 4).contains(&self.seconds);
        if good || self.next_change() > now {
            return false;
        }
        self.seconds = needed;
        self.changed = Some(now);
        true
    }

    /// When it may change next.
    pub(crate) fn next_change(&self) -> Moment {
        self.changed.map_or(Moment::default(), |changed| changed + BETWEEN_CHANGES)
    }

    /// How long an agent takes to confirm what it is asked when it has just written: a fifth more than the interval, as it
    /// spreads them, and some seconds to do it.
    pub(crate) fn answer(&self) -> Duration {
        (Duration::from_secs(self.seconds) * 6 / 5 + Duration::from_secs(5)).min(LONGEST_ANSWER)
    }

    pub(crate) fn reporting(&self) -> Reporting {
        Reporting {
            min_interval: duration::format(Duration::from_secs(self.seconds)),
            refresh_interval: duration::format(REFRESH),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Moment {
        Moment::default() + Duration::from_secs(second)
    }

    #[test]
    fn the_whole_fleet_stays_under_twenty_writes_a_second() {
        for (nodes, interval) in [(0, "10s"), (200, "10s"), (201, "11s"), (5_000, "4m10s")] {
            let mut pace = Pace::new();
            pace.fit(nodes, at(0));
            assert_eq!(pace.reporting().min_interval, interval, "{nodes}");
        }
    }

    #[test]
    fn nodes_that_come_and_go_do_not_rewrite_every_configuration() {
        let mut pace = Pace::new();
        assert!(pace.fit(400, at(0)));
        assert!(!pace.fit(401, at(59)), "it has just changed");
        assert!(pace.fit(401, at(60)));
        assert!(!pace.fit(350, at(120)), "a little too slow is good enough");
        assert!(pace.fit(200, at(120)));
    }

    #[test]
    fn a_restart_keeps_what_is_carried() {
        let mut pace = Pace::new();
        pace.resume([Duration::from_secs(23), Duration::from_secs(10)].into_iter());
        assert!(!pace.fit(400, at(0)));
        assert_eq!(pace.reporting().min_interval, "23s");
    }
}
