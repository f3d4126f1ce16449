//! Which nodes a rule selects: a label selector, with the limits that the API server needs to afford its checks.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sentences;

/// The label that says which operating system a node runs.
const OS_LABEL: &str = "kubernetes.io/os";

/// A label selector for nodes: all that is written has to hold.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelector {
    /// Labels that a node has with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "x-kubernetes-validations" = sentences::MATCH_LABELS))]
    #[schemars(transform = limit_values)]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<Requirement>,
}

/// One requirement of a selector.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[schemars(extend("x-kubernetes-validations" = sentences::EXPRESSION))]
pub struct Requirement {
    /// The label's key.
    #[schemars(length(max = 317), extend("x-kubernetes-validations" = sentences::EXPRESSION_KEY))]
    pub key: String,
    /// How the label relates to the values.
    pub operator: Operator,
    /// For In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)), extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Vec<String>,
}

/// How a label relates to values.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label has none of the values, or is absent.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// As `kubectl --selector` takes it, for example `role=web,zone in (a,b),!gpu`.
impl fmt::Display for NodeSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
        let parts: Vec<_> = labels.chain(self.match_expressions.iter().map(ToString::to_string)).collect();
        f.write_str(&parts.join(","))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, operator, values } = self;
        match operator {
            Operator::In => write!(f, "{key} in ({})", values.join(",")),
            Operator::NotIn => write!(f, "{key} notin ({})", values.join(",")),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

impl NodeSelector {
    /// Whether a node with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// Whether a node's labels allow for Linux; an absent label counts as Linux.
pub(crate) fn is_linux(labels: &BTreeMap<String, String>) -> bool {
    labels.get(OS_LABEL).is_none_or(|os| os == "linux")
}

fn limit_values(map: &mut schemars::Schema) {
    if let Some(values) = map.get_mut("additionalProperties").and_then(|values| values.as_object_mut()) {
        values.insert("maxLength".into(), 63.into());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_reads_as_kubectl_takes_it() {
        let selector: NodeSelector = serde_json::from_value(json!({
            "matchLabels": { "role": "web" },
            "matchExpressions": [
                { "key": "zone", "operator": "In", "values": ["a", "b"] },
                { "key": "tier", "operator": "NotIn", "values": ["back"] },
                { "key": "ssd", "operator": "Exists" },
                { "key": "gpu", "operator": "DoesNotExist" },
            ],
        }))
        .unwrap();
        assert_eq!(selector.to_string(), "role=web,zone in (a,b),tier notin (back),ssd,!gpu");
    }
}
