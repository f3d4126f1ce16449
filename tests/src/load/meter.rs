//! What a phase took: processors and memory of each process, and who wrote what.
use std::{collections::BTreeMap, fs, process, time::Duration};

use jiff::Timestamp;

use super::stage::Stage;
use crate::{
    cluster::{AGENT, OPERATOR},
    control_plane::Write,
    error::{Doing as _, Error, Result},
    metrics::Metrics,
};

/// Of `/proc/PID/stat`: the same on every Linux that there is.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has taken until now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    pid: u32,
    /// Seconds of processors.
    pub cpu: f64,
    /// Memory now, in bytes.
    pub memory: f64,
    /// Most memory it ever had, in bytes.
    pub peak: f64,
}

impl Usage {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).doing(|| format!("read {path}"))
        };
        let (stat, status) = (read("stat")?, read("status")?);
        // The name in parentheses may hold anything.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
        let kibibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        let usage = || {
            let cpu = (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND;
            Some(Self { pid, cpu, memory: kibibytes("VmRSS:")? * 1024.0, peak: kibibytes("VmHWM:")? * 1024.0 })
        };
        usage()
            .ok_or_else(|| Error::Unexpected(format!("/proc/{pid} says neither processors nor memory: it has ended")))
    }

    /// What it has taken since; all of it when it is another process.
    fn since(self, before: Self) -> Self {
        let cpu = if self.pid == before.pid { self.cpu - before.cpu } else { self.cpu };
        Self { cpu, ..self }
    }
}

/// Writes, how many and how dense.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// All.
    pub count: usize,
    /// In the second with the most.
    pub second: usize,
    /// A second, in the ten seconds with the most.
    pub ten_seconds: f64,
}

impl Rates {
    fn of<'w>(writes: impl Iterator<Item = &'w Write>) -> Self {
        let mut times: Vec<i128> = writes.map(|write| write.received.as_nanosecond()).collect();
        times.sort_unstable();
        let most = |seconds: i128| {
            let mut from = 0;
            let counts = times.iter().enumerate().map(|(to, time)| {
                while time - times[from] >= seconds * 1_000_000_000 {
                    from += 1;
                }
                to - from + 1
            });
            counts.max().unwrap_or_default()
        };
        Self { count: times.len(), second: most(1), ten_seconds: most(10) as f64 / 10.0 }
    }
}

/// What a phase took.
#[derive(Debug, Clone)]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// How long it was.
    pub seconds: f64,
    /// What agents wrote.
    pub agents: Rates,
    /// What the operator wrote to objects of ours.
    pub operator: Rates,
    /// The same by resource.
    pub by_resource: BTreeMap<String, usize>,
    /// Events that were raised.
    pub events: usize,
    /// Lists and watches of NodeConfigs that ended, which are the agents' but for a few.
    pub reads: usize,
    /// The operator.
    pub operator_usage: Usage,
    /// The API server.
    pub apiserver: Usage,
    /// etcd.
    pub etcd: Usage,
    /// This process: all agents, and who looks.
    pub agents_usage: Usage,
}

/// Where everything stands at a moment.
pub(crate) struct Reading {
    at: Timestamp,
    operator: Usage,
    apiserver: Usage,
    etcd: Usage,
    agents: Usage,
    events: f64,
    reads: f64,
}

impl Reading {
    pub(crate) async fn take(stage: &Stage) -> Result<Self> {
        let control_plane = stage.cluster.control_plane();
        let requests = requests(stage).await?;
        let sum = |labels: &[&[(&str, &str)]]| -> f64 {
            labels.iter().map(|labels| requests.sum("apiserver_request_total", labels)).sum()
        };
        let event = |verb| [("group", "events.k8s.io"), ("verb", verb)];
        let read = |verb| [("resource", "nodeconfigs"), ("verb", verb)];
        Ok(Self {
            operator: Usage::of(stage.operator.pid()?)?,
            apiserver: Usage::of(control_plane.apiserver_pid().await?)?,
            etcd: Usage::of(control_plane.etcd_pid())?,
            agents: Usage::of(process::id())?,
            events: sum(&[&event("POST"), &event("PATCH"), &event("APPLY")]),
            reads: sum(&[&read("LIST"), &read("WATCH")]),
            at: Timestamp::now(),
        })
    }

    /// What lies between two readings.
    pub(crate) fn phase(&self, name: &'static str, end: &Self, all: &[Write]) -> Phase {
        let (from, to) = (self.at, end.at);
        let during: Vec<&Write> = all.iter().filter(|write| (from..to).contains(&write.received)).collect();
        let of = |who: &'static str| during.iter().copied().filter(move |write| is_by(write, who));
        let mut by_resource = BTreeMap::new();
        of(OPERATOR).for_each(|write| *by_resource.entry(write.resource.clone()).or_default() += 1);
        Phase {
            name,
            seconds: end.at.duration_since(self.at).as_secs_f64(),
            agents: Rates::of(of(AGENT)),
            operator: Rates::of(of(OPERATOR)),
            by_resource,
            events: (end.events - self.events) as usize,
            reads: (end.reads - self.reads) as usize,
            operator_usage: end.operator.since(self.operator),
            apiserver: end.apiserver.since(self.apiserver),
            etcd: end.etcd.since(self.etcd),
            agents_usage: end.agents.since(self.agents),
        }
    }
}

/// Whether a write is of a service account of ours.
pub(crate) fn is_by(write: &Write, who: &str) -> bool {
    write.user.rsplit(':').next() == Some(who)
}

/// The shortest time between two writes of the same object, from a moment of the one to the arrival of the other.
pub(crate) fn closest<'w>(writes: impl Iterator<Item = &'w Write>, from: fn(&Write) -> Timestamp) -> Duration {
    let mut last: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let gaps = writes.filter_map(|write| {
        let before = last.insert(&write.name, from(write))?;
        Some(write.received.duration_since(before).unsigned_abs())
    });
    gaps.min().unwrap_or(Duration::MAX)
}

/// The API server's own counts.
pub(crate) async fn requests(stage: &Stage) -> Result<Metrics> {
    let request =
        http::Request::get("/metrics").body(Vec::new()).map_err(|error| Error::Unexpected(error.to_string()))?;
    let text = stage.cluster.client().request_text(request).await.doing(|| "get the API server's metrics".into())?;
    // Some of its own histograms are not what a strict reader takes.
    let counted = ["apiserver_request_total{", "apiserver_storage_size_bytes"];
    let lines: Vec<&str> = text.lines().filter(|line| counted.iter().any(|name| line.starts_with(name))).collect();
    Metrics::parse(&lines.join("\n"))
}

/// Half of all, all but one in a hundred, and all are within these seconds.
#[derive(Debug, Clone, Copy)]
pub struct Quantiles {
    /// Half.
    pub median: f64,
    /// All but one in a hundred.
    pub p99: f64,
    /// All.
    pub most: f64,
}

impl Quantiles {
    pub(crate) fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut seconds: Vec<f64> = times.map(|time| time.as_secs_f64()).collect();
        seconds.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let rank = (part * seconds.len() as f64).ceil() as usize;
            seconds.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        };
        Self { median: at(0.5), p99: at(0.99), most: at(1.0) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn write(name: &str, millisecond: i64) -> Write {
        let at = Timestamp::from_millisecond(millisecond).unwrap();
        let (user, verb) = (format!("system:serviceaccount:vedette-system:{AGENT}"), "patch".into());
        Write {
            received: at,
            answered: at,
            user,
            verb,
            resource: "nodeconfigs/status".into(),
            name: name.into(),
            code: 200,
        }
    }

    #[test]
    fn the_densest_second_counts_wherever_it_begins() {
        let writes = [0, 900, 1_000, 1_899, 1_900, 9_000, 10_000].map(|millisecond| write("n", millisecond));
        let rates = Rates::of(writes.iter());
        assert_eq!((rates.count, rates.second, rates.ten_seconds), (7, 3, 0.6));
        assert_eq!(Rates::of([].iter()).count, 0);
    }

    #[test]
    fn writes_of_one_object_are_held_against_each_other_alone() {
        let writes = [write("a", 0), write("b", 1), write("a", 11_000), write("b", 11_000)];
        assert_eq!(closest(writes.iter(), |write| write.answered), Duration::from_millis(10_999));
        assert!(is_by(&writes[0], AGENT) && !is_by(&writes[0], OPERATOR));
    }

    #[test]
    fn a_process_is_read_by_its_id() {
        let own = Usage::of(process::id()).unwrap();
        assert!(own.memory > 0.0 && own.peak >= own.memory, "{own:?}");
        assert!(own.since(own).cpu.abs() < f64::EPSILON && own.since(Usage::default()).cpu >= 0.0);
    }

    #[test]
    fn quantiles_are_values_that_were_there() {
        let quantiles = Quantiles::of((1..=200).map(Duration::from_secs));
        assert_eq!((quantiles.median, quantiles.p99, quantiles.most), (100.0, 198.0, 200.0));
    }
}
