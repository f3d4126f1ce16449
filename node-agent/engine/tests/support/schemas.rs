//! Holds every line to the JSON Schemas that are shipped for its readers.

use jsonschema::{Validator, draft202012};
use serde_json::Value;
use std::sync::LazyLock;
use vedette_crds::record::{CHANGE_SCHEMA, NOTICE_SCHEMA, schema};

static CHANGE: LazyLock<Validator> = LazyLock::new(|| draft202012::new(&schema::change()).unwrap());
static NOTICE: LazyLock<Validator> = LazyLock::new(|| draft202012::new(&schema::notice()).unwrap());

/// Panics with all that is wrong when a line is not what its schema says.
pub(crate) fn check(line: &Value) {
    let validator = match line["schema"].as_str() {
        Some(CHANGE_SCHEMA) => &CHANGE,
        Some(NOTICE_SCHEMA) => &NOTICE,
        other => panic!("{other:?} is no schema: {line}"),
    };
    let wrong: Vec<String> =
        validator.iter_errors(line).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{line}");
}
