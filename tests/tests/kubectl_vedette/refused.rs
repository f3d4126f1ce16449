//! What it says when it has no answer, fleets of more than a page, and rules that are judged without a cluster.

use std::path::Path;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::{
    coordination::v1::Lease,
    rbac::v1::{ClusterRoleBinding, RoleBinding},
};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use vedette_tests::{
    Cluster, ControlPlane,
    cluster::{empty_spec, node_config},
    eventually, not_yet,
};

use crate::scene::{Person, SOON, folder, until};

#[tokio::test(flavor = "multi_thread")]
async fn who_gets_no_answer_is_told_what_to_do() {
    let bare = ControlPlane::start().await.unwrap();
    let people = bare.folder("people").unwrap();
    let admin = Person::new(bare.admin(), people.join("admin")).await;
    let said = |person: &Person, words: &[&str]| {
        let ran = person.runs(words);
        assert_eq!((ran.code, ran.output.as_str()), (Some(2), ""), "{ran:?}");
        assert_eq!(ran.errors.lines().count(), 1, "one sentence: {ran:?}");
        ran.errors
    };
    let no_kind = said(&admin, &["status"]);
    assert!(
        no_kind.contains("this cluster has no such kind: is Vedette installed there (docs/install.md)"),
        "{no_kind}"
    );
    assert!(said(&admin, &["changes", "--follow"]).contains("is Vedette installed there"));
    assert!(said(&admin, &["explain", "n1", "/etc"]).contains("is Vedette installed there"));
    let context = said(&admin, &["status", "--context", "prod"]);
    assert!(context.contains("cannot use the kubeconfig") && context.contains("prod"), "{context}");
    let file = said(&admin, &["status", "--kubeconfig", "/nonexistent/config"]);
    assert_eq!(file, "error: cannot use the kubeconfig /nonexistent/config: No such file or directory (os error 2)\n");

    // Not that of a pod, where this runs in one.
    let nobody = Person::offline().await;
    for flag in ["--context", "--cluster", "--user"] {
        let none =
            format!("error: {flag} prod is one of a kubeconfig, and there is none: give one with --kubeconfig\n");
        assert_eq!(said(&nobody, &["status", flag, "prod"]), none);
    }

    bare.stop_apiserver().await.unwrap();
    let away = said(&admin, &["status"]);
    assert!(away.contains(bare.url()), "{away}");
    assert!(away.contains("Is the cluster up, and is it the right one (--context)?"), "{away}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_missing_are_named_and_a_large_fleet_comes_in_pages() {
    const NODES: usize = 450;
    let cluster = Cluster::start().await.unwrap();
    let nobody = cluster.control_plane().person("jane", None).unwrap();
    let jane = Person::new(&nobody, folder(&cluster, "jane")).await;
    let ran = jane.runs(&["changes"]);
    assert_eq!(ran.code, Some(2));
    let sentence = "jane may not list nodeconfigs.vedette.dev at the cluster scope: ask to be bound to the ClusterRole vedette-viewer";
    assert!(ran.errors.contains(sentence), "{ran:?}");
    bind(&cluster, "jane", "ClusterRole").await;
    let viewer = until(&jane, &["status"], 1).await;
    let unknown = "not known: ask to be bound to the Role vedette-viewer in the namespace vedette-system";
    assert!(viewer.output.contains(unknown) && !viewer.output.contains("NOT WELL"), "{viewer:?}");
    assert!(jane.runs(&["status", "-o", "json"]).json().get("operator").is_none());
    bind(&cluster, "jane", "Role").await;
    eventually("jane may read who leads", SOON, async || {
        let ran = jane.runs(&["status"]);
        let knows = ran.output.contains("no operator leads in the namespace vedette-system");
        if knows && !ran.output.contains(unknown) { Ok(()) } else { Err(not_yet(format!("{ran:?}"))) }
    })
    .await
    .unwrap();
    // That Lease and nothing beside it.
    let leases: Api<Lease> = Api::namespaced(nobody.client().await.unwrap(), "vedette-system");
    for refused in [leases.get("other").await.map(drop), leases.list(&ListParams::default()).await.map(drop)] {
        assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));
    }

    let admin = Person::new(cluster.control_plane().admin(), folder(&cluster, "admin")).await;
    let configs = cluster.node_configs();
    let made = futures::stream::iter(0..NODES).map(|number| {
        let (configs, name) = (configs.clone(), format!("worker-{number:03}"));
        async move {
            let object = node_config(&name, json!({"spec": empty_spec("uid")}));
            configs.patch(&name, &PatchParams::apply("test"), &Patch::Apply(&object)).await.map(drop)
        }
    });
    made.buffer_unordered(16).try_collect::<()>().await.unwrap();
    let json = admin.runs(&["status", "-o", "json"]).json();
    assert_eq!(json["totals"]["nodes"], NODES);
    let names: Vec<&str> =
        json["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect();
    assert!(names.is_sorted() && names.len() == NODES, "each once");
    let table = admin.runs(&["status"]);
    assert_eq!(table.code, Some(1));
    assert!(table.output.contains("no operator leads in the namespace vedette-system"), "{table:?}");
    assert!(table.output.ends_with("and 430 more nodes: -o wide names them all\n"), "{table:?}");
    // Whom the reader of a pipe leaves.
    let mut head = admin.command(&["status", "-o", "wide"]);
    let mut child = head.stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(1), "that nobody reads on is no trouble, and makes no fleet well");
}

/// Binds somebody to what the installation has for those who look, as docs/kubectl-vedette.md says.
async fn bind(cluster: &Cluster, person: &str, kind: &str) {
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "vedette-viewer"});
    let subjects = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": person}]);
    let of = |binding: &str| {
        let metadata = json!({"name": "vedette-viewers"});
        let version = "rbac.authorization.k8s.io/v1";
        json!({"apiVersion": version, "kind": binding, "metadata": metadata, "roleRef": role, "subjects": subjects})
    };
    let how = PostParams::default();
    if kind == "Role" {
        let bindings: Api<RoleBinding> = Api::namespaced(cluster.client(), "vedette-system");
        bindings.create(&how, &serde_json::from_value(of("RoleBinding")).unwrap()).await.unwrap();
    } else {
        let bindings: Api<ClusterRoleBinding> = Api::all(cluster.client());
        bindings.create(&how, &serde_json::from_value(of("ClusterRoleBinding")).unwrap()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_judged_without_a_cluster_with_all_that_is_wrong() {
    let scratch = tempfile::tempdir().unwrap();
    let nobody = Person::offline().await;
    let presets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/presets");
    let files = ["linux-baseline.yaml", "kubernetes-node.yaml", "etc.yaml"]
        .map(|name| presets.join(name).display().to_string());
    let good = nobody.runs(&["rules", "lint", &files[0], &files[1], &files[2]]);
    assert_eq!((good.code, good.output.as_str(), good.errors.as_str()), (Some(0), "3 rules are good\n", ""));

    let bad = "apiVersion: vedette.dev/v1alpha1\nkind: DataCollectionRule\nmetadata: {name: web}\nspec:\n  files:\n    \
               intervall: 5m\n    paths:\n    - {name: a, path: etc}\n    - {name: b, path: '/etc/{a[}]b'}\n---\n\
               apiVersion: vedette.dev/v1alpha1\nkind: DataCollectionRule\nmetadata: {name: web}\nspec:\n  files:\n    \
               paths:\n    - {name: b, path: '/etc/{a[}]b'}\n";
    let ran = nobody.pipes(bad, &["rules", "lint", "-"]);
    assert_eq!((ran.code, ran.errors.as_str()), (Some(1), ""));
    let lines: Vec<&str> = ran.output.lines().collect();
    for (line, begin) in lines.iter().zip([
        "standard input, document 1, rule \"web\": spec.files.intervall: no such field: did you mean interval?",
        "standard input, document 1, rule \"web\": spec.files.paths[0].path (entry \"a\"): a path is absolute: begin it with /",
        "standard input, document 1, rule \"web\": spec.files.paths[1].path (entry \"b\"): a { is not closed",
        "standard input, document 2, rule \"web\": spec.files.paths[0].path (entry \"b\"): a { is not closed",
        "standard input, document 2, rule \"web\": metadata.name: document 1 of standard input has this name already",
        "5 problems",
    ]) {
        assert!(line.starts_with(begin), "{line}\ndoes not begin with\n{begin}");
    }
    assert_eq!(lines.len(), 6, "{ran:?}");
    let json = nobody.pipes(bad, &["rules", "lint", "-", "-o", "json"]).json();
    assert_eq!((&json["isGood"], &json["problems"][1]["entry"]), (&json!(false), &json!("a")));

    let file = scratch.path().join("none.yaml");
    std::fs::write(&file, "# nothing\n").unwrap();
    let empty = nobody.runs(&["rules", "lint", file.to_str().unwrap()]);
    assert_eq!(empty.code, Some(1));
    assert!(empty.output.contains("no rule is in it"), "{empty:?}");
    let missing = nobody.runs(&["rules", "lint", "/nonexistent.yaml"]);
    assert_eq!(missing.code, Some(2));
    assert_eq!(missing.errors, "error: cannot read /nonexistent.yaml: No such file or directory (os error 2)\n");
}
