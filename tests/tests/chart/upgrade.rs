//! From the chart of the version before, as it was packaged then, to this one and back, on a real API server. There is no node.

use crate::additive::narrower;
use crate::scene::{INSTALL, PRESETS, Scene, UNINSTALL, UPGRADE};
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use std::{fs, path::Path};
use vedette_tests::{
    cluster::{NAMESPACE, empty_spec, node_config, node_configs_as},
    helm::chart,
};

fn previous() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart/previous/vedette-0.1.0.tgz").display().to_string()
}

/// The arguments with another chart than this tree's.
fn of<'a>(chart: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    arguments.iter().map(|word| if *word == "CHART" { chart } else { word }).collect()
}

/// All that has to be the same objects afterwards: with a definition would go every rule, and without the policy, for however
/// short, an agent could write what is not its own.
struct Kept(Vec<(String, Option<String>)>);

impl Kept {
    async fn of(scene: &Scene) -> Self {
        let definitions = scene.all("apiextensions.k8s.io/v1", "CustomResourceDefinition");
        let mut kept = Vec::new();
        let mut look = async |api: &Api<DynamicObject>, name: &str| {
            let object = api.get_opt(name).await.unwrap();
            kept.push((name.to_owned(), object.and_then(|object| object.metadata.uid)));
        };
        for name in ["datacollectionrules.vedette.dev", "nodeconfigs.vedette.dev"] {
            look(&definitions, name).await;
        }
        for name in ["linux-baseline", "kubernetes-node"] {
            look(&scene.rules(), name).await;
        }
        look(&node_configs_as(scene.client()), "n1").await;
        for kind in ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"] {
            look(&scene.all("admissionregistration.k8s.io/v1", kind), "nodeconfig-status.vedette.dev").await;
        }
        look(&scene.own("apps/v1", "DaemonSet"), "vedette-agent").await;
        look(&scene.own("apps/v1", "Deployment"), "vedette-operator").await;
        Self(kept)
    }

    fn all_there(&self) {
        assert!(self.0.iter().all(|(_, uid)| uid.is_some()), "{:?}", self.0);
    }
}

/// The schemas of both definitions, as they are served.
async fn schemas(scene: &Scene) -> Vec<Value> {
    let definitions = scene.all("apiextensions.k8s.io/v1", "CustomResourceDefinition");
    let mut schemas = Vec::new();
    for name in ["datacollectionrules.vedette.dev", "nodeconfigs.vedette.dev"] {
        let definition = definitions.get(name).await.unwrap().data;
        schemas.push(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone());
    }
    schemas
}

struct Agents {
    arguments: String,
    state: Value,
}

async fn agents(scene: &Scene) -> Agents {
    let set = scene.own("apps/v1", "DaemonSet").get("vedette-agent").await.unwrap().data;
    let pod = &set["spec"]["template"]["spec"];
    let volumes = pod["volumes"].as_array().unwrap();
    let state = volumes.iter().find(|volume| volume["name"] == "state").unwrap();
    Agents { arguments: pod["containers"][0]["args"].to_string(), state: state["hostPath"]["path"].clone() }
}

#[test]
fn this_chart_is_newer_than_the_one_before() {
    let text = fs::read_to_string(chart().join("Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&text).unwrap();
    let version: Vec<u32> = chart["version"].as_str().unwrap().split('.').map(|part| part.parse().unwrap()).collect();
    assert!(version > vec![0, 1, 0], "{version:?}: bump it, or package the one before");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_a_rollback_and_a_new_installation_keep_rules_state_and_definitions() {
    let scene = Scene::new().await;
    let previous = previous();
    scene.does(&of(&previous, &INSTALL)).await;
    scene.knows_the_kinds().await;
    let settings = ["--set", "agent.stateDir=/data/vedette,operator.replicas=3"];
    scene.does(&[&of(&previous, &UPGRADE)[..], &PRESETS, &settings].concat()).await;
    let configs = node_configs_as(scene.client());
    let config = node_config("n1", json!({ "spec": empty_spec("none") }));
    configs.patch("n1", &PatchParams::apply("test"), &Patch::Apply(config)).await.unwrap();
    let before = Kept::of(&scene).await;
    before.all_there();
    let older = schemas(&scene).await;
    assert!(agents(&scene).await.arguments.contains("--listen=0.0.0.0:8080"));

    // As the docs say, and as many do: with the defaults of the version before.
    for how in ["--reset-then-reuse-values", "--reuse-values"] {
        let upgrade = ["upgrade", "vedette", "CHART", "--namespace", NAMESPACE, how];
        scene.does(&upgrade).await;
        assert_eq!(Kept::of(&scene).await.0, before.0, "{how}");
        for (older, newer) in older.iter().zip(&schemas(&scene).await) {
            assert_eq!(narrower(older, newer), Vec::<String>::new(), "what the version before writes is refused");
        }
        let now = agents(&scene).await;
        assert!(now.arguments.contains("--listen=[::]:8080"), "{how}: {}", now.arguments);
        assert_eq!(now.state, "/data/vedette", "{how}");
        let replicas =
            &scene.own("apps/v1", "Deployment").get("vedette-operator").await.unwrap().data["spec"]["replicas"];
        assert_eq!(*replicas, 3, "{how}");

        scene.does(&["rollback", "vedette", "2", "--namespace", NAMESPACE]).await;
        assert_eq!(Kept::of(&scene).await.0, before.0, "back from {how}");
        assert!(agents(&scene).await.arguments.contains("--listen=0.0.0.0:8080"), "back from {how}");
    }

    scene.does(&UNINSTALL).await;
    scene.does(&[&INSTALL[..], &PRESETS, &settings].concat()).await;
    let after = Kept::of(&scene).await;
    after.all_there();
    // Definitions, rules and configurations; policy and workloads are others.
    assert_eq!(after.0[..5], before.0[..5]);
    assert_eq!(agents(&scene).await.state, "/data/vedette");
}
