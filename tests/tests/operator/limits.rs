//! What a node carries at most, and how often a rule's status is written.
use std::collections::BTreeSet;

use kube::ResourceExt as _;
use serde_json::{Value, json};
use tokio::time::Instant;
use vedette_crds::node_config::MAX_RULES;
use vedette_tests::{eventually, not_yet};

use crate::scene::{SOON, carried, test, watch};

#[test]
fn a_node_carries_thirty_two_rules_and_the_youngest_beyond_them_waits_for_room() {
    test(async |scene| {
        let nodes = scene.nodes("crowded", 1).await;
        let names: Vec<_> = (0..=MAX_RULES).map(|index| format!("crowded-{index:02}")).collect();
        for name in &names {
            scene.apply_rule(name, watch("crowded", &["/etc"])).await;
        }
        let youngest = &names[MAX_RULES];
        let status = scene.rule_says(youngest, "Programmed", "False NodeConfigTooLarge").await;
        let programmed = status.conditions.iter().find(|condition| condition.type_ == "Programmed").unwrap();
        assert!(programmed.message.contains("NodeConfigs of crowded1"), "{}", programmed.message);
        for name in &names[..MAX_RULES] {
            scene.rule_says(name, "Programmed", "True Programmed").await;
        }
        let holds = |config: &_| carried(config) == names[..MAX_RULES];
        scene.configs_where("the older rules alone", &nodes, SOON, holds).await;
        scene.delete_rule(&names[7]).await;
        scene.rule_says(youngest, "Programmed", "True Programmed").await;
    });
}

/// About 26 KiB in a NodeConfig.
fn large(group: &str) -> Value {
    let path = |index: usize| format!("/srv/{index}/{}", "x".repeat(70));
    let entry = |index: usize| json!({ "name": format!("entry-{index}"), "path": path(index) });
    json!({
        "nodeSelector": { "matchLabels": { "group": group } },
        "files": { "paths": (0..200).map(entry).collect::<Vec<_>>() },
    })
}

#[test]
fn a_configuration_takes_sixty_four_kibibytes_and_the_youngest_rule_beyond_them_waits_for_room() {
    test(async |scene| {
        let nodes = scene.nodes("filled", 1).await;
        for name in ["filled-a", "filled-b", "filled-c"] {
            scene.apply_rule(name, large("filled")).await;
        }
        scene.rule_says("filled-c", "Programmed", "False NodeConfigTooLarge").await;
        scene.rule_says("filled-a", "Programmed", "True Programmed").await;
        scene.rule_says("filled-b", "Programmed", "True Programmed").await;
        let holds = |config: &_| carried(config) == ["filled-a", "filled-b"];
        scene.configs_where("the older rules alone", &nodes, SOON, holds).await;
        scene.delete_rule("filled-a").await;
        scene.rule_says("filled-c", "Programmed", "True Programmed").await;
    });
}

#[test]
fn a_rules_status_is_written_at_most_every_ten_seconds_however_often_its_nodes_report() {
    test(async |scene| {
        let nodes = scene.nodes("busy", 2).await;
        scene.apply_rule("busy", watch("busy", &["/etc"])).await;
        scene.configs_where("the configurations", &nodes, SOON, |_| true).await;
        let agents = scene.agents(&nodes).await;
        for agent in &agents {
            agent.confirm(1, 0, None).await;
        }
        let programmed = scene.rule_says("busy", "Ready", "True Ready").await;
        let begun = Instant::now();
        let mut versions = BTreeSet::new();
        let mut reports = 0;
        eventually("five more writes of the status", 2 * SOON, async || {
            reports += 1;
            for agent in &agents {
                agent.confirm(1, reports, None).await;
            }
            versions.insert(scene.rules.get("busy").await?.resource_version());
            if versions.len() > 5 { Ok(()) } else { Err(not_yet(versions.len())) }
        })
        .await
        .unwrap();
        let seconds = begun.elapsed().as_secs();
        // Of the versions seen one stood at the beginning, and another may have been due just then.
        assert!(seconds >= 40 - 1, "5 writes in {seconds} s, after {programmed:?}");
        assert!(reports > 10, "{reports} reports are too few to show it");
    });
}
