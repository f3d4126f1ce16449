//! Two operators: one leads by the Lease, the other stands by.
use std::time::Instant;

use futures::future::{join_all, try_join_all};
use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use vedette_crds::node_config::NodeConfig;
use vedette_tests::{
    Cluster, Operator,
    cluster::{NAMESPACE, OPERATOR},
    eventually, not_yet,
};

use crate::scene::{SOON, Scene, carried, has_looked_at, has_said, leads, versions, watch, writes};

const OTHER: &str = "vedette-operator-other";

/// A leader and one that stands by.
async fn two(cluster: &Cluster) -> (Operator, Operator) {
    let leader = cluster.start_operator().await.unwrap();
    leads(&leader).await;
    let standby = cluster.start_replica(OTHER).await.unwrap();
    has_said(&standby, &["standing by"]).await;
    (leader, standby)
}

fn leases(cluster: &Cluster) -> Api<Lease> {
    Api::namespaced(cluster.client(), NAMESPACE)
}

async fn holder(cluster: &Cluster) -> (Option<String>, Option<i32>) {
    let spec = leases(cluster).get(OPERATOR).await.unwrap().spec.unwrap();
    (spec.holder_identity, spec.lease_transitions)
}

fn generation_of(rule: &str, config: &NodeConfig) -> Option<i64> {
    config.spec.rules.iter().find(|form| form.name == rule).map(|form| form.generation)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_writes_nothing_takes_over_from_a_killed_leader_and_at_once_from_one_that_ends() {
    let cluster = Cluster::start().await.unwrap();
    let scene = Scene::new(&cluster);
    let nodes = scene.nodes("led", 3).await;
    let (mut first, mut second) = two(&cluster).await;
    let (first_holder, _) = holder(&cluster).await;
    scene.apply_rule("led", watch("led", &["/etc"])).await;
    scene.configs_where("the configurations", &nodes, SOON, |_| true).await;
    scene.rule_says("led", "Programmed", "True Programmed").await;
    assert_eq!(second.metrics().await.unwrap().get("vedette_operator_leader", &[]), Some(0.0));
    assert_eq!(writes(&second).await, 0.0);
    assert_eq!(second.get("/readyz").await.unwrap().status, 200, "a standby is ready");

    let killed = Instant::now();
    first.kill().unwrap();
    scene.apply_rule("led", watch("led", &["/bin"])).await;
    let second_edit = |config: &NodeConfig| generation_of("led", config) == Some(2);
    scene.configs_where("the edit, by the other one", &nodes, SOON, second_edit).await;
    leads(&second).await;
    eprintln!("took over {:?} after the leader was killed", killed.elapsed());
    let (second_holder, transitions) = holder(&cluster).await;
    assert!(second_holder.is_some() && second_holder != first_holder);
    assert_eq!(transitions, Some(1));

    first.start().await.unwrap();
    first.ready_within(SOON).await.unwrap();
    // Its third edit may be on its way when it is told to end: what it has begun it finishes.
    scene.apply_rule("led", watch("led", &["/sbin"])).await;
    assert_eq!(second.terminate().await.unwrap().code(), Some(0));
    let ended = Instant::now();
    assert!(second.log().unwrap().contains("handed the Lease back"), "{}", second.log().unwrap());
    leads(&first).await;
    eprintln!("took over {:?} after the leader had ended", ended.elapsed());
    let (third_holder, transitions) = holder(&cluster).await;
    assert!(third_holder != first_holder && third_holder != second_holder, "one that restarts is another one");
    assert_eq!(transitions, Some(2));
    let third_edit = |config: &NodeConfig| generation_of("led", config) == Some(3);
    scene.configs_where("the next edit", &nodes, SOON, third_edit).await;
    assert_eq!(first.terminate().await.unwrap().code(), Some(0));
    assert_eq!(holder(&cluster).await.0, None, "nobody holds it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_frozen_while_another_one_led_undoes_nothing() {
    let cluster = Cluster::start().await.unwrap();
    let scene = Scene::new(&cluster);
    let mut nodes = scene.nodes("frozen", 100).await;
    let (mut first, mut second) = two(&cluster).await;
    for rule in ["kept", "gone"] {
        scene.apply_rule(rule, watch("frozen", &["/etc"])).await;
    }
    scene.configs_where("the configurations", &nodes, SOON, |config| carried(config) == ["gone", "kept"]).await;

    // Frozen in the middle of two seconds of writes, so that it has much left to do.
    scene.apply_rule("kept", watch("frozen", &["/bin"])).await;
    eventually("it has begun", SOON, async || {
        let found = scene.existing(&nodes).await?;
        let written = found.values().filter(|config| generation_of("kept", config) == Some(2)).count();
        if written > 0 { Ok(()) } else { Err(not_yet(written)) }
    })
    .await
    .unwrap();
    first.pause().unwrap();
    leads(&second).await;
    scene.apply_rule("kept", watch("frozen", &["/sbin"])).await;
    scene.delete_rule("gone").await;
    scene.apply_rule("new", watch("frozen", &["/opt"])).await;
    let removed = nodes.pop().unwrap();
    cluster.remove_node(&removed).await.unwrap();
    let right = |config: &NodeConfig| carried(config) == ["kept", "new"] && generation_of("kept", config) == Some(3);
    scene.configs_where("what is right now", &nodes, SOON, right).await;
    scene.no_config(&removed).await;
    scene.rule_says("new", "Programmed", "True Programmed").await;
    has_looked_at(&second, 0.0).await;
    let before = versions(&scene).await;

    first.resume().unwrap();
    has_said(&first, &["leading no more"]).await;
    // It has taken in what happened meanwhile, and asks for nothing.
    eventually("it knows the new rule and follows", SOON, async || {
        let metrics = first.metrics().await?;
        let (leader, left) =
            (metrics.sum("vedette_operator_leader", &[]), metrics.sum("vedette_operator_queue_length", &[]));
        let programmed = metrics.get("vedette_operator_rules", &[("condition", "Programmed")]);
        if leader == 0.0 && left == 0.0 && programmed == Some(2.0) { Ok(()) } else { Err(not_yet(metrics.to_string())) }
    })
    .await
    .unwrap();
    assert_eq!(versions(&scene).await, before);

    second.terminate().await.unwrap();
    leads(&first).await;
    has_looked_at(&first, 0.0).await;
    assert_eq!(versions(&scene).await, before, "there was nothing to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_lease_is_taken_or_deleted_stands_by_and_comes_back() {
    let cluster = Cluster::start().await.unwrap();
    let scene = Scene::new(&cluster);
    let nodes = scene.nodes("robbed", 1).await;
    let mut operator = cluster.start_operator().await.unwrap();
    leads(&operator).await;
    leases(&cluster).delete(OPERATOR, &DeleteParams::default()).await.unwrap();
    eventually("it makes another one", SOON, async || Ok(leases(&cluster).get(OPERATOR).await?)).await.unwrap();
    leads(&operator).await;

    let taken = json!({ "spec": { "holderIdentity": "somebody", "renewTime": format!("{:.6}", Timestamp::now()) } });
    leases(&cluster).patch(OPERATOR, &PatchParams::default(), &Patch::Merge(taken)).await.unwrap();
    has_said(&operator, &["leading no more"]).await;
    scene.apply_rule("robbed", watch("robbed", &["/etc"])).await;
    assert_eq!(operator.get("/readyz").await.unwrap().status, 200);
    // Nobody renews it: after its duration it is taken back, and what was left undone is done.
    scene.configs_where("the configuration", &nodes, SOON, |_| true).await;
    leads(&operator).await;
    let somebody = holder(&cluster).await.0;
    assert_ne!(somebody.as_deref(), Some("somebody"));
    assert_eq!(operator.ended().unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_that_start_at_once_one_leads_and_every_configuration_is_written_once() {
    let cluster = Cluster::start().await.unwrap();
    let scene = Scene::new(&cluster);
    let nodes = scene.nodes("crowd", 10).await;
    scene.apply_rule("crowd", watch("crowd", &["/etc"])).await;
    let pods = ["operator-1", "operator-2", "operator-3"];
    let replicas: Vec<Operator> = try_join_all(pods.map(|pod| cluster.start_replica(pod))).await.unwrap();
    let configs = scene.configs_where("the configurations", &nodes, SOON, |_| true).await;
    scene.rule_says("crowd", "Programmed", "True Programmed").await;
    let leading = async || {
        let metrics = join_all(replicas.iter().map(|replica| replica.metrics())).await;
        let leading = metrics.into_iter().map(|metrics| metrics.unwrap().sum("vedette_operator_leader", &[]));
        leading.collect::<Vec<_>>()
    };
    eventually("the leader says so", SOON, async || {
        let leading = leading().await;
        if leading.iter().sum::<f64>() == 1.0 { Ok(()) } else { Err(not_yet(format!("{leading:?}"))) }
    })
    .await
    .unwrap();
    for (replica, leads) in replicas.iter().zip(leading().await) {
        has_looked_at(replica, 0.0).await;
        assert_eq!(writes(replica).await > 0.0, leads == 1.0);
    }
    let after = scene.existing(&nodes).await.unwrap();
    assert!(after.values().all(|config| config.metadata.generation == Some(1)));
    assert_eq!(after.len(), configs.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_cannot_be_read_is_named_and_not_shown() {
    let cluster = Cluster::start().await.unwrap();
    let operator = cluster.start_operator().await.unwrap();
    leads(&operator).await;
    // The API server stores a time that this version's calendar does not reach.
    let change = |time: &str| {
        Patch::Merge(json!({
            "metadata": { "annotations": { "private": "what somebody wrote" } }, "spec": { "renewTime": time }
        }))
    };
    let break_it = change("9999-12-31T23:59:59.000000Z");
    // The leader renews it in between, which makes it readable again, until it reads it so.
    eventually("it cannot be read", SOON, async || {
        // What the server answers is what cannot be read: that the write came through shows in the operator's log alone.
        leases(&cluster).patch(OPERATOR, &PatchParams::default(), &break_it).await.ok();
        let log = operator.log()?;
        if log.contains("cannot get the Lease vedette-operator") { Ok(()) } else { Err(not_yet(log)) }
    })
    .await
    .unwrap();
    let log = has_said(&operator, &["leading no more"]).await;
    assert!(!log.contains("what somebody wrote"), "{log}");
    let mend_it = change("2026-11-24T04:00:00.000000Z");
    leases(&cluster).patch(OPERATOR, &PatchParams::default(), &mend_it).await.unwrap();
    leads(&operator).await;
}
