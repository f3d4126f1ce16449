//! Which NodeConfig an agent works by, and how it ends and begins again in the middle of its work.

use std::fs::File;

use serde_json::Value;
use vedette_tests::{eventually, not_yet};

use crate::scene::{SOON, Scene, Watched, condition, holds};

/// The largest that is read: long enough to hash that a test can act meanwhile, and sparse.
const LARGE: u64 = 4 << 30;

fn large_file(watched: &Watched, path: &str) {
    watched.host.write(path, "").unwrap();
    File::options().write(true).open(watched.host.at(path)).unwrap().set_len(LARGE).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_node_config_is_applied_though_it_has_the_generation_of_the_one_before() {
    let scene = Scene::new().await;
    let watched = scene.watched("recreated").await;
    for round in 2..6 {
        let rule = format!("rule-{round}");
        scene.unconfigure(&watched).await;
        let path = format!("/srv/{round}");
        watched.host.write(&format!("{path}/file"), "1").unwrap();
        assert_eq!(scene.configure(&watched, &rule, &path).await, 1, "another object at the same generation");
        eventually(&format!("the NodeConfig of round {round} is applied"), SOON, async || {
            let status = scene.cluster.node_configs().get(&watched.node).await?.data["status"].clone();
            let applied = holds(&status, "ConfigApplied") && status["observedGeneration"] == 1;
            if applied && holds(&status, "BaselineReady") {
                assert_eq!(status["rules"][0]["uid"], rule.as_str(), "said to be applied, and is not: {status:#}");
                return Ok(());
            }
            Err(not_yet(status))
        })
        .await
        .unwrap();
    }
    assert!(watched.lines_with("there is no NodeConfig recreated: going on by the last plan") >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_told_to_end_in_its_first_baseline_ends_well_and_goes_on_next_time() {
    let scene = Scene::new().await;
    let mut watched = scene.node("young").await;
    for file in 0..2000 {
        watched.host.write(&format!("/data/{}/{file}", file % 50), &"x".repeat(5000)).unwrap();
    }
    large_file(&watched, "/data/large");
    scene.configure(&watched, "rule-1", "/data").await;
    watched.start().await;
    scene.status(&watched, "scans", |status| condition(status, "BaselineReady")["reason"] == "Scanning").await;
    watched.terminate().await;
    assert_eq!(baselines(&watched), 0, "it was not in the middle of it: this tests nothing");
    watched.start().await;
    let status = scene.status(&watched, "has its baseline", |status| holds(status, "BaselineReady")).await;
    assert_eq!(status["changes"], serde_json::json!({"added": 0, "modified": 0, "removed": 0}), "{status:#}");
    assert_eq!(baselines(&watched), 1);
    watched.host.write("/data/0/0", "changed").unwrap();
    watched.counts(1).await;
    scene.agree(&watched).await;
}

fn baselines(watched: &Watched) -> usize {
    let notices = watched.agent.notices().unwrap();
    notices.iter().filter(|notice: &&Value| notice["kind"] == "BaselineMade").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_the_longest_name_there_can_be_is_watched() {
    let scene = Scene::new().await;
    let label = "n".repeat(63);
    let name = format!("{label}.{label}.{label}.{}", "n".repeat(61));
    assert_eq!(name.len(), 253);
    let watched = scene.watched(&name).await;
    watched.host.write("/etc/a.conf", "22").unwrap();
    watched.counts(1).await;
    scene.agree(&watched).await;
    assert_eq!(watched.agent.changes().unwrap()[0]["node"], name.as_str());
}
