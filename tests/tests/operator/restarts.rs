//! An operator that comes, goes and comes back; and an API server that does.
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, PostParams},
};
use vedette_tests::{
    Cluster,
    cluster::{NAMESPACE, OPERATOR},
    eventually, not_yet,
};

use crate::scene::{SOON, Scene, carried, has_looked_at, versions, watch};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_comes_back_keeps_everything_and_writes_nothing_needlessly() {
    let cluster = Cluster::start().await.unwrap();
    let scene = Scene::new(&cluster);
    let nodes = scene.nodes("kept", 5).await;
    let mut operator = cluster.start_operator().await.unwrap();
    scene.apply_rule("kept", watch("kept", &["/etc"])).await;
    scene.apply_rule("nowhere", watch("nowhere", &["/etc"])).await;
    scene.configs_where("the configurations", &nodes, SOON, |_| true).await;
    for agent in scene.agents(&nodes).await {
        agent.confirm(10, 1, Some("2026-11-24T04:00:00.123456789Z")).await;
    }
    scene.rule_says("kept", "Ready", "True Ready").await;
    // A status may still be due: what is true is written first.
    let ready = |status: &vedette_crds::rule::DataCollectionRuleStatus| status.tracked_items == Some(50);
    scene.rule_where("all that was found", "kept", ready).await;
    has_looked_at(&operator, 0.0).await;
    let before = versions(&scene).await;
    assert_eq!(operator.terminate().await.unwrap().code(), Some(0));
    operator.start().await.unwrap();
    operator.ready_within(SOON).await.unwrap();
    has_looked_at(&operator, 7.0).await;
    assert_eq!(versions(&scene).await, before);
    operator.kill().unwrap();
    operator.start().await.unwrap();
    operator.ready_within(SOON).await.unwrap();
    has_looked_at(&operator, 7.0).await;
    assert_eq!(versions(&scene).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_while_it_was_away_is_made_good() {
    let cluster = Cluster::start().await.unwrap();
    let scene = Scene::new(&cluster);
    let nodes = scene.nodes("away", 4).await;
    let mut operator = cluster.start_operator().await.unwrap();
    scene.apply_rule("away", watch("away", &["/etc"])).await;
    scene.apply_rule("gone", watch("away", &["/bin"])).await;
    let before =
        scene.configs_where("the configurations", &nodes, SOON, |config| carried(config) == ["away", "gone"]).await;
    operator.terminate().await.unwrap();
    scene.delete_rule("gone").await;
    cluster.remove_node("away2").await.unwrap();
    cluster.remove_node("away3").await.unwrap();
    let again = cluster.add_node("away3", &[("group", "away")]).await.unwrap();
    cluster.label_node("away4", &[("group", None)]).await.unwrap();
    operator.start().await.unwrap();
    scene.config_where("the rule that is left", "away1", |config| carried(config) == ["away"]).await;
    scene.no_config("away2").await;
    let same_name = scene
        .config_where("another node's configuration", "away3", |config| {
            Some(&config.spec.node_uid) == again.metadata.uid.as_ref()
        })
        .await;
    assert_eq!(same_name.metadata.uid, before["away3"].metadata.uid);
    assert_eq!(same_name.owner_references().len(), 1);
    assert_eq!(Some(&same_name.owner_references()[0].uid), again.metadata.uid.as_ref());
    scene.config_where("emptied", "away4", |config| carried(config).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_touched_before_every_first_list_is_complete() {
    let cluster = Cluster::start().await.unwrap();
    let scene = Scene::new(&cluster);
    let nodes = scene.nodes("early", 2).await;
    let mut operator = cluster.start_operator().await.unwrap();
    scene.apply_rule("early", watch("early", &["/etc"])).await;
    scene.configs_where("the configurations", &nodes, SOON, |_| true).await;
    has_looked_at(&operator, 0.0).await;
    operator.terminate().await.unwrap();

    let bindings: Api<RoleBinding> = Api::namespaced(cluster.client(), NAMESPACE);
    let mut binding = bindings.get(OPERATOR).await.unwrap();
    bindings.delete(OPERATOR, &DeleteParams::default()).await.unwrap();
    scene.delete_rule("early").await;
    scene.apply_rule("later", watch("early", &["/bin"])).await;
    cluster.remove_node("early2").await.unwrap();
    let before = versions(&scene).await;
    operator.start().await.unwrap();
    eventually("all but the pods are listed", SOON, async || {
        let answer = operator.get("/readyz").await?;
        let expected = (503, "waiting for the first list of Pod\n");
        if (answer.status, answer.body.as_str()) == expected { Ok(()) } else { Err(not_yet(answer.body)) }
    })
    .await
    .unwrap();
    // It goes on being refused, and goes on doing nothing.
    eventually("the pods are refused again", SOON, async || {
        let broken = operator.metrics().await?.sum("vedette_operator_watch_errors_total", &[("kind", "Pod")]);
        if broken >= 2.0 { Ok(()) } else { Err(not_yet(broken)) }
    })
    .await
    .unwrap();
    assert_eq!(versions(&scene).await, before);
    assert_eq!(operator.metrics().await.unwrap().sum("vedette_operator_reconciles_total", &[]), 0.0);

    binding.metadata.resource_version = None;
    binding.metadata.uid = None;
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    operator.ready_within(SOON).await.unwrap();
    scene.config_where("the rule of now", "early1", |config| carried(config) == ["later"]).await;
    scene.no_config("early2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_goes_away_and_comes_back_is_all_the_same_to_it() {
    let cluster = Cluster::start().await.unwrap();
    let scene = Scene::new(&cluster);
    let nodes = scene.nodes("outage", 3).await;
    let mut operator = cluster.start_operator().await.unwrap();
    scene.apply_rule("outage", watch("outage", &["/etc"])).await;
    scene.configs_where("the configurations", &nodes, SOON, |_| true).await;
    cluster.stop_apiserver().await.unwrap();
    eventually("it notices", SOON, async || {
        let broken = operator.metrics().await?.sum("vedette_operator_watch_errors_total", &[]);
        if broken > 0.0 { Ok(()) } else { Err(not_yet(broken)) }
    })
    .await
    .unwrap();
    cluster.start_apiserver().await.unwrap();
    scene.apply_rule("outage", watch("outage", &["/bin"])).await;
    let next = |config: &vedette_crds::node_config::NodeConfig| config.spec.rules[0].generation == 2;
    scene.configs_where("the edit", &nodes, SOON, next).await;
    assert_eq!(operator.ended().unwrap(), None);
}
