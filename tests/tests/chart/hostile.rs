//! Values of somebody who means harm, or of somebody whose names happen to be YAML: whatever is taken comes out as the string
//! that it was, in the place of a harmless one, and nothing else changes.

use crate::HELM;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::Path};
use vedette_tests::helm::{Ran, chart};

/// Taken by every value that is free text.
const HARMLESS: &str = "harmless";

const HOSTILE: [&str; 5] = ["a: b\n  hostPID: true # c", "0x1", "null", "{{ .Values }}", "- '\"\\"];

fn rendered_with(values: &Value) -> Ran {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, values.to_string()).unwrap();
    let (chart, file) = (chart(), file.path().to_owned());
    let all = ["template", "vedette", path(&chart), "--namespace", "vedette-system", "--values", path(&file)];
    HELM.run(all).unwrap()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Every place of the schema where a string goes that is not one of a list, as a JSON pointer; the keys and values of maps too.
fn places(schema: &Value, at: &str, found: &mut Vec<String>) {
    let takes =
        |kind: &str| schema["type"] == kind || schema["type"].as_array().is_some_and(|all| all.contains(&json!(kind)));
    if takes("string") && schema.get("enum").is_none() {
        found.push(at.to_owned());
    }
    for one in schema["anyOf"].as_array().into_iter().flatten() {
        places(one, at, found);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten().filter(|(name, _)| *name != "global")
    {
        places(property, &format!("{at}/{name}"), found);
    }
    if schema["additionalProperties"].is_object() {
        places(&schema["additionalProperties"], &format!("{at}/KEY"), found);
    }
    if schema.get("items").is_some() {
        places(&schema["items"], &format!("{at}/ITEM"), found);
    }
}

/// Values with a string at a place, and all that must be there for it to be looked at.
fn values(place: &str, word: &str) -> Value {
    let mut value = json!(word);
    for part in place.split('/').skip(1).collect::<Vec<_>>().into_iter().rev() {
        value = match part {
            "ITEM" => json!([value]),
            "KEY" => json!({ word: value }),
            name => json!({ name: value }),
        };
    }
    // Required beside, or looked at only then.
    if place.contains("/matchExpressions/ITEM/") {
        let expression = value.pointer_mut(&pointer(place, "/matchExpressions/ITEM")).unwrap();
        if expression.get("key").is_none() {
            expression["key"] = json!("k");
        }
        expression["operator"] = json!("In");
    }
    if place.contains("/ipBlock/except") {
        value.pointer_mut(&pointer(place, "/ipBlock")).unwrap()["cidr"] = json!("10.0.0.0/8");
    }
    if place.contains("/readers/ITEM/") {
        let reader = value.pointer_mut(&pointer(place, "/readers/ITEM")).unwrap();
        for required in ["namespace", "name"].iter().filter(|name| !place.ends_with(&format!("/{name}"))) {
            reader[required] = json!("n");
        }
    }
    let is_secure = ["/metrics/", "/serviceMonitor/"].iter().any(|part| place.starts_with(part));
    value["podMonitor"]["enabled"] = json!(!is_secure);
    value["serviceMonitor"]["enabled"] = json!(is_secure);
    value["metrics"]["secure"] = json!(is_secure);
    for part in ["prometheusRule", "dashboard", "openshift"] {
        value[part]["enabled"] = json!(true);
    }
    value["namespace"]["create"] = json!(true);
    value
}

fn pointer(place: &str, until: &str) -> String {
    let end = place.find(until).unwrap() + until.len();
    place[..end].replace("ITEM", "0")
}

fn schema() -> Value {
    serde_json::from_str(&fs::read_to_string(chart().join("values.schema.json")).unwrap()).unwrap()
}

/// Whether a word is somewhere in what was rendered.
fn is_in(value: &Value, word: &str) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(key, value)| key.contains(word) || is_in(value, word)),
        Value::Array(members) => members.iter().any(|value| is_in(value, word)),
        Value::String(text) => text.contains(word),
        _ => false,
    }
}

/// Whether one is the other with a word in the place of another one.
fn is_same_but_for(harmless: &Value, hostile: &Value, word: &str) -> bool {
    match (harmless, hostile) {
        (Value::Object(one), Value::Object(other)) => {
            let renamed = |key: &String| key.replace(HARMLESS, word);
            one.len() == other.len()
                && one.iter().all(|(key, value)| {
                    other.get(&renamed(key)).is_some_and(|other| is_same_but_for(value, other, word))
                })
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same_but_for(one, other, word))
        }
        (Value::String(one), Value::String(other)) => one.replace(HARMLESS, word) == *other,
        (one, other) => one == other,
    }
}

#[test]
fn a_string_comes_out_as_it_went_in_or_is_refused_by_its_name() {
    let mut all = Vec::new();
    places(&schema(), "", &mut all);
    assert!(all.len() > 30, "{all:?}");
    let (mut taken, mut refused) = (BTreeSet::new(), 0);
    for place in &all {
        let harmless = rendered_with(&values(place, HARMLESS));
        for word in HOSTILE {
            let hostile = rendered_with(&values(place, word));
            if !hostile.success {
                let last = place.rsplit('/').find(|part| !["ITEM", "KEY"].contains(part)).unwrap();
                assert!(hostile.errors.contains(last), "{place} {word:?}: {}", hostile.errors);
                refused += 1;
                continue;
            }
            let parsed: Result<Vec<Value>, _> = serde_saphyr::from_multiple(&hostile.output);
            let parsed = parsed.unwrap_or_else(|error| panic!("{place} {word:?}: {error}"));
            assert!(harmless.success, "{place} takes {word:?} and not {HARMLESS:?}: {}", harmless.errors);
            let expected: Vec<Value> = serde_saphyr::from_multiple(&harmless.output).unwrap();
            let same = is_same_but_for(&json!(expected), &json!(parsed), word);
            assert!(same, "{place} {word:?}: {}", hostile.output);
            assert!(is_in(&json!(parsed), word), "{place} {word:?}: nothing that was rendered has it");
            taken.insert(place);
        }
    }
    // Else nothing was tried.
    assert!(taken.len() >= 8 && refused > 30, "{taken:?} {refused}");
}

/// A label of the chart's own is not set twice, and not taken away: selectors, policies and the operator go by them.
#[test]
fn labels_and_selectors_of_the_chart_come_before_those_that_are_given() {
    let rendered = rendered_with(&json!({
        "agent": {
            "podLabels": {"app.kubernetes.io/name": "x", "app.kubernetes.io/part-of": "x", "mine": "y"},
            "nodeSelector": {"kubernetes.io/os": "windows", "pool": "a"},
        },
        "operator": {
            "podLabels": {"app.kubernetes.io/name": "x", "app.kubernetes.io/part-of": "x"},
            "nodeSelector": {"kubernetes.io/os": "windows"},
        },
        "podMonitor": {"enabled": true, "labels": {"app.kubernetes.io/part-of": "x", "release": "p"}},
    }));
    // A key that is there twice is an error.
    let objects: Vec<Value> = serde_saphyr::from_multiple(&rendered.output).unwrap();
    let agent = &crate::find(&objects, "DaemonSet", "vedette-agent")["spec"]["template"];
    let labels =
        json!({"app.kubernetes.io/name": "vedette-agent", "app.kubernetes.io/part-of": "vedette", "mine": "y"});
    assert_eq!(agent["metadata"]["labels"], labels);
    assert_eq!(agent["spec"]["nodeSelector"], json!({"kubernetes.io/os": "linux", "pool": "a"}));
    let operator = &crate::find(&objects, "Deployment", "vedette-operator")["spec"]["template"];
    let labels = json!({"app.kubernetes.io/name": "vedette-operator", "app.kubernetes.io/part-of": "vedette"});
    assert_eq!(operator["metadata"]["labels"], labels);
    assert_eq!(operator["spec"]["nodeSelector"], json!({"kubernetes.io/os": "linux"}));
    let monitor = crate::find(&objects, "PodMonitor", "vedette");
    assert_eq!(monitor["metadata"]["labels"], json!({"app.kubernetes.io/part-of": "vedette", "release": "p"}));
}

#[test]
fn a_namespace_that_is_a_number_stays_a_name_and_one_that_is_none_is_refused() {
    let objects = crate::objects(&["--namespace", "123"]);
    assert_eq!(crate::find(&objects, "DaemonSet", "vedette-agent")["metadata"]["namespace"], "123");
    let refused = crate::template(&["--namespace", "a' || true || '"]);
    assert!(!refused.success && refused.errors.contains("is no name of a namespace"), "{}", refused.errors);
}
