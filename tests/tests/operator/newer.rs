//! Agents and a definition that are newer than the operator, as each upgrade has them for a moment whatever its order.

use serde_json::{Value, json};
use vedette_crds::definition;
use vedette_tests::{Cluster, eventually, not_yet};

use crate::{
    definitions::{define, schema},
    scene::{SOON, Scene, carried, condition, leads, says, watch},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_agent_says_is_left_as_it_is_and_the_rest_is_judged() {
    let cluster = Cluster::start().await.unwrap();
    let scene = Scene::new(&cluster);
    let node = scene.nodes("newer", 1).await.remove(0);
    let mut newer = definition::node_configs();
    schema(&mut newer, "status")["properties"]["verdict"] = json!({"type": "string"});
    schema(&mut newer, "status/rules/[]")["properties"]["suppressed"] = json!({"type": "integer"});
    define(cluster.client(), &newer).await;
    let operator = cluster.start_operator().await.unwrap();
    leads(&operator).await;
    scene.apply_rule("newer", watch("newer", &["/etc"])).await;
    let config = scene.config_where("the rule", &node, |config| carried(config) == ["newer"]).await;

    let agent = scene.agent(&node).await;
    let rule = &config.spec.rules[0];
    let conditions = ["ConfigApplied", "BaselineReady", "Attested"].map(|kind| condition(kind, "NotOfThisVersion"));
    let status = json!({
        "observedGeneration": config.metadata.generation,
        "conditions": conditions,
        "trackedItems": 7,
        "rules": [{"name": rule.name, "uid": rule.uid, "generation": rule.generation, "trackedItems": 7, "suppressed": 1,
            "changes": {"added": 0, "modified": 1, "removed": 0}}],
        "recentChanges": [{"sequence": 1, "time": "2026-11-24T04:00:00Z", "category": "Registry", "changeType": "Renamed",
            "severity": "Dire"}],
        "verdict": "guilty",
    });
    // A definition takes effect a moment after it is stored.
    eventually("the newer status is taken", SOON, async || agent.tries_to_say(status.clone()).await.map_err(not_yet))
        .await
        .unwrap();

    scene
        .config_where("Ready", &node, |config| {
            config.status.as_ref().is_some_and(|status| says(&status.conditions, "Ready") == "True Ready")
        })
        .await;
    scene.rule_says("newer", "Ready", "True Ready").await;
    let kept = cluster.node_configs().get(&node).await.unwrap().data["status"].clone();
    for member in ["verdict", "recentChanges", "rules"] {
        assert_eq!(kept[member], status[member], "{member}");
    }
    let attested = |one: &Value| one["type"] == "Attested" && one["reason"] == "NotOfThisVersion";
    assert!(kept["conditions"].as_array().unwrap().iter().any(attested), "{kept}");
}
