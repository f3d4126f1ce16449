//! All that is wrong with the rules in a text: what the API server refuses, and what only compilation sees, in one go.
//!
//! [`parse`](crate::parse) gives the API server's verdict, which stops at fields that it does not know, then at wrong types.
//! Here both are named, and what there is else. A text that this finds nothing wrong with is one that both take.

use serde::Deserialize;
use serde_json::Value;

use crate::compile::{Unusable, prepare};
use crate::parse::{API_VERSION, KIND, ParseError, documents, metadata};
use crate::pattern::{PathPattern, PatternError};
use crate::refusal::Problem;
use crate::rule::{DataCollectionRule, DataCollectionRuleSpec};
use crate::settings::Exclude;
use crate::validate::all_problems;

/// One document of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Which document of the text it is; the first is 1, empty ones do not count.
    pub document: usize,
    /// The rule's name, where it has one.
    pub name: Option<String>,
    /// All that is wrong with it; nothing: the rule is good.
    pub problems: Vec<Problem>,
}

/// Judges each document of a text as a rule.
///
/// # Errors
/// The text is no YAML.
pub fn judge(yaml: &str) -> Result<Vec<Judged>, ParseError> {
    let judged = (1..).zip(documents(yaml)?).map(|(document, content)| Judged {
        document,
        name: content["metadata"]["name"].as_str().map(String::from),
        problems: problems(content),
    });
    Ok(judged.collect())
}

fn problems(document: Value) -> Vec<Problem> {
    let Value::Object(mut members) = document else {
        return vec![problem("", format!("write a mapping that begins with apiVersion: {API_VERSION}"))];
    };
    let mut problems = Vec::new();
    let mut is_another_kind = false;
    for (member, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        match members.remove(member) {
            Some(Value::String(written)) if written == expected => {}
            Some(Value::String(written)) => {
                is_another_kind |= member == "kind";
                problems.push(problem(member, format!("write {expected}, not {written:?}")));
            }
            _ => problems.push(problem(member, format!("write {expected}"))),
        }
    }
    // Its members are none of ours.
    if is_another_kind {
        return problems;
    }
    let metadata = metadata(members.remove("metadata").unwrap_or_default());
    if let Err(refusal) = &metadata {
        problems.extend_from_slice(refusal.problems());
    }
    let mut members = Value::Object(members);
    let of_members = all_problems(&mut members);
    let is_whole = of_members.is_empty();
    problems.extend(of_members);
    if !is_whole {
        let of_patterns = patterns(&members["spec"]["files"]["paths"]);
        let is_new = |problem: &Problem| !problems.iter().any(|known| known.path == problem.path);
        let new: Vec<Problem> = of_patterns.into_iter().filter(is_new).collect();
        problems.extend(new);
    }
    if let (true, Ok(metadata)) = (is_whole, metadata) {
        match DataCollectionRuleSpec::deserialize(&members["spec"]) {
            Ok(spec) => problems.extend(compiled(&DataCollectionRule { metadata, spec, status: None })),
            Err(error) => problems.push(problem("spec", error.to_string())),
        }
    }
    problems
}

/// What compilation refuses in a rule that the API server takes.
fn compiled(rule: &DataCollectionRule) -> Vec<Problem> {
    match prepare(rule).form() {
        Ok(_) => Vec::new(),
        Err(Unusable::Refused(refusal)) => refusal.problems().to_vec(),
        Err(unusable) => vec![problem("", unusable.to_string())],
    }
}

/// What compilation would refuse of entries whose rule does not get that far.
fn patterns(entries: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, entry) in entries.as_array().into_iter().flatten().enumerate() {
        let mut refuse = |member: String, error: Option<PatternError>| {
            let (entry, path) =
                (entry["name"].as_str().map(String::from), format!("spec.files.paths[{index}].{member}"));
            problems.extend(error.map(|error| Problem { entry, path, sentence: error.to_string() }));
        };
        if let Some(path) = entry["path"].as_str() {
            refuse("path".into(), PathPattern::parse(path).err());
        }
        for (position, exclude) in entry["exclude"].as_array().into_iter().flatten().enumerate() {
            if let Some(exclude) = exclude.as_str() {
                refuse(format!("exclude[{position}]"), Exclude::parse(exclude).err());
            }
        }
    }
    problems
}

fn problem(path: &str, sentence: String) -> Problem {
    Problem { entry: None, path: path.into(), sentence }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::compile::standalone;
    use crate::corpus::corpus;
    use crate::parse::parse_rules;

    fn said(yaml: &str) -> Vec<String> {
        judge(yaml).unwrap().into_iter().flat_map(|judged| judged.problems).map(|problem| problem.to_string()).collect()
    }

    #[test]
    fn a_rule_is_good_exactly_when_the_api_server_and_compilation_take_it() {
        let mut bad = 0;
        for case in corpus() {
            let verdict = match parse_rules(&case.rule) {
                Ok(rules) => standalone(&rules).err().map(|refused| match refused.reason {
                    Unusable::Refused(refusal) => refusal.problems().to_vec(),
                    _ => Vec::new(),
                }),
                Err(ParseError::Refused(documents)) => {
                    Some(documents.iter().flat_map(|document| document.refusal.problems()).cloned().collect())
                }
                Err(_) => {
                    judge(&case.rule).unwrap_err();
                    continue;
                }
            };
            let all: Vec<Problem> = judge(&case.rule).unwrap().into_iter().flat_map(|judged| judged.problems).collect();
            assert_eq!(all.is_empty(), verdict.is_none(), "{}: {all:?}", case.name);
            for problem in verdict.into_iter().flatten() {
                bad += 1;
                assert!(all.contains(&problem), "{}: {problem} is not among {all:?}", case.name);
            }
        }
        assert!(bad > 50, "{bad} problems");
    }

    #[test]
    fn one_kind_of_problem_does_not_hide_another() {
        let rule = "apiVersion: vedette.dev/v1\nkind: DataCollectionRule\nmetadata: {name: A, labls: {}}\nspec:\n  \
                    suspnd: true\n  files:\n    interval: 1s\n    paths:\n    - {name: conf, path: etc, excludes: [a]}\n    \
                    - {name: odd, path: '/a/{b[}]c'}\n";
        let said = said(rule);
        for part in [
            "apiVersion: write vedette.dev/v1alpha1, not \"vedette.dev/v1\"",
            "metadata.labls: no such field",
            "metadata.name: write a name",
            "spec.suspnd: no such field: did you mean suspend?",
            "spec.files.paths[0].excludes (entry \"conf\"): no such field: did you mean exclude?",
            "spec.files.interval: write a duration from 10s to 24h",
            "spec.files.paths[0].path (entry \"conf\"): a path is absolute",
            "spec.files.paths[1].path (entry \"odd\"): a { is not closed",
        ] {
            assert!(said.iter().any(|one| one.starts_with(part)), "{part} is not in {said:#?}");
        }
        assert_eq!(said.len(), 8, "{said:#?}");
    }

    #[test]
    fn another_kind_is_named_and_its_members_are_not_judged() {
        assert_eq!(
            said("apiVersion: v1\nkind: ConfigMap\ndata: {}\n"),
            ["apiVersion: write vedette.dev/v1alpha1, not \"v1\"", "kind: write DataCollectionRule, not \"ConfigMap\""]
        );
        assert_eq!(said("- 1\n"), ["write a mapping that begins with apiVersion: vedette.dev/v1alpha1"]);
    }
}
