//! The rules as they are shipped, for those who have no Prometheus operator.

use crate::tree;
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::PathBuf};

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

/// `name{matchers}` in a query.
pub(crate) fn selectors(query: &str) -> BTreeSet<String> {
    let begins = ["node:vedette_", "vedette_", "up{"];
    let mut found = BTreeSet::new();
    let mut rest = query;
    while let Some(at) = begins.iter().filter_map(|begin| rest.find(begin)).min() {
        let name_ends = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != ':';
        let end = at + rest[at..].find(name_ends).unwrap_or(rest.len() - at);
        let braces = rest[end..].strip_prefix('{').and_then(|matchers| matchers.find('}'));
        let end = braces.map_or(end, |closed| end + closed + 2);
        found.insert(rest[at..end].to_owned());
        rest = &rest[end..];
    }
    found
}

#[test]
fn selectors_are_found_in_a_query() {
    let query =
        r#"up{job="a"} == 0 or max(node:vedette_x:max[1h]) - vedette_y{a="b", c=~"d|e"} offset 1h > 3 * vedette_z"#;
    let expected = ["node:vedette_x:max", r#"up{job="a"}"#, r#"vedette_y{a="b", c=~"d|e"}"#, "vedette_z"];
    assert_eq!(selectors(query), expected.map(str::to_owned).into());
}

/// Else what one agent's page holds would be taken for an operator's, and keep an alert about it from firing.
#[test]
fn every_selector_names_the_job_of_whom_it_asks() {
    for rule in all() {
        let query = rule["expr"].as_str().unwrap();
        for selector in selectors(query).into_iter().filter(|selector| !selector.starts_with("node:")) {
            let job = if selector.starts_with("vedette_operator_") { "vedette-operator" } else { "vedette-agent" };
            let jobs = if selector.starts_with("up{") { vec!["vedette-agent", "vedette-operator"] } else { vec![job] };
            let names = |job: &&str| selector.contains(&format!(r#"{{job="{job}""#));
            assert!(jobs.iter().any(names), "{selector} in {query}");
        }
    }
}
