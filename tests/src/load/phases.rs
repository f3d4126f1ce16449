//! What happens to the fleet, one thing after the other, and how long it takes to be seen.
use std::{collections::HashMap, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use vedette_crds::{duration, node_config::NodeConfig, rule::DataCollectionRule};

use super::{
    Report, Step,
    agents::AT_ONCE,
    meter::{Phase, Quantiles, Reading, closest, is_by, requests},
    stage::Stage,
};
use crate::{
    cluster::AGENT,
    control_plane::Write,
    error::{Doing as _, Error, Result},
    wait::{eventually, not_yet},
};

/// The rule that selects every node.
const RULE: &str = "load";
/// The rule that selects some, by a label.
const SOME: &str = "load-some";
/// One node of so many has the label.
const TENTH: usize = 10;

/// Generous: the whole fleet on a machine that may have two cores, and as often as agents may write.
const SOON: Duration = Duration::from_secs(900);

/// All phases.
pub(crate) async fn all(stage: &mut Stage) -> Result<Report> {
    let mut told = Told::default();
    let begun = Timestamp::now();
    roll_out(stage, &mut told).await?;
    let after = told.phases.last().map_or(0.0, |phase| phase.operator_usage.memory);
    let grown = (after - stage.operator_empty.memory).max(0.0);
    for step in stage.plan.steps.clone() {
        let begun = Reading::take(stage).await?;
        match step {
            Step::Quiet => sleep(stage.plan.quiet).await,
            Step::Change => change(stage, &mut told).await?,
            Step::Storm => storm(stage, &mut told).await?,
            Step::Edit => edit(stage, &mut told).await?,
            Step::Restart => restart(stage, &mut told).await?,
            Step::Relabel => relabel(stage).await?,
        }
        told.phase(stage, step.name(), &begun).await?;
    }
    let mut writes = stage.cluster.control_plane().writes()?;
    // Before, the installation has tried what is denied.
    writes.retain(|write| write.received >= begun);
    let taken = || writes.iter().filter(|write| write.code < 400);
    // A conflict is an answer, and so is an object that is gone.
    let refused = writes.iter().filter(|write| write.code >= 400 && ![404, 409].contains(&write.code));
    // Another operator does not know when the last one wrote.
    let is_before = |write: &&Write| told.restarted.is_none_or(|at| write.received < at);
    let of_rules = taken().filter(|write| write.resource == "datacollectionrules/status").filter(is_before);
    let size = requests(stage).await?.sum("apiserver_storage_size_bytes", &[]);
    let nodes = stage.agents.nodes.len() as f64;
    Ok(Report {
        plan: stage.plan.clone(),
        closest: closest(taken().filter(|write| is_by(write, AGENT)), |write| write.answered),
        closest_of_rule: closest(of_rules, |write| write.received),
        min_interval: min_interval(stage)?,
        operator_bytes: grown / nodes,
        object_bytes: object_bytes(stage).await?,
        database_bytes: size / nodes,
        refused: refused.cloned().collect(),
        phases: told.phases,
        latencies: told.latencies,
    })
}

#[derive(Default)]
struct Told {
    phases: Vec<Phase>,
    latencies: Vec<(String, Quantiles)>,
    /// When the operator was ended.
    restarted: Option<Timestamp>,
}

impl Told {
    async fn phase(&mut self, stage: &mut Stage, name: &'static str, begun: &Reading) -> Result<()> {
        stage.agents.still_run()?;
        let end = Reading::take(stage).await?;
        let phase = begun.phase(name, &end, &stage.cluster.control_plane().writes()?);
        eprintln!("== {name}: {:.1} s", phase.seconds);
        self.phases.push(phase);
        Ok(())
    }

    fn latency(&mut self, what: &str, times: impl Iterator<Item = Duration>) {
        self.latencies.push((what.to_owned(), Quantiles::of(times)));
    }
}

/// A rule, then agents, as when all of it is installed.
async fn roll_out(stage: &mut Stage, told: &mut Told) -> Result<()> {
    let nodes = stage.agents.nodes.len();
    let begun = Reading::take(stage).await?;
    stage.sights.look_for(|config| !config.spec.rules.is_empty());
    let applied = Instant::now();
    apply(stage, RULE, spec(stage, json!({}))).await?;
    let written = stage.sights.all("every node has its NodeConfig", nodes, SOON).await?;
    told.latency("rule applied → NodeConfig of a node written", written.values().map(|at| *at - applied));
    told.phase(stage, "rule applied", &begun).await?;

    let begun = Reading::take(stage).await?;
    stage.sights.look_for(|config| confirms(config, RULE, 1));
    let started = Instant::now();
    stage.agents.start();
    let confirmed = stage.sights.all("every agent has made its baseline and says so", nodes, SOON).await?;
    told.latency("agents started together → status with a baseline", confirmed.values().map(|at| *at - started));
    all_ready(stage, 1).await?;
    settled(stage).await?;
    told.phase(stage, "agents come", &begun).await
}

/// One change on every node at once, after quiet.
async fn change(stage: &mut Stage, told: &mut Told) -> Result<()> {
    let arrived = changed(stage, told, "one change on every node").await?;
    rule_counts(stage).await?;
    let mut arrived: Vec<Instant> = arrived.into_values().collect();
    arrived.sort_unstable();
    let counts = stage.sights.added(RULE);
    let lags = arrived.iter().zip(1..).filter_map(|(arrived, number)| {
        let (counted, _) = counts.iter().find(|(_, added)| *added >= number)?;
        Some(counted.saturating_duration_since(*arrived))
    });
    told.latency("status of a NodeConfig → status of the rule", lags);
    settled(stage).await
}

/// A change on every node, and when each NodeConfig said so.
async fn changed(stage: &mut Stage, told: &mut Told, what: &str) -> Result<HashMap<String, Instant>> {
    let number = stage.agents.changes() as u64 + 1;
    stage.sights.look_for(move |config| added(config) >= number);
    let changed = stage.agents.change()?;
    let arrived = stage.sights.all("every status has the change", changed.len(), SOON).await?;
    let lags = changed.iter().filter_map(|(node, at)| Some(*arrived.get(node)? - *at));
    told.latency(&format!("{what} → status of its NodeConfig"), lags);
    Ok(arrived)
}

/// A change a second on every node.
async fn storm(stage: &mut Stage, told: &mut Told) -> Result<()> {
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 1..stage.plan.storm.as_secs() {
        second.tick().await;
        stage.agents.change()?;
    }
    second.tick().await;
    changed(stage, told, "the last of many changes on every node").await?;
    rule_counts(stage).await?;
    settled(stage).await
}

/// The rule says something else, so every node has to.
async fn edit(stage: &mut Stage, told: &mut Told) -> Result<()> {
    let nodes = stage.agents.nodes.len();
    let edited = Instant::now();
    stage.sights.look_for(|config| config.spec.rules.iter().any(|rule| rule.name == RULE && rule.generation == 2));
    apply(stage, RULE, spec(stage, json!({ "tags": ["edited"] }))).await?;
    let written = stage.sights.all("every NodeConfig carries the edited rule", nodes, SOON).await?;
    told.latency("rule edited → NodeConfig of a node written", written.values().map(|at| *at - edited));
    stage.sights.look_for(|config| confirms(config, RULE, 2));
    // Those that came before this line are seen with their next event, or here.
    let confirmed = eventually("every agent confirms the edited rule", SOON, async || {
        let unconfirmed = stage.agents.nodes.iter().filter(|node| {
            let config = stage.sights.config(node);
            !config.is_some_and(|config| confirms(&config, RULE, 2))
        });
        match unconfirmed.count() {
            0 => Ok(Instant::now()),
            some => Err(not_yet(format!("{some} do not"))),
        }
    });
    let confirmed = confirmed.await?;
    told.latency("rule edited → last agent confirms", std::iter::once(confirmed - edited));
    all_ready(stage, 2).await?;
    settled(stage).await
}

/// Another operator takes over and lists everything.
async fn restart(stage: &mut Stage, told: &mut Told) -> Result<()> {
    let ended = Instant::now();
    told.restarted = Some(Timestamp::now());
    stage.operator.terminate().await?;
    stage.operator.start().await?;
    stage.operator.ready_within(SOON).await?;
    told.latency("operator ended → another has listed everything", std::iter::once(ended.elapsed()));
    settled(stage).await
}

/// Labels of all nodes change that no rule names, and some nodes come to a rule and leave it.
async fn relabel(stage: &mut Stage) -> Result<()> {
    let some = json!({ "nodeSelector": { "matchLabels": { "load": "some" } } });
    apply(stage, SOME, spec(stage, some)).await?;
    let of_all = stage.agents.nodes.len();
    for round in 0..stage.plan.rounds {
        let number = round.to_string();
        let (cluster, is_in) = (&stage.cluster, (round % 2 == 0).then_some("some"));
        stream::iter(stage.agents.nodes.iter().enumerate())
            .map(async |(at, node)| {
                let named = ("load", if at % TENTH == 0 { is_in } else { None });
                cluster.label_node(node, &[("round", Some(number.as_str())), named]).await.map(drop)
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        let selected = if is_in.is_some() { of_all.div_ceil(TENTH) } else { 0 };
        let what = format!("{selected} nodes are selected after round {round}");
        let holds = |nodes: vedette_crds::rule::NodeCounts| {
            nodes.selected as usize == selected && nodes.programmed as usize == selected
        };
        stage.sights.rule(&what, SOME, SOON, |status| status.nodes.is_some_and(holds)).await?;
    }
    settled(stage).await
}

/// Waits until the operator leads and has nothing to do.
async fn settled(stage: &Stage) -> Result<()> {
    eventually("the operator has nothing to do", SOON, async || {
        let metrics = stage.operator.metrics().await?;
        let value = |name| metrics.sum(name, &[]);
        let (leads, waits) = (value("vedette_operator_leader"), value("vedette_operator_queue_length"));
        if leads > 0.0 && waits < 1.0 { Ok(()) } else { Err(not_yet(format!("leader {leads}, queue {waits}"))) }
    })
    .await
}

async fn all_ready(stage: &Stage, generation: i64) -> Result<()> {
    let nodes = stage.agents.nodes.len();
    let is_ready = |status: &vedette_crds::rule::DataCollectionRuleStatus| {
        status.observed_generation == Some(generation) && status.nodes.is_some_and(|all| all.ready as usize == nodes)
    };
    stage.sights.rule("every node is ready", RULE, SOON, is_ready).await
}

/// Waits until the rule's status has every change, each once.
async fn rule_counts(stage: &Stage) -> Result<()> {
    let all = (stage.agents.nodes.len() * stage.agents.changes()) as u64;
    let has_all = |status: &vedette_crds::rule::DataCollectionRuleStatus| {
        status.changes.is_some_and(|changes| changes.added == all && changes.modified + changes.removed == 0)
    };
    stage.sights.rule("the rule's status has every change once", RULE, SOON, has_all).await
}

fn added(config: &NodeConfig) -> u64 {
    config.status.as_ref().and_then(|status| status.changes).unwrap_or_default().added
}

fn confirms(config: &NodeConfig, name: &str, generation: i64) -> bool {
    let rules = config.status.iter().flat_map(|status| &status.rules);
    rules.into_iter().any(|rule| rule.name == name && rule.generation == generation)
}

fn spec(stage: &Stage, more: Value) -> Value {
    let mut spec = more;
    spec["files"] = json!({
        "interval": duration::format(stage.plan.interval),
        "paths": [{ "name": "etc", "path": "/etc/*", "hashes": ["Sha256"] }],
    });
    spec
}

async fn apply(stage: &Stage, name: &str, spec: Value) -> Result<()> {
    let rule = json!({
        "apiVersion": "vedette.dev/v1alpha1", "kind": "DataCollectionRule", "metadata": { "name": name }, "spec": spec,
    });
    Api::<DataCollectionRule>::all(stage.cluster.client())
        .patch(name, &PatchParams::apply("kubectl"), &Patch::Apply(rule))
        .await
        .doing(|| format!("apply the rule {name}"))
        .map(drop)
}

fn min_interval(stage: &Stage) -> Result<Duration> {
    let config = stage.agents.nodes.first().and_then(|node| stage.sights.config(node));
    let interval = config.and_then(|config| duration::parse(&config.spec.reporting.min_interval).ok());
    interval.ok_or_else(|| Error::Unexpected("the first NodeConfig has no minInterval".into()))
}

/// How long one is as the API server gives it, which is how it stores it.
async fn object_bytes(stage: &Stage) -> Result<f64> {
    let sample = &stage.agents.nodes[..stage.agents.nodes.len().min(10)];
    let mut bytes = 0;
    for node in sample {
        let path = format!("/apis/vedette.dev/v1alpha1/nodeconfigs/{node}");
        let request =
            http::Request::get(path).body(Vec::new()).map_err(|error| Error::Unexpected(error.to_string()))?;
        let text = stage.cluster.client().request_text(request).await.doing(|| format!("get NodeConfig {node}"))?;
        bytes += text.len();
    }
    Ok(bytes as f64 / sample.len() as f64)
}
