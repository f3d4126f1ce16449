//! The rules as they are shipped, for those who have no Prometheus operator.

use crate::tree;
use serde_json::Value;
use std::{fs, path::PathBuf};

/// An alert.
pub(crate) struct Alert {
    pub(crate) name: String,
    pub(crate) query: String,
    pub(crate) rule: Value,
}

pub(crate) fn path() -> PathBuf {
    tree("charts/manifests/prometheus-rules.yaml")
}

/// All rules, recording rules included.
pub(crate) fn all() -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(&fs::read_to_string(path()).unwrap()).unwrap();
    of(&file)
}

/// The rules of a file, or of a PrometheusRule's spec.
pub(crate) fn of(file: &Value) -> Vec<Value> {
    let groups = file["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
}

pub(crate) fn alerts() -> Vec<Alert> {
    let text = |rule: &Value, member: &str| rule[member].as_str().unwrap().to_owned();
    let alert = |rule: Value| Alert { name: text(&rule, "alert"), query: text(&rule, "expr"), rule };
    all().into_iter().filter(|rule| rule.get("alert").is_some()).map(alert).collect()
}
