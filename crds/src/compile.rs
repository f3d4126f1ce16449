//! Rules and a node in, the node's configuration out: pure, infallible, the same for the same input in any order.
//!
//! [`prepare`] does once per generation of a rule what no node changes; [`compile`] does the rest once per node. A
//! rule that is refused, or cannot be decoded, keeps its previous form wherever a node carries one. No rule changes
//! another's form; what has no room is left out youngest first, so that a rule never displaces an older one.

mod prepare;
mod section;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use crate::node_config::{ClusterRef, MAX_RULES, NodeConfigSpec, NodeRule, Reporting};

pub use prepare::{PreparedRule, RefusedRule, Unusable, prepare, prepare_object, standalone};

/// How large a spec may be, in bytes of JSON.
pub const MAX_SPEC_BYTES: usize = 64 * 1024;

/// A node as far as rules are concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// The Node's name.
    pub name: String,
    /// The Node's uid.
    pub uid: String,
    /// The Node's labels.
    pub labels: BTreeMap<String, String>,
}

/// What is the same for every node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// The cluster that the nodes belong to.
    pub cluster: Option<ClusterRef>,
    /// How often agents write their status.
    pub reporting: Reporting,
}

/// What a node is to watch, and what became of each rule on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// The spec of the node's NodeConfig.
    pub spec: NodeConfigSpec,
    /// One verdict for each rule, sorted by the rules' names.
    pub verdicts: Vec<Verdict>,
}

/// What became of one rule on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The rule's name.
    pub name: String,
    /// The rule's uid.
    pub uid: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a rule on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The rule does not select the node.
    NotSelected,
    /// The spec carries this generation of it.
    Included,
    /// The rule cannot be used; the spec carries the form that the node had.
    Kept {
        /// The generation of that form.
        generation: i64,
    },
    /// The rule cannot be used, and the node has no form of it.
    Unusable,
    /// The rule selects the node, and older rules fill the spec's [`MAX_RULES`].
    TooMany,
    /// The rule selects the node, and older rules fill the spec's [`MAX_SPEC_BYTES`].
    TooLarge,
}

/// Compiles what a node is to watch. `previous` is the spec that the node's NodeConfig has now.
pub fn compile<'r>(
    rules: impl IntoIterator<Item = &'r PreparedRule>,
    previous: Option<&'r NodeConfigSpec>,
    node: &NodeFacts,
    context: &Context,
) -> Compiled {
    let mut spec = NodeConfigSpec {
        cluster: context.cluster.clone(),
        node_uid: node.uid.clone(),
        reporting: context.reporting.clone(),
        rules: Vec::new(),
    };
    let mut verdicts = Vec::new();
    let mut candidates = Vec::new();
    for rule in rules {
        let (outcome, form) = judge(rule, previous, node);
        if let Some(form) = form {
            candidates.push(Candidate { age: Age::of(rule), verdict: verdicts.len(), form });
        }
        verdicts.push(Verdict { name: rule.name().into(), uid: rule.uid().into(), outcome });
    }
    candidates.sort_by(|left, right| left.age.cmp(&right.age));

    let mut bytes = section::json_bytes(&spec);
    let mut full = None;
    for candidate in candidates {
        let with_comma = section::json_bytes(candidate.form) + usize::from(!spec.rules.is_empty());
        if full.is_none() {
            full = if spec.rules.len() == MAX_RULES {
                Some(Outcome::TooMany)
            } else if bytes + with_comma > MAX_SPEC_BYTES {
                Some(Outcome::TooLarge)
            } else {
                None
            };
        }
        match full {
            Some(outcome) => verdicts[candidate.verdict].outcome = outcome,
            None => {
                bytes += with_comma;
                spec.rules.push(candidate.form.clone());
            }
        }
    }
    spec.rules.sort_by(|left, right| left.name.cmp(&right.name));
    verdicts.sort_by(|left, right| left.name.cmp(&right.name));
    Compiled { spec, verdicts }
}

/// What would become of a rule on a node with room for everything, and the form that it would carry.
fn judge<'r>(
    rule: &'r PreparedRule,
    previous: Option<&'r NodeConfigSpec>,
    node: &NodeFacts,
) -> (Outcome, Option<&'r NodeRule>) {
    let selected = rule.selects(&node.labels);
    match rule.form() {
        Ok(form) if selected => (Outcome::Included, Some(form)),
        Ok(_) => (Outcome::NotSelected, None),
        Err(_) => match previous.into_iter().flat_map(|spec| &spec.rules).find(|form| form.uid == rule.uid()) {
            Some(form) => (Outcome::Kept { generation: form.generation }, Some(form)),
            None if selected => (Outcome::Unusable, None),
            None => (Outcome::NotSelected, None),
        },
    }
}

/// A form that wants a place in the spec.
struct Candidate<'r> {
    age: Age<'r>,
    verdict: usize,
    form: &'r NodeRule,
}

/// Older is less; a rule without a time of creation is the youngest.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Age<'r> {
    created: (bool, Option<Timestamp>),
    name: &'r str,
}

impl<'r> Age<'r> {
    fn of(rule: &'r PreparedRule) -> Self {
        Self { created: (rule.created().is_none(), rule.created()), name: rule.name() }
    }
}
