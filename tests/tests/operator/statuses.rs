//! From agents' reports to conditions, rule status and metrics.
use serde_json::json;
use vedette_crds::{node_config::NodeConfig, rule::NodeCounts};
use vedette_tests::{eventually, not_yet};

use crate::scene::{SOON, operator, says, test, watch};

fn node_says(config: &NodeConfig, kind: &str) -> String {
    config.status.as_ref().map_or("absent".into(), |status| says(&status.conditions, kind))
}

#[test]
fn a_rules_status_is_the_sum_of_what_its_nodes_report() {
    test(async |scene| {
        let nodes = scene.nodes("summed", 3).await;
        scene.apply_rule("summed", watch("summed", &["/etc"])).await;
        scene.configs_where("the configurations", &nodes, SOON, |_| true).await;
        let agents = scene.agents(&nodes).await;
        agents[0].confirm(10, 1, Some("2026-11-24T04:00:00Z")).await;
        agents[1].confirm(20, 2, Some("2026-11-24T05:00:00Z")).await;
        scene
            .rule_where("two nodes are ready", "summed", |status| {
                status.nodes == Some(NodeCounts { selected: 3, programmed: 3, ready: 2, degraded: 1, unavailable: 0 })
            })
            .await;
        agents[2].confirm(30, 0, None).await;
        let status = scene.rule_says("summed", "Ready", "True Ready").await;
        assert_eq!(
            status.nodes,
            Some(NodeCounts { selected: 3, programmed: 3, ready: 3, degraded: 0, unavailable: 0 })
        );
        assert_eq!((status.tracked_items, status.changes.unwrap().modified), (Some(60), 3));
        assert_eq!(status.last_change_time.unwrap().0.to_string(), "2026-11-24T05:00:00Z");
        assert_eq!(says(&status.conditions, "AllNodesCovered"), "True Covered");
        scene.cluster.remove_node("summed2").await.unwrap();
        let status = scene
            .rule_where("the sum of those that are left", "summed", |status| status.tracked_items == Some(40))
            .await;
        assert_eq!(status.changes.unwrap().modified, 1);
        assert_eq!(status.last_change_time.unwrap().0.to_string(), "2026-11-24T04:00:00Z");
    });
}

#[test]
fn a_rule_that_selects_nothing_says_so() {
    test(async |scene| {
        scene.apply_rule("nowhere", watch("nowhere", &["/etc"])).await;
        let status = scene.rule_says("nowhere", "Accepted", "True Accepted").await;
        for condition in ["Programmed", "Ready", "AllNodesCovered"] {
            assert_eq!(says(&status.conditions, condition), "False NoNodes");
        }
        assert_eq!((status.nodes, status.observed_generation), (Some(NodeCounts::default()), Some(1)));
    });
}

#[test]
fn a_node_becomes_ready_step_by_step() {
    test(async |scene| {
        scene.cluster.add_node("stepping1", &[("group", "stepping")]).await.unwrap();
        scene.apply_rule("stepping", watch("stepping", &["/etc"])).await;
        let step = async |available: &str, ready: &str| {
            let what = format!("AgentAvailable {available}, Ready {ready}");
            let holds = |config: &NodeConfig| {
                (node_says(config, "AgentAvailable"), node_says(config, "Ready")) == (available.into(), ready.into())
            };
            scene.config_where(&what, "stepping1", holds).await
        };
        step("Unknown Starting", "Unknown AgentUnavailable").await;
        scene.rule_says("stepping", "Ready", "False NoAgents").await;
        scene.cluster.add_agent_pod("stepping1").await.unwrap();
        scene.cluster.set_agent_ready("stepping1", true).await.unwrap();
        let config = step("True Available", "False ConfigNotApplied").await;
        let agent = scene.agent("stepping1").await;
        let time = "2026-11-24T04:00:00Z";
        agent
            .say(json!({ "observedGeneration": config.metadata.generation, "conditions": [
                { "type": "ConfigApplied", "status": "True", "reason": "Applied", "message": "", "lastTransitionTime": time },
                { "type": "BaselineReady", "status": "False", "reason": "Scanning", "message": "", "lastTransitionTime": time },
            ] }))
            .await;
        step("True Available", "False BaselineNotReady").await;
        agent.confirm(5, 0, None).await;
        let config = step("True Available", "True Ready").await;
        let status = config.status.unwrap();
        assert_eq!(status.conditions.len(), 4, "the agent's own are kept");
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        assert_eq!(ready.observed_generation, config.metadata.generation);
        scene.rule_says("stepping", "Ready", "True Ready").await;
    });
}

#[test]
fn metrics_tell_how_nodes_and_rules_stand() {
    test(async |scene| {
        let nodes = scene.nodes("measured", 2).await;
        scene.apply_rule("measured", watch("measured", &["/etc"])).await;
        scene.configs_where("the configurations", &nodes, SOON, |_| true).await;
        for agent in scene.agents(&nodes).await {
            agent.confirm(1, 0, None).await;
        }
        scene.rule_says("measured", "Ready", "True Ready").await;
        eventually("the metrics say so", SOON, async || {
            let metrics = operator().metrics().await?;
            let at_least = |name: &str, labels: &[(&str, &str)], least: f64| {
                let name = format!("vedette_operator_{name}");
                metrics.get(&name, labels).is_some_and(|value| value >= least)
            };
            let all = at_least("nodes", &[("state", "Ready")], 2.0)
                && at_least("rules", &[("condition", "Ready")], 1.0)
                && at_least("reconciles_total", &[("kind", "NodeConfig")], 2.0)
                && at_least("reconcile_duration_seconds_count", &[("kind", "NodeConfig")], 2.0)
                && at_least("reconcile_errors_total", &[("kind", "NodeConfig"), ("reason", "Forbidden")], 0.0)
                && at_least("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
            if all { Ok(()) } else { Err(not_yet(metrics.to_string())) }
        })
        .await
        .unwrap();
        let metrics = operator().metrics().await.unwrap();
        for reason in ["Forbidden", "Invalid", "Contested"] {
            assert_eq!(metrics.sum("vedette_operator_reconcile_errors_total", &[("reason", reason)]), 0.0, "{reason}");
        }
        assert_eq!(operator().get("/healthz").await.unwrap().status, 200);
        assert_eq!(operator().get("/nothing").await.unwrap().status, 404);
    });
}
