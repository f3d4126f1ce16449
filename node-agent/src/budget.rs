//! What an agent may take of its node: flags, and what they come to under the quota of its container.

use crate::cgroup;
use clap::Args;
use std::str::FromStr;
use vedette_crds::size::Size;
use vedette_engine::Budget;

/// Of each core of a container's quota a service takes so many thousandths: the rest is for whoever asks it for its health, who
/// must not be throttled.
const OF_QUOTA: f64 = 900.0;
/// Two reach what one disk gives.
const WALKERS: usize = 2;
/// More would only wait for each other.
const MAX_THREADS: usize = 64;

/// A limit that may be none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit<T> {
    /// As much as there is.
    None,
    /// So much.
    Of(T),
}

impl<T> Limit<T> {
    fn get(self) -> Option<T> {
        match self {
            Self::None => None,
            Self::Of(limit) => Some(limit),
        }
    }
}

/// Cores, as Kubernetes writes them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cores(f64);

/// Bytes a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(u64);

/// A service's part of its node.
pub(crate) const CPU: Cores = Cores(0.5);
pub(crate) const READ: Rate = Rate(64 << 20);

/// What may be taken of the node.
#[derive(Clone, Copy, Debug, Args)]
pub struct Limits {
    /// Processor time that looking and committing may take, in cores: a number such as 0.5 or 500m, or none. Without it, 500m for a service and none for scan
    #[arg(long, env = "VEDETTE_CPU_LIMIT", value_name = "CORES|none", value_parser = limit::<Cores>)]
    pub cpu_limit: Option<Limit<Cores>>,
    /// Bytes of content that it may read in a second: a size such as 50Mi, or none. Without it, 64Mi for a service and none for scan
    #[arg(long, env = "VEDETTE_READ_LIMIT", value_name = "SIZE|none", value_parser = limit::<Rate>)]
    pub read_limit: Option<Limit<Rate>>,
    /// Threads that look at files, 1 to 64; without it two, or one where there is but one core or the container's quota is one or less
    #[arg(long, env = "VEDETTE_THREADS", value_name = "NUMBER", value_parser = threads)]
    pub threads: Option<usize>,
    /// Run with the lowest priority (SCHED_IDLE, idle I/O) and back off while others wait for processors or disks. Without it, true for a service and false for scan
    #[arg(
        long,
        env = "VEDETTE_BACKGROUND",
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub background: Option<bool>,
}

/// What flags come to on this machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    pub(crate) budget: Budget,
    pub(crate) threads: usize,
}

impl Limits {
    /// Of a service: behind all others, and below the quota of its container.
    pub(crate) fn of_service(&self) -> Share {
        let share = self.service_under(cgroup::quota(), cores());
        let Budget { cpu, read, .. } = share.budget;
        let said = |limit: Option<String>| limit.unwrap_or_else(|| "none".to_owned());
        tracing::info!(
            threads = share.threads,
            "takes at most: cores {}, bytes a second {}",
            said(cpu.map(|cores| format!("{cores:.3}"))),
            said(read.map(|bytes| bytes.to_string()))
        );
        share
    }

    /// Of a command that somebody waits for.
    pub(crate) fn of_command(&self) -> Share {
        let cpu = self.cpu_limit.and_then(Limit::get).map(|Cores(cores)| cores);
        let read = self.read_limit.and_then(Limit::get).map(|Rate(bytes)| bytes);
        let threads = self.threads(cgroup::quota(), cores());
        let is_background = self.background.unwrap_or(false);
        Share { budget: Budget { cpu, read, is_background, ..Budget::default() }, threads }
    }

    fn service_under(&self, quota: Option<f64>, cores: usize) -> Share {
        let asked = self.cpu_limit.unwrap_or(Limit::Of(CPU)).get().map(|Cores(cores)| cores);
        let process = quota.map(below);
        let cpu = asked.into_iter().chain(process).min_by(f64::total_cmp);
        let read = self.read_limit.unwrap_or(Limit::Of(READ)).get().map(|Rate(bytes)| bytes);
        let is_background = self.background.unwrap_or(true);
        Share { budget: Budget { cpu, process, read, is_background }, threads: self.threads(quota, cores) }
    }

    fn threads(&self, quota: Option<f64>, cores: usize) -> usize {
        let under_quota = quota.map_or(WALKERS, |quota| quota.ceil() as usize);
        self.threads.unwrap_or_else(|| WALKERS.min(cores).min(under_quota).max(1))
    }
}

fn below(quota: f64) -> f64 {
    (quota * OF_QUOTA).round().max(1.0) / 1000.0
}

/// Those that this process may use.
fn cores() -> usize {
    rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count() as usize)
}

fn limit<T: FromStr<Err = &'static str>>(text: &str) -> Result<Limit<T>, &'static str> {
    if text == "none" { Ok(Limit::None) } else { text.parse().map(Limit::Of) }
}

impl FromStr for Cores {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = "write cores as Kubernetes does, at least 10m, for example 500m or 0.5, or none";
        let (number, per) = text.strip_suffix('m').map_or((text, 1.0), |milli| (milli, 1000.0));
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let cores = number.parse::<f64>().ok().filter(|_| is_plain).map(|number| number / per);
        cores.filter(|cores| (0.01..=1e6).contains(cores)).map(Self).ok_or(refused)
    }
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = "write the bytes of a second as a size of at least 1Mi, for example 50Mi, or none";
        Size::Text(text.to_owned()).bytes().filter(|bytes| *bytes >= 1 << 20).map(Self).ok_or(refused)
    }
}

fn threads(text: &str) -> Result<usize, &'static str> {
    let refused = "write a number of threads from 1 to 64";
    text.parse().ok().filter(|threads| (1..=MAX_THREADS).contains(threads)).ok_or(refused)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const UNSAID: Limits = Limits { cpu_limit: None, read_limit: None, threads: None, background: None };

    #[test]
    fn cores_are_written_as_kubernetes_does() {
        for (text, cores) in [("0.5", 0.5), ("500m", 0.5), ("2", 2.0), ("10m", 0.01), ("1.5", 1.5), (".5", 0.5)] {
            assert_eq!(limit(text), Ok(Limit::Of(Cores(cores))), "{text}");
        }
        assert_eq!(limit::<Cores>("none"), Ok(Limit::None));
        for refused in ["", "0", "9m", "0.001", "-1", "1e3", "inf", "nan", "500M", "m", ".", "1 ", "None", "1_0"] {
            limit::<Cores>(refused).unwrap_err();
        }
    }

    #[test]
    fn a_rate_is_a_size_and_no_number_of_threads_is_none() {
        assert_eq!(limit("50Mi"), Ok(Limit::Of(Rate(50 << 20))));
        assert_eq!(limit::<Rate>("none"), Ok(Limit::None));
        for refused in ["", "0", "1023Ki", "1MB", "fast", "50Mi/s"] {
            limit::<Rate>(refused).unwrap_err();
        }
        assert_eq!((threads("1"), threads("64")), (Ok(1), Ok(64)));
        for refused in ["", "0", "65", "-1", "two"] {
            threads(refused).unwrap_err();
        }
    }

    #[test]
    fn a_service_stays_below_the_quota_of_its_container_and_a_command_takes_what_there_is() {
        let cpu = |limits: Limits, quota| limits.service_under(quota, 8).budget.cpu;
        assert_eq!(cpu(UNSAID, None), Some(0.5));
        assert_eq!(cpu(UNSAID, Some(4.0)), Some(0.5));
        assert_eq!(cpu(UNSAID, Some(0.1)), Some(0.09));
        let without = Limits { cpu_limit: Some(Limit::None), ..UNSAID };
        assert_eq!((cpu(without, None), cpu(without, Some(2.0))), (None, Some(1.8)));
        let process = |quota| UNSAID.service_under(quota, 8).budget.process;
        assert_eq!((process(None), process(Some(0.1)), process(Some(4.0))), (None, Some(0.09), Some(3.6)));
        assert_eq!(UNSAID.of_command().budget, Budget::default());
    }

    #[test]
    fn a_small_quota_has_few_threads() {
        let threads = |quota, cores| UNSAID.service_under(quota, cores).threads;
        assert_eq!((threads(None, 8), threads(None, 1), threads(None, 0)), (2, 1, 1));
        assert_eq!(
            (threads(Some(0.1), 8), threads(Some(1.0), 8), threads(Some(1.5), 8), threads(Some(6.0), 8)),
            (1, 1, 2, 2)
        );
        assert_eq!(Limits { threads: Some(5), ..UNSAID }.service_under(Some(0.1), 1).threads, 5);
    }
}
