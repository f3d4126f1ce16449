//! What is printed: the machine, and a line a comparison with the median of its ratios.

use std::fs;
use std::path::Path;
use std::process::Command;

use vedette_tests::Result;

use crate::measured::{Measured, doing};

/// What is asked of a ratio.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// The peer needs so many times what we need, or more.
    Times(f64),
    /// We need so many times what the peer needs, or less.
    Within(f64),
    /// Nothing: the peer needs so many times what we need.
    Open,
    /// Nothing: we need so many times what the peer needs.
    OpenWithin,
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) job: String,
    pub(crate) ours: String,
    pub(crate) peer: String,
    pub(crate) ratio: String,
    pub(crate) target: String,
    pub(crate) reached: Option<bool>,
}

impl Line {
    /// Seconds on the clock.
    pub(crate) fn wall(job: &str, peer: &str, pairs: &[(Measured, Measured)], target: Target) -> Self {
        Self::of(&format!("{job}, wall"), peer, pairs, |run| run.wall, target)
    }

    /// Seconds of processors.
    pub(crate) fn cpu(job: &str, peer: &str, pairs: &[(Measured, Measured)], target: Target) -> Self {
        Self::of(&format!("{job}, CPU"), peer, pairs, |run| run.cpu, target)
    }

    fn of(job: &str, peer: &str, pairs: &[(Measured, Measured)], value: fn(Measured) -> f64, target: Target) -> Self {
        let ours = pairs.iter().map(|pair| pair.0);
        let theirs = pairs.iter().map(|pair| pair.1);
        let ratios = pairs.iter().map(|(ours, theirs)| match target {
            Target::Within(_) | Target::OpenWithin => value(*ours) / value(*theirs),
            Target::Times(_) | Target::Open => value(*theirs) / value(*ours),
        });
        let ratios = Spread::of(ratios);
        let (told, reached) = match target {
            Target::Times(least) => (format!("≥ {least}x"), Some(ratios.median >= least)),
            Target::Within(most) => (format!("≤ {most} of it"), Some(ratios.median <= most)),
            Target::Open | Target::OpenWithin => (String::new(), None),
        };
        let unit = match target {
            Target::Times(_) | Target::Open => "x",
            Target::Within(_) | Target::OpenWithin => " of it",
        };
        Self {
            job: job.to_owned(),
            ours: medians(ours),
            peer: format!("{peer}: {}", medians(theirs)),
            ratio: format!("{}{unit}", ratios.told(2)),
            target: told,
            reached,
        }
    }

    /// A value of ours that has a bound of its own.
    pub(crate) fn value(job: &str, unit: &str, values: &[f64], most: f64, peer: String) -> Self {
        let values = Spread::of(values.iter().copied());
        Self {
            job: job.to_owned(),
            ours: format!("{} {unit}", values.told(1)),
            peer,
            ratio: String::new(),
            target: format!("≤ {most} {unit}"),
            reached: Some(values.median <= most),
        }
    }

    pub(crate) fn print(&self) {
        let reached = match self.reached {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let Self { job, ours, peer, ratio, target, .. } = self;
        println!("| {job} | {ours} | {peer} | {ratio} | {target} | {reached} |");
    }
}

/// Median, lowest and highest.
pub(crate) struct Spread {
    pub(crate) median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let end = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        let (least, most, middle) = (end(values.first()), end(values.last()), values.len() / 2);
        let median = match values.len() {
            0 => f64::NAN,
            even if even % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Self { median, least, most }
    }

    pub(crate) fn told(&self, digits: usize) -> String {
        let Self { median, least, most } = self;
        format!("**{median:.digits$}** ({least:.digits$} to {most:.digits$})")
    }
}

fn medians(runs: impl Iterator<Item = Measured>) -> String {
    let runs: Vec<Measured> = runs.collect();
    let median = |value: fn(&Measured) -> f64| Spread::of(runs.iter().map(value)).median;
    format!("{:.2} / {:.2} / {:.0}", median(|run| run.wall), median(|run| run.cpu), median(|run| run.mib))
}

/// The machine and the programs.
pub(crate) fn machine(folder: &Path, agent: &Path) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").map_err(doing("read /proc/cpuinfo"))?;
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, name)| name);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").map_err(doing("read the kernel's release"))?;
    let file_system = first_line(Command::new("stat").args(["--file-system", "--format", "%T"]).arg(folder));
    println!("{cores} cores ({model}), Linux {}, {file_system};", kernel.trim());
    println!(
        "{}; {}.",
        first_line(Command::new(agent).arg("--version")),
        first_line(Command::new("aide").arg("--version"))
    );
    Ok(())
}

/// The load average: nobody promises a quiet machine.
pub(crate) fn load(when: &str) -> Result<()> {
    let load = fs::read_to_string("/proc/loadavg").map_err(doing("read the load"))?;
    println!("\nLoad {when} (1, 5, 15 minutes): {}.", load.split(' ').take(3).collect::<Vec<_>>().join(", "));
    Ok(())
}

/// Above the lines.
pub(crate) fn head(pairs: usize, quick: bool) {
    let quick = if quick { ", **quick corpora: targets do not hold here**" } else { "" };
    println!(
        "\nPairs a row: {pairs}{quick}. Runs are wall s / cpu s / MiB, medians; ratios are medians (lowest to highest).\n"
    );
    println!("| job | ours | peer | ratio | target | reached |\n|---|---|---|---|---|---|");
}

fn first_line(command: &mut Command) -> String {
    let output = command.output().map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown").to_owned()
}
