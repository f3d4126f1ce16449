//! Tokens that expire, and permissions that are missing.

use std::time::Duration;

use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use vedette_tests::{cluster::AGENT, eventually, not_yet};

use crate::scene::{SOON, Scene, Watched};

/// A server remembers for 10 s that it took a token.
const SHORT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_is_said_and_the_next_one_is_used_without_a_restart() {
    let scene = Scene::new().await;
    let watched = scene.watched("expires").await;
    scene.cluster.shorten_agent_token("expires", SHORT).unwrap();
    // A watch that stands is not cut off by its token's end.
    refused(&scene, &watched).await;
    scene.cluster.stop_apiserver().await.unwrap();
    watched.says("cannot watch the NodeConfig expires").await;
    scene.cluster.start_apiserver().await.unwrap();
    let before = watched.agent.metrics().await.unwrap();
    let broke = before.sum("vedette_agent_watch_errors_total", &[]);
    eventually("the watch is refused too", SOON, async || {
        let now = watched.agent.metrics().await?.sum("vedette_agent_watch_errors_total", &[]);
        if now > broke { Ok(()) } else { Err(not_yet(now)) }
    })
    .await
    .unwrap();
    assert!(watched.is_ready().await, "it goes on by its plan");

    scene.cluster.agent_identity("expires").await.unwrap();
    scene.agree(&watched).await;
    watched.says("can be watched again at").await;
    watched.says("the status of NodeConfig expires can be written again").await;
    watched.host.write("/srv/b", "1").unwrap();
    let generation = scene.configure(&watched, "rule-2", "/srv").await;
    scene.status(&watched, "is of the new plan", |status| status["observedGeneration"] == generation).await;
}

/// Changes files until the API server does not know the agent any more.
async fn refused(scene: &Scene, watched: &Watched) {
    let mut content = String::from("1");
    eventually("a write is refused", SOON, async || {
        content.push('x');
        watched.host.write("/etc/a.conf", &content)?;
        let log = watched.agent.log()?;
        if log.contains("401 Unauthorized") { Ok(()) } else { Err(not_yet(log)) }
    })
    .await
    .unwrap();
    watched
        .says(&format!(
            "cannot write the status of NodeConfig {} at {}: it does not know us (401 Unauthorized): the token has expired",
            watched.node,
            scene.cluster.control_plane().url()
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_is_named_with_who_lacks_it_and_where_it_comes_from() {
    let scene = Scene::new().await;
    let mut watched = scene.node("lacks").await;
    scene.configure(&watched, "rule-1", "/etc").await;
    let roles: Api<ClusterRole> = Api::all(scene.cluster.client());
    let rules = roles.get(AGENT).await.unwrap().rules;
    let how = PatchParams::default();
    roles.patch(AGENT, &how, &Patch::Merge(json!({ "rules": [] }))).await.unwrap();
    watched.agent.start().await.unwrap();
    let url = scene.cluster.control_plane().url();
    watched
        .says(&format!(
            "cannot watch the NodeConfig lacks at {url}: system:serviceaccount:vedette-system:vedette-agent may not list \
             nodeconfigs.vedette.dev at the cluster scope: is charts/manifests/vedette.yaml applied?"
        ))
        .await;
    assert_eq!(watched.agent.get("/readyz").await.unwrap().status, 503);
    roles.patch(AGENT, &how, &Patch::Merge(json!({ "rules": rules }))).await.unwrap();
    scene.status(&watched, "is there", |status| status["journal"]["id"].is_string()).await;
    watched.says("can be watched again at").await;
}
