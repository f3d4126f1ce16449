//! Judges a JSON value by a kind's schema the way an API server does: reads the schema that is shipped, produces
//! the problems. It knows the subset of OpenAPI that our definitions use.
//!
//! The order is the server's: fields that the schema does not know, then nulls and defaults, then types and
//! limits, and only on what has passed those the [`sentences`](crate::sentences).

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::{Number, Value};

use crate::refusal::Problem;
use crate::sentences::Sentence;
use crate::suggest::nearest;

/// The members that the schema does not know.
pub(crate) fn unknown_members(schema: &Value, value: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    walk(schema, value, &Place::default(), &mut |schema, value, place| {
        let (Some(known), Some(members)) = (schema["properties"].as_object(), value.as_object()) else { return };
        for name in members.keys().filter(|name| !known.contains_key(*name)) {
            let known: Vec<_> = known.keys().map(String::as_str).collect();
            let sentence = match nearest(name, known.iter().copied()) {
                Some(meant) => format!("no such field: did you mean {meant}? Known here are {}", known.join(", ")),
                None => format!("no such field: known here are {}", known.join(", ")),
            };
            problems.push(place.member(name).problem(sentence));
        }
    });
    problems
}

/// Takes out the members that the schema does not know.
pub(crate) fn remove_unknown(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(known) = schema["properties"].as_object() {
                members.retain(|name, _| known.contains_key(name));
            }
            for (name, value) in members {
                if let Some(schema) = member_schema(schema, name) {
                    remove_unknown(schema, value);
                }
            }
        }
        Value::Array(elements) => {
            if let Some(schema) = schema.get("items") {
                elements.iter_mut().for_each(|element| remove_unknown(schema, element));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
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

/// What the schema and its sentences refuse in a completed value. A value of a wrong shape keeps the server from
/// looking at its sentences.
pub(crate) fn problems(schema: &Value, value: &Value) -> Vec<Problem> {
    let mut misshapen = Vec::new();
    walk(schema, value, &Place::default(), &mut |schema, value, place| {
        shape_problems(schema, value, place, &mut misshapen)
    });
    if !misshapen.is_empty() {
        return misshapen;
    }
    let mut problems = Vec::new();
    walk(schema, value, &Place::default(), &mut |schema, value, place| {
        limit_problems(schema, value, place, &mut problems);
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            if let Some(sentence) = Sentence::of(rule).filter(|sentence| !(sentence.holds)(value)) {
                let place = sentence.field.map_or_else(|| place.clone(), |field| place.member(field));
                problems.push(place.problem(sentence.message.into()));
            }
        }
    });
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

/// Type, enum, required members, and what is too long.
fn shape_problems(schema: &Value, value: &Value, place: &Place, problems: &mut Vec<Problem>) {
    if let Some(sentence) = type_problem(schema, value) {
        problems.push(place.problem(sentence));
        return;
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let allowed: Vec<_> = allowed.iter().filter_map(Value::as_str).collect();
        let meant = value.as_str().and_then(|written| nearest(written, allowed.iter().copied()));
        let sentence = match meant {
            Some(meant) => format!("did you mean {meant}? Write one of {}, not {value}", allowed.join(", ")),
            None => format!("write one of {}, not {value}", allowed.join(", ")),
        };
        problems.push(place.problem(sentence));
    }
    if let Some(size) = Size::of(value)
        && let Some(most) = schema[size.most].as_u64().filter(|most| size.count > *most)
    {
        problems.push(place.problem(format!("write at most {most} {}", size.unit)));
    }
    if let Some(members) = value.as_object() {
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for name in required.filter(|name| !members.contains_key(*name)) {
            problems.push(place.member(name).problem("this field is required".into()));
        }
    }
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

/// What is too short, too small, too large, or there already.
fn limit_problems(schema: &Value, value: &Value, place: &Place, problems: &mut Vec<Problem>) {
    if let Some(size) = Size::of(value)
        && let Some(least) = schema[size.least].as_u64().filter(|least| size.count < *least)
    {
        problems.push(place.problem(format!("write at least {least} {}", size.unit)));
    }
    if let Some(number) = value.as_f64() {
        if let Some(least) = schema["minimum"].as_f64().filter(|least| number < *least) {
            problems.push(place.problem(format!("write at least {least}")));
        }
        if let Some(most) = schema["maximum"].as_f64().filter(|most| number > *most) {
            problems.push(place.problem(format!("write at most {most}")));
        }
    }
    if let Some(elements) = value.as_array() {
        duplicates(schema, elements, place, problems);
    }
}

fn duplicates(schema: &Value, elements: &[Value], place: &Place, problems: &mut Vec<Problem>) {
    let key = map_key(schema);
    if key.is_none() && schema["x-kubernetes-list-type"] != "set" {
        return;
    }
    let identity = |element: &Value| key.map_or(Some(element), |key| element.get(key)).map(Value::to_string);
    let mut seen = HashSet::new();
    for (index, element) in elements.iter().enumerate() {
        let Some(identity) = identity(element) else { continue };
        if seen.contains(&identity) {
            let sentence = format!("{identity} is in this list already: each may stand in it once");
            problems.push(place.element(index, None).problem(sentence));
        }
        seen.insert(identity);
    }
}

/// How large a text, list or mapping is, and the limits that are about it.
struct Size {
    count: u64,
    unit: &'static str,
    least: &'static str,
    most: &'static str,
}

impl Size {
    fn of(value: &Value) -> Option<Self> {
        let (count, unit, least, most) = match value {
            Value::String(text) => (text.chars().count(), "characters", "minLength", "maxLength"),
            Value::Array(elements) => (elements.len(), "items", "minItems", "maxItems"),
            Value::Object(members) => (members.len(), "members", "minProperties", "maxProperties"),
            Value::Null | Value::Bool(_) | Value::Number(_) => return None,
        };
        Some(Self { count: u64::try_from(count).ok()?, unit, least, most })
    }
}
