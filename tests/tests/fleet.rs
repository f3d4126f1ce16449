//! A fleet of real agents under a storm of changes: what reaches the API server stays bounded, and nothing is lost for that.
#![allow(clippy::unwrap_used)]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};
use vedette_crds::rule::DataCollectionRule;
use vedette_tests::{Agent, Cluster, Metrics, Result, eventually, not_yet};

const NODES: usize = 200;
const CHANGES: usize = 1_000;
/// The changes of a node are spread over a minute, some each second.
const SECONDS: usize = 60;
/// What a whole cluster may write, in writes a second.
const LIMIT: f64 = 20.0;

/// Generous: 200 processes start and look at 200,000 files on a machine that may have two cores.
const SOON: Duration = Duration::from_secs(600);
const STARTED_AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_nodes_with_a_thousand_changes_each_in_a_minute_stay_under_twenty_writes_a_second() {
    let cluster = Cluster::start().await.unwrap();
    let hosts: Vec<PathBuf> = (0..NODES).map(|node| host(&cluster, node)).collect();
    let operator = cluster.start_operator().await.unwrap();
    let agents: Vec<Agent> = stream::iter(hosts.iter().enumerate())
        .map(|(node, host)| start(&cluster, node, host))
        .buffer_unordered(STARTED_AT_ONCE)
        .try_collect()
        .await
        .unwrap();
    let rules: Api<DataCollectionRule> = Api::all(cluster.client());
    apply_rule(&rules).await;
    eventually("every node is ready", SOON, async || {
        let status = rules.get("fleet").await?.status.unwrap_or_default();
        let nodes = status.nodes.unwrap_or_default();
        if nodes.ready as usize == NODES { Ok(()) } else { Err(not_yet(format!("{nodes:?}"))) }
    })
    .await
    .unwrap();

    // The first change of a node goes out at once: they are not what the limit is about.
    change(&hosts, 0..1);
    eventually("the first change of every node has been written", SOON, async || {
        let modified = modified(&rules).await?;
        if modified == NODES as u64 { Ok(()) } else { Err(not_yet(modified)) }
    })
    .await
    .unwrap();
    let (before, begun) = (writes(&cluster).await.unwrap(), Instant::now());
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let wave = CHANGES.div_ceil(SECONDS);
    for first in (1..CHANGES).step_by(wave) {
        seconds.tick().await;
        let hosts = hosts.clone();
        let files = first..(first + wave).min(CHANGES);
        tokio::task::spawn_blocking(move || change(&hosts, files)).await.unwrap();
    }
    let (written, took) = (writes(&cluster).await.unwrap() - before, begun.elapsed().as_secs_f64());
    eprintln!("{written} writes in {took:.1} s: {:.1} a second", written / took);
    assert!(written / took < LIMIT, "{written} writes in {took:.1} s");
    assert!(written > NODES as f64, "{written} writes: what is counted are not the writes");
    let all = (NODES * CHANGES) as u64;
    eventually("the rule's status counts every change once", SOON, async || {
        let modified = modified(&rules).await?;
        if modified == all { Ok(()) } else { Err(not_yet(modified)) }
    })
    .await
    .unwrap();
    for agent in &agents {
        let metrics = agent.metrics().await.unwrap();
        let modified = metrics.sum("vedette_agent_records_total", &[("change_type", "Modified")]);
        assert_eq!(modified, CHANGES as f64, "{}", agent.node());
    }
    let metrics = operator.metrics().await.unwrap();
    for reason in ["Forbidden", "Invalid", "Contested"] {
        assert_eq!(metrics.sum("vedette_operator_reconcile_errors_total", &[("reason", reason)]), 0.0, "{metrics}");
    }
}

/// A host with as many files as there are to be changes.
fn host(cluster: &Cluster, node: usize) -> PathBuf {
    let root = cluster.control_plane().folder(format!("hosts/{node}")).unwrap();
    fs::create_dir(root.join("etc")).unwrap();
    for file in 0..CHANGES {
        fs::write(path(&root, file), "").unwrap();
    }
    root
}

fn path(root: &Path, file: usize) -> PathBuf {
    root.join("etc").join(file.to_string())
}

fn change(hosts: &[PathBuf], files: std::ops::Range<usize>) {
    for file in files {
        for host in hosts {
            fs::set_permissions(path(host, file), Permissions::from_mode(0o600)).unwrap();
        }
    }
}

async fn start(cluster: &Cluster, node: usize, host: &Path) -> Result<Agent> {
    let name = format!("fleet{node}");
    cluster.add_node(&name, &[]).await?;
    cluster.start_agent(&name, host).await
}

async fn apply_rule(rules: &Api<DataCollectionRule>) {
    let rule = json!({
        "apiVersion": "vedette.dev/v1alpha1", "kind": "DataCollectionRule", "metadata": { "name": "fleet" },
        "spec": { "files": { "interval": "10s", "paths": [{ "name": "etc", "path": "/etc" }] } },
    });
    rules.patch("fleet", &PatchParams::apply("kubectl"), &Patch::Apply(rule)).await.unwrap();
}

async fn modified(rules: &Api<DataCollectionRule>) -> kube::Result<u64> {
    let status = rules.get("fleet").await?.status.unwrap_or_default();
    Ok(status.changes.unwrap_or_default().modified)
}

/// What was written to our kinds and as Events, by the server's own count.
async fn writes(cluster: &Cluster) -> Result<f64> {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let text = cluster.client().request_text(request).await.unwrap();
    // Some of its own histograms are not what a strict reader takes.
    let requests: Vec<&str> = text.lines().filter(|line| line.starts_with("apiserver_request_total{")).collect();
    let metrics = Metrics::parse(&requests.join("\n"))?;
    let counted = ["vedette.dev", "events.k8s.io"].map(|group| {
        let verbs = ["APPLY", "PATCH", "PUT", "POST", "DELETE"];
        verbs
            .map(|verb| metrics.sum("apiserver_request_total", &[("group", group), ("verb", verb)]))
            .iter()
            .sum::<f64>()
    });
    Ok(counted.iter().sum())
}
