//! What is printed: a line a phase, how long things took, and what docs/performance.md asks of it.
use std::collections::BTreeMap;

use super::{Phase, Quantiles, Report, Step};

const MIB: f64 = 1_048_576.0;
/// What all agents together may write in a second.
const AGENTS: f64 = 20.0;
/// What the operator may write in a second.
const OPERATOR: f64 = 50.0;
/// A rule's status is written no more often, in seconds.
const RULE: f64 = 10.0;

/// Prints a report as Markdown.
#[allow(clippy::print_stdout, reason = "printing is what it is for")]
pub fn print(report: &Report) {
    let Report { plan, phases, latencies, .. } = report;
    println!(
        "Agents: {}; minInterval {} s; a compare each {} s.\n",
        plan.agents,
        report.min_interval.as_secs(),
        plan.interval.as_secs()
    );
    println!(
        "| phase | s | agents' writes: all; a second; in the busiest 10 s | operator's writes: all; in the busiest 10 s, a second | of them specs / statuses / rules; Events | operator: CPU s; MiB; most | API server: CPU s; MiB | etcd: CPU s; MiB | agents: CPU s; MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    phases.iter().for_each(|phase| println!("{}", line(phase)));
    println!("\n| from → to | half within | 99 of 100 within | all within |\n|---|---|---|---|");
    for (what, Quantiles { median, p99, most }) in latencies {
        println!("| {what} | {median:.1} s | {p99:.1} s | {most:.1} s |");
    }
    println!("\n| what | measured | target | reached |\n|---|---|---|---|");
    targets(report).iter().for_each(|target| println!("{target}"));
    let mut refused: BTreeMap<(&str, &str, u64), usize> = BTreeMap::new();
    for write in &report.refused {
        *refused.entry((&write.user, &write.resource, write.code)).or_default() += 1;
    }
    for ((user, resource, code), count) in refused {
        println!("\n- refused: {count} times {resource} by {user}, with {code}");
    }
}

fn line(phase: &Phase) -> String {
    let Phase { name, seconds, agents, operator, events, .. } = phase;
    let of = |resource: &str| phase.by_resource.get(resource).copied().unwrap_or_default();
    let (specs, statuses) = (of("nodeconfigs"), of("nodeconfigs/status"));
    let rules = of("datacollectionrules/status");
    let usage = |usage: super::Usage| format!("{:.1}; {:.0}", usage.cpu, usage.memory / MIB);
    format!(
        "| {name} | {seconds:.0} | {}; {:.1}; {:.1} | {}; {:.1} | {specs} / {statuses} / {rules}; {events} | {}; {:.0} | {} | {} | {} |",
        agents.count,
        agents.count as f64 / seconds,
        agents.ten_seconds,
        operator.count,
        operator.ten_seconds,
        usage(phase.operator_usage),
        phase.operator_usage.peak / MIB,
        usage(phase.apiserver),
        usage(phase.etcd),
        usage(phase.agents_usage),
    )
}

fn targets(report: &Report) -> Vec<String> {
    let storm = report.phases.iter().find(|phase| phase.name == Step::Storm.name());
    let storm = storm.map_or(f64::NAN, |phase| phase.agents.count as f64 / phase.seconds);
    let busiest = report.phases.iter().map(|phase| phase.operator.ten_seconds).fold(0.0, f64::max);
    let row = |what: &str, measured: String, target: String, is_reached: bool| {
        format!("| {what} | {measured} | {target} | {} |", if is_reached { "yes" } else { "**no**" })
    };
    let (closest, min) = (report.closest.as_secs_f64(), report.min_interval.as_secs_f64());
    let of_rule = report.closest_of_rule.as_secs_f64();
    vec![
        row(
            "statuses of the whole fleet in the storm, a second",
            format!("{storm:.1}"),
            format!("≤ {AGENTS}"),
            storm <= AGENTS,
        ),
        row("two statuses of one agent, apart", format!("{closest:.1} s"), format!("≥ {min} s"), closest >= min),
        row(
            "the operator's writes in its busiest 10 s, a second",
            format!("{busiest:.1}"),
            format!("≤ {OPERATOR}"),
            busiest <= OPERATOR,
        ),
        row("two statuses of one rule, apart", format!("{of_rule:.1} s"), format!("≥ {RULE} s"), of_rule >= RULE),
        row(
            "a NodeConfig as it is stored, one rule",
            format!("{:.0} bytes", report.object_bytes),
            "≤ 10,000".into(),
            report.object_bytes <= 10_000.0,
        ),
        row(
            "writes that the API server has refused",
            report.refused.len().to_string(),
            "0".into(),
            report.refused.is_empty(),
        ),
        format!(
            "| what the operator's process grew by, a node (what it keeps of one is held to 1 kB by a test) | {:.0} bytes | | |",
            report.operator_bytes
        ),
        format!(
            "| etcd's database at the end, a node, with Nodes, pods and the history of some minutes | {:.0} bytes | | |",
            report.database_bytes
        ),
    ]
}
