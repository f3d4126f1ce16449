//! What a definition has to take once the one before it took it: an operator or an agent of the version before goes on writing
//! while an upgrade is under way, and after a rollback.

use serde_json::Value;

/// Where a schema is narrower than the one before it, as sentences; none where everything that was taken still is.
pub(crate) fn narrower(before: &Value, now: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", before, now, &mut found);
    found
}

fn compare(at: &str, before: &Value, now: &Value, found: &mut Vec<String>) {
    if before["type"] != now["type"] {
        found.push(format!("{at} was {} and is {}", before["type"], now["type"]));
    }
    for most in ["maxLength", "maxItems", "maxProperties", "maximum"] {
        let is = now[most].as_f64();
        if is.is_some_and(|is| before[most].as_f64().is_none_or(|was| is < was)) {
            found.push(format!("{at} had {most} {} and has {}", before[most], now[most]));
        }
    }
    for least in ["minLength", "minItems", "minProperties", "minimum"] {
        let is = now[least].as_f64();
        if is.is_some_and(|is| before[least].as_f64().is_none_or(|was| is > was)) {
            found.push(format!("{at} had {least} {} and has {}", before[least], now[least]));
        }
    }
    let list = |schema: &Value, name: &str| schema[name].as_array().cloned();
    if let Some(allowed) = list(now, "enum") {
        let was = list(before, "enum");
        for value in was.iter().flatten().filter(|value| !allowed.contains(value)) {
            found.push(format!("{at} took {value}"));
        }
        if was.is_none() {
            found.push(format!("{at} took anything"));
        }
    }
    let required = list(before, "required").unwrap_or_default();
    for name in list(now, "required").into_iter().flatten().filter(|name| !required.contains(name)) {
        found.push(format!("{at} did not need {name}"));
    }
    for (name, schema) in before["properties"].as_object().into_iter().flatten() {
        match now["properties"].get(name) {
            Some(now) => compare(&format!("{at}.{name}"), schema, now, found),
            None => found.push(format!("{at} had {name}")),
        }
    }
    if before["items"].is_object() {
        compare(&format!("{at}[]"), &before["items"], &now["items"], found);
    }
}

#[test]
fn what_is_narrower_is_named_and_what_is_wider_is_not() {
    use serde_json::json;
    let before = json!({"type": "object", "required": ["a"], "properties": {
        "a": {"type": "string", "maxLength": 8, "enum": ["x", "y"]},
        "list": {"type": "array", "maxItems": 4, "items": {"type": "object", "properties": {"b": {"type": "integer"}}}}}});
    let wider = json!({"type": "object", "required": [], "properties": {
        "a": {"type": "string", "maxLength": 9, "enum": ["x", "y", "z"]},
        "list": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "integer"}, "c": {}}}},
        "new": {"type": "string"}}});
    assert_eq!(narrower(&before, &wider), Vec::<String>::new());
    let found = narrower(&wider, &before);
    let expected = [
        " did not need \"a\"",
        ".a had maxLength 9 and has 8",
        ".a took \"z\"",
        ".list had maxItems null and has 4",
        ".list[] had c",
        " had new",
    ];
    assert_eq!(found, expected);
    assert_eq!(
        narrower(&json!({"type": "string"}), &json!({"type": "integer"})),
        [" was \"string\" and is \"integer\""]
    );
}
