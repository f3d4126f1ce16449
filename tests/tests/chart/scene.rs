//! A real API server, and helm on it as somebody who installs something.

use crate::HELM;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use std::{path::PathBuf, time::Duration};
use vedette_tests::{
    ControlPlane,
    cluster::NAMESPACE,
    eventually,
    helm::{Ran, chart},
};

const WITHIN: Duration = Duration::from_secs(60);

pub(crate) struct Scene {
    plane: ControlPlane,
    kubeconfig: PathBuf,
}

impl Scene {
    pub(crate) async fn new() -> Self {
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

    pub(crate) fn client(&self) -> Client {
        self.plane.client()
    }

    pub(crate) fn all(&self, version: &str, kind: &str) -> Api<DynamicObject> {
        Api::all_with(self.client(), &resource(version, kind))
    }

    pub(crate) fn rules(&self) -> Api<DynamicObject> {
        self.all("vedette.dev/v1alpha1", "DataCollectionRule")
    }

    pub(crate) async fn helm(&self, arguments: &[&str]) -> Ran {
        let (kubeconfig, chart) = (self.kubeconfig.clone(), chart().display().to_string());
        let arguments: Vec<String> =
            arguments.iter().map(|word| if *word == "CHART" { chart.clone() } else { (*word).to_owned() }).collect();
        tokio::task::spawn_blocking(move || HELM.run_as(&kubeconfig, arguments).unwrap()).await.unwrap()
    }

    pub(crate) async fn does(&self, arguments: &[&str]) -> String {
        let ran = self.helm(arguments).await;
        assert!(ran.success, "helm {}: {}", arguments.join(" "), ran.errors);
        ran.output
    }

    /// What is in the release's namespace.
    pub(crate) fn own(&self, version: &str, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client(), NAMESPACE, &resource(version, kind))
    }

    /// The uid of a rule: another one is another rule.
    pub(crate) async fn uid(&self, rule: &str) -> String {
        self.rules().get(rule).await.unwrap().metadata.uid.unwrap()
    }

    pub(crate) async fn knows_the_kinds(&self) {
        let rules = self.rules();
        eventually("rules are served", WITHIN, async || Ok(rules.list(&Default::default()).await.map(drop)?))
            .await
            .unwrap();
    }
}

pub(crate) fn resource(version: &str, kind: &str) -> ApiResource {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

pub(crate) const INSTALL: [&str; 6] = ["install", "vedette", "CHART", "--namespace", NAMESPACE, "--create-namespace"];
pub(crate) const UPGRADE: [&str; 6] =
    ["upgrade", "vedette", "CHART", "--namespace", NAMESPACE, "--reset-then-reuse-values"];
pub(crate) const UNINSTALL: [&str; 4] = ["uninstall", "vedette", "--namespace", NAMESPACE];
pub(crate) const PRESETS: [&str; 2] = ["--set", "presets={linux-baseline,kubernetes-node}"];
