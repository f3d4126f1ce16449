//! A node whose labels flip in and out of a rule's selector, as a kubelet in trouble or two controllers that disagree make them.

use std::time::Instant;

use serde_json::{Value, json};
use vedette_tests::{
    cluster::{AGENT, OPERATOR},
    eventually, not_yet,
};

use crate::scene::{SOON, Scene, entry, on_cluster, rule};

const FILES: usize = 200;
/// Flips that nobody waits for: out and in again.
const AT_ONCE: usize = 25;
/// Flips that the agent takes part in.
const SEEN: usize = 3;

/// Waits until the agent has nothing to watch: its NodeConfig says so, or is gone, or was made anew without the rule.
async fn is_out(scene: &Scene) {
    eventually("the node carries no rule", SOON, async || match scene.config().await {
        Ok(config) if !config.spec.rules.is_empty() => Err(not_yet(json!(config.spec))),
        Err(kube::Error::Api(status)) if status.code != 404 => Err(not_yet(status)),
        _ => {
            let carried = scene.agent.metrics().await?.sum("vedette_agent_tracked_items", &[]);
            if carried == 0.0 { Ok(()) } else { Err(not_yet(carried)) }
        }
    })
    .await
    .unwrap();
}

#[test]
fn labels_that_flip_make_no_record_and_what_changed_meanwhile_is_told_once() {
    on_cluster(async |cluster| {
        let mut scene = Scene::new(cluster, "labels").await;
        for file in 0..FILES {
            scene.host.write(&format!("/etc/{file}.conf"), "1").unwrap();
        }
        scene.start().await;
        scene.apply(rule("labels", json!([entry("etc", "/etc")]))).await;
        scene.baseline("labels", 1).await;
        let (before, begun) = (scene.writes().len(), Instant::now());

        for flip in 0..AT_ONCE {
            scene.label(None).await;
            scene.host.write(&format!("/etc/{flip}.conf"), "22").unwrap();
            scene.label(Some("labels")).await;
        }
        for flip in AT_ONCE..AT_ONCE + SEEN {
            scene.label(None).await;
            is_out(&scene).await;
            scene.host.write(&format!("/etc/{flip}.conf"), "22").unwrap();
            scene.label(Some("labels")).await;
            scene.baseline("labels", 1).await;
        }
        let mut told = scene.told(AT_ONCE + SEEN).await;
        told.sort();
        let mut expected: Vec<_> =
            (0..AT_ONCE + SEEN).map(|flip| format!("Modified /etc/{flip}.conf Content,Size")).collect();
        expected.sort();
        assert_eq!(told, expected);
        let resumed = |change: &&Value| change["detection"] == "Resumed";
        assert!(scene.changes().unwrap().iter().filter(resumed).count() >= SEEN, "compared with what it was before");
        // A rule counts since it came to the journal, as it did with each flip that was seen.
        scene.rule_counts("labels", json!({"added": 0, "modified": 1, "removed": 0})).await;
        scene.agree().await;

        let writes = &scene.writes()[before..];
        let by = |who: &str| writes.iter().filter(|write| write.user.ends_with(who)).count();
        let flips = AT_ONCE + SEEN;
        eprintln!(
            "{flips} flips in {:?}: {} writes by the operator, {} by the agent",
            begun.elapsed(),
            by(OPERATOR),
            by(AGENT)
        );
        assert!(by(OPERATOR) <= 4 * flips, "{writes:#?}");
        // As much as it writes anyway, and of each flip that it has seen that it is out and in again.
        let intervals = usize::try_from(begun.elapsed().as_secs() / 10).unwrap();
        assert!(by(AGENT) <= 1 + intervals + 2 * SEEN, "{writes:#?}");
    });
}
