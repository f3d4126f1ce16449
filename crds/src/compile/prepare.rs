//! A rule made ready for any node: reads one generation of it, produces its form or why it has none.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::MAX_SPEC_BYTES;
use super::section;
use crate::node_config::NodeRule;
use crate::pattern::PathPattern;
use crate::refusal::{Problem, Refusal};
use crate::rule::{DataCollectionRule, DataCollectionRuleSpec, PathEntry};
use crate::selector::{self, NodeSelector};
use crate::settings::Exclude;
use crate::validate::validate;

/// Leaves room for what a spec holds beside its rules, so that every accepted rule fits on a node without others.
const MAX_RULE_BYTES: usize = MAX_SPEC_BYTES - 1024;

/// One generation of a rule, ready for any node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedRule {
    name: String,
    uid: String,
    generation: i64,
    created: Option<Timestamp>,
    selection: Selection,
    form: Result<NodeRule, Unusable>,
}

/// Why a rule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unusable {
    /// Something in it cannot be meant.
    #[error(transparent)]
    Refused(Refusal),
    /// Its form is larger than any node has room for.
    #[error("the rule takes {bytes} bytes of a node's configuration, at most {MAX_RULE_BYTES} are allowed: split it")]
    TooLarge {
        /// The size of its form in bytes.
        bytes: usize,
    },
    /// The object is not what this version takes for a rule.
    #[error("the rule cannot be read by this version: {error}")]
    Undecodable {
        /// What the decoder says.
        error: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Selection {
    EveryLinuxNode,
    Matching(NodeSelector),
    /// An empty selector is refused, and that of an undecodable rule is not known.
    Nothing,
}

/// Makes a rule ready.
pub fn prepare(rule: &DataCollectionRule) -> PreparedRule {
    let selection = match &rule.spec.node_selector {
        None => Selection::EveryLinuxNode,
        Some(selector) if *selector == NodeSelector::default() => Selection::Nothing,
        Some(selector) => Selection::Matching(selector.clone()),
    };
    PreparedRule::new(&rule.metadata, selection, form(rule))
}

/// Makes an object ready that may not be a rule to this version: `data` is the object without its metadata. One
/// that cannot be read keeps the forms that nodes have of it, and never hides the others.
pub fn prepare_object(metadata: &ObjectMeta, data: &Value) -> PreparedRule {
    match DataCollectionRuleSpec::deserialize(&data["spec"]) {
        Ok(spec) => prepare(&DataCollectionRule { metadata: metadata.clone(), spec, status: None }),
        Err(error) => {
            let unusable = Unusable::Undecodable { error: error.to_string() };
            PreparedRule::new(metadata, Selection::Nothing, Err(unusable))
        }
    }
}

fn form(rule: &DataCollectionRule) -> Result<NodeRule, Unusable> {
    validate(rule).map_err(Unusable::Refused)?;
    let DataCollectionRule { metadata, spec, .. } = rule;
    let entries = spec.files.iter().flat_map(|files| &files.paths);
    let problems = entries.enumerate().flat_map(|(index, entry)| pattern_problems(index, entry)).collect();
    if let Some(refusal) = Refusal::of(problems) {
        return Err(Unusable::Refused(refusal));
    }
    let files = spec.files.as_ref().map(section::files);
    let form = NodeRule {
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        hash: section::hash(spec.suspend, &spec.tags, files.as_ref()),
        suspend: spec.suspend,
        tags: spec.tags.clone(),
        files,
    };
    match section::json_bytes(&form) {
        bytes if bytes > MAX_RULE_BYTES => Err(Unusable::TooLarge { bytes }),
        _ => Ok(form),
    }
}

impl PreparedRule {
    fn new(metadata: &ObjectMeta, selection: Selection, form: Result<NodeRule, Unusable>) -> Self {
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            selection,
            form,
        }
    }

    /// The rule's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rule's uid.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The generation that was prepared.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// When the rule was created.
    pub fn created(&self) -> Option<Timestamp> {
        self.created
    }

    /// The rule's form for a node.
    ///
    /// # Errors
    /// Why the rule cannot be used.
    pub fn form(&self) -> Result<&NodeRule, &Unusable> {
        self.form.as_ref()
    }

    /// The selector that nodes have to match beside being Linux nodes, if the rule has one that can be read.
    pub fn selector(&self) -> Option<&NodeSelector> {
        match &self.selection {
            Selection::Matching(selector) => Some(selector),
            Selection::EveryLinuxNode | Selection::Nothing => None,
        }
    }

    /// Whether a node with these labels is selected. Of an undecodable rule nobody knows: it selects none.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let matches = match &self.selection {
            Selection::EveryLinuxNode => true,
            Selection::Matching(selector) => selector.matches(labels),
            Selection::Nothing => false,
        };
        matches && selector::is_linux(labels)
    }
}

/// What no expression of the definition sees: patterns that cannot be read in the end.
fn pattern_problems(index: usize, entry: &PathEntry) -> Vec<Problem> {
    let problem = |member: String, error: crate::pattern::PatternError| Problem {
        entry: Some(entry.name.clone()),
        path: format!("spec.files.paths[{index}].{member}"),
        sentence: error.to_string(),
    };
    let path = PathPattern::parse(&entry.path).err().map(|error| problem("path".into(), error));
    let excludes = entry.exclude.iter().enumerate().filter_map(|(position, exclude)| {
        Exclude::parse(exclude).err().map(|error| problem(format!("exclude[{position}]"), error))
    });
    path.into_iter().chain(excludes).collect()
}

/// A rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("rule {name:?}: {reason}")]
pub struct RefusedRule {
    /// The rule's name.
    pub name: String,
    /// Why it cannot be used.
    pub reason: Unusable,
}

/// Rules as a host without a cluster takes them, sorted by name: each is for this host whatever its nodeSelector
/// says, and its uid is made from its name.
///
/// # Errors
/// The first rule that is refused, too large, or named like another one.
pub fn standalone(rules: &[DataCollectionRule]) -> Result<Vec<NodeRule>, RefusedRule> {
    let mut forms = BTreeMap::new();
    for rule in rules {
        let mut rule = rule.clone();
        let name = rule.metadata.name.clone().unwrap_or_default();
        rule.metadata.uid = Some(section::hex(name.as_bytes()));
        rule.metadata.generation.get_or_insert(1);
        let form = form(&rule).map_err(|reason| RefusedRule { name: name.clone(), reason })?;
        if forms.insert(name.clone(), form).is_some() {
            let sentence = "another rule has this name already: rename one".into();
            let problem = Problem { entry: None, path: "metadata.name".into(), sentence };
            return Err(RefusedRule { name, reason: Unusable::Refused(Refusal::one(problem)) });
        }
    }
    Ok(forms.into_values().collect())
}
