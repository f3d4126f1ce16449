//! `helm test`: what `vedette-operator check` says of an installation, with the rights of the chart's own account for it and no
//! others. A control plane with a real operator and agent; what a controller manager would write of their pods is written here.

use crate::objects;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    coordination::v1::Lease,
};
use kube::{
    Api, Resource,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use std::{
    env,
    fmt::Debug,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use vedette_tests::{
    Cluster, ScratchHost,
    cluster::{AGENT, NAMESPACE, OPERATOR, empty_spec, node_config, node_configs_as},
    eventually, not_yet, products,
};

const ACCOUNT: &str = "vedette-check";

struct Scene {
    cluster: Cluster,
    kubeconfig: PathBuf,
}

struct Said {
    code: Option<i32>,
    lines: String,
    errors: String,
}

impl Said {
    #[track_caller]
    fn says(&self, line: &str) {
        assert!(self.lines.contains(line), "no {line:?} in\n{}{}", self.lines, self.errors);
    }
}

impl Scene {
    /// The product installed, and what `helm test` makes before its pod.
    async fn new() -> Self {
        // Built before anything waits for what it says.
        products().await.unwrap();
        let cluster = Cluster::start().await.unwrap();
        for object in objects(&[]).into_iter().filter(is_of_the_check) {
            apply(&cluster, object).await;
        }
        let kubeconfig = Self::kubeconfig(&cluster, ACCOUNT).await;
        Self { cluster, kubeconfig }
    }

    async fn kubeconfig(cluster: &Cluster, account: &str) -> PathBuf {
        let path = cluster.control_plane().folder("check").unwrap().join(account);
        cluster.service_account(account, None).await.unwrap().write_kubeconfig(&path).unwrap();
        path
    }

    async fn check(&self, within: &str) -> Said {
        self.check_as(&self.kubeconfig, within).await
    }

    /// What has just been defined cannot be listed at once.
    async fn settled(&self) -> Said {
        let looked = eventually("it can be looked at", Duration::from_secs(60), async || {
            let said = self.check("0s").await;
            if said.code == Some(2) { Err(not_yet(said.errors)) } else { Ok(said) }
        });
        looked.await.unwrap()
    }

    async fn check_as(&self, kubeconfig: &PathBuf, within: &str) -> Said {
        let mut command = Command::new(&products().await.unwrap().operator);
        command.args(["check", "--namespace", NAMESPACE, "--within", within, "--kubeconfig"]).arg(kubeconfig);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), lines: text(output.stdout), errors: text(output.stderr) }
    }

    /// As a controller manager would.
    async fn status<K>(&self, name: &str, status: Value)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.cluster.client(), NAMESPACE);
        let status = Patch::Merge(json!({ "status": status }));
        api.patch_status(name, &PatchParams::default(), &status).await.unwrap();
    }

    async fn agents(&self, desired: usize) {
        let numbers = json!({
            "desiredNumberScheduled": desired, "updatedNumberScheduled": desired,
            "currentNumberScheduled": desired, "numberMisscheduled": 0, "numberReady": desired,
        });
        self.status::<DaemonSet>(AGENT, numbers).await;
    }
}

fn is_of_the_check(object: &Value) -> bool {
    object["metadata"]["labels"]["app.kubernetes.io/name"] == ACCOUNT && object["kind"] != "Pod"
}

async fn apply(cluster: &Cluster, object: Value) {
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let types = object.types.clone().unwrap();
    let resource = crate::scene::resource(&types.api_version, &types.kind);
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(cluster.client(), namespace, &resource),
        None => Api::all_with(cluster.client(), &resource),
    };
    let name = object.metadata.name.clone().unwrap();
    api.patch(&name, &PatchParams::apply("helm"), &Patch::Apply(object)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_what_does_not_hold_and_ends_well_when_all_does() {
    let scene = Scene::new().await;
    let folder = tempfile::tempdir().unwrap();
    let host = ScratchHost::install(folder.path().join("host")).unwrap();

    let nothing_runs = scene.settled().await;
    assert_eq!(nothing_runs.code, Some(1), "{}{}", nothing_runs.lines, nothing_runs.errors);
    nothing_runs.says("ok    the definition nodeconfigs.vedette.dev is served and stored as vedette.dev/v1alpha1");
    nothing_runs.says("ok    the admission policy lets an agent");
    nothing_runs.says("FAIL  none of 2 operators is available: kubectl -n vedette-system describe");
    nothing_runs.says("note  there is no DataCollectionRule");

    scene.cluster.add_node("n1", &[]).await.unwrap();
    let operator = scene.cluster.start_operator().await.unwrap();
    scene.status::<Deployment>(OPERATOR, json!({"availableReplicas": 2, "readyReplicas": 2, "replicas": 2})).await;
    scene.agents(1).await;
    let no_agent = scene.check("0s").await;
    no_agent.says("FAIL  no agent's pod on n1: kubectl -n vedette-system describe daemonset vedette-agent; where its pods are forbidden by PodSecurity");

    let agent = scene.cluster.start_agent("n1", host.root()).await.unwrap();
    let rule = json!({
        "apiVersion": "vedette.dev/v1alpha1", "kind": "DataCollectionRule", "metadata": {"name": "etc"},
        "spec": {"files": {"paths": [{"name": "etc", "path": "/etc"}]}},
    });
    apply(&scene.cluster, rule).await;
    let whole = scene.check("60s").await;
    assert_eq!(whole.code, Some(0), "{}{}", whole.lines, whole.errors);
    whole.says("ok    agents are ready on 1 of 1 Linux nodes");
    whole.says("ok    rules in force: etc");
    whole.says("ok    agents work by their rules on 1 nodes");

    // Left out on purpose, and missing.
    scene.cluster.add_node("n2", &[]).await.unwrap();
    scene.check("0s").await.says("note  left out by agent.nodeSelector or agent.tolerations, watched by nobody: n2");
    scene.agents(2).await;
    scene.check("0s").await.says("FAIL  no agent's pod on n2");
    scene.cluster.add_agent_pod("n2").await.unwrap();
    scene.check("0s").await.says("FAIL  agents that are not ready, on n2 (it is not ready)");

    // A definition of before, and a policy that somebody took away.
    let kind = crate::scene::resource("apiextensions.k8s.io/v1", "CustomResourceDefinition");
    let definitions: Api<DynamicObject> = Api::all_with(scene.cluster.client(), &kind);
    let mut definition = definitions.get("nodeconfigs.vedette.dev").await.unwrap();
    let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
    definition.data.pointer_mut(status).unwrap().as_object_mut().unwrap().remove("trackedItems").unwrap();
    definitions.replace("nodeconfigs.vedette.dev", &PostParams::default(), &definition).await.unwrap();
    let kind = crate::scene::resource("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding");
    let bindings: Api<DynamicObject> = Api::all_with(scene.cluster.client(), &kind);
    bindings.delete("nodeconfig-status.vedette.dev", &DeleteParams::default()).await.unwrap();
    let broken = scene.settled().await;
    assert_eq!(broken.code, Some(1), "{}", broken.lines);
    broken.says("FAIL  the definition nodeconfigs.vedette.dev is older than this operator and does not know .status.trackedItems: apply");
    broken.says("FAIL  the admission policy nodeconfig-status.vedette.dev or its binding is missing");
    drop((agent, operator));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_looks_whole_is_not() {
    let scene = Scene::new().await;
    scene.settled().await.says("ok    the admission policy lets an agent");

    // What there was is as it was: somebody leads, a rule is accepted. Nobody is at work.
    let mut operator = scene.cluster.start_operator().await.unwrap();
    scene.status::<Deployment>(OPERATOR, json!({"availableReplicas": 2, "readyReplicas": 2, "replicas": 2})).await;
    let rule = |path: &str| {
        json!({
            "apiVersion": "vedette.dev/v1alpha1", "kind": "DataCollectionRule", "metadata": {"name": "etc"},
            "spec": {"files": {"paths": [{"name": "etc", "path": path}]}},
        })
    };
    apply(&scene.cluster, rule("/etc")).await;
    let whole = eventually("the rule is judged", Duration::from_secs(60), async || {
        let said = scene.check("0s").await;
        if said.lines.contains("FAIL  rules that not every node has yet: etc (NoNodes") {
            Ok(said)
        } else {
            Err(not_yet(said.lines))
        }
    });
    whole.await.unwrap().says("ok    operators: 2; ");
    operator.kill().unwrap();
    apply(&scene.cluster, rule("/usr")).await;
    let leases: Api<Lease> = Api::namespaced(scene.cluster.client(), NAMESPACE);
    let old = json!({"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}});
    leases.patch(OPERATOR, &PatchParams::default(), &Patch::Merge(old)).await.unwrap();
    let dead = scene.check("0s").await;
    dead.says("FAIL  no operator leads: ");
    dead.says("did, and has not renewed the Lease vedette-operator for ");
    dead.says("FAIL  rules that no operator has looked at yet, as they are now: etc");

    // More than a page.
    let configs = node_configs_as(scene.cluster.client());
    for number in 0..230 {
        let (name, spec) = (format!("n{number:03}"), json!({ "spec": empty_spec("none") }));
        let apply = PatchParams::apply("test");
        configs.patch(&name, &apply, &Patch::Apply(node_config(&name, spec))).await.unwrap();
    }
    scene.check("0s").await.says("n009 and 220 more");

    // A policy of this name that lets everything pass.
    let kind = crate::scene::resource("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy");
    let policies: Api<DynamicObject> = Api::all_with(scene.cluster.client(), &kind);
    let allows = json!({"spec": {"validations": [{"expression": "true"}]}});
    policies.patch("nodeconfig-status.vedette.dev", &PatchParams::default(), &Patch::Merge(allows)).await.unwrap();
    let open = scene.check("0s").await;
    assert_eq!(open.code, Some(1), "{}", open.lines);
    open.says("FAIL  the admission policy nodeconfig-status.vedette.dev or its binding is not that of this version: the policy's spec.validations differs");
}

/// Under OpenShift each account that runs as a user of its own choice is bound to the constraints that allow it.
#[test]
fn every_pod_of_a_user_of_its_own_may_be_one_on_openshift() {
    let objects = objects(&["--set=openshift.enabled=true"]);
    let bound: Vec<_> = objects
        .iter()
        .filter(|object| object["roleRef"]["name"] == "system:openshift:scc:nonroot-v2")
        .map(|binding| binding["subjects"][0]["name"].as_str().unwrap())
        .collect();
    for (kind, name) in [("Deployment", OPERATOR), ("Pod", ACCOUNT)] {
        let object = crate::find(&objects, kind, name);
        let pod = if kind == "Pod" { &object["spec"] } else { crate::pod(object) };
        assert_eq!(pod["securityContext"]["runAsUser"], 65532);
        assert!(bound.contains(&pod["serviceAccountName"].as_str().unwrap()), "{kind} {name}: {bound:?}");
    }
}

/// What a check compares with is what the chart renders.
#[test]
fn the_policy_that_a_check_expects_is_the_charts() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../operator/src/check/admission-policy.json");
    let objects = objects(&[]);
    let spec = |kind: &str| crate::find(&objects, kind, "nodeconfig-status.vedette.dev")["spec"].clone();
    let (policy, binding) = (spec("ValidatingAdmissionPolicy"), spec("ValidatingAdmissionPolicyBinding"));
    let rendered = serde_json::to_string_pretty(&json!({"policy": policy, "binding": binding})).unwrap() + "\n";
    if env::var_os("VEDETTE_REGENERATE").is_some() {
        fs::write(&path, &rendered).unwrap();
    }
    let regenerate = "VEDETTE_REGENERATE=1 cargo test -p vedette-tests --test chart the_policy";
    assert!(fs::read_to_string(&path).unwrap() == rendered, "{} has drifted: {regenerate}", path.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_may_not_look_says_at_what() {
    let scene = Scene::new().await;
    let agent = Scene::kubeconfig(&scene.cluster, AGENT).await;
    let refused = scene.check_as(&agent, "0s").await;
    assert_eq!(refused.code, Some(2), "{}", refused.lines);
    assert!(refused.errors.contains("cannot read the Deployment vedette-operator at https://"), "{}", refused.errors);
}
