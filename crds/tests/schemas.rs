//! The shipped JSON Schemas are the ones that the types make, accept what is rendered and refuse what is no line.
#![allow(clippy::unwrap_used)]

use jsonschema::{Validator, draft202012};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use vedette_crds::record::{Chain, Change, Notice, render, schema};

#[test]
fn the_schemas_are_up_to_date_and_lie_where_kubectl_does_not_take_them_for_objects() {
    let crds = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in schema::files() {
        let shipped = fs::read_to_string(crds.join("schemas").join(file.name)).unwrap_or_default();
        assert!(shipped == file.json, "{} is not what the types say: run `cargo crdgen`", file.name);
    }
    let applied = fs::read_dir(crds.join("generated")).unwrap().map(|file| file.unwrap().file_name());
    let applied: Vec<_> = applied.filter(|name| name.to_string_lossy().ends_with(".json")).collect();
    assert!(applied.is_empty(), "{applied:?}");
}

#[test]
fn the_schemas_are_schemas() {
    for schema in [schema::change(), schema::notice()] {
        assert_eq!(draft202012::meta::validate(&schema).map_err(|error| error.to_string()), Ok(()));
    }
}

#[test]
fn every_member_is_described() {
    fn undescribed(schema: &Value, place: &str, found: &mut Vec<String>) {
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            if member["description"].as_str().is_none_or(|text| text.len() < 10) && member.get("const").is_none() {
                found.push(format!("{place}.{name}"));
            }
        }
        for (name, below) in schema["$defs"].as_object().into_iter().flatten() {
            undescribed(below, name, found);
        }
        schema["oneOf"].as_array().into_iter().flatten().for_each(|kind| undescribed(kind, "kind", found));
    }
    let mut found = Vec::new();
    undescribed(&schema::change(), "change", &mut found);
    undescribed(&schema::notice(), "notice", &mut found);
    assert!(found.is_empty(), "{found:?}");
}

fn line(schema: &str, rest: Value) -> Value {
    let mut line = json!({"schema": schema, "node": "n1", "journal": "0f8fad5bd9cb469fa16570867728950e",
        "sequence": 1, "time": "2026-11-24T04:00:00.000000000Z"});
    line.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    line
}

fn modified() -> Value {
    let item = json!({"type": "Regular", "size": 1, "mode": "0644", "uid": 0, "gid": 0, "inode": u64::MAX,
        "device": "8:1", "linkCount": 1, "content": "Read", "md5": "900150983cd24fb0d6963f7d28e17f72",
        "modified": "-000044-03-15T12:00:00.000000000Z", "changed": "2026-11-24T04:00:00.000000000Z",
        "xattrs": [{"name": "user.a", "value": "YQ=="}, {"name": "user.b", "value": format!("sha256:{}", "0".repeat(64))}]});
    line(
        "vedette.dev/change/v1",
        json!({"category": "File", "changeType": "Modified", "detection": "Scan",
        "path": "/etc/passwd", "fields": ["Content"], "before": item, "after": item, "rules": ["r/e"], "severity": "Low"}),
    )
}

fn started() -> Value {
    line("vedette.dev/notice/v1", json!({"kind": "Started", "bootId": "b", "kernel": "6.18", "agentVersion": "0.1.0"}))
}

fn rendered<T: serde::de::DeserializeOwned + serde::Serialize>(value: Value) -> Value {
    let typed: T = serde_json::from_value(value).unwrap();
    serde_json::from_slice(&render(&typed, Chain::default()).line).unwrap()
}

fn validators() -> (Validator, Validator) {
    (draft202012::new(&schema::change()).unwrap(), draft202012::new(&schema::notice()).unwrap())
}

#[test]
fn what_is_rendered_is_accepted_by_its_own_schema_alone() {
    let (change, notice) = validators();
    let (a_change, a_notice) = (rendered::<Change>(modified()), rendered::<Notice>(started()));
    assert_eq!(change.validate(&a_change).map_err(|error| error.to_string()), Ok(()));
    assert_eq!(notice.validate(&a_notice).map_err(|error| error.to_string()), Ok(()));
    assert!(!change.is_valid(&a_notice) && !notice.is_valid(&a_change));
}

#[test]
fn a_member_that_is_not_known_is_accepted_everywhere() {
    let (change, notice) = validators();
    let mut line = rendered::<Change>(modified());
    line["explainedBy"] = json!({"package": "bash"});
    line["after"]["sha3"] = json!("00");
    assert!(change.is_valid(&line));
    let mut line = rendered::<Notice>(started());
    line["reason"] = json!("Update");
    assert!(notice.is_valid(&line));
}

#[test]
fn an_item_that_is_no_file_has_a_name_in_the_place_of_a_path() {
    let (change, _) = validators();
    let mut line = rendered::<Change>(modified());
    line.as_object_mut().unwrap().remove("path");
    assert!(!change.is_valid(&line));
    line["category"] = json!("Daemon");
    line["name"] = json!("sshd.service");
    assert!(change.is_valid(&line));
}

#[test]
fn what_is_no_line_is_refused() {
    type Spoil = fn(&mut Value);
    let spoiled: [(&str, Spoil); 22] = [
        ("another schema", |line| line["schema"] = json!("vedette.dev/change/v2")),
        ("no chain", |line| drop(line.as_object_mut().unwrap().remove("chain"))),
        ("a chain that is none", |line| line["chain"] = json!("ABC")),
        ("no node", |line| drop(line.as_object_mut().unwrap().remove("node"))),
        ("a journal that is no id", |line| line["journal"] = json!("j")),
        ("sequence 0", |line| line["sequence"] = json!(0)),
        ("a sequence as text", |line| line["sequence"] = json!("1")),
        ("a time without nanoseconds", |line| line["time"] = json!("2026-11-24T04:00:00Z")),
        ("a time in another zone", |line| line["time"] = json!("2026-11-24T04:00:00.000000000+01:00")),
        ("a category that is none", |line| line["category"] = json!("Registry")),
        ("a detection that is none", |line| line["detection"] = json!("scan")),
        ("a severity that is none", |line| line["severity"] = json!("Severe")),
        ("no entry", |line| line["rules"] = json!([])),
        ("an entry without its rule", |line| line["rules"] = json!(["etc"])),
        ("Modified without fields", |line| drop(line.as_object_mut().unwrap().remove("fields"))),
        ("Modified with nothing in fields", |line| line["fields"] = json!([])),
        ("Modified without before", |line| drop(line.as_object_mut().unwrap().remove("before"))),
        ("Added with before", |line| {
            line["changeType"] = json!("Added");
            line.as_object_mut().unwrap().remove("fields");
        }),
        ("Removed with after", |line| {
            line["changeType"] = json!("Removed");
            line.as_object_mut().unwrap().remove("fields");
        }),
        ("a mode in three digits", |line| line["after"]["mode"] = json!("644")),
        ("a digest in upper case", |line| line["after"]["md5"] = json!("900150983CD24FB0D6963F7D28E17F72")),
        ("an owner that is null", |line| line["before"]["owner"] = Value::Null),
    ];
    let (change, notice) = validators();
    for (what, spoil) in spoiled {
        let mut line = rendered::<Change>(modified());
        spoil(&mut line);
        assert!(!change.is_valid(&line), "{what}: {line}");
    }
    let mut line = rendered::<Notice>(started());
    line["kind"] = json!("Stopped");
    assert!(!notice.is_valid(&line));
    line["kind"] = json!("BaselineMade");
    assert!(!notice.is_valid(&line), "without items");
}
