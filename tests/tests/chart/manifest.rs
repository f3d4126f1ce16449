//! `charts/manifests/vedette.yaml`, which is rendered from the chart, and the order of what is in it.

use crate::template;
use serde_json::Value;
use std::{env, fs, path::Path};

const HEAD: &str = "# Vedette without Helm: one file, with the definitions in it.
#   kubectl apply --server-side -f charts/manifests/vedette.yaml
# Rendered from charts/vedette: change it there, then VEDETTE_REGENERATE=1 cargo test -p vedette-tests --test chart
";

/// kubectl makes no namespace by itself, and runs no tests.
const RENDERED_WITH: [&str; 3] = ["--set", "namespace.create=true", "--skip-tests"];

/// kubectl applies objects as they come: definitions before who uses them, the namespace before what is in it, the policy before
/// any agent has a right, the operator before the agents. Helm has an order of its own.
const ORDER: [&[&str]; 6] = [
    &["CustomResourceDefinition"],
    &["Namespace"],
    &["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"],
    &[
        "NetworkPolicy",
        "PodDisruptionBudget",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
    ],
    &["Deployment"],
    &["DaemonSet"],
];

fn kind(document: &str) -> String {
    let object: Value = serde_saphyr::from_str(document).unwrap();
    object["kind"].as_str().unwrap().to_owned()
}

fn place(kind: &str) -> usize {
    ORDER.iter().position(|kinds| kinds.contains(&kind)).unwrap_or_else(|| panic!("which place has a {kind}?"))
}

fn manifest() -> String {
    let rendered = template(&RENDERED_WITH);
    assert!(rendered.success, "{}", rendered.errors);
    let mut documents: Vec<&str> =
        rendered.output.split("---\n").filter(|document| document.contains("kind:")).collect();
    documents.sort_by_cached_key(|document| place(&kind(document)));
    let documents: Vec<&str> = documents.into_iter().map(str::trim_end).collect();
    format!("{HEAD}---\n{}\n", documents.join("\n---\n"))
}

#[test]
fn the_plain_manifest_is_what_the_chart_renders() {
    let expected = manifest();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/manifests/vedette.yaml");
    if env::var_os("VEDETTE_REGENERATE").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let shipped = fs::read_to_string(&path).unwrap();
    assert!(shipped == expected, "charts/manifests/vedette.yaml has drifted: its head says how to render it");
}

#[test]
fn the_plain_manifest_holds_all_that_the_chart_renders_and_the_agents_come_last() {
    let all = |text: &str| {
        let objects: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
        objects
    };
    let (ordered, rendered) = (all(&manifest()), all(&template(&RENDERED_WITH).output));
    assert_eq!(ordered.len(), rendered.len());
    assert!(rendered.iter().all(|object| ordered.contains(object)));
    let kinds: Vec<&str> = ordered.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    let first = |kind: &str| kinds.iter().position(|one| *one == kind).unwrap();
    let order = [
        "CustomResourceDefinition",
        "Namespace",
        "ValidatingAdmissionPolicyBinding",
        "ClusterRoleBinding",
        "Deployment",
        "DaemonSet",
    ];
    assert!(order.map(first).is_sorted(), "{kinds:?}");
}

/// What docs/upgrade.md says of Helm's order, which no chart can change: definitions and roles, agents, operator, policy.
#[test]
fn helms_own_order_is_the_one_that_the_docs_tell() {
    let objects = crate::objects(&[]);
    let first = |kind: &str| objects.iter().position(|object| object["kind"] == kind).unwrap();
    let order = [
        "CustomResourceDefinition",
        "ClusterRoleBinding",
        "DaemonSet",
        "Deployment",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ];
    assert!(order.map(first).is_sorted());
}
