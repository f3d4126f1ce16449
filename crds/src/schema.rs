//! Judges a JSON value by a kind's schema the way an API server does: reads the schema that is shipped, produces
//! the problems. It knows the subset of OpenAPI that our definitions use.
//!
//! The order is the server's: fields that the schema does not know, then nulls and defaults, then types and
//! limits, and only on what has passed those the [`sentences`](crate::sentences).

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

use crate::refusal::Problem;
use crate::sentences::Sentence;

/// The members that the schema does not know.
pub(crate) fn unknown_members(schema: &Value, value: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    walk(schema, value, &Place::default(), &mut |schema, value, place| {
        let (Some(known), Some(members)) = (schema["properties"].as_object(), value.as_object()) else { return };
        for name in members.keys().filter(|name| !known.contains_key(*name)) {
            let known: Vec<_> = known.keys().map(String::as_str).collect();
            problems.push(place.member(name).problem(format!("no such field: known here are {}", known.join(", "))));
        }
    });
    problems
}

/// Leaves out nulls, fills in defaults, and writes whole numbers as integers.
pub(crate) fn complete(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = schema.get("default") {
                    members.entry(name).or_insert_with(|| default.clone());
                }
            }
            for (name, value) in members {
                if let Some(schema) = member_schema(schema, name) {
                    complete(schema, value);
                }
            }
        }
        Value::Array(elements) => {
            if let Some(schema) = schema.get("items") {
                elements.iter_mut().for_each(|element| complete(schema, element));
            }
        }
        Value::Number(number) => {
            if let Some(whole) = whole(number) {
                *number = whole;
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// What the schema and its sentences refuse in a completed value.
pub(crate) fn problems(schema: &Value, value: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    walk(schema, value, &Place::default(), &mut |schema, value, place| {
        if let Some(sentence) = type_problem(schema, value) {
            problems.push(place.problem(sentence));
        } else {
            limit_problems(schema, value, place, &mut problems);
        }
    });
    if problems.is_empty() {
        walk(schema, value, &Place::default(), &mut |schema, value, place| {
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                let sentence = rule["rule"].as_str().and_then(Sentence::of);
                if let Some(sentence) = sentence.filter(|sentence| !(sentence.holds)(value)) {
                    let place = sentence.field.map_or_else(|| place.clone(), |field| place.member(field));
                    problems.push(place.problem(sentence.message.into()));
                }
            }
        });
    }
    problems
}

/// Where a value stands.
#[derive(Debug, Clone, Default)]
struct Place {
    path: String,
    /// The name of the list's entry that it belongs to.
    entry: Option<String>,
}

impl Place {
    fn member(&self, name: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { path: format!("{}{dot}{name}", self.path), entry: self.entry.clone() }
    }

    fn element(&self, index: usize, entry: Option<&str>) -> Self {
        let mut place = self.clone();
        // Writing to a String does not fail.
        let _ = write!(place.path, "[{index}]");
        if let Some(entry) = entry {
            place.entry = Some(entry.into());
        }
        place
    }

    fn problem(&self, sentence: String) -> Problem {
        Problem { entry: self.entry.clone(), path: self.path.clone(), sentence }
    }
}

/// Visits a value and all that the schema knows of what it holds, parents first.
fn walk(schema: &Value, value: &Value, place: &Place, visit: &mut dyn FnMut(&Value, &Value, &Place)) {
    visit(schema, value, place);
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(schema) = member_schema(schema, name) {
                    walk(schema, value, &place.member(name), visit);
                }
            }
        }
        Value::Array(elements) => {
            let Some(items) = schema.get("items") else { return };
            let key = map_key(schema);
            for (index, value) in elements.iter().enumerate() {
                let entry = key.and_then(|key| value.get(key)?.as_str());
                walk(items, value, &place.element(index, entry), visit);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn member_schema<'s>(schema: &'s Value, name: &str) -> Option<&'s Value> {
    schema["properties"].get(name).or_else(|| schema.get("additionalProperties"))
}

fn map_key(schema: &Value) -> Option<&str> {
    schema["x-kubernetes-list-map-keys"][0].as_str()
}

fn whole(number: &Number) -> Option<Number> {
    let float = number.as_f64().filter(|_| number.is_f64())?;
    // Above 2^53 a float no longer tells one whole number from the next.
    let whole = float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0;
    whole.then(|| Number::from(float as i64))
}

fn type_problem(schema: &Value, value: &Value) -> Option<String> {
    let is_integer = value.is_i64() || value.is_u64();
    let (fits, expected) = match schema["type"].as_str() {
        Some("object") => (value.is_object(), "a mapping"),
        Some("array") => (value.is_array(), "a list"),
        Some("string") => (value.is_string(), "a text"),
        Some("boolean") => (value.is_boolean(), "true or false"),
        Some("integer") => (is_integer, "a whole number"),
        Some("number") => (value.is_number(), "a number"),
        _ if schema["x-kubernetes-int-or-string"] == true => {
            (is_integer || value.is_string(), "a whole number or a text")
        }
        _ => return None,
    };
    let found = match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false (put a text in quotes)",
        Value::Number(_) => "a number (put a text in quotes)",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    };
    (!fits).then(|| format!("write {expected} here, not {found}"))
}

fn limit_problems(schema: &Value, value: &Value, place: &Place, problems: &mut Vec<Problem>) {
    let mut refuse = |sentence: String| problems.push(place.problem(sentence));
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let allowed: Vec<_> = allowed.iter().filter_map(Value::as_str).collect();
        refuse(format!("write one of {}, not {value}", allowed.join(", ")));
    }
    let mut hold = |size: usize, least: &str, most: &str, what: &str| {
        let limit = |name| schema[name].as_u64().map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        if let Some(least) = limit(least).filter(|least| size < *least) {
            refuse(format!("write at least {least} {what}"));
        }
        if let Some(most) = limit(most).filter(|most| size > *most) {
            refuse(format!("write at most {most} {what}"));
        }
    };
    match value {
        Value::String(text) => hold(text.chars().count(), "minLength", "maxLength", "characters"),
        Value::Array(elements) => {
            hold(elements.len(), "minItems", "maxItems", "items");
            duplicates(schema, elements, place, problems);
        }
        Value::Object(members) => {
            hold(members.len(), "minProperties", "maxProperties", "members");
            required(schema, members, place, problems);
        }
        Value::Number(number) => {
            let outside = |limit: &str, wrong: fn(f64, f64) -> bool| {
                let (number, limit) = (number.as_f64()?, schema[limit].as_f64()?);
                wrong(number, limit).then_some(limit)
            };
            if let Some(least) = outside("minimum", |number, least| number < least) {
                refuse(format!("write at least {least}"));
            }
            if let Some(most) = outside("maximum", |number, most| number > most) {
                refuse(format!("write at most {most}"));
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn required(schema: &Value, members: &Map<String, Value>, place: &Place, problems: &mut Vec<Problem>) {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for name in required.filter(|name| !members.contains_key(*name)) {
        problems.push(place.member(name).problem("this field is required".into()));
    }
}

fn duplicates(schema: &Value, elements: &[Value], place: &Place, problems: &mut Vec<Problem>) {
    let key = map_key(schema);
    if key.is_none() && schema["x-kubernetes-list-type"] != "set" {
        return;
    }
    let identity = |element: &Value| key.map_or(Some(element), |key| element.get(key)).map(Value::to_string);
    let mut seen = std::collections::HashSet::new();
    for (index, element) in elements.iter().enumerate() {
        let Some(identity) = identity(element) else { continue };
        if seen.contains(&identity) {
            let sentence = format!("{identity} is in this list already: each may stand in it once");
            problems.push(place.element(index, None).problem(sentence));
        }
        seen.insert(identity);
    }
}
