//! When what was last compared: each interval's last complete compare, and the places that it could not see.

use crate::clock::Time;
use crate::path::HostPath;
use crate::plan::{Due, Plan};
use crate::unknown::MAX_UNSEEN;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// When each interval was last compared to the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Compared {
    /// The beginning of its last complete compare, by interval.
    #[serde(rename = "compared")]
    began: Vec<(Duration, Time)>,
    #[serde(default)]
    unseen: Vec<Unseen>,
}

/// A place of which an interval's last complete compare saw nothing, nor of what lies below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Unseen {
    path: HostPath,
    interval: Duration,
    /// The beginning of the last one that saw it.
    since: Option<Time>,
}

impl Compared {
    /// The beginning of the last complete compare of a path that one of a plan's running entries was due in.
    pub(crate) fn last(&self, plan: &Plan, entries: &[u16], path: &HostPath) -> Option<Time> {
        let running = entries.iter().filter(|entry| !plan.is_suspended(**entry));
        running.filter_map(|entry| self.of(plan.entries[usize::from(*entry)].interval, path)).max()
    }

    fn of(&self, interval: Duration, path: &HostPath) -> Option<Time> {
        let (_, began) = self.began.iter().find(|(of, _)| *of == interval)?;
        let covers = |unseen: &&Unseen| unseen.interval == interval && path.starts_with(&unseen.path);
        self.unseen.iter().filter(covers).map(|unseen| unseen.since).fold(Some(*began), Option::min)
    }

    /// A compare of what was due is complete, but for what it could not see; `None` when that is more than is named.
    pub(crate) fn complete(&mut self, plan: &Plan, due: &Due, began: Time, unseen: Option<&[HostPath]>) {
        let Some(paths) = unseen else { return };
        let is_hidden = |path: &HostPath| paths.iter().any(|unseen| path.starts_with(unseen));
        let intervals: Vec<Duration> = plan.intervals().into_iter().filter(|of| due.contains(*of)).collect();
        // What lies below a place that is not seen now may not have been seen for longer.
        let mut next: Vec<Unseen> = self.unseen.clone();
        next.retain(|unseen| !due.contains(unseen.interval) || is_hidden(&unseen.path));
        for (path, interval) in paths.iter().flat_map(|path| intervals.iter().map(move |interval| (path, *interval))) {
            let since = self.of(interval, path);
            next.retain(|unseen| (&unseen.path, unseen.interval) != (path, interval));
            next.push(Unseen { path: path.clone(), interval, since });
        }
        if next.len() > MAX_UNSEEN {
            return;
        }
        self.unseen = next;
        self.began.retain(|(interval, _)| !due.contains(*interval));
        self.began.extend(intervals.into_iter().map(|interval| (interval, began)));
    }

    /// Another plan: nothing was compared under it.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PlanSource;
    use vedette_crds::node_config::NodeRule;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn plan() -> Plan {
        let rule: NodeRule = serde_json::from_value(serde_json::json!({
            "name": "r", "uid": "u", "generation": 1, "hash": "h",
            "files": {"interval": "10s", "rehashInterval": "24h", "realtime": false, "paths": [{"name": "all", "path": "/"}]},
        }))
        .expect("a rule");
        Plan::new(1, PlanSource { rules: vec![rule], ..PlanSource::default() })
    }

    fn at(secs: i64) -> Time {
        Time { secs, nanos: 0 }
    }

    /// Compares that began at these seconds and did not see these paths; then when each of the asked paths was last compared.
    fn after(compares: &[(i64, &[&str])], asked: &[&str]) -> Vec<Option<i64>> {
        let plan = plan();
        let mut compared = Compared::default();
        for (began, unseen) in compares {
            let unseen: Vec<HostPath> = unseen.iter().map(|path| HostPath::from(*path)).collect();
            compared.complete(&plan, &Due::Intervals(vec![INTERVAL]), at(*began), Some(&unseen));
        }
        let last = |path: &&str| compared.last(&plan, &[0], &HostPath::from(*path)).map(|time| time.secs);
        asked.iter().map(last).collect()
    }

    #[test]
    fn what_is_unseen_somewhere_does_not_make_older_what_was_seen_elsewhere() {
        let asked = ["/a", "/b", "/b/c", "/bb"];
        assert_eq!(after(&[], &asked), [None; 4]);
        assert_eq!(after(&[(1, &[]), (2, &["/b"])], &asked), [Some(2), Some(1), Some(1), Some(2)]);
        assert_eq!(after(&[(1, &["/b"]), (2, &["/b"])], &asked), [Some(2), None, None, Some(2)]);
        assert_eq!(after(&[(1, &[]), (2, &["/b"]), (3, &[])], &asked), [Some(3); 4]);
    }

    #[test]
    fn a_place_within_an_unseen_one_keeps_its_own_time() {
        let compares: [(i64, &[&str]); 4] = [(1, &[]), (2, &["/b/c"]), (3, &["/b"]), (4, &["/b"])];
        assert_eq!(after(&compares, &["/b", "/b/c", "/b/c/d", "/a"]), [Some(2), Some(1), Some(1), Some(4)]);
        assert_eq!(after(&[(1, &[]), (2, &["/b"]), (3, &["/b/c"])], &["/b", "/b/c"]), [Some(3), Some(1)]);
    }

    #[test]
    fn more_places_than_are_held_make_nothing_count() {
        let plan = plan();
        let mut compared = Compared::default();
        compared.complete(&plan, &Due::All, at(1), Some(&[]));
        let before = compared.clone();
        compared.complete(&plan, &Due::All, at(2), None);
        let many: Vec<HostPath> = (0..=MAX_UNSEEN).map(|path| HostPath::from(&*format!("/{path}"))).collect();
        compared.complete(&plan, &Due::All, at(2), Some(&many));
        assert_eq!(compared, before);
    }
}
