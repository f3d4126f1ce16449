//! The custom resource definitions: reads the Rust types, produces what `kubectl apply` takes.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::node_config::NodeConfig;
use crate::rule::DataCollectionRule;

/// The head of every generated file.
const HEAD: &str = "# Generated from the Rust types by `cargo crdgen`: edit those.\n";

/// A custom resource definition as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The file's name in `crds/generated`.
    pub name: &'static str,
    /// Its content.
    pub yaml: String,
}

/// The schema of the kind DataCollectionRule as it was last made, in `crds/schemas`: to read it takes a tenth of the time that it
/// takes to make it, and each `scan` begins with it.
pub(crate) const RULE_SCHEMA: &str = include_str!("../schemas/datacollectionrule.v1alpha1.openapi.json");
/// Its file's name.
pub const RULE_SCHEMA_FILE: &str = "datacollectionrule.v1alpha1.openapi.json";

/// The definition of the kind DataCollectionRule, as JSON.
pub fn data_collection_rules() -> Value {
    finish(DataCollectionRule::crd())
}

/// The definition of the kind NodeConfig, as JSON.
pub fn node_configs() -> Value {
    finish(NodeConfig::crd())
}

/// Both definitions as the files that are shipped.
///
/// # Errors
/// A definition that cannot be written as YAML, which the test on drift would show.
pub fn files() -> Result<Vec<File>, serde_saphyr::ser::Error> {
    let definitions = [("datacollectionrules.yaml", data_collection_rules()), ("nodeconfigs.yaml", node_configs())];
    let files = definitions.map(|(name, definition)| {
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        let yaml = serde_saphyr::to_string_with_options(&definition, options)?;
        Ok(File { name, yaml: format!("{HEAD}{}\n", yaml.trim_end()) })
    });
    files.into_iter().collect()
}

/// The schema of the kind DataCollectionRule without what every kind has, as it is shipped.
pub fn rule_schema() -> String {
    let schema = data_collection_rules()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take();
    format!("{schema:#}\n")
}

fn finish(definition: CustomResourceDefinition) -> Value {
    let mut definition = serde_json::json!(definition);
    simplify(&mut definition);
    // The order must not depend on a feature that another crate turns on.
    definition.sort_all_objects();
    definition
}

/// Says what Kubernetes knows in its own words: an optional member is absent rather than null, integers are
/// signed (their minimum says the rest), and so are limits.
fn simplify(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.retain(|name, value| name != "nullable" || !value.is_boolean());
            let format = match members.get("format").and_then(Value::as_str) {
                Some("uint32") => Some("int32"),
                Some("uint64") => Some("int64"),
                _ => None,
            };
            if let Some(format) = format {
                members.insert("format".into(), format.into());
            }
            for limit in ["minimum", "maximum"] {
                if let Some(value) = members.get(limit).and_then(Value::as_f64) {
                    members.insert(limit.into(), (value as i64).into());
                }
            }
            members.values_mut().for_each(simplify);
        }
        Value::Array(elements) => elements.iter_mut().for_each(simplify),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
