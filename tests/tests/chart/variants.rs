//! Every form that the chart can have: the default, each switch turned, all of them at once.

use crate::{HELM, objects};
use serde_json::{Value, json};
use std::{fs, path::PathBuf};
use vedette_tests::{helm::chart, kubernetes_validate::KubernetesValidate};

/// The oldest that is supported, and the newest that there are schemas of.
const KUBERNETES: [&str; 2] = ["1.33", "1.37"];

/// Kinds of others' definitions and of our own: the first are theirs to check, the last are checked by the rules' own schema.
const NOT_OF_KUBERNETES: [&str; 5] =
    ["PodMonitor", "ServiceMonitor", "PrometheusRule", "SecurityContextConstraints", "DataCollectionRule"];

/// What else there is to set, beside switches, so that all of it is there once.
const SET: [&str; 13] = [
    "metrics.tlsSecret=vedette-tls",
    "clusterName=prod-eu",
    "presets={linux-baseline,kubernetes-node,etc}",
    "image.registry=registry.example.com/security",
    "image.pullSecrets={key}",
    "agent.budget.cpuLimit=250m",
    "agent.budget.readLimit=none",
    "agent.podAnnotations.note=n",
    "agent.podLabels.team=sec",
    "agent.nodeSelector.pool=a",
    "agent.seLinuxOptions.level=s0",
    "operator.priorityClassName=system-cluster-critical",
    "operator.resources.limits.cpu=1",
];

const LISTS: [&str; 4] = [
    "agent.supplementalGroups=[900]",
    r#"metrics.readers=[{"namespace":"monitoring","name":"prometheus-k8s"}]"#,
    r#"networkPolicy.metricsFrom=[{"namespaceSelector":{"matchLabels":{"name":"monitoring"}}}]"#,
    r#"networkPolicy.apiServers=[{"ipBlock":{"cidr":"10.0.0.0/28","except":["10.0.0.8/32"]}}]"#,
];

/// Every value that is true or false, and what it is unless it is told.
fn switches() -> Vec<(String, bool)> {
    fn look(at: &str, values: &Value, found: &mut Vec<(String, bool)>) {
        for (name, value) in values.as_object().into_iter().flatten() {
            let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            match value {
                Value::Bool(default) => found.push((at, *default)),
                value => look(&at, value, found),
            }
        }
    }
    let values: Value = serde_saphyr::from_str(&fs::read_to_string(chart().join("values.yaml")).unwrap()).unwrap();
    let mut found = Vec::new();
    look("", &values, &mut found);
    found
}

/// Each with a name and the arguments that make it.
fn variants() -> Vec<(String, Vec<String>)> {
    let switches = switches();
    assert!(switches.len() >= 8, "{switches:?}");
    let mut variants = vec![("default".to_owned(), Vec::new())];
    variants.extend(switches.iter().map(|(switch, default)| {
        let turned = format!("{switch}={}", !default);
        (turned.clone(), vec![format!("--set={turned}")])
    }));
    // One monitor leaves no room for the other.
    for (name, on, off) in [
        ("all-on", true, &["podMonitor.enabled"][..]),
        ("all-on-plain", true, &["serviceMonitor.enabled", "metrics.secure"]),
        ("all-off", false, &[]),
    ] {
        let all = switches.iter().filter(|(switch, _)| !off.contains(&switch.as_str()));
        let all = all.map(|(switch, _)| format!("--set={switch}={on}"));
        let set = SET.iter().map(|set| format!("--set={set}"));
        let lists = LISTS.iter().map(|set| format!("--set-json={set}"));
        variants.push((name.to_owned(), all.chain(set).chain(lists).collect()));
    }
    variants
}

fn arguments(variant: &[String]) -> Vec<&str> {
    variant.iter().map(String::as_str).collect()
}

#[test]
fn helm_finds_nothing_to_say_about_any_variant() {
    let chart = chart();
    for (name, variant) in variants() {
        let lint = ["lint", "--strict", chart.to_str().unwrap()].into_iter().chain(arguments(&variant));
        let lint = HELM.run(lint).unwrap();
        assert!(lint.success, "{name}: {}{}", lint.output, lint.errors);
    }
}

#[test]
fn every_variant_is_what_kubernetes_takes() {
    let Some(validate) = KubernetesValidate::find_or_skip().unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = variants()
        .into_iter()
        .map(|(name, variant)| {
            let mut objects = objects(&arguments(&variant));
            objects.retain(|object| !NOT_OF_KUBERNETES.contains(&object["kind"].as_str().unwrap()));
            let file = folder.path().join(name + ".yaml");
            let documents: Vec<String> = objects.iter().map(|object| format!("---\n{object}\n")).collect();
            fs::write(&file, documents.concat()).unwrap();
            file
        })
        .collect();
    for version in KUBERNETES {
        validate.check(version, &files).unwrap();
    }
    // It does look: a field that is in no schema, and a value of the wrong type.
    let mut set = crate::find(&objects(&[]), "DaemonSet", "vedette-agent").clone();
    let file = folder.path().join("wrong.yaml");
    set["spec"]["template"]["spec"]["hostPid"] = json!(true);
    fs::write(&file, set.to_string()).unwrap();
    let refused = validate.check(KUBERNETES[0], &[file]).unwrap_err().to_string();
    assert!(refused.contains("hostPid"), "{refused}");
}

#[test]
fn a_switch_that_is_off_leaves_nothing_of_it() {
    for (name, variant) in variants() {
        for object in objects(&arguments(&variant)) {
            let whole = object.to_string();
            // An empty key, or a null, is what a template leaves of a value that is not there.
            for (path, value) in leaves(&object) {
                assert!(!value.is_null(), "{name}: {path} is null in {whole}");
            }
        }
    }
}

fn leaves(object: &Value) -> Vec<(String, Value)> {
    let children: Vec<(String, &Value)> = match object {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(place, value)| (place.to_string(), value)).collect(),
        leaf => return vec![(String::new(), leaf.clone())],
    };
    let below = |(key, value): (String, &Value)| {
        leaves(value).into_iter().map(move |(path, leaf)| (format!("{key}.{path}"), leaf))
    };
    children.into_iter().flat_map(below).collect()
}
