//! Events on what has changed and stayed so, and at once on what may be the trace of an attack.
use std::time::Duration;

use k8s_openapi::api::{events::v1::Event, rbac::v1::RoleBinding};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams},
};
use serde_json::json;
use vedette_tests::{Cluster, eventually, not_yet};

use crate::scene::{PlayedAgent, SOON, Scene, form, test, watch};

/// Two journals.
const FIRST: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
const SECOND: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

/// The minute for which a condition has to stay, and what a loaded machine takes.
const HELD: Duration = Duration::from_secs(150);

/// What was raised about an object: reasons and notes, in their order.
async fn raised(client: Client, kind: &str, name: &str) -> kube::Result<Vec<(String, String)>> {
    let events: Api<Event> = Api::namespaced(client, "default");
    let mut events = events.list(&ListParams::default()).await?.items;
    events.retain(|event| {
        let regarding = event.regarding.as_ref().unwrap();
        (regarding.kind.as_deref(), regarding.name.as_deref()) == (Some(kind), Some(name))
    });
    events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
    Ok(events.into_iter().map(|event| (event.reason.unwrap_or_default(), event.note.unwrap_or_default())).collect())
}

async fn raised_where(
    scene: &Scene<'_>,
    (kind, name): (&str, &str),
    within: Duration,
    holds: impl Fn(&[(String, String)]) -> bool,
) -> Vec<(String, String)> {
    eventually(&format!("Events about {kind} {name}"), within, async || {
        let raised = raised(scene.cluster.client(), kind, name).await?;
        if holds(&raised) { Ok(raised) } else { Err(not_yet(format!("{raised:?}"))) }
    })
    .await
    .unwrap()
}

async fn reports_journal(agent: &PlayedAgent, scene: &Scene<'_>, id: &str) {
    let config = scene.configs.get(&agent.node).await.unwrap();
    let journal = json!({ "id": id, "sequence": 1, "head": "sha256:00" });
    agent.say(json!({ "observedGeneration": config.metadata.generation, "journal": journal })).await;
}

#[test]
fn a_journal_that_changes_and_changes_back_makes_two_events_at_once() {
    test(async |scene| {
        scene.nodes("history", 1).await;
        scene.apply_rule("history", watch("history", &["/etc"])).await;
        scene.config_where("the configuration", "history1", |_| true).await;
        let agent = scene.agent("history1").await;
        for (number, id) in [FIRST, SECOND, FIRST].into_iter().enumerate() {
            reports_journal(&agent, &scene, id).await;
            // One after the other: a watch shows every change, a list made meanwhile only the last.
            let changes =
                |raised: &[(String, String)]| raised.iter().filter(|(reason, _)| reason == "JournalChanged").count();
            raised_where(&scene, ("NodeConfig", "history1"), SOON, |raised| changes(raised) == number).await;
        }
        let raised = raised(scene.cluster.client(), "NodeConfig", "history1").await.unwrap();
        let [(_, away), (_, back)] = &raised[..] else { panic!("{raised:?}") };
        assert!(away.contains(&format!("was {FIRST} and is {SECOND}")), "{away}");
        assert!(back.contains(&format!("was {SECOND} and is {FIRST}")), "{back}");
    });
}

#[test]
fn a_live_node_whose_labels_take_it_out_of_a_rule_makes_an_event_about_the_rule_at_once() {
    test(async |scene| {
        scene.nodes("escaping", 1).await;
        scene.apply_rule("escaping", watch("escaping", &["/etc"])).await;
        scene.config_where("the configuration", "escaping1", |_| true).await;
        scene.cluster.label_node("escaping1", &[("group", None)]).await.unwrap();
        let about = ("DataCollectionRule", "escaping");
        let escaped = |raised: &[(String, String)]| raised.iter().any(|(reason, _)| reason == "NodeDeselected");
        let raised = raised_where(&scene, about, SOON, escaped).await;
        assert!(raised[0].1.contains("node escaping1"), "{raised:?}");
        let events: Api<Event> = Api::namespaced(scene.cluster.client(), "default");
        let all = events.list(&ListParams::default()).await.unwrap();
        let event = all.iter().find(|event| event.note.as_ref() == Some(&raised[0].1)).unwrap();
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert_eq!(event.reporting_controller.as_deref(), Some("vedette-operator"));
        let rule = scene.rules.get("escaping").await.unwrap();
        let regarding = event.regarding.as_ref().unwrap();
        assert_eq!(
            (regarding.uid.clone(), regarding.api_version.as_deref()),
            (rule.uid(), Some("vedette.dev/v1alpha1"))
        );
    });
}

#[test]
fn conditions_that_have_stayed_changed_for_a_minute_are_told_with_what_stood_before_and_those_that_flapped_are_not() {
    test(async |scene| {
        scene.nodes("told", 2).await;
        scene.apply_rule("told", watch("told", &["/etc"])).await;
        scene.configs_where("the configurations", &["told1".into(), "told2".into()], SOON, |_| true).await;
        let (first, second) = (scene.agent("told1").await, scene.agent("told2").await);
        first.confirm(5, 0, None).await;
        second.confirm(5, 0, None).await;
        scene.rule_says("told", "Ready", "True Ready").await;
        // It was not like that for a minute yet, so that nothing stood but what the agents make of it now.
        let mut odd = watch("told", &["/etc"]);
        odd["files"]["paths"] = json!([{ "name": "first", "path": "/etc/{a[}]b" }]);
        scene.apply_rule("told", odd).await;
        scene.rule_says("told", "Accepted", "False Refused").await;
        // A rule for the second node alone, which its agent confirms in time, and the first node's does not.
        scene.apply_rule("told-again", watch("told", &["/bin"])).await;
        scene.config_where("both", "told2", |config| config.spec.rules.len() == 2).await;
        second.confirm(5, 0, None).await;

        let refused = |raised: &[(String, String)]| raised.iter().any(|(reason, _)| reason == "RuleRefused");
        let raised = raised_where(&scene, ("DataCollectionRule", "told"), HELD, refused).await;
        let (_, note) = raised.iter().find(|(reason, _)| reason == "RuleRefused").unwrap();
        assert!(note.starts_with("Accepted is False, Refused: ") && note.contains("\"first\""), "{note}");
        let late = |raised: &[(String, String)]| raised.iter().any(|(reason, _)| reason == "ConfigNotApplied");
        let raised = raised_where(&scene, ("NodeConfig", "told1"), HELD, late).await;
        assert!(raised.iter().all(|(reason, _)| reason != "NodeReady"), "{raised:?}");
        let of_second = raised_where(&scene, ("NodeConfig", "told2"), SOON, |_| true).await;
        assert_eq!(of_second, [], "it was away for a moment");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_cannot_be_written_are_counted_and_hold_up_nothing() {
    let cluster = Cluster::start().await.unwrap();
    let scene = Scene::new(&cluster);
    let bindings: Api<RoleBinding> = Api::namespaced(cluster.client(), "default");
    bindings.delete("vedette-operator-events", &DeleteParams::default()).await.unwrap();
    scene.nodes("mute", 1).await;
    let operator = cluster.start_operator().await.unwrap();
    scene.apply_rule("mute", watch("mute", &["/etc"])).await;
    scene.config_where("the configuration", "mute1", |_| true).await;
    let agent = scene.agent("mute1").await;
    for id in [FIRST, SECOND] {
        reports_journal(&agent, &scene, id).await;
    }
    eventually("the failure is counted", SOON, async || {
        let metrics = operator.metrics().await?;
        let failed = [("reason", "JournalChanged"), ("outcome", "Failed")];
        let failed = metrics.get("vedette_operator_events_total", &failed);
        if failed == Some(1.0) { Ok(()) } else { Err(not_yet(metrics.to_string())) }
    })
    .await
    .unwrap();
    let log = operator.log().unwrap();
    assert!(
        log.contains("cannot raise the Event JournalChanged about mute1")
            && log.contains(&format!("was {FIRST} and is {SECOND}")),
        "{log}"
    );
    scene.apply_rule("mute", watch("mute", &["/bin"])).await;
    scene.config_where("the edit", "mute1", |config| form(config).generation == 2).await;
}
