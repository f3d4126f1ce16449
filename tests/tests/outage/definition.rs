//! An API server whose definition of NodeConfig is older than the agent.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use vedette_tests::{eventually, not_yet};

use crate::scene::{SOON, Scene, condition, holds};

const NAME: &str = "nodeconfigs.vedette.dev";
/// The whole status is tried again after a pause as long as the definition has been older, and that is as long as this test
/// has taken.
const UPGRADED: Duration = Duration::from_secs(360);
const MEMBERS: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_definition_gets_what_it_knows_and_the_rest_once_it_is_upgraded() {
    let scene = Scene::new().await;
    let mut watched = scene.watched("older").await;
    let definitions: Api<CustomResourceDefinition> = Api::all(scene.cluster.client());
    let whole = json!(definitions.get(NAME).await.unwrap());
    let mut older = whole.clone();
    let members = older.pointer_mut(MEMBERS).unwrap().as_object_mut().unwrap();
    assert!(members.remove("unknownItems").is_some() && members.remove("recentChanges").is_some());
    store(&definitions, &older).await;

    let status = eventually("a status is what the definition knows", SOON, async || {
        // A write may still be judged by the definition before: the next one is not.
        watched.host.append("/etc/a.conf", "x")?;
        let status = scene.cluster.node_configs().get("older").await?.data["status"].clone();
        let message = condition(&status, "ConfigApplied")["message"].to_string();
        // Before a change there is one member less to know.
        if message.contains("recentChanges, unknownItems. Apply the CRDs") { Ok(status) } else { Err(not_yet(status)) }
    })
    .await
    .unwrap();
    assert!(status["unknownItems"].is_null() && status["recentChanges"].is_null(), "{status:#}");
    assert_eq!(condition(&status, "ConfigApplied")["reason"], "SchemaOutdated");
    watched.says("the NodeConfig CRD is older than this agent: status without recentChanges, unknownItems").await;
    // A new process finds out for itself.
    watched.terminate().await;
    watched.start().await;
    watched.host.write("/etc/b.conf", "1").unwrap();
    scene.status(&watched, "goes on", |status| status["changes"]["added"] == 1).await;
    scene.agree(&watched).await;
    let refused = watched.agent.metrics().await.unwrap();
    let refused = refused.get("vedette_agent_sink_errors_total", &[("sink", "Status"), ("reason", "SchemaOutdated")]);
    assert!(refused.unwrap() >= 1.0);

    store(&definitions, &whole).await;
    let status = eventually("the status is whole", UPGRADED, async || {
        let status = scene.cluster.node_configs().get("older").await?.data["status"].clone();
        if holds(&status, "ConfigApplied") && status["unknownItems"] == 0 { Ok(status) } else { Err(not_yet(status)) }
    })
    .await
    .unwrap();
    assert!(status["recentChanges"].to_string().contains("/etc/b.conf"), "{status:#}");
    watched.says("the NodeConfig CRD knows the whole status now").await;
}

/// Stores a definition, and waits until the API server judges by it.
async fn store(definitions: &Api<CustomResourceDefinition>, definition: &Value) {
    let mut object = definition.clone();
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.retain(|member, _| member == "name");
    object.as_object_mut().unwrap().remove("status");
    object["apiVersion"] = json!("apiextensions.k8s.io/v1");
    object["kind"] = json!("CustomResourceDefinition");
    let how = PatchParams::apply("kubectl").force();
    definitions.patch(NAME, &how, &Patch::Apply(&object)).await.unwrap();
    eventually("the definition is stored", SOON, async || {
        let stored = json!(definitions.get(NAME).await?);
        if stored.pointer(MEMBERS) == definition.pointer(MEMBERS) { Ok(()) } else { Err(not_yet(stored)) }
    })
    .await
    .unwrap();
}
