//! The JSON Schemas of records and notices: reads the Rust types, produces what readers of lines validate with.
//!
//! Draft 2020-12. A schema is as open as the format: members that it does not know are allowed, and what only this
//! version of the product never writes is not refused.

use super::{CHANGE_SCHEMA, Change, ChangeType, NOTICE_SCHEMA, Notice};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

const MAY_GROW: &str = "More may come within this version.";

/// A schema as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaFile {
    /// The file's name in `crds/schemas`.
    pub name: &'static str,
    /// Its content.
    pub json: String,
}

/// Both schemas as the files that are shipped.
pub fn files() -> [SchemaFile; 2] {
    let file = |name, schema: Value| SchemaFile { name, json: format!("{schema:#}\n") };
    [file("change.v1.schema.json", change()), file("notice.v1.schema.json", notice())]
}

/// The schema of a change record.
pub fn change() -> Value {
    let mut schema = line::<Change>(CHANGE_SCHEMA, "Vedette change record");
    // What is no file has a name in the place of a path.
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|member| member != "path");
    }
    let when = |member: &str, value: &str, then: Value| {
        let is_so = json!({"properties": {member: {"const": value}}, "required": [member]});
        json!({"if": is_so, "then": then})
    };
    let of = |change_type: ChangeType, required: &[&str], never: &[&str]| {
        let never: Map<String, Value> = never.iter().map(|member| ((*member).into(), false.into())).collect();
        when("changeType", change_type.as_str(), json!({"required": required, "properties": never}))
    };
    schema["allOf"] = json!([
        of(ChangeType::Added, &["after"], &["before", "fields"]),
        of(ChangeType::Modified, &["before", "after", "fields"], &[]),
        of(ChangeType::Removed, &["before"], &["after", "fields"]),
        when("category", "File", json!({"required": ["path"]})),
    ]);
    schema["properties"]["fields"]["minItems"] = json!(1);
    schema.sort_all_objects();
    schema
}

/// The schema of a notice.
pub fn notice() -> Value {
    let mut schema = line::<Notice>(NOTICE_SCHEMA, "Vedette notice");
    schema.sort_all_objects();
    schema
}

/// What records and notices have alike: the type's own members, and those that rendering adds.
fn line<T: JsonSchema>(name: &str, title: &str) -> Value {
    let mut schema: Schema =
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>();
    schema.insert("$id".into(), format!("https://{name}").into());
    schema.insert("title".into(), title.into());
    let mut schema = schema.to_value();
    schema["properties"]["schema"]["const"] = name.into();
    schema["properties"]["chain"] = json!({
        "description": "The hash that links the journal's lines, always the last member: 64 lower-case hex digits of the \
            SHA-256 of the previous line's chain as 32 bytes (zeros before the first line), followed by this line \
            without its newline and without this member and the comma before it.",
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
    });
    if let Some(required) = schema["required"].as_array_mut() {
        required.push("chain".into());
    }
    say(&mut schema);
    schema
}

/// Writes closed sets as enums that say what each value means, integers without the formats of Rust, and descriptions
/// as running text.
fn say(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(format)) = members.get("format").cloned()
                && let Some(bits) = format.strip_prefix("uint")
            {
                members.remove("format");
                let maximum = if bits == "32" { u64::from(u32::MAX) } else { u64::MAX };
                members.insert("maximum".into(), maximum.into());
            }
            if let Some((values, meanings)) = members.get("oneOf").and_then(closed_set) {
                members.remove("oneOf");
                let what = members.get("description").and_then(Value::as_str).unwrap_or_default();
                let description = format!("{what} {} {MAY_GROW}", meanings.join(" "));
                members.insert("description".into(), description.into());
                members.insert("type".into(), "string".into());
                members.insert("enum".into(), values.into());
            }
            if let Some(Value::String(description)) = members.get_mut("description") {
                *description = description.replace('\n', " ").replace('`', "");
            }
            // An absent member is never written as null.
            if let Some(Value::Array(types)) = members.get("type")
                && let [one, null] = types.as_slice()
                && null == "null"
            {
                let one = one.clone();
                members.insert("type".into(), one);
            }
            if let Some(one) = members.get("anyOf").and_then(but_null) {
                members.remove("anyOf");
                members.extend(one);
            }
            members.values_mut().for_each(say);
        }
        Value::Array(elements) => elements.iter_mut().for_each(say),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The values of a set of constants, and a sentence for each.
fn closed_set(one_of: &Value) -> Option<(Vec<Value>, Vec<String>)> {
    let constants = one_of.as_array()?.iter().map(|one| {
        let (value, meaning) = (one.get("const")?, one.get("description")?.as_str()?);
        Some((value.clone(), format!("{}: {meaning}", value.as_str()?)))
    });
    constants.collect::<Option<Vec<_>>>().map(|constants| constants.into_iter().unzip())
}

/// The other one of two alternatives of which one is null.
fn but_null(any_of: &Value) -> Option<Map<String, Value>> {
    match any_of.as_array()?.as_slice() {
        [one, null] if *null == json!({"type": "null"}) => one.as_object().cloned(),
        _ => None,
    }
}
