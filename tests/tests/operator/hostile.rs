//! An agent on a node that is not its admin's any more: what it may write, and what the operator makes of it.
use serde_json::{Value, json};

use crate::scene::{SOON, Scene, has_said, operator, says, test, watch};

/// A report about a rule.
async fn report(scene: &Scene<'_>, rule: &str, named: &str, tracked: u64) -> Value {
    let rule = scene.rules.get(rule).await.unwrap();
    json!({ "name": named, "uid": rule.metadata.uid, "generation": 1, "trackedItems": tracked,
        "changes": { "added": 1_000, "modified": 0, "removed": 0 } })
}

#[test]
fn what_an_agent_cannot_know_counts_nothing_and_is_said_once() {
    test(async |scene| {
        scene.nodes("liar", 1).await;
        scene.nodes("victim", 1).await;
        scene.apply_rule("liar", watch("liar", &["/etc"])).await;
        scene.apply_rule("victim", watch("victim", &["/etc"])).await;
        scene.configs_where("the configurations", &["liar1".into(), "victim1".into()], SOON, |_| true).await;
        scene.agent("victim1").await.confirm(7, 1, Some("2026-11-24T04:00:00Z")).await;
        scene.rule_where("seven items", "victim", |status| status.tracked_items == Some(7)).await;
        let agent = scene.agent("liar1").await;
        let config = scene.configs.get("liar1").await.unwrap();
        let say = async |rules: Vec<Value>| {
            agent
                .say(json!({ "observedGeneration": config.metadata.generation, "rules": rules, "conditions": [
                    { "type": "ConfigApplied", "status": "True", "reason": "Applied", "message": "",
                        "lastTransitionTime": "2026-11-24T04:00:00Z" },
                ] }))
                .await;
        };
        let mut own = report(&scene, "liar", "liar", i64::MAX as u64).await;
        own["lastChangeTime"] = json!("9999-12-31T23:59:59Z");
        let foreign = report(&scene, "victim", "victim", 1_000).await;
        let renamed = report(&scene, "victim", "liar", 1_000).await;
        say(vec![own.clone(), foreign, renamed]).await;
        let status =
            scene.rule_where("its own number", "liar", |status| status.tracked_items == Some(i64::MAX as u64)).await;
        assert_eq!(status.last_change_time, None, "there is no such time");
        own["lastChangeTime"] = json!("2999-01-01T00:00:00Z");
        own["trackedItems"] = json!(8);
        say(vec![own]).await;
        let status = scene.rule_where("its own number", "liar", |status| status.tracked_items == Some(8)).await;
        assert_eq!(status.last_change_time, None, "that is yet to come");
        has_said(operator(), &["the agent of node liar1 reports"]).await;
        assert_eq!(operator().log().unwrap().matches("the agent of node liar1 reports").count(), 1);
        let victim = scene.rules.get("victim").await.unwrap().status.unwrap();
        assert_eq!((victim.tracked_items, victim.changes.unwrap().added), (Some(7), 0));
        assert_eq!(says(&victim.conditions, "Programmed"), "True Programmed");
    });
}
