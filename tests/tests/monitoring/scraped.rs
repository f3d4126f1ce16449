//! A real Prometheus scrapes real operators and agents, evaluates the shipped rules, and is asked what the dashboard asks.

use crate::{
    PROMTOOL,
    dashboard::{self, Query},
    rules, tree,
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};
use tempfile::TempDir;
use vedette_crds::rule::DataCollectionRule;
use vedette_tests::{Agent, Cluster, Operator, ScratchHost, eventually, not_yet, prometheus::Prometheus};

/// Generous: conditions are told after a minute, and the machine is shared.
const SOON: Duration = Duration::from_secs(240);
const NODES: [&str; 2] = ["node-1", "node-2"];

struct Scene {
    cluster: Cluster,
    /// The first leads.
    operators: Vec<Operator>,
    agents: Vec<Agent>,
    hosts: Vec<ScratchHost>,
    /// Where Prometheus finds whom to scrape: it reads the file again when it changes.
    folder: TempDir,
}

impl Scene {
    /// Two operators, a node with an agent for each of [`NODES`], one without, and one that no rule selects.
    async fn new() -> Self {
        let cluster = Cluster::start().await.unwrap();
        let mut operators = vec![cluster.start_operator().await.unwrap()];
        operators.push(cluster.start_replica("vedette-operator-2").await.unwrap());
        let (mut agents, mut hosts) = (Vec::new(), Vec::new());
        for node in NODES {
            cluster.add_node(node, &[("role", "web")]).await.unwrap();
            let root = cluster.control_plane().folder(format!("hosts/{node}")).unwrap();
            let host = ScratchHost::empty(root);
            host.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\n").unwrap();
            agents.push(cluster.start_agent(node, host.root()).await.unwrap());
            hosts.push(host);
        }
        cluster.add_node("node-bare", &[("role", "web")]).await.unwrap();
        cluster.add_node("node-free", &[]).await.unwrap();
        let scene = Self { cluster, operators, agents, hosts, folder: tempfile::tempdir().unwrap() };
        scene.tell_targets();
        scene
    }

    fn targets(&self) -> PathBuf {
        self.folder.path().join("targets.json")
    }

    /// As the chart's PodMonitor would find them.
    fn tell_targets(&self) {
        let of_operator = |(number, operator): (usize, &Operator)| {
            json!({
                "targets": [operator.address().unwrap().to_string()],
                "labels": {"job": "vedette-operator", "node": NODES[number], "pod": format!("operator-{number}")},
            })
        };
        let of_agent = |agent: &Agent| {
            let pod = format!("agent-{}", agent.pid().unwrap());
            json!({
                "targets": [agent.address().unwrap().to_string()],
                "labels": {"job": "vedette-agent", "node": agent.node(), "pod": pod},
            })
        };
        let operators = self.operators.iter().enumerate().map(of_operator);
        let all: Vec<_> = operators.chain(self.agents.iter().map(of_agent)).collect();
        let unfinished = self.folder.path().join("unfinished");
        fs::write(&unfinished, json!(all).to_string()).unwrap();
        fs::rename(unfinished, self.targets()).unwrap();
    }

    async fn prometheus(&self) -> Prometheus {
        let configuration = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules::path()],
            "scrape_configs": [{"job_name": "vedette", "file_sd_configs": [{"files": [self.targets()]}]}],
        });
        Prometheus::start(&configuration.to_string()).await.unwrap()
    }

    async fn apply(&self, name: &str, path: &str) {
        self.apply_as(name, path, false).await;
    }

    async fn apply_as(&self, name: &str, path: &str, suspend: bool) {
        let rule = json!({
            "apiVersion": "vedette.dev/v1alpha1",
            "kind": "DataCollectionRule",
            "metadata": {"name": name},
            "spec": {
                "suspend": suspend,
                "nodeSelector": {"matchLabels": {"role": "web"}},
                "files": {"interval": "10s", "paths": [{"name": "paths", "path": path, "severity": "Critical"}]},
            },
        });
        let rules =
            Api::<DynamicObject>::all_with(self.cluster.client(), &ApiResource::erase::<DataCollectionRule>(&()));
        rules.patch(name, &PatchParams::apply("kubectl"), &Patch::Apply(&rule)).await.unwrap();
    }
}

/// The series of a query, once there are some that are numbers.
async fn series(prometheus: &Prometheus, query: &str) -> Vec<Value> {
    eventually(query, SOON, async || {
        let series = prometheus.query(query)?.unwrap_or_else(|said| panic!("{query}: {said}"));
        if series.iter().any(is_a_number) { Ok(series) } else { Err(not_yet(json!(series))) }
    })
    .await
    .unwrap()
}

fn is_a_number(series: &Value) -> bool {
    series["value"][1].as_str().is_some_and(|value| value != "NaN")
}

/// A change that is told, by the node that it was on.
async fn told(prometheus: &Prometheus, node: &str) {
    let query = format!(r#"ALERTS{{alertname="VedetteCriticalChange", alertstate="firing", node="{node}"}}"#);
    let alerts = series(prometheus, &query).await;
    let labels = &alerts[0]["metric"];
    assert_eq!(
        (&labels["rule"], &labels["change_severity"], &labels["severity"]),
        (&json!("accounts"), &json!("Critical"), &json!("critical"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_dashboard_have_data_and_a_change_is_told_also_when_it_was_made_while_the_agent_was_away() {
    let mut scene = Scene::new().await;
    let prometheus = scene.prometheus().await;
    scene.apply("accounts", "/etc/passwd").await;
    // The schema takes it, and it cannot be meant.
    scene.apply("refused", "/etc/{a[}]b").await;
    for node in NODES {
        let baseline = format!(r#"vedette_agent_scan_last_completed_timestamp_seconds{{node="{node}"}} > 0"#);
        series(&prometheus, &baseline).await;
        series(&prometheus, &format!(r#"node:vedette_agent_changes_total:max{{node="{node}", rule="accounts"}} == 0"#))
            .await;
    }

    scene.hosts[0].append("/etc/passwd", "toor:x:0:0::/root:/bin/sh\n").unwrap();
    told(&prometheus, NODES[0]).await;
    scene.agents[1].kill().unwrap();
    scene.hosts[1].append("/etc/passwd", "toor:x:0:0::/root:/bin/sh\n").unwrap();
    scene.agents[1].start().await.unwrap();
    // Its series begin with the change in them.
    eventually("it counts what it found", SOON, async || {
        let counted = scene.agents[1].metrics().await?.sum("vedette_agent_changes_total", &[("rule", "accounts")]);
        if counted > 0.0 { Ok(()) } else { Err(not_yet(counted)) }
    })
    .await
    .unwrap();
    scene.tell_targets();
    told(&prometheus, NODES[1]).await;

    series(
        &prometheus,
        r#"vedette_operator_nodes{state="Unavailable"} == 1 and ignoring (state) vedette_operator_leader == 1"#,
    )
    .await;
    for alert in ["VedetteAgentUnavailable", "VedetteRuleNotAccepted"] {
        series(&prometheus, &format!(r#"ALERTS{{alertname="{alert}", alertstate="pending"}}"#)).await;
    }
    for alert in rules::alerts() {
        for selector in rules::selectors(&alert.query) {
            series(&prometheus, &selector).await;
        }
    }
    rules_are_healthy(&prometheus).await;
    for Query { place, query } in dashboard::queries() {
        let query =
            [("$__rate_interval", "1m"), ("$__interval", "1m"), ("$__range", "10m"), ("$node", ".*"), ("$rule", ".*")]
                .into_iter()
                .fold(query, |query, (variable, value)| query.replace(variable, value));
        assert!(!query.contains('$'), "{place}: {query}");
        series(&prometheus, &query).await;
    }
    nothing_else_is_wrong(&prometheus).await;

    // Where nothing is to be compared, no compare can be overdue.
    series(&prometheus, "count(vedette_agent_scan_interval_seconds == 10) == 2").await;
    scene.apply_as("accounts", "/etc/passwd", true).await;
    series(&prometheus, "count(vedette_agent_scan_interval_seconds == Inf) == 2").await;
}

/// Nor about to be told: most alerts ask for something to hold for longer than a test. What was wrong while an agent was away ends.
async fn nothing_else_is_wrong(prometheus: &Prometheus) {
    let is_expected = [
        ("VedetteCriticalChange", "firing"),
        ("VedetteAgentUnavailable", "pending"),
        ("VedetteRuleNotAccepted", "pending"),
    ];
    eventually("nothing else is wrong", SOON, async || {
        let alerts = prometheus.query("ALERTS")?.unwrap_or_else(|said| panic!("{said}"));
        let member = |alert: &Value, name: &str| alert["metric"][name].as_str().unwrap().to_owned();
        let told = |alert: &Value| (member(alert, "alertname"), member(alert, "alertstate"));
        let is_other =
            |alert: &Value| !is_expected.iter().any(|(name, state)| told(alert) == ((*name).into(), (*state).into()));
        let others: Vec<_> = alerts.into_iter().filter(is_other).collect();
        if others.is_empty() { Ok(()) } else { Err(not_yet(json!(others))) }
    })
    .await
    .unwrap();
}

/// Each was evaluated, and none ended with an error.
async fn rules_are_healthy(prometheus: &Prometheus) {
    eventually("every rule was evaluated", SOON, async || {
        let answer = prometheus.get("/api/v1/rules").await?;
        let groups = answer["data"]["groups"].as_array().unwrap().clone();
        let evaluated: Vec<_> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
        let well = evaluated.iter().filter(|rule| rule["health"] == "ok").count();
        if well == rules::all().len() { Ok(()) } else { Err(not_yet(json!(evaluated))) }
    })
    .await
    .unwrap();
}

/// What promtool knows of names, units and help, and what docs/metrics.md says, on what the programs really answer.
#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_of_both_programs_are_those_of_the_page_and_promtool_finds_nothing_to_say_about_them() {
    let scene = Scene::new().await;
    scene.apply("accounts", "/etc/passwd").await;
    eventually("the agent tracks something", SOON, async || {
        let tracked = scene.agents[0].metrics().await?.sum("vedette_agent_tracked_items", &[]);
        if tracked > 0.0 { Ok(()) } else { Err(not_yet(tracked)) }
    })
    .await
    .unwrap();
    let agent = scene.agents[0].get("/metrics").await.unwrap().body;
    let operator = scene.operators[0].get("/metrics").await.unwrap().body;
    for (part, prefix, served) in
        [("## Agent", "vedette_agent_", agent), ("## Operator", "vedette_operator_", operator)]
    {
        assert_eq!(PROMTOOL.run(["check", "metrics"], &served).unwrap(), Ok(String::new()));
        let types = served.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names: BTreeSet<_> = types.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        let listed: BTreeSet<_> = listed(part).into_iter().map(|name| format!("{prefix}{name}")).collect();
        assert_eq!(names, listed, "{part}");
    }
}

/// The names in the first column of a part's table in docs/metrics.md.
fn listed(part: &str) -> Vec<String> {
    let page = fs::read_to_string(tree("docs/metrics.md")).unwrap();
    let (_, rest) = page.split_once(part).unwrap();
    let table = rest.lines().skip(1).take_while(|line| !line.starts_with("## "));
    let cells = table.filter_map(|line| line.strip_prefix("| `")?.split_once(" |"));
    let names = cells.flat_map(|(names, _)| names.split(", ").map(|name| name.trim_matches('`').to_owned()));
    names.collect()
}
