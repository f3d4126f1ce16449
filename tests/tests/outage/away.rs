//! An API server that is away, and one that hangs.

use std::{
    env, fs,
    time::{Duration, Instant},
};

use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::json;
use vedette_crds::rule::DataCollectionRule;
use vedette_tests::{
    ScratchHost,
    cluster::{AGENT, OPERATOR},
    eventually, not_yet,
};

use crate::scene::{SOON, Scene, Watched, holds};

/// How long it is away, and how much changes on each node meanwhile.
struct Outage {
    lasts: Duration,
    changes: usize,
}

impl Outage {
    /// A minute and a few changes, or what `VEDETTE_OUTAGE_SECONDS` and `VEDETTE_OUTAGE_CHANGES` say.
    fn from_env() -> Self {
        let given = |name: &str, default: u64| env::var(name).map_or(default, |text| text.parse().unwrap());
        Self {
            lasts: Duration::from_secs(given("VEDETTE_OUTAGE_SECONDS", 62)),
            changes: usize::try_from(given("VEDETTE_OUTAGE_CHANGES", 1)).unwrap(),
        }
    }

    /// How many files are added, modified and removed between two compares, which are 10 s apart.
    fn at_once(&self) -> usize {
        let compares = usize::try_from(self.lasts.as_secs() / 10).unwrap();
        self.changes.div_ceil(3 * compares)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_away_for_a_minute_under_changes_costs_nothing_but_the_minute() {
    let outage = Outage::from_env();
    let files = outage.at_once();
    let scene = Scene::new().await;
    let cluster = &scene.cluster;
    let operator = cluster.start_operator().await.unwrap();
    let mut nodes = Vec::new();
    for name in ["away-1", "away-2", "away-3"] {
        let mut watched = scene.node(name).await;
        for file in 0..files {
            watched.host.write(&format!("/etc/new-0-{file}"), "1").unwrap();
            watched.host.write(&format!("/etc/modified-{file}"), "1").unwrap();
        }
        watched.start().await;
        cluster.set_agent_ready(name, true).await.unwrap();
        nodes.push(watched);
    }
    let rules: Api<DynamicObject> = Api::all_with(cluster.client(), &ApiResource::erase::<DataCollectionRule>(&()));
    let rule = json!({
        "apiVersion": "vedette.dev/v1alpha1", "kind": "DataCollectionRule", "metadata": {"name": "away"},
        "spec": {"files": {"interval": "10s", "paths": [{"name": "etc", "path": "/etc"}]}},
    });
    rules.patch("away", &PatchParams::apply("kubectl"), &Patch::Apply(&rule)).await.unwrap();
    for watched in &nodes {
        scene.status(watched, "is ready", |status| holds(status, "Ready")).await;
        watched.host.write("/etc/a.conf", "before").unwrap();
        watched.counts(1).await;
        scene.agree(watched).await;
    }

    cluster.stop_apiserver().await.unwrap();
    let began = Instant::now();
    let mut rounds = 0;
    let records = |rounds: usize| 1 + 3 * files * rounds;
    while began.elapsed() < outage.lasts || records(rounds) <= outage.changes {
        for watched in &nodes {
            tamper(&watched.host, rounds, files);
        }
        rounds += 1;
        for watched in &nodes {
            watched.counts(records(rounds)).await;
            assert!(watched.is_ready().await, "it works by its plan");
        }
    }
    let minutes = usize::try_from(began.elapsed().as_secs() / 60).unwrap();
    for watched in &nodes {
        let said = watched.lines_with("cannot watch the NodeConfig");
        assert!((1..=1 + minutes).contains(&said), "once, and then once a minute: {said}");
        let url = cluster.control_plane().url();
        watched.says(&format!("cannot watch the NodeConfig {} at {url}: Connection ", watched.node)).await;
        let broke = watched.agent.metrics().await.unwrap();
        assert!(broke.get("vedette_agent_watch_errors_total", &[("kind", "NodeConfig")]).unwrap() >= 1.0);
    }
    assert_eq!(operator.get("/healthz").await.unwrap().status, 200);

    let before = cluster.control_plane().writes().unwrap().len();
    cluster.start_apiserver().await.unwrap();
    let back = Instant::now();
    for watched in &nodes {
        scene.agree(watched).await;
        watched.says("can be watched again at").await;
        every_change_once(watched, records(rounds));
    }
    let agreed = back.elapsed();
    let (each, all) = (files * rounds, nodes.len() * files * rounds);
    let sum = json!({"added": all, "modified": nodes.len() + all, "removed": all});
    eventually("the rule counts all", SOON, async || {
        let status = rules.get("away").await?.data["status"].clone();
        if status["changes"] == sum && status["nodes"]["ready"] == 3 { Ok(()) } else { Err(not_yet(status)) }
    })
    .await
    .unwrap();

    let writes = &cluster.control_plane().writes().unwrap()[before..];
    eprintln!("{} changes on each node while the API server was away for {:?}", 3 * each, back - began);
    eprintln!("all statuses agree {agreed:?} after it is ready again, the rule's {:?}", back.elapsed());
    for write in writes {
        eprintln!("{} {} {} {} {}", write.received, write.user, write.verb, write.resource, write.name);
    }
    for watched in &nodes {
        eprintln!("{}: {}", watched.node, resident(watched));
    }
    for watched in &nodes {
        let by = |who: &str| {
            let mut own = writes.iter().filter(|write| write.name == watched.node && write.user.ends_with(who));
            own.by_ref().count()
        };
        assert!(by(AGENT) <= 2, "{} wrote too often: {writes:#?}", watched.node);
        assert!(by(OPERATOR) <= 2, "the operator wrote {} too often: {writes:#?}", watched.node);
    }
    let rule_writes = writes.iter().filter(|write| write.resource.starts_with("datacollectionrules")).count();
    assert!(rule_writes <= 6, "{writes:#?}");
}

/// In each round so many files are added, as many modified, and as many removed that the round before had added.
fn tamper(host: &ScratchHost, round: usize, files: usize) {
    for file in 0..files {
        host.write(&format!("/etc/modified-{file}"), &"x".repeat(round + 10)).unwrap();
        host.write(&format!("/etc/new-{}-{file}", round + 1), "new").unwrap();
        host.remove(&format!("/etc/new-{round}-{file}")).unwrap();
    }
}

fn every_change_once(watched: &Watched, records: usize) {
    let changes = watched.agent.changes().unwrap();
    assert_eq!(changes.len(), records);
    let mut told: Vec<String> = changes
        .iter()
        .map(|change| format!("{} {} {}", change["changeType"], change["path"], change["after"]["size"]))
        .collect();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), records, "{told:#?}");
}

/// What an agent takes of memory, now and at most.
fn resident(watched: &Watched) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", watched.agent.pid().unwrap())).unwrap();
    status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS")).collect::<Vec<_>>().join(", ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_hangs_holds_up_neither_the_work_nor_the_pages_nor_the_end() {
    let scene = Scene::new().await;
    let mut watched = scene.watched("hangs").await;
    scene.cluster.pause_apiserver().await.unwrap();
    watched.host.write("/etc/a.conf", "22").unwrap();
    watched.counts(1).await;
    watched.says("cannot write the status of NodeConfig hangs").await;
    watched.says("no answer within 15s").await;
    watched.host.write("/etc/a.conf", "333").unwrap();
    watched.counts(2).await;
    assert!(watched.is_ready().await);
    watched.terminate().await;

    watched.host.write("/etc/a.conf", "4444").unwrap();
    watched.start().await;
    watched.counts(3).await;
    watched.says("no connection within 10s; going on by the last plan (generation 1)").await;
    scene.cluster.resume_apiserver().await.unwrap();
    scene.agree(&watched).await;
    watched.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_whose_api_server_hangs_answers_its_probes_and_ends_when_it_is_told_to() {
    let scene = Scene::new().await;
    let mut operator = scene.cluster.start_operator().await.unwrap();
    scene.cluster.pause_apiserver().await.unwrap();
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(operator.get(path).await.unwrap().status, 200, "{path}");
    }
    assert_eq!(operator.terminate().await.unwrap().code(), Some(0), "{}", operator.log().unwrap());
    operator.start().await.unwrap();
    eventually("it says what it waits for", SOON, async || {
        let log = operator.log()?;
        if log.contains("no connection within 10s") { Ok(()) } else { Err(not_yet(log)) }
    })
    .await
    .unwrap();
    assert_eq!(operator.get("/readyz").await.unwrap().status, 503);
    scene.cluster.resume_apiserver().await.unwrap();
    operator.ready_within(SOON).await.unwrap();
    assert_eq!(operator.terminate().await.unwrap().code(), Some(0));
}
