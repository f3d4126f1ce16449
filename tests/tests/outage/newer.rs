//! A NodeConfig that is newer than the agent, as each upgrade has it on nodes whose turn has not come.

use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use vedette_crds::definition;
use vedette_tests::{
    cluster::{OPERATOR, node_config},
    eventually, not_yet,
};

use crate::scene::{SOON, Scene, Watched, condition, holds};

/// What a later version might ask for: members of a rule and of an entry, and values, that this one does not know.
const NEWER: [&str; 5] = ["daemons", "sampling", "Entropy", "Chase", "Dire"];

/// Entries of rules, one that this version knows whole and one that it knows in parts.
fn files(newer: bool) -> Value {
    let defaults = json!({"recurse": true, "links": "Record", "mounts": "Local", "compare": ["Content", "Type"],
        "hashes": ["Md5", "Sha256"], "maxContentSize": 4_294_967_296_u64, "severity": "Medium"});
    let mut entry = json!({"name": "srv", "path": "/srv"});
    if newer {
        entry["sampling"] = json!(3);
        entry["compare"] = json!(["Content", "Entropy"]);
        entry["links"] = json!("Chase");
        entry["severity"] = json!("Dire");
    }
    json!({"interval": "1s", "rehashInterval": "24h", "realtime": false, "defaults": defaults,
        "paths": [{"name": "etc", "path": "/etc"}, entry]})
}

async fn configure(scene: &Scene, watched: &Watched, generation: u64, newer: bool) -> i64 {
    let mut rule = json!({"name": "watched", "uid": "rule-1", "generation": generation, "hash": generation.to_string(),
        "files": files(newer)});
    if newer {
        rule["daemons"] = json!({"names": ["sshd"]});
    }
    let spec = json!({
        "nodeUid": watched.uid,
        "reporting": {"minInterval": "1s", "refreshInterval": "15m"},
        "rules": [rule],
    });
    let object = node_config(&watched.node, json!({ "spec": spec }));
    let how = PatchParams::apply(OPERATOR).force();
    let stored = eventually("the NodeConfig is taken", SOON, async || {
        // A definition takes effect a moment after it is stored, and what it adds may be taken and left out until then.
        let stored = scene.cluster.node_configs().patch(&watched.node, &how, &Patch::Apply(&object)).await?;
        if stored.data["spec"] == object["spec"] { Ok(stored) } else { Err(not_yet(stored.data["spec"].clone())) }
    })
    .await
    .unwrap();
    stored.metadata.generation.unwrap()
}

async fn define_newer(scene: &Scene) {
    let mut newer = definition::node_configs();
    let rules =
        &mut newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["rules"];
    let rule = &mut rules["items"]["properties"];
    let names = json!({"type": "array", "items": {"type": "string"}});
    rule["daemons"] = json!({"type": "object", "properties": {"names": names}});
    rule["files"]["properties"]["paths"]["items"]["properties"]["sampling"] = json!({"type": "integer"});
    let kind = kube::core::GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let definitions: Api<DynamicObject> = Api::all_with(scene.cluster.client(), &ApiResource::from_gvk(&kind));
    let name = newer["metadata"]["name"].as_str().unwrap().to_owned();
    definitions.patch(&name, &PatchParams::apply("kubectl").force(), &Patch::Apply(&newer)).await.unwrap();
}

/// The status names all of what is not known.
async fn names_what_it_does_not_know(scene: &Scene, watched: &Watched, generation: i64) {
    scene
        .status(watched, "names what the agent does not know", |status| {
            let applied = condition(status, "ConfigApplied");
            let message = applied["message"].as_str().unwrap_or_default();
            status["observedGeneration"] == generation
                && applied["reason"] == "UnknownField"
                && NEWER.iter().all(|name| message.contains(name))
                && holds(status, "BaselineReady")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_newer_node_config_an_agent_does_what_it_knows_names_the_rest_and_takes_the_older_one_back() {
    let scene = Scene::new().await;
    let mut watched = scene.node("newer").await;
    watched.host.write("/srv/file", "1").unwrap();
    let generation = configure(&scene, &watched, 1, false).await;
    watched.start().await;
    scene.status(&watched, "has its baseline", |status| holds(status, "BaselineReady")).await;

    define_newer(&scene).await;
    let newer = configure(&scene, &watched, 2, true).await;
    assert!(newer > generation);
    // A watch goes on under the definition that it began with, for minutes: what that lacks comes with the next list.
    scene
        .status(&watched, "is of what it was shown", |status| {
            status["observedGeneration"] == newer && condition(status, "ConfigApplied")["reason"] == "UnknownField"
        })
        .await;
    scene.cluster.stop_apiserver().await.unwrap();
    scene.cluster.start_apiserver().await.unwrap();
    names_what_it_does_not_know(&scene, &watched, newer).await;
    watched.host.write("/srv/file", "22").unwrap();
    watched.counts(1).await;
    watched.host.write("/etc/a.conf", "22").unwrap();
    watched.counts(2).await;
    scene.agree(&watched).await;

    // The plan on disk is the newer one too.
    watched.terminate().await;
    scene.cluster.stop_apiserver().await.unwrap();
    watched.host.write("/srv/file", "333").unwrap();
    watched.start().await;
    watched.counts(3).await;
    scene.cluster.start_apiserver().await.unwrap();
    names_what_it_does_not_know(&scene, &watched, newer).await;

    let back = configure(&scene, &watched, 3, false).await;
    scene
        .status(&watched, "is of the older plan", |status| {
            status["observedGeneration"] == back && holds(status, "ConfigApplied") && holds(status, "BaselineReady")
        })
        .await;
    watched.host.write("/srv/file", "4444").unwrap();
    watched.counts(4).await;
    scene.agree(&watched).await;
    let mut told: Vec<String> = watched
        .agent
        .changes()
        .unwrap()
        .iter()
        .map(|change| format!("{} {}", change["rules"], change["fields"]))
        .collect();
    told.sort();
    let srv = r#"["watched/srv"] ["Content","Size"]"#;
    assert_eq!(told, [r#"["watched/etc"] ["Content","Size"]"#, srv, srv, srv]);
}
