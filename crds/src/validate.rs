//! Checks a rule that comes from somewhere else than the API server of today: from a file, or from a server whose
//! definitions are older. It gives the verdict and the sentences that the current definition gives.

use std::sync::LazyLock;

use serde_json::Value;

use crate::definition;
use crate::names;
use crate::refusal::{Problem, Refusal};
use crate::rule::DataCollectionRule;
use crate::schema;

/// The schema of the kind DataCollectionRule without what every kind has.
static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(definition::RULE_SCHEMA).expect("a test holds it to what the types make"));

/// Checks a rule as the current definition does.
///
/// # Errors
/// All that is wrong with it.
pub fn validate(rule: &DataCollectionRule) -> Result<(), Refusal> {
    let members = serde_json::json!({"spec": rule.spec});
    let mut problems = name_problems(rule.metadata.name.as_deref());
    problems.extend(schema::problems(&SCHEMA, &members));
    Refusal::of(problems).map_or(Ok(()), Err)
}

/// Checks what a file says below `metadata`, completes it with nulls left out and defaults filled in.
pub(crate) fn complete_document(members: &mut Value) -> Vec<Problem> {
    let unknown = schema::unknown_members(&SCHEMA, members);
    if !unknown.is_empty() {
        return unknown;
    }
    // A status in a file is dropped unseen, as the API server does.
    if let Some(members) = members.as_object_mut() {
        members.remove("status");
    }
    schema::complete(&SCHEMA, members);
    schema::problems(&SCHEMA, members)
}

/// The same, and goes on where the API server stops at fields that it does not know: all that is wrong below `metadata`.
pub(crate) fn all_problems(members: &mut Value) -> Vec<Problem> {
    let mut problems = schema::unknown_members(&SCHEMA, members);
    schema::remove_unknown(&SCHEMA, members);
    problems.extend(complete_document(members));
    problems
}

pub(crate) fn name_problems(name: Option<&str>) -> Vec<Problem> {
    let sentence = match name {
        Some(name) if names::is_dns_subdomain(name) => return Vec::new(),
        None | Some("") => "this field is required",
        Some(_) => {
            "write a name of at most 253 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit, for example linux-baseline"
        }
    };
    vec![Problem { entry: None, path: "metadata.name".into(), sentence: sentence.into() }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sentences::Sentence;

    fn expressions<'s>(schema: &'s Value, found: &mut Vec<&'s Value>) {
        match schema {
            Value::Object(members) => {
                let rules = members.get("x-kubernetes-validations").and_then(Value::as_array);
                found.extend(rules.into_iter().flatten());
                members.values().for_each(|value| expressions(value, found));
            }
            Value::Array(elements) => elements.iter().for_each(|value| expressions(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_expression_of_the_definition_is_known_here_too() {
        let mut found = Vec::new();
        expressions(&SCHEMA, &mut found);
        assert_eq!(found.len(), Sentence::count());
        for expression in found {
            assert!(Sentence::of(expression).is_some(), "{expression}");
        }
    }
}
