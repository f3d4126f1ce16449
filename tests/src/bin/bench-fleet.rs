//! `cargo bench-fleet`: many agents on one real control plane, and what they cost it. Prints Markdown; docs/performance.md holds
//! the last output and says what it means.
use std::{process::ExitCode, time::Duration};

use tracing_subscriber::EnvFilter;
use vedette_crds::duration;
use vedette_tests::load::{self, Plan, Step};

const USAGE: &str = "cargo bench-fleet [--agents 500] [--interval 10s] [--quiet 2m] [--storm 1m] [--rounds 4] [--steps quiet,change,…]

--agents    so many nodes, each with an agent
--interval  how often each agent compares, 10s to 24h
--quiet     how long nothing happens: agents refresh their statuses every 15 minutes, so 17m sees all of them
--storm     for so long every node has a change each second
--rounds    how often the labels of all nodes change
--steps     what happens once all agents are there: quiet, change, storm, edit, restart, relabel; without it, all of them in this order";

fn main() -> ExitCode {
    let Some(plan) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // What the client says of a server that starts is no news.
    let filter = EnvFilter::new("warn,kube_client=off,kube_runtime=off");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the runtime: {error}");
            return ExitCode::from(2);
        }
    };
    match runtime.block_on(load::run(&plan)) {
        Ok(report) => {
            load::print(&report);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Plan> {
    let mut plan = Plan {
        agents: 500,
        interval: Duration::from_secs(10),
        quiet: Duration::from_secs(120),
        storm: Duration::from_secs(60),
        rounds: 4,
        steps: Step::ALL.to_vec(),
    };
    while let Some(flag) = arguments.next() {
        let value = arguments.next()?;
        let time = || duration::parse(&value).ok();
        let number = || value.parse().ok();
        match flag.as_str() {
            "--agents" => plan.agents = number().filter(|agents| *agents > 0)?,
            "--interval" => plan.interval = time()?,
            "--quiet" => plan.quiet = time()?,
            "--storm" => plan.storm = time().filter(|storm| storm.as_secs() > 0)?,
            "--rounds" => plan.rounds = number()?,
            "--steps" => plan.steps = value.split(',').map(step).collect::<Option<_>>()?,
            _ => return None,
        }
    }
    Some(plan)
}

fn step(name: &str) -> Option<Step> {
    Step::ALL.into_iter().find(|step| step.name() == name)
}
