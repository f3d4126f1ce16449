//! A release on a real API server, from nothing to nothing. There is no node: that pods run is tested elsewhere.

use crate::HELM;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use serde_json::json;
use std::{path::PathBuf, time::Duration};
use vedette_tests::{
    ControlPlane,
    cluster::{NAMESPACE, empty_spec, node_config},
    eventually,
    helm::{Ran, chart},
};

const WITHIN: Duration = Duration::from_secs(60);

struct Scene {
    plane: ControlPlane,
    kubeconfig: PathBuf,
}

impl Scene {
    async fn new() -> Self {
        let plane = ControlPlane::start().await.unwrap();
        let kubeconfig = plane.folder("helm").unwrap().join("kubeconfig");
        plane.admin().write_kubeconfig(&kubeconfig).unwrap();
        let scene = Self { plane, kubeconfig };
        // What every cluster has had for long when somebody installs something.
        for name in ["default", "kube-system"] {
            let namespaces = scene.all("v1", "Namespace");
            eventually(name, WITHIN, async || Ok(namespaces.get(name).await.map(drop)?)).await.unwrap();
        }
        scene
    }

    fn client(&self) -> Client {
        self.plane.client()
    }

    fn all(&self, version: &str, kind: &str) -> Api<DynamicObject> {
        Api::all_with(self.client(), &resource(version, kind))
    }

    fn rules(&self) -> Api<DynamicObject> {
        self.all("vedette.dev/v1alpha1", "DataCollectionRule")
    }

    async fn helm(&self, arguments: &[&str]) -> Ran {
        let (kubeconfig, chart) = (self.kubeconfig.clone(), chart().display().to_string());
        let arguments: Vec<String> =
            arguments.iter().map(|word| if *word == "CHART" { chart.clone() } else { (*word).to_owned() }).collect();
        tokio::task::spawn_blocking(move || HELM.run_as(&kubeconfig, arguments).unwrap()).await.unwrap()
    }

    async fn does(&self, arguments: &[&str]) -> String {
        let ran = self.helm(arguments).await;
        assert!(ran.success, "helm {}: {}", arguments.join(" "), ran.errors);
        ran.output
    }

    /// The uid of a rule: another one is another rule.
    async fn uid(&self, rule: &str) -> String {
        self.rules().get(rule).await.unwrap().metadata.uid.unwrap()
    }

    async fn knows_the_kinds(&self) {
        let rules = self.rules();
        eventually("rules are served", WITHIN, async || Ok(rules.list(&Default::default()).await.map(drop)?))
            .await
            .unwrap();
    }
}

fn resource(version: &str, kind: &str) -> ApiResource {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

const INSTALL: [&str; 6] = ["install", "vedette", "CHART", "--namespace", NAMESPACE, "--create-namespace"];
const UPGRADE: [&str; 6] = ["upgrade", "vedette", "CHART", "--namespace", NAMESPACE, "--reuse-values"];
const UNINSTALL: [&str; 4] = ["uninstall", "vedette", "--namespace", NAMESPACE];
const PRESETS: [&str; 2] = ["--set", "presets={linux-baseline,kubernetes-node}"];

#[tokio::test(flavor = "multi_thread")]
async fn rules_definitions_and_configurations_outlive_upgrades_and_the_release() {
    let scene = Scene::new().await;
    let notes = scene.does(&INSTALL).await;
    assert!(notes.contains("Nothing is watched yet") && notes.contains("rollout status"), "{notes}");
    scene.knows_the_kinds().await;
    let notes = scene.does(&[&UPGRADE[..], &PRESETS].concat()).await;
    assert!(notes.contains("linux-baseline, kubernetes-node"), "{notes}");
    let uid = scene.uid("linux-baseline").await;
    let configs = vedette_tests::cluster::node_configs_as(scene.client());
    let config = node_config("n1", json!({ "spec": empty_spec("none") }));
    let config = configs.patch("n1", &PatchParams::apply("test"), &Patch::Apply(config)).await.unwrap();

    scene.does(&[&UPGRADE[..], &["--set", "operator.replicas=3"]].concat()).await;
    let deployments: Api<DynamicObject> =
        Api::namespaced_with(scene.client(), NAMESPACE, &resource("apps/v1", "Deployment"));
    assert_eq!(deployments.get("vedette-operator").await.unwrap().data["spec"]["replicas"], 3);
    assert_eq!(scene.uid("linux-baseline").await, uid);

    scene.does(&UNINSTALL).await;
    assert!(deployments.get_opt("vedette-operator").await.unwrap().is_none(), "the rest is gone");
    let policies = scene.all("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy");
    assert!(policies.get_opt("nodeconfig-status.vedette.dev").await.unwrap().is_none());
    assert_eq!(scene.uid("linux-baseline").await, uid);
    assert_eq!(configs.get("n1").await.unwrap().metadata.uid, config.metadata.uid);

    // The kinds are known now, and the rules that are there become the release's again.
    scene.does(&[&INSTALL[..], &PRESETS].concat()).await;
    assert_eq!(scene.uid("linux-baseline").await, uid);
    assert_eq!(configs.get("n1").await.unwrap().metadata.uid, config.metadata.uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn presets_in_a_cluster_that_does_not_know_their_kind_are_refused_before_anything_is_there() {
    let scene = Scene::new().await;
    let refused = scene.helm(&[&INSTALL[..], &PRESETS].concat()).await;
    assert!(!refused.success);
    assert!(
        refused.errors.contains("install without presets first, then helm upgrade with them"),
        "{}",
        refused.errors
    );
    let accounts = scene.all("v1", "ServiceAccount").list(&Default::default()).await.unwrap();
    assert!(accounts.iter().all(|account| !account.metadata.name.as_deref().unwrap_or_default().contains("vedette")));
}

/// As somebody does who lets another tool make the namespace's labels, or has applied the plain manifest.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_taken_over_with_its_labels_and_stays() {
    let scene = Scene::new().await;
    scene.does(&[&INSTALL[..], &["--set", "namespace.create=true", "--take-ownership"]].concat()).await;
    let namespaces = scene.all("v1", "Namespace");
    let level = "pod-security.kubernetes.io/enforce";
    assert_eq!(namespaces.get(NAMESPACE).await.unwrap().metadata.labels.unwrap()[level], "privileged");
    scene.does(&UNINSTALL).await;
    assert!(namespaces.get(NAMESPACE).await.unwrap().metadata.deletion_timestamp.is_none());
}
