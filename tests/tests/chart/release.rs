//! A release on a real API server, from nothing to nothing. There is no node: that pods run is tested elsewhere.

use crate::scene::{INSTALL, PRESETS, Scene, UNINSTALL, UPGRADE};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use vedette_tests::cluster::{NAMESPACE, empty_spec, node_config};

#[tokio::test(flavor = "multi_thread")]
async fn rules_definitions_and_configurations_outlive_upgrades_and_the_release() {
    let scene = Scene::new().await;
    let notes = scene.does(&INSTALL).await;
    assert!(notes.contains("This release brings no rules") && notes.contains("rollout status"), "{notes}");
    scene.knows_the_kinds().await;
    let notes = scene.does(&[&UPGRADE[..], &PRESETS].concat()).await;
    assert!(notes.contains("linux-baseline, kubernetes-node"), "{notes}");
    let uid = scene.uid("linux-baseline").await;
    let configs = vedette_tests::cluster::node_configs_as(scene.client());
    let config = node_config("n1", json!({ "spec": empty_spec("none") }));
    let config = configs.patch("n1", &PatchParams::apply("test"), &Patch::Apply(config)).await.unwrap();

    scene.does(&[&UPGRADE[..], &["--set", "operator.replicas=3"]].concat()).await;
    let deployments = scene.own("apps/v1", "Deployment");
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
