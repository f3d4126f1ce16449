//! What is printed: the machine, and the medians of what was measured.

use std::fs;
use std::path::Path;
use std::process::Command;

use vedette_tests::Result;

use crate::measured::{Measured, doing};
use crate::{Hashes, Runs};

/// The machine, the programs and the tree.
pub(crate) fn machine(tree: &Path, agent: &Path) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").map_err(doing("read /proc/cpuinfo"))?;
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, name)| name);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").map_err(doing("read the kernel's release"))?;
    let file_system = first_line(Command::new("stat").args(["--file-system", "--format", "%T"]).arg(tree));
    println!("{cores} cores ({model}), Linux {}, {} on {file_system};", kernel.trim(), tree.display());
    println!(
        "{}; {}.",
        first_line(Command::new(agent).arg("--version")),
        first_line(Command::new("aide").arg("--version"))
    );
    load("at the beginning")
}

/// The load average: nobody promises a quiet machine.
pub(crate) fn load(when: &str) -> Result<()> {
    let load = fs::read_to_string("/proc/loadavg").map_err(doing("read the load"))?;
    println!("\nLoad {when} (1, 5, 15 minutes): {}.", load.split(' ').take(3).collect::<Vec<_>>().join(", "));
    Ok(())
}

fn first_line(command: &mut Command) -> String {
    let output = command.output().map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown").to_owned()
}

/// One table: medians, and of the ratios the spread.
pub(crate) fn rows(hashes: Hashes, pairs: &[(Runs, Runs)]) {
    println!("\n{}, {} pairs:\n", hashes.aide(), pairs.len());
    println!("| run | vedette wall s / cpu s / MiB | aide wall s / cpu s / MiB | aide : vedette, wall | cpu |");
    println!("|---|---|---|---|---|");
    row("first baseline", pairs, |runs| runs.baseline);
    row("unchanged re-scan", pairs, |runs| runs.again);
}

fn row(name: &str, pairs: &[(Runs, Runs)], of: fn(&Runs) -> Measured) {
    let pairs: Vec<(Measured, Measured)> = pairs.iter().map(|(vedette, aide)| (of(vedette), of(aide))).collect();
    let side = |side: fn(&(Measured, Measured)) -> Measured| {
        let median = |value: fn(Measured) -> f64| median(pairs.iter().map(|pair| value(side(pair))).collect());
        let (wall, cpu, mib) = (median(|run| run.wall), median(|run| run.cpu), median(|run| run.mib));
        format!("{wall:.2} / {cpu:.2} / {mib:.0}")
    };
    let ratio = |value: fn(Measured) -> f64| {
        let mut ratios: Vec<f64> = pairs.iter().map(|(vedette, aide)| value(*aide) / value(*vedette)).collect();
        ratios.sort_by(f64::total_cmp);
        let (least, most) = (ratios.first().copied().unwrap_or(f64::NAN), ratios.last().copied().unwrap_or(f64::NAN));
        format!("**{:.1}** ({least:.1} to {most:.1})", median(ratios))
    };
    let (vedette, aide) = (side(|pair| pair.0), side(|pair| pair.1));
    println!("| {name} | {vedette} | {aide} | {} | {} |", ratio(|run| run.wall), ratio(|run| run.cpu));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}
