//! As many rules and entries as there may be, on one node, with a real agent.

use std::time::Instant;

use serde_json::{Value, json};
use vedette_crds::node_config::MAX_RULES;
use vedette_tests::{cluster::OPERATOR, eventually, not_yet};

use crate::scene::{SOON, Scene, condition, entry, on_cluster};

/// How many entries a rule may have.
const ENTRIES: usize = 256;
/// How many the other rules may have beside one with 256, for all to have room in 64 KiB.
const BESIDE: usize = 44;
const ROOM: usize = 64 * 1024;

fn name(rule: usize) -> String {
    format!("limits-{rule:02}")
}

fn path(rule: usize, entry: usize) -> String {
    format!("/d/{rule:02}/{entry:03}")
}

/// The first entries of a rule: a file each.
async fn apply(scene: &Scene, rule: usize, entries: usize) {
    let entries: Vec<Value> = (0..entries).map(|number| entry(&format!("e{number:03}"), &path(rule, number))).collect();
    scene.apply(scene.rule_named(&name(rule), json!(entries))).await;
}

/// Waits until exactly these rules stand in the NodeConfig, each of its generation, and the node is ready with them. Gives the
/// size of its spec and of the whole object.
async fn carries(scene: &Scene, expected: &[(String, i64)]) -> (usize, usize) {
    eventually("the node is ready with what there is room for", SOON, async || {
        let config = scene.config().await?;
        let carried: Vec<_> = config.spec.rules.iter().map(|rule| (rule.name.clone(), rule.generation)).collect();
        let whole = json!(config);
        let confirmed = whole["status"]["observedGeneration"].as_i64() == config.metadata.generation;
        let ready = condition(&whole, "Ready")["status"] == "True";
        if carried == expected && confirmed && ready {
            return Ok((json!(config.spec).to_string().len(), whole.to_string().len()));
        }
        Err(not_yet(format!("{carried:?}, {confirmed}, {}", whole["status"]["conditions"])))
    })
    .await
    .unwrap()
}

/// Changes the file of an entry of each of these rules: each is told once, under its rule and entry.
async fn tells(scene: &Scene, rules: &[usize], entry: impl Fn(usize) -> usize, content: &str) {
    let before = scene.changes().unwrap().len();
    for &rule in rules {
        scene.host.write(&path(rule, entry(rule)), content).unwrap();
    }
    scene.told(before + rules.len()).await;
    let mut told: Vec<String> = scene.changes().unwrap()[before..]
        .iter()
        .map(|change| format!("{} {}", change["path"].as_str().unwrap(), change["rules"]))
        .collect();
    told.sort();
    let expected: Vec<String> = rules
        .iter()
        .map(|&rule| format!("{} [\"{}/e{:03}\"]", path(rule, entry(rule)), name(rule), entry(rule)))
        .collect();
    assert_eq!(told, expected);
}

async fn programmed(scene: &Scene, rule: usize, expected: &str) -> Value {
    let said = |rule: &Value| condition(rule, "Programmed");
    let name = name(rule);
    let rule = scene.rule(expected, &name, |rule| {
        said(rule)["reason"] == expected && said(rule)["observedGeneration"] == rule["status"]["observedGeneration"]
    });
    said(&rule.await)
}

/// How often the operator has written this node's NodeConfig.
fn writes(scene: &Scene) -> usize {
    let writes = scene.writes();
    writes.iter().filter(|write| write.resource == "nodeconfigs" && write.user.ends_with(OPERATOR)).count()
}

#[test]
fn thirty_two_rules_with_256_entries_each_go_as_far_as_there_is_room_and_all_that_fits_is_effective() {
    on_cluster(async |cluster| {
        let mut scene = Scene::new(cluster, "limits").await;
        for rule in 0..MAX_RULES {
            for entry in 0..ENTRIES {
                scene.host.write(&path(rule, entry), "1").unwrap();
            }
        }
        scene.start().await;
        let begun = Instant::now();
        for rule in 0..MAX_RULES {
            apply(&scene, rule, ENTRIES).await;
        }
        for rule in 0..MAX_RULES {
            scene.rule("is judged", &name(rule), |rule| condition(rule, "Programmed")["reason"].is_string()).await;
        }
        let fits = scene.config().await.unwrap().spec.rules.len();
        let expected: Vec<_> = (0..fits).map(|rule| (name(rule), 1)).collect();
        let (spec, whole) = carries(&scene, &expected).await;
        eprintln!(
            "{fits} of 32 rules with 256 entries: spec {spec} B, object {whole} B, ready after {:?}",
            begun.elapsed()
        );
        // One more had no room.
        assert!(spec <= ROOM && spec + spec / fits > ROOM, "{fits} rules in {spec} B");
        for rule in 0..fits {
            programmed(&scene, rule, "Programmed").await;
        }
        for rule in fits..MAX_RULES {
            let said = programmed(&scene, rule, "NodeConfigTooLarge").await;
            assert_eq!(said["status"], "False");
            assert!(said["message"].as_str().unwrap().contains(&scene.node), "{said}");
        }
        let settled = writes(&scene);
        assert!(settled <= MAX_RULES, "{settled} writes of one NodeConfig for {MAX_RULES} rules");
        let carried: Vec<usize> = (0..fits).collect();
        tells(&scene, &carried, |rule| 37 * rule % ENTRIES, "22").await;
        tells(&scene, &carried, |_| ENTRIES - 1, "22").await;
        assert_eq!(writes(&scene), settled, "what has no room is not tried again and again");

        let begun = Instant::now();
        for rule in 1..MAX_RULES {
            apply(&scene, rule, BESIDE).await;
        }
        for rule in 1..MAX_RULES {
            programmed(&scene, rule, "Programmed").await;
        }
        let expected: Vec<_> = (0..MAX_RULES).map(|rule| (name(rule), 1 + i64::from(rule > 0))).collect();
        let (spec, whole) = carries(&scene, &expected).await;
        eprintln!(
            "32 rules, one with 256 entries, the others with {BESIDE}: spec {spec} B, object {whole} B, ready after {:?}",
            begun.elapsed()
        );
        assert!(spec <= ROOM, "{spec}");
        let all: Vec<usize> = (0..MAX_RULES).collect();
        tells(&scene, &all, |rule| if rule == 0 { ENTRIES - 2 } else { BESIDE - 1 }, "333").await;
        scene.agree().await;
    });
}
