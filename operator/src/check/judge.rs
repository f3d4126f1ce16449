//! What is to be said of what stands there: facts in, a sentence for each thing that should hold out. Asks nobody.

use std::fmt;

use serde_json::Value;
use vedette_crds::condition;
use vedette_crds::condition::node::{AgentAvailable, BaselineReady, ConfigApplied, Confined};
use vedette_crds::condition::rule::{Accepted, Programmed};
use vedette_crds::condition::{Condition, Reason};
use vedette_crds::record::escape_controls;

use super::facts::{Agents, Definition, Facts, Leader, Told};
use super::policy::{Unguarded, unguarded};
use crate::names::API_VERSION;

/// More than one person fixes at a time; the rest is a number.
const MOST_NAMED: usize = 10;

/// What somebody else says, in characters: the rest stands in the object.
const LONGEST: usize = 300;

/// A Lease that was not renewed for its duration and this long is nobody's: an election takes some seconds.
const ELECTION_SECONDS: i64 = 30;

/// Something that should hold, and whether it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// It does.
    Holds(String),
    /// It does, and there is something to know.
    Note(String),
    /// It does not; the sentence says what helps.
    Fails(String),
}

impl Finding {
    pub(super) fn fails(&self) -> bool {
        matches!(self, Self::Fails(_))
    }
}

/// A line, whoever wrote the words in it: an agent its conditions, a kubelet why a pod waits.
impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, said) = match self {
            Self::Holds(said) => ("ok   ", said),
            Self::Note(said) => ("note ", said),
            Self::Fails(said) => ("FAIL ", said),
        };
        write!(formatter, "{word} {}", escape_controls(said))
    }
}

/// In the order in which one would mend them.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    use Finding::{Fails, Holds};
    let mut findings = vec![Holds(format!("the API server {} answers", facts.server))];
    findings.extend(facts.definitions.iter().map(definition));
    findings.push(match unguarded(&facts.policy, &facts.namespace) {
        None => Holds("the admission policy lets an agent write the status of its own node alone".into()),
        Some(Unguarded::Missing) => Fails("the admission policy nodeconfig-status.vedette.dev or its binding is missing, so an agent may write the status of every node: helm upgrade, or apply the manifest again".into()),
        Some(Unguarded::Differs(place)) => Fails(format!("the admission policy nodeconfig-status.vedette.dev or its binding is not that of this version: {place} differs, so an agent may write what it should not: helm upgrade, or apply the manifest again")),
    });
    findings.push(operators(facts));
    agents(facts, &mut findings);
    rules(facts, &mut findings);
    configs(facts, &mut findings);
    findings
}

fn definition(definition: &Definition) -> Finding {
    let name = definition.expected["metadata"]["name"].as_str().unwrap_or_default();
    let apply = "apply those of this version: helm upgrade with crds.enabled=true, or kubectl apply --server-side -f crds/generated/";
    let Some(found) = &definition.found else {
        return Finding::Fails(format!("the definition {name} is missing: {apply}"));
    };
    let expected = &definition.expected["spec"]["versions"][0];
    let same = |version: &&Value| version["name"] == expected["name"];
    let version = found["spec"]["versions"].as_array().into_iter().flatten().find(same);
    let Some(version) = version.filter(|version| version["served"] == true && version["storage"] == true) else {
        return Finding::Fails(format!("the definition {name} does not serve and store {API_VERSION}: {apply}"));
    };
    let mut unknown = Vec::new();
    let schema = |version: &Value| version["schema"]["openAPIV3Schema"].clone();
    not_known(&schema(expected), &schema(version), "", &mut unknown);
    if !unknown.is_empty() {
        let fields = named(&unknown);
        return Finding::Fails(format!(
            "the definition {name} is older than this operator and does not know {fields}: {apply}"
        ));
    }
    let conditions = found["status"]["conditions"].as_array().into_iter().flatten();
    let mut established = conditions.filter(|one| one["type"] == "Established" && one["status"] == "True");
    if established.next().is_none() {
        return Finding::Fails(format!("the definition {name} is not established yet"));
    }
    Finding::Holds(format!("the definition {name} is served and stored as {API_VERSION}"))
}

/// Fields that are expected and not found, by their paths.
fn not_known(expected: &Value, found: &Value, path: &str, unknown: &mut Vec<String>) {
    for (name, field) in expected["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match found["properties"].get(name) {
            Some(found) => not_known(field, found, &path, unknown),
            None => unknown.push(path),
        }
    }
    for inner in ["items", "additionalProperties"] {
        if expected[inner].is_object() {
            not_known(&expected[inner], &found[inner], path, unknown);
        }
    }
}

fn operators(facts: &Facts) -> Finding {
    let namespace = &facts.namespace;
    match (facts.operators, &facts.leader) {
        (None, _) => Finding::Fails(format!("there is no Deployment vedette-operator in {namespace}")),
        (Some((asked, 0)), _) => Finding::Fails(format!(
            "none of {asked} operators is available: kubectl -n {namespace} describe deployment,pods -l app.kubernetes.io/name=vedette-operator"
        )),
        (Some(_), None) => Finding::Fails("no operator leads".into()),
        (Some(_), Some(Leader { name, silent, holds }))
            if silent.is_none_or(|silent| silent > holds + ELECTION_SECONDS) =>
        {
            let since = silent.map_or_else(String::new, |silent| format!(" for {silent}s"));
            Finding::Fails(format!(
                "no operator leads: {name} did, and has not renewed the Lease vedette-operator{since}; what is said of rules and nodes is as old: kubectl -n {namespace} logs -l app.kubernetes.io/name=vedette-operator --prefix"
            ))
        }
        (Some((asked, available)), Some(Leader { name, .. })) if available < asked => {
            Finding::Note(format!("{available} of {asked} operators are available; {name} leads"))
        }
        (Some((_, available)), Some(Leader { name, .. })) => {
            Finding::Holds(format!("operators: {available}; {name} leads"))
        }
    }
}

fn agents(facts: &Facts, findings: &mut Vec<Finding>) {
    let namespace = &facts.namespace;
    let Some(Agents { desired, updated }) = facts.agents else {
        return findings.push(Finding::Fails(format!("there is no DaemonSet vedette-agent in {namespace}")));
    };
    let without: Vec<String> = {
        let has_pod = |node: &&String| facts.pods.iter().any(|pod| pod.node == **node);
        facts.nodes.iter().filter(|node| !has_pod(node)).cloned().collect()
    };
    let waiting: Vec<String> =
        facts.pods.iter().filter_map(|pod| Some(format!("{} ({})", pod.node, cut(pod.waits.as_ref()?)))).collect();
    let wanted = usize::try_from(desired).unwrap_or(0);
    let left_out = facts.nodes.len().saturating_sub(wanted);
    if without.len() > left_out {
        findings.push(Finding::Fails(format!(
            "no agent's pod on {}: kubectl -n {namespace} describe daemonset vedette-agent; where its pods are forbidden by PodSecurity, \
             kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=privileged",
            named(&without)
        )));
    } else if !without.is_empty() {
        let nodes = named(&without);
        findings.push(Finding::Note(format!(
            "left out by agent.nodeSelector or agent.tolerations, watched by nobody: {nodes}"
        )));
    }
    if !waiting.is_empty() {
        findings.push(Finding::Fails(format!(
            "agents that are not ready, on {}: kubectl -n {namespace} logs -l app.kubernetes.io/name=vedette-agent --prefix",
            named(&waiting)
        )));
    }
    let ready = facts.pods.len() - waiting.len();
    if ready == 0 {
        findings.push(Finding::Fails("no agent is ready on any node".into()));
    } else if without.len() <= left_out && waiting.is_empty() {
        findings.push(Finding::Holds(format!("agents are ready on {ready} of {} Linux nodes", facts.nodes.len())));
    }
    if updated < desired {
        let old = desired - updated;
        findings
            .push(Finding::Note(format!("{old} of {desired} agents are still those of before: the rollout goes on")));
    }
}

fn rules(facts: &Facts, findings: &mut Vec<Finding>) {
    if facts.definitions.iter().any(|definition| definition.found.is_none()) {
        return;
    }
    if facts.rules.is_empty() {
        let said = "there is no DataCollectionRule, so nothing is watched: crds/presets, or helm upgrade with presets={linux-baseline,kubernetes-node}";
        return findings.push(Finding::Note(said.into()));
    }
    let refused = saying::<Accepted>(&facts.rules, "False");
    let pending: Vec<String> = saying::<Programmed>(&facts.rules, "False")
        .into_iter()
        .filter(|rule| !refused.iter().any(|refused| refused.split(' ').next() == rule.split(' ').next()))
        .collect();
    let unjudged: Vec<String> = facts
        .rules
        .iter()
        .filter(|rule| {
            let is_behind = rule.observed.is_none_or(|observed| observed < rule.generation);
            is_behind || condition::find::<Accepted>(&rule.conditions).is_none()
        })
        .map(|rule| rule.name.clone())
        .collect();
    let before = findings.len();
    for (what, rules) in [
        ("rules that are not accepted", refused),
        ("rules that not every node has yet", pending),
        ("rules that no operator has looked at yet, as they are now", unjudged),
    ] {
        if !rules.is_empty() {
            findings.push(Finding::Fails(format!("{what}: {}", named(&rules))));
        }
    }
    if findings.len() == before {
        let names: Vec<String> = facts.rules.iter().map(|rule| rule.name.clone()).collect();
        findings.push(Finding::Holds(format!("rules in force: {}", named(&names))));
    }
}

fn configs(facts: &Facts, findings: &mut Vec<Finding>) {
    if facts.configs.is_empty() {
        return;
    }
    let away = saying::<AgentAvailable>(&facts.configs, "False");
    let behind = saying::<ConfigApplied>(&facts.configs, "False");
    let unconfirmed: Vec<String> = facts
        .configs
        .iter()
        .filter(|config| condition::find::<ConfigApplied>(&config.conditions).is_some())
        .filter(|config| config.observed < Some(config.generation))
        .map(|config| config.name.clone())
        .collect();
    let silent: Vec<String> = facts
        .configs
        .iter()
        .filter(|config| condition::find::<ConfigApplied>(&config.conditions).is_none())
        .map(|config| config.name.clone())
        .collect();
    let unjudged: Vec<String> = facts
        .configs
        .iter()
        .filter(|config| condition::find::<AgentAvailable>(&config.conditions).is_none())
        .map(|config| config.name.clone())
        .collect();
    let before = findings.len();
    for (what, nodes) in [
        ("nodes whose agent is not available", away),
        ("nodes whose agent has not been ready yet", saying::<AgentAvailable>(&facts.configs, "Unknown")),
        ("nodes of which no operator has said whether their agent is available", unjudged),
        ("nodes that do not watch by their rules yet", behind),
        ("nodes whose agent has not taken the present NodeConfig yet", unconfirmed),
        ("nodes whose agent has said nothing yet", silent),
    ] {
        if !nodes.is_empty() {
            findings.push(Finding::Fails(format!("{what}: {}", named(&nodes))));
        }
    }
    if findings.len() == before {
        findings.push(Finding::Holds(format!("agents work by their rules on {} nodes", facts.configs.len())));
    }
    for (what, nodes) in [
        ("the first compare goes on on", saying::<BaselineReady>(&facts.configs, "False")),
        (
            "the kernel does not let all agents bind themselves (docs/security.md):",
            saying::<Confined>(&facts.configs, "False"),
        ),
    ] {
        if !nodes.is_empty() {
            findings.push(Finding::Note(format!("{what} {}", named(&nodes))));
        }
    }
}

/// The names of those whose condition has this status, each with the reason and what is said of it.
fn saying<R: Reason>(objects: &[Told], status: &str) -> Vec<String> {
    let of = |told: &Told| {
        let Condition { reason, message, .. } =
            condition::find::<R>(&told.conditions).filter(|condition| condition.status == status)?;
        let said = if message.is_empty() { reason.clone() } else { format!("{reason}: {message}") };
        let said = cut(&said);
        Some(format!("{} ({said})", told.name))
    };
    objects.iter().filter_map(of).collect()
}

fn cut(said: &str) -> String {
    match said.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}… and {} bytes more", &said[..end], said.len() - end),
        None => said.to_owned(),
    }
}

fn named(names: &[String]) -> String {
    let mut said = names[..names.len().min(MOST_NAMED)].join(", ");
    if names.len() > MOST_NAMED {
        said.push_str(&format!(" and {} more", names.len() - MOST_NAMED));
    }
    said
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::facts::AgentPod;
    use super::*;

    fn facts(nodes: &[&str], desired: i32, pods: &[(&str, Option<&str>)]) -> Facts {
        let pods = pods.iter().map(|(node, waits)| AgentPod { node: (*node).into(), waits: waits.map(Into::into) });
        Facts {
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            agents: Some(Agents { desired, updated: desired }),
            pods: pods.collect(),
            ..Facts::default()
        }
    }

    fn of_agents(facts: &Facts) -> Vec<String> {
        let mut findings = Vec::new();
        agents(facts, &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_node_that_is_left_out_on_purpose_is_told_and_one_whose_pod_is_missing_is_a_failure() {
        let said = of_agents(&facts(&["n1", "n2"], 1, &[("n1", None)]));
        assert!(said[0].starts_with("note  left out by agent.nodeSelector") && said[0].ends_with(": n2"), "{said:?}");
        assert_eq!(said[1], "ok    agents are ready on 1 of 2 Linux nodes");
        let said = of_agents(&facts(&["n1", "n2"], 2, &[("n1", None)]));
        assert!(said.len() == 1 && said[0].starts_with("FAIL  no agent's pod on n2: kubectl"), "{said:?}");
        let said = of_agents(&facts(&["n1"], 1, &[("n1", Some("ErrImageNeverPull"))]));
        assert!(said[0].starts_with("FAIL  agents that are not ready, on n1 (ErrImageNeverPull): kubectl"), "{said:?}");
        assert_eq!(said[1], "FAIL  no agent is ready on any node");
    }

    #[test]
    fn the_words_of_others_are_no_lines_and_have_an_end() {
        let mut conditions = Vec::new();
        let words = format!("y)\nok    everything holds\u{1b}[8m\u{9b}2J\u{202e}{}", "é".repeat(900));
        condition::set(&mut conditions, Confined::NotSupported, &words, None, jiff::Timestamp::UNIX_EPOCH);
        conditions[0].reason = "Partly\r".into();
        let told = Told { name: "n1".into(), conditions, generation: 1, observed: None };
        let mut findings = Vec::new();
        configs(&Facts { configs: vec![told], ..facts(&[], 0, &[]) }, &mut findings);
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let confined = lines.iter().find(|line| line.starts_with("note  the kernel")).unwrap();
        assert!(
            confined.contains(r"n1 (Partly\u{d}: y)\u{a}ok    everything holds\u{1b}[8m\u{9b}2J\u{202e}é"),
            "{confined}"
        );
        assert!(confined.ends_with("bytes more)") && confined.len() < 1_000, "{confined}");
        let waiting = of_agents(&facts(&["n1"], 1, &[("n1", Some("Waiting: \u{1b}]0;x\u{7}"))]));
        assert!(waiting[0].contains(r"Waiting: \u{1b}]0;x\u{7}"), "{waiting:?}");
    }

    #[test]
    fn who_has_not_renewed_its_lease_leads_no_more() {
        let said = |silent: Option<i64>| {
            let leader = Leader { name: "pod-1".into(), silent, holds: 15 };
            operators(&Facts { operators: Some((2, 2)), leader: Some(leader), ..Facts::default() }).to_string()
        };
        assert_eq!(said(Some(45)), "ok    operators: 2; pod-1 leads");
        assert_eq!(said(Some(-3)), "ok    operators: 2; pod-1 leads");
        let gone = "FAIL  no operator leads: pod-1 did, and has not renewed the Lease vedette-operator";
        assert!(
            said(Some(46)).starts_with(&format!("{gone} for 46s; ")) && said(None).starts_with(&format!("{gone}; "))
        );
    }

    #[test]
    fn a_node_that_the_operator_has_not_judged_or_whose_agent_lags_is_not_well() {
        let judged = |reason: Option<AgentAvailable>, observed: i64| {
            let mut conditions = Vec::new();
            let at = jiff::Timestamp::UNIX_EPOCH;
            condition::set(&mut conditions, ConfigApplied::Applied, "", None, at);
            if let Some(reason) = reason {
                condition::set(&mut conditions, reason, "", None, at);
            }
            let told = Told { name: "n1".into(), conditions, generation: 2, observed: Some(observed) };
            let mut findings = Vec::new();
            configs(&Facts { configs: vec![told], ..Facts::default() }, &mut findings);
            findings[0].to_string()
        };
        assert_eq!(judged(Some(AgentAvailable::Available), 2), "ok    agents work by their rules on 1 nodes");
        let unknown = "FAIL  nodes of which no operator has said whether their agent is available: n1";
        assert_eq!(judged(None, 2), unknown);
        let starting = "FAIL  nodes whose agent has not been ready yet: n1 (Starting)";
        assert_eq!(judged(Some(AgentAvailable::Starting), 2), starting);
        let hangs = "FAIL  nodes whose agent has not taken the present NodeConfig yet: n1";
        assert_eq!(judged(Some(AgentAvailable::Available), 1), hangs);
    }

    #[test]
    fn fields_that_a_definition_does_not_know_are_named_and_what_it_knows_beside_is_no_failure() {
        let mut found = vedette_crds::definition::node_configs();
        found["status"] = serde_json::json!({"conditions": [{"type": "Established", "status": "True"}]});
        let expected = found.clone();
        let properties = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
        let spec = found.pointer_mut(properties).unwrap().as_object_mut().unwrap();
        spec.insert("newer".into(), serde_json::json!({"type": "string"}));
        let judge = |found: &Value| {
            definition(&Definition { expected: expected.clone(), found: Some(found.clone()) }).to_string()
        };
        assert!(
            judge(&found).starts_with("ok    the definition nodeconfigs.vedette.dev is served"),
            "{}",
            judge(&found)
        );
        let rule = found.pointer_mut(&format!("{properties}/rules/items/properties")).unwrap();
        rule.as_object_mut().unwrap().remove("tags").unwrap();
        assert!(judge(&found).contains("does not know .spec.rules.tags: apply"), "{}", judge(&found));
        found["spec"]["versions"][0]["storage"] = false.into();
        assert!(judge(&found).starts_with("FAIL  the definition nodeconfigs.vedette.dev does not serve and store"));
    }
}
