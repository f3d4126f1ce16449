//! The Helm chart, through the real helm: what it renders, what it refuses, and what it does to a cluster.
#![allow(clippy::unwrap_used)]

mod additive;
mod check;
mod hostile;
mod limits;
mod manifest;
mod refused;
mod release;
mod rendered;
mod scene;
mod upgrade;
mod values;
mod variants;

use serde_json::Value;
use std::sync::LazyLock;
use vedette_tests::helm::{Helm, Ran, chart};

static HELM: LazyLock<Helm> = LazyLock::new(|| Helm::find_or_build().unwrap_or_else(|error| panic!("{error:?}")));

fn template(arguments: &[&str]) -> Ran {
    let chart = chart();
    let mut all = vec!["template", "vedette", chart.to_str().unwrap(), "--namespace", "vedette-system"];
    all.extend(arguments);
    HELM.run(all).unwrap()
}

/// The objects of a release with these arguments.
fn objects(arguments: &[&str]) -> Vec<Value> {
    let rendered = template(arguments);
    assert!(rendered.success, "{arguments:?}: {}", rendered.errors);
    serde_saphyr::from_multiple(&rendered.output).unwrap()
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn pod(workload: &Value) -> &Value {
    &workload["spec"]["template"]["spec"]
}

fn container(workload: &Value) -> &Value {
    &pod(workload)["containers"][0]
}

fn names(objects: &[Value], kind: &str) -> Vec<String> {
    let of_kind = objects.iter().filter(|object| object["kind"] == kind);
    of_kind.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}
