//! values.yaml and its schema: each says what the other says.

use serde_json::Value;
use std::fs;
use vedette_tests::helm::chart;

fn read(name: &str) -> String {
    fs::read_to_string(chart().join(name)).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(&read("values.schema.json")).unwrap()
}

#[test]
fn every_value_is_described_and_no_other_is_taken() {
    fn look(path: &str, schema: &Value) {
        if schema["type"] == "object" && path != "/global" {
            let others = &schema["additionalProperties"];
            assert!(*others == false || others.is_object(), "{path} takes any key");
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}/{name}");
            assert!(property["description"].as_str().is_some_and(|said| !said.is_empty()), "{path} is not described");
            look(&path, property);
        }
        if schema.get("items").is_some() {
            look(&format!("{path}/0"), &schema["items"]);
        }
    }
    look("", &schema());
}

#[test]
fn values_and_schema_have_the_same_keys() {
    /// Lists and maps of the user's own keys have no defaults beside their values.
    fn compare(path: &str, schema: &Value, values: &Value) {
        let Some(properties) = schema["properties"].as_object() else { return };
        // Of all these keys of Kubernetes none has a default.
        if values.as_object().is_some_and(serde_json::Map::is_empty) && path == "/agent/seLinuxOptions" {
            return;
        }
        let described: Vec<_> = properties.keys().filter(|key| *key != "global").collect();
        let given: Vec<_> = values.as_object().unwrap_or_else(|| panic!("{path}")).keys().collect();
        let sorted = |mut keys: Vec<&String>| {
            keys.sort();
            keys.into_iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(sorted(described), sorted(given), "{path}");
        for (name, property) in properties.iter().filter(|(name, _)| *name != "global") {
            compare(&format!("{path}/{name}"), property, &values[name]);
        }
    }
    let values: Value = serde_saphyr::from_str(&read("values.yaml")).unwrap();
    compare("", &schema(), &values);
}

#[test]
fn every_preset_that_is_shipped_can_be_asked_for() {
    let presets = vedette_crds::presets::presets().map(|preset| preset.name);
    assert_eq!(schema()["properties"]["presets"]["items"]["enum"], serde_json::json!(presets));
}
