//! `changes --follow`: each change once, through an API server that goes away and comes back.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};
use vedette_tests::{Cluster, Result, eventually, not_yet, process::Process};

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

    cluster.stop_apiserver().await.unwrap();
    for file in 0..5 {
        host.write(&format!("/etc/away-{file}"), "x").unwrap();
    }
    eventually("the outage is said", SOON, async || {
        let said = following.output()?;
        if said.contains("Trying again") { Ok(()) } else { Err(not_yet(said)) }
    })
    .await
    .unwrap();
    cluster.start_apiserver().await.unwrap();
    tells(&log, 7).await.unwrap();
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
    assert_eq!(said.matches("Trying again").count(), 1, "once an outage: {said}");
}
