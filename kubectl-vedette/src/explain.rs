//! `kubectl vedette explain`: which entry decides about a path on a node, by its NodeConfig and by names alone, or by the agent.

use crate::agent::{self, AgentPod};
use crate::ago::ago;
use crate::cli::{self, ClusterOptions, Form};
use crate::connect::Cluster;
use crate::decision::{Decided, Decision, components, decide};
use crate::fleet::part;
use crate::health::{Finding, node_findings};
use crate::node;
use crate::output::{object, text, visible};
use crate::trouble::Trouble;
use jiff::Timestamp;
use kube::api::DynamicObject;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;
use vedette_crds::compile::standalone;
use vedette_crds::duration;
use vedette_crds::node_config::{NodeConfigSpec, NodeConfigStatus, NodeRule};
use vedette_crds::record::{ByteText, escape_controls};
use vedette_crds::rule::{DataCollectionRule, DataCollectionRuleSpec};
use vedette_crds::settings::{Compare, FileEntry, HashSet, Links, Named as _, resolve};

/// Entries that decide nothing are named as long as they are few.
const NEAR: usize = 8;
/// What most hosts have as links to what is below /usr.
const MERGED: [&[u8]; 4] = [b"bin", b"sbin", b"lib", b"lib64"];

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    node: String,
    path: ByteText,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    /// Whether a running rule's entry selects it, as far as names tell.
    is_selected: bool,
    entries: Vec<EntryDecision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watched: Option<Watched>,
    /// What else there is to know.
    notes: Vec<String>,
    /// How to have the agent answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    ask_agent: Option<String>,
}

/// One entry and the path.
#[derive(Debug, Serialize)]
struct EntryDecision {
    /// rule/entry.
    entry: String,
    decision: Decision,
    message: String,
    #[serde(skip)]
    along: usize,
}

/// What is asked of the path by all entries that select it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Watched {
    compare: Vec<&'static str>,
    interval: String,
    hashes: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rehash_interval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_content_size: Option<u64>,
    severity: &'static str,
}

/// An entry as it was written.
struct Written<'r> {
    name: String,
    path: &'r str,
    exclude: &'r [String],
}

/// Explains a path.
pub(crate) async fn explain(
    cluster: &Cluster,
    options: &ClusterOptions,
    asked: &cli::Explain,
) -> Result<ExitCode, Trouble> {
    let path = absolute(&asked.path)?;
    let config = node::get(cluster, &asked.node).await?;
    if asked.ask_agent {
        return ask_agent(cluster, options, asked).await;
    }
    let disabled = disabled(cluster, &config).await?;
    // Who may not look at pods is not told how to ask in one.
    let pod = agent::pods(cluster, Some(&asked.node)).await.ok().and_then(|mut pods| pods.pop());
    let command = pod.map(|pod: AgentPod| agent::shown(&pod.explain(options, &asked.path, &[])));
    let explanation = Explanation::of(&asked.node, path, &config, &disabled, command)?;
    let form = asked.output.output;
    match form {
        Form::Json | Form::Yaml => object(form, &explanation)?,
        Form::Table | Form::Wide => text(&explanation.words())?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask_agent(cluster: &Cluster, options: &ClusterOptions, asked: &cli::Explain) -> Result<ExitCode, Trouble> {
    let Some(pod) = agent::pods(cluster, Some(&asked.node)).await?.pop() else {
        let message = format!(
            "no agent's pod is on {} in the namespace {}: is it another one (--namespace)?",
            asked.node, cluster.namespace
        );
        return Err(Trouble::said(message));
    };
    let more: &[&str] = match asked.output.output {
        Form::Table | Form::Wide => &[],
        Form::Json => &["--output", "json"],
        Form::Yaml => {
            return Err(Trouble::said("an agent answers in words or as JSON: leave -o yaml out, or write -o json"));
        }
    };
    // As far as it goes, JSON stays JSON.
    let visible = if asked.output.output == Form::Json { visible } else { escape_controls };
    let status = agent::kubectl(&pod.explain(options, &asked.path, more), visible)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::from(crate::TROUBLE) })
}

/// The path's bytes, if it is one that can be meant only one way.
fn absolute(path: &OsStr) -> Result<&[u8], Trouble> {
    let bytes = path.as_bytes();
    let shown = path.to_string_lossy();
    if !bytes.starts_with(b"/") {
        let message = format!("the path {shown:?} is relative: write it from the host's /, for example /etc/passwd");
        return Err(Trouble::said(message));
    }
    if bytes.split(|byte| *byte == b'/').any(|component| component == b"." || component == b"..") {
        return Err(Trouble::said(format!("the path {shown:?} has . or .. in it: write it without")));
    }
    Ok(bytes)
}

/// The entries of a node's rules that are not enabled, as if they were: a NodeConfig does not have them.
async fn disabled(cluster: &Cluster, config: &DynamicObject) -> Result<Vec<NodeRule>, Trouble> {
    let spec: NodeConfigSpec = part(config, "spec").unwrap_or_default();
    let mut rules = Vec::new();
    for rule in &spec.rules {
        let found = cluster.ask(&format!("read the rule {}", rule.name), cluster.rules().get_opt(&rule.name)).await?;
        let Some(Ok(mut spec)) = found.as_ref().map(|found| DataCollectionRuleSpec::deserialize(&found.data["spec"]))
        else {
            continue;
        };
        if let Some(files) = &mut spec.files {
            files.paths.retain(|path| !path.enabled);
            files.paths.iter_mut().for_each(|path| path.enabled = true);
        }
        if spec.files.as_ref().is_some_and(|files| !files.paths.is_empty()) {
            rules.push(DataCollectionRule::new(&rule.name, spec));
        }
    }
    // What cannot be compiled selects nothing, enabled or not.
    Ok(standalone(&rules).unwrap_or_default())
}

impl Explanation {
    fn of(
        node: &str,
        path: &[u8],
        config: &DynamicObject,
        disabled: &[NodeRule],
        ask_agent: Option<String>,
    ) -> Result<Self, Trouble> {
        let spec: NodeConfigSpec = part(config, "spec")
            .map_err(|error| Trouble::said(format!("this version cannot read what {node} is to watch: {error}")))?;
        let (status, unreadable) = match part::<NodeConfigStatus>(config, "status") {
            Ok(status) => (status, None),
            Err(error) => (NodeConfigStatus::default(), Some(error.to_string())),
        };
        let findings = node_findings(&status, unreadable);
        let names = components(path);
        let resolved = resolve(&spec.rules);
        let decided = |rules: &[NodeRule], entry: &FileEntry| {
            let decided = decide(entry, &names);
            EntryDecision::of(&Written::of(rules, entry), path, decided)
        };
        let mut entries = Vec::new();
        let mut selecting = Vec::new();
        for entry in &resolved.entries {
            let mut decision = decided(&spec.rules, entry);
            if decision.decision == Decision::Selects {
                if spec.rules.get(entry.rule).is_some_and(|rule| rule.suspend) {
                    decision.decision = Decision::RuleSuspended;
                    decision.message.push_str(", but the rule is suspended: nothing of it is compared");
                } else {
                    selecting.push(entry);
                }
            }
            entries.push(decision);
        }
        for entry in &resolve(disabled).entries {
            let mut decision = decided(disabled, entry);
            if decision.decision == Decision::Selects {
                decision.decision = Decision::Disabled;
                decision.message = "it would select it, but says enabled: false".to_owned();
                entries.push(decision);
            }
        }
        entries.sort_by_key(|entry| (entry.decision, Reverse(entry.along)));
        let (text, path_bytes) = ByteText::exact(path);
        Ok(Self {
            node: node.to_owned(),
            path: text,
            path_bytes,
            is_selected: !selecting.is_empty(),
            watched: Watched::of(&selecting),
            notes: notes(config, &spec, &status, &findings, &names, &resolved.unknown, &selecting),
            entries,
            ask_agent,
        })
    }

    fn words(&self) -> String {
        let mut text = String::new();
        let mut line = |words: &str| {
            text.push_str(&escape_controls(words));
            text.push('\n');
        };
        let verdict = if self.is_selected { "is selected" } else { "is not selected" };
        line(&format!("{} {verdict} on {}", self.path.0, self.node));
        let (deciding, others): (Vec<_>, Vec<_>) =
            self.entries.iter().partition(|entry| entry.decision == Decision::Selects);
        for EntryDecision { entry, message, .. } in deciding {
            line(&format!("  {entry}: {message}"));
        }
        if let Some(Watched { compare, interval, hashes, rehash_interval, max_content_size, severity }) = &self.watched
        {
            line(&format!("  compared every {interval}: {}", compare.join(", ")));
            if let (Some(rehash), Some(max)) = (rehash_interval, max_content_size) {
                let hashes = hashes.join(", ");
                line(&format!(
                    "  content is read when that says so, and at least every {rehash}, up to {max} bytes: {hashes}"
                ));
            }
            line(&format!("  severity of a change: up to {severity}"));
        }
        if !others.is_empty() {
            line("not by");
        }
        for EntryDecision { entry, message, .. } in others.iter().take(NEAR) {
            line(&format!("  {entry}: {message}"));
        }
        if others.len() > NEAR {
            line(&format!("  and {} more entries that lead elsewhere", others.len() - NEAR));
        }
        for note in &self.notes {
            line(&format!("note: {note}"));
        }
        if let Some(command) = &self.ask_agent {
            line(&format!("to ask the agent (--ask-agent does): {command}"));
        }
        text
    }
}

/// What the answer leaves open, and what the status says beside it.
fn notes(
    config: &DynamicObject,
    spec: &NodeConfigSpec,
    status: &NodeConfigStatus,
    findings: &[Finding],
    names: &[&[u8]],
    unknown: &[String],
    selecting: &[&FileEntry],
) -> Vec<String> {
    let mut notes = Vec::new();
    if spec.rules.is_empty() {
        notes.push("no rule selects this node any more".to_owned());
    }
    for value in unknown {
        notes.push(format!("this version does not know, and leaves out: {value}"));
    }
    if status.observed_generation != config.metadata.generation {
        notes.push("the agent has not applied this configuration yet, or has not said so".to_owned());
    }
    if let Some(unknown) = status.unknown_items.filter(|unknown| *unknown > 0) {
        notes.push(format!(
            "{unknown} items of the node could not be looked at: kubectl vedette status NODE names some"
        ));
    }
    // Of what is selected nothing is compared where nobody looks.
    for Finding { condition, reason, since, message, .. } in findings.iter().filter(|finding| finding.is_bad) {
        let since = since.map(|since| format!(" for {}", ago(since, Timestamp::now()))).unwrap_or_default();
        let message = if message.is_empty() { String::new() } else { format!(": {message}") };
        notes.push(format!("the node is not well{since}: {condition}, {reason}{message}"));
    }
    if let Some(first) = names.first().filter(|first| MERGED.contains(first)) {
        let first = String::from_utf8_lossy(first);
        let below = names.iter().map(|name| format!("/{}", String::from_utf8_lossy(name))).collect::<String>();
        notes.push(format!(
            "on most hosts /{first} is a link to /usr/{first}, whose files are tracked under their real path: ask about /usr{below} too"
        ));
    }
    if selecting.iter().any(|entry| entry.links == Links::Follow) {
        notes.push("an entry follows links: what lies behind one is tracked under its real path".to_owned());
    }
    notes.push(
        "by names alone: whether something is there, is a link or lies on a mount that is not entered, the agent knows"
            .to_owned(),
    );
    notes
}

impl<'r> Written<'r> {
    fn of(rules: &'r [NodeRule], entry: &FileEntry) -> Self {
        let rule = rules.get(entry.rule);
        let files = rule.and_then(|rule| rule.files.as_ref());
        let path = files.and_then(|files| files.paths.iter().find(|path| path.name == entry.name));
        let exclude = path.and_then(|path| path.settings.exclude.as_deref());
        let defaults = files.and_then(|files| files.defaults.exclude.as_deref());
        Self {
            name: format!("{}/{}", rule.map(|rule| rule.name.as_str()).unwrap_or_default(), entry.name),
            path: path.map(|path| path.path.as_str()).unwrap_or_default(),
            exclude: exclude.or(defaults).unwrap_or_default(),
        }
    }
}

impl EntryDecision {
    fn of(written: &Written<'_>, path: &[u8], decided: Decided) -> Self {
        let Written { name, path: pattern, exclude } = written;
        let names = components(path);
        let down_to = |count: usize| -> String {
            let names = names.iter().take(count).map(|name| format!("/{}", String::from_utf8_lossy(name)));
            let path: String = names.collect();
            if path.is_empty() { "/".to_owned() } else { path }
        };
        let at = down_to(decided.along + 1);
        let is_itself = decided.along + 1 >= names.len();
        let message = match decided.decision {
            Decision::Selects | Decision::RuleSuspended | Decision::Disabled => format!("{pattern} selects it"),
            Decision::Excluded => {
                let exclude = decided.exclude.and_then(|at| exclude.get(at)).map(String::as_str).unwrap_or_default();
                let what = if is_itself { "it".to_owned() } else { format!("{at}, which it lies under,") };
                format!("{pattern} leads there, but exclude {exclude} of the entry leaves {what} out")
            }
            Decision::TooDeep => {
                format!("{pattern} selects what is above it, but maxDepth (or recurse: false) ends before {at}")
            }
            Decision::LeadsBelow => format!("{pattern} selects what lies below it, not itself"),
            Decision::PathDoesNotMatch => {
                let next = names.get(decided.along).map(|name| String::from_utf8_lossy(name).into_owned());
                format!(
                    "{pattern} does not match: it leads to {}, but not on to {}",
                    down_to(decided.along),
                    next.unwrap_or_default()
                )
            }
        };
        Self { entry: name.clone(), decision: decided.decision, message, along: decided.along }
    }
}

impl Watched {
    fn of(entries: &[&FileEntry]) -> Option<Self> {
        let compare = entries.iter().map(|entry| entry.compare).reduce(|all, one| all.union(one))?;
        let reading: Vec<_> = entries.iter().filter(|entry| entry.compare.contains(Compare::Content)).collect();
        let hashes = reading.iter().map(|entry| entry.hashes).reduce(HashSet::union);
        Some(Self {
            compare: compare.iter().map(|aspect| aspect.as_str()).collect(),
            interval: entries.iter().map(|entry| entry.interval).min().map(duration::format).unwrap_or_default(),
            hashes: hashes.into_iter().flat_map(|hashes| hashes.iter()).map(|hash| hash.as_str()).collect(),
            rehash_interval: reading.iter().map(|entry| entry.rehash_interval).min().map(duration::format),
            max_content_size: reading.iter().map(|entry| entry.max_content_size).max(),
            severity: entries.iter().map(|entry| entry.severity).max().unwrap_or_default().as_str(),
        })
    }
}
