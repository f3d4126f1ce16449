//! `changes --follow`: each change once, through an API server that goes away and comes back.

use std::{collections::BTreeSet, fs, path::Path, time::Instant};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use vedette_tests::{
    Cluster, Result,
    cluster::{AGENT, empty_spec, node_config, node_configs_as},
    eventually, not_yet,
    process::Process,
};

use crate::scene::{Person, SOON, apply, counts, folder, node, rule, until};

/// What was told so far: the changes, and how many are said to be missing. A line still being written is left out.
fn told(log: &Path) -> (Vec<Value>, u64) {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n') && line.starts_with('{'));
    let (mut changes, mut missing) = (Vec::new(), 0);
    for line in lines {
        let line: Value = serde_json::from_str(line).unwrap();
        match line["kind"].as_str() {
            Some("Change") => changes.push(line),
            Some("Missing") => missing += line["changes"].as_u64().unwrap(),
            _ => panic!("{line}"),
        }
    }
    (changes, missing)
}

async fn tells(log: &Path, count: u64) -> Result<()> {
    eventually(&format!("{count} changes are told or said to be missing"), SOON, async || {
        let (changes, missing) = told(log);
        if changes.len() as u64 + missing == count { Ok(()) } else { Err(not_yet(fs::read_to_string(log)?)) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_is_told_once_also_when_the_api_server_was_away() {
    let cluster = Cluster::start().await.unwrap();
    let _operator = cluster.start_operator().await.unwrap();
    let person = Person::new(cluster.control_plane().admin(), folder(&cluster, "admin")).await;
    let (host, _agent) = node(&cluster, "n1").await;
    apply(&cluster, rule("web", json!([{"name": "etc", "path": "/etc"}]))).await;
    until(&person, &["status"], 0).await;
    host.write("/etc/before", "x").unwrap();
    counts(&cluster, "n1", 1).await;

    let log = folder(&cluster, "followed");
    let command = person.command(&["changes", "--follow", "-o", "json"]);
    let mut following = Process::start("kubectl-vedette", command, &log).unwrap();
    tells(&log, 1).await.unwrap();
    host.write("/etc/passwd", "evil").unwrap();
    tells(&log, 2).await.unwrap();

    let away = Instant::now();
    cluster.stop_apiserver().await.unwrap();
    for file in 0..5 {
        host.write(&format!("/etc/away-{file}"), "x").unwrap();
    }
    says(&following, "Trying again").await;
    cluster.start_apiserver().await.unwrap();
    tells(&log, 7).await.unwrap();
    let outage = away.elapsed();
    for file in 0..40 {
        host.write(&format!("/etc/burst-{file}"), "x").unwrap();
    }
    tells(&log, 47).await.unwrap();
    following.still_runs().unwrap();

    let (changes, missing) = told(&log);
    let sequences: BTreeSet<u64> = changes.iter().map(|change| change["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences.len(), changes.len(), "none is told twice");
    assert!(missing > 0, "a burst is more than a status holds");
    assert_eq!((&changes[0]["path"], &changes[1]["path"]), (&json!("/etc/before"), &json!("/etc/passwd")));
    let said = following.output().unwrap();
    // It is said again each minute, and nobody knows how long a server takes to come back.
    let spoken = said.matches("Trying again").count() as u64;
    assert!((1..=1 + outage.as_secs() / 60).contains(&spoken), "{spoken} times in {outage:?}: {said}");
    assert_eq!(said.matches("watching again").count(), 1, "once an outage: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_any_more_is_missed() {
    let cluster = Cluster::start().await.unwrap();
    let person = Person::new(cluster.control_plane().admin(), folder(&cluster, "admin")).await;
    exists(&cluster, "n1").await;
    let log = folder(&cluster, "followed");
    let command = person.command(&["changes", "--follow", "-o", "json"]);
    let following = Process::start("kubectl-vedette", command, &log).unwrap();
    wrote(&cluster, "n1", 1, "2026-11-24T04:00:00Z").await;
    tells(&log, 1).await.unwrap();

    cluster.pause_apiserver().await.unwrap();
    says(&following, "Trying again").await;
    cluster.resume_apiserver().await.unwrap();
    says(&following, "watching again").await;
    wrote(&cluster, "n1", 2, "2026-11-24T04:00:01Z").await;
    tells(&log, 2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_comes_is_told_whatever_the_nodes_clock_says() {
    let cluster = Cluster::start().await.unwrap();
    let person = Person::new(cluster.control_plane().admin(), folder(&cluster, "admin")).await;
    exists(&cluster, "n1").await;
    wrote(&cluster, "n1", 1, "2020-01-01T00:00:00Z").await;
    let log = folder(&cluster, "followed");
    let command = person.command(&["changes", "--follow", "-o", "json", "--since", "1h"]);
    let following = Process::start("kubectl-vedette", command, &log).unwrap();
    // The first was long ago. That this is not the beginning any more is known by what comes.
    let now = jiff::Timestamp::now().to_string();
    exists(&cluster, "n2").await;
    wrote(&cluster, "n2", 1, &now).await;
    tells(&log, 1).await.unwrap();
    wrote(&cluster, "n1", 2, "2020-01-01T00:00:01Z").await;
    tells(&log, 2).await.unwrap();
    let (changes, missing) = told(&log);
    assert_eq!((&changes[1]["node"], &changes[1]["sequence"], missing), (&json!("n1"), &json!(2), 0), "{changes:?}");
    assert_eq!(following.output().unwrap().lines().count(), 2);
}

/// A node with a NodeConfig, and a pod without an agent in it.
async fn exists(cluster: &Cluster, node: &str) {
    cluster.add_node(node, &[]).await.unwrap();
    cluster.add_agent_pod(node).await.unwrap();
    let config = node_config(node, json!({"spec": empty_spec("uid")}));
    cluster.node_configs().patch(node, &PatchParams::apply("test"), &Patch::Apply(&config)).await.unwrap();
}

/// The status of a node whose newest change is this one, as its agent writes it.
async fn wrote(cluster: &Cluster, node: &str, sequence: u64, time: &str) {
    let change = json!({"sequence": sequence, "time": time, "category": "File", "changeType": "Added",
        "path": format!("/etc/{sequence}")});
    let status = json!({"journal": {"id": "j", "sequence": sequence, "head": ""}, "recentChanges": [change],
        "changes": {"added": sequence, "modified": 0, "removed": 0}});
    let object = node_config(node, json!({"status": status}));
    let agent = cluster.agent_identity(node).await.unwrap().client().await.unwrap();
    let how = PatchParams::apply(AGENT).force();
    node_configs_as(agent).patch_status(node, &how, &Patch::Apply(object)).await.unwrap();
}

async fn says(following: &Process, words: &str) {
    eventually(&format!("{words} is said"), SOON, async || {
        let said = following.output()?;
        if said.contains(words) { Ok(()) } else { Err(not_yet(said)) }
    })
    .await
    .unwrap();
}
