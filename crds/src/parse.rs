//! Reads rules from files: YAML text in, rules out, as strict as `kubectl apply` and with its verdicts.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};
use serde_saphyr::{MessageFormatter, UserMessageFormatter};
use thiserror::Error;

use crate::names;
use crate::refusal::{Problem, Refusal};
use crate::rule::DataCollectionRule;
use crate::validate::{complete_document, name_problems};

pub(crate) const API_VERSION: &str = "vedette.dev/v1alpha1";
pub(crate) const KIND: &str = "DataCollectionRule";

/// Why a text holds no rules.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The text is no YAML; the line is named.
    #[error("the text is no YAML: {}", error.render_with_formatter(&Words))]
    Yaml {
        /// What the parser says.
        error: serde_saphyr::Error,
    },
    /// Some documents are no good rules.
    #[error("{}", join(.0))]
    Refused(Vec<RefusedDocument>),
}

/// The parser's words, but where it shows its own insides.
struct Words;

impl MessageFormatter for Words {
    fn format_message<'a>(&self, error: &'a serde_saphyr::Error) -> Cow<'a, str> {
        match error {
            serde_saphyr::Error::Budget { .. } => {
                "it is too large, too deeply nested, or repeats too much by aliases".into()
            }
            other => UserMessageFormatter.format_message(other),
        }
    }
}

/// A document that is no good rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedDocument {
    /// Which document of the text it is; the first is 1, empty ones do not count.
    pub document: usize,
    /// The rule's name, where it has one.
    pub name: Option<String>,
    /// What is wrong with it.
    pub refusal: Refusal,
}

impl fmt::Display for RefusedDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "document {}", self.document)?;
        if let Some(name) = &self.name {
            write!(f, ", rule {name:?}")?;
        }
        write!(f, ": {}", self.refusal)
    }
}

fn join(documents: &[RefusedDocument]) -> String {
    documents.iter().map(RefusedDocument::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads rules from a text of one or more YAML documents.
///
/// # Errors
/// The text is no YAML, or at least one document is not what the API server would accept; all of those are named.
pub fn parse_rules(yaml: &str) -> Result<Vec<DataCollectionRule>, ParseError> {
    let mut rules = Vec::new();
    let mut refused = Vec::new();
    for (index, document) in documents(yaml)?.into_iter().enumerate() {
        let name = document["metadata"]["name"].as_str().map(String::from);
        match rule(document) {
            Ok(rule) => rules.push(rule),
            Err(refusal) => refused.push(RefusedDocument { document: index + 1, name, refusal }),
        }
    }
    if refused.is_empty() { Ok(rules) } else { Err(ParseError::Refused(refused)) }
}

/// The documents of a text; empty ones are none.
pub(crate) fn documents(yaml: &str) -> Result<Vec<Value>, ParseError> {
    // kubectl reads YAML 1.1.
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    serde_saphyr::from_multiple_with_options(yaml, options).map_err(|error| ParseError::Yaml { error })
}

fn rule(document: Value) -> Result<DataCollectionRule, Refusal> {
    let Value::Object(mut members) = document else {
        return Err(refusal("", format!("write a mapping that begins with apiVersion: {API_VERSION}")));
    };
    for (member, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        match members.remove(member) {
            Some(Value::String(written)) if written == expected => {}
            Some(Value::String(written)) => {
                return Err(refusal(member, format!("write {expected}, not {written:?}")));
            }
            _ => return Err(refusal(member, format!("write {expected}"))),
        }
    }
    let metadata = metadata(members.remove("metadata").unwrap_or_default())?;
    let mut members = Value::Object(members);
    if let Some(refusal) = Refusal::of(complete_document(&mut members)) {
        return Err(refusal);
    }
    let spec = serde_json::from_value(members["spec"].take()).map_err(|error| refusal("spec", error.to_string()))?;
    Ok(DataCollectionRule { metadata, spec, status: None })
}

pub(crate) fn metadata(metadata: Value) -> Result<ObjectMeta, Refusal> {
    let metadata = if metadata.is_null() { Value::Object(Map::new()) } else { metadata };
    if let Some(Value::Number(_) | Value::Bool(_)) = metadata.get("name") {
        return Err(refusal("metadata.name", "write a text here: put it in quotes".into()));
    }
    let mut unknown = Vec::new();
    let read = serde_ignored::deserialize(metadata, |path| {
        unknown.push(Problem {
            entry: None,
            path: format!("metadata.{path}"),
            sentence: "no such field: remove it".into(),
        });
    });
    let metadata: ObjectMeta = read.map_err(|error| refusal("metadata", error.to_string()))?;
    let mut problems = unknown;
    problems.extend(name_problems(metadata.name.as_deref()));
    let mut check = |path: &str, text: &str, holds: fn(&str) -> bool, what: &str| {
        if !holds(text) {
            problems.push(Problem { entry: None, path: path.into(), sentence: format!("{text:?} is no {what}") });
        }
    };
    for (key, value) in metadata.labels.iter().flatten() {
        check("metadata.labels", key, names::is_label_key, "label key");
        check("metadata.labels", value, names::is_label_value, "label value");
    }
    for key in metadata.annotations.iter().flatten().map(|(key, _)| key) {
        check("metadata.annotations", &key.to_lowercase(), names::is_label_key, "annotation key");
    }
    Refusal::of(problems).map_or(Ok(metadata), Err)
}

fn refusal(path: &str, sentence: String) -> Refusal {
    Refusal::one(Problem { entry: None, path: path.into(), sentence })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn document(name: &str, path: &str) -> String {
        format!(
            "apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata: {{name: {name}}}\n\
             spec: {{files: {{paths: [{{name: conf, path: {path}}}]}}}}\n"
        )
    }

    #[test]
    fn several_documents_are_several_rules_and_empty_ones_are_none() {
        let text = format!("---\n{}---\n# nothing\n---\n{}", document("a", "/a"), document("b", "/b"));
        let names: Vec<_> = parse_rules(&text).unwrap().into_iter().map(|rule| rule.metadata.name.unwrap()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(parse_rules("").unwrap().is_empty());
    }

    #[test]
    fn defaults_are_filled_in() {
        let rule = parse_rules(&document("a", "/a")).unwrap().remove(0);
        let files = rule.spec.files.unwrap();
        assert_eq!((files.interval.as_str(), files.rehash_interval.as_str(), files.realtime), ("15m", "24h", true));
        assert_eq!(files.paths[0].max_content_size.bytes(), Some(4 << 30));
        assert_eq!((files.paths[0].compare.len(), files.paths[0].hashes.len()), (8, 2));
    }

    #[test]
    fn an_error_names_every_bad_document_its_fields_and_its_entries() {
        let text = [document("a", "/a"), document("b", "etc"), document("c", "/c/")].join("---\n");
        assert_eq!(
            parse_rules(&text).unwrap_err().to_string(),
            "document 2, rule \"b\": spec.files.paths[0].path (entry \"conf\"): a path is absolute: begin it with /, \
             for example /etc/**/*.conf\n\
             document 3, rule \"c\": spec.files.paths[0].path (entry \"conf\"): write the path without .. or . or \
             empty segments and without a / at the end"
        );
    }

    #[test]
    fn a_text_that_is_no_yaml_is_refused_with_its_line() {
        let said = parse_rules(&document("a", "[")).unwrap_err().to_string();
        assert!(said.starts_with("the text is no YAML: ") && said.contains("line"), "{said}");
        let said = parse_rules(&document("a", "/a, path: /b")).unwrap_err().to_string();
        assert!(said.contains("duplicate mapping key `path`") && !said.contains("Options"), "{said}");
        let deep = parse_rules(&document("a", &("{a: ".repeat(100) + "1" + &"}".repeat(100)))).unwrap_err().to_string();
        assert!(deep.starts_with("the text is no YAML: it is too large, too deeply nested"), "{deep}");
        let number = parse_rules(&document("123", "/a")).unwrap_err().to_string();
        assert_eq!(number, "document 1: metadata.name: write a text here: put it in quotes");
        assert_eq!(
            parse_rules("just words").unwrap_err().to_string(),
            "document 1: write a mapping that begins with apiVersion: vedette.dev/v1alpha1"
        );
    }
}
