//! The plan on disk: what an agent goes on by when it starts without an API server.

use std::sync::Arc;

use vedette_crds::record::Detection;
use vedette_engine::{Engine, Settings, clock::SystemClock};

use crate::scene::{Scene, Watched, holds};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_starts_without_an_api_server_goes_on_by_its_plan_and_takes_the_current_one_later() {
    let scene = Scene::new().await;
    let mut watched = scene.watched("knows").await;
    let mut fresh = scene.node("fresh").await;
    scene.configure(&fresh, "rule-1", "/etc").await;
    scene.cluster.stop_apiserver().await.unwrap();
    watched.host.write("/etc/a.conf", "22").unwrap();
    watched.counts(1).await;
    watched.terminate().await;

    watched.host.write("/etc/a.conf", "333").unwrap();
    watched.start().await;
    watched.counts(2).await;
    assert_eq!(watched.agent.changes().unwrap()[1]["detection"], "Startup");
    let url = scene.cluster.control_plane().url();
    watched
        .says(&format!(
            "cannot watch the NodeConfig knows at {url}: Connection refused (os error 111); going on by the last plan \
             (generation 1)"
        ))
        .await;

    fresh.agent.start().await.unwrap();
    fresh.says("there is no plan to go on by: nothing is watched until it answers").await;
    let ready = fresh.agent.get("/readyz").await.unwrap();
    assert_eq!((ready.status, ready.body.as_str()), (503, "no plan yet, and no answer from the API server\n"));

    let metrics = fresh.agent.metrics().await.unwrap();
    for reason in ["Forbidden", "SchemaOutdated", "Unavailable"] {
        let labels = [("sink", "Status"), ("reason", reason)];
        assert_eq!(metrics.get("vedette_agent_sink_errors_total", &labels), Some(0.0), "{metrics}");
    }

    scene.cluster.start_apiserver().await.unwrap();
    scene.agree(&watched).await;
    scene.status(&fresh, "has its baseline", |status| holds(status, "BaselineReady")).await;
    assert!(fresh.is_ready().await);
    watched.host.write("/srv/new", "1").unwrap();
    let generation = scene.configure(&watched, "rule-2", "/srv").await;
    scene
        .status(&watched, "is of the current plan", |status| {
            status["observedGeneration"] == generation
                && holds(status, "ConfigApplied")
                && holds(status, "BaselineReady")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_cannot_be_read_is_set_aside_and_the_api_server_is_asked() {
    let scene = Scene::new().await;
    let mut watched = scene.watched("damaged").await;
    for plan in [&b"\x00 no plan"[..], br#"{"version":9,"plan":"of a newer agent"}"#] {
        watched.terminate().await;
        write_plan(&watched, plan);
        scene.cluster.stop_apiserver().await.unwrap();
        watched.agent.start().await.unwrap();
        watched.says("the last plan in the state directory cannot be read").await;
        assert!(!watched.is_ready().await, "nothing to go on by");
        let kept = std::fs::read(watched.agent.state_dir().join("unreadable-plan")).unwrap();
        assert_eq!(kept, plan);
        scene.cluster.start_apiserver().await.unwrap();
        watched.agent.ready_within(crate::scene::SOON).await.unwrap();
        scene.status(&watched, "is whole", |status| holds(status, "ConfigApplied")).await;
    }
    watched.says("it has version 9, this agent reads up to 2").await;
    watched.host.write("/etc/a.conf", "22").unwrap();
    watched.counts(1).await;
    scene.agree(&watched).await;
}

/// Puts something else where the agent keeps its plan.
fn write_plan(watched: &Watched, plan: &[u8]) {
    let settings = Settings {
        state_dir: watched.agent.state_dir().to_owned(),
        host_root: watched.host.root().to_owned(),
        threads: 1,
        first_detection: Detection::Startup,
        answer_within: std::time::Duration::from_secs(3),
    };
    Engine::open(settings, Arc::new(SystemClock)).unwrap().remember(plan).unwrap();
}
