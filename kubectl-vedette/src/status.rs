//! `kubectl vedette status`: the fleet at a glance.

use crate::ago::{ago, ago_or_never};
use crate::cli::{self, Form};
use crate::connect::Cluster;
use crate::fleet::{self, Node, Operator, Rule};
use crate::health::Finding;
use crate::output::{Paint, Tone, object, shown, text, unless_left};
use crate::table::{Cell, Table};
use crate::trouble::Trouble;
use crate::{NOT_WELL, node, rules};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;
use vedette_crds::node_config::Changes;

/// Nodes that are not well are named as long as a screen has room for them.
const NAMED: usize = 20;

/// The whole fleet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Fleet {
    is_well: bool,
    /// Absent when the Lease may not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<Operator>,
    /// Where the operator is.
    #[serde(skip)]
    namespace: String,
    totals: Totals,
    rules: Vec<Rule>,
    nodes: Vec<Node>,
}

/// All nodes summed.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    nodes: usize,
    ready: usize,
    tracked_items: u64,
    unknown_items: u64,
    changes: Changes,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_change_time: Option<Timestamp>,
    /// How many agents there are of each version.
    versions: BTreeMap<String, usize>,
}

/// Says how the fleet is.
pub(crate) async fn status(cluster: &Cluster, asked: &cli::Status, paint: Paint) -> Result<ExitCode, Trouble> {
    let form = asked.output.output;
    if !asked.nodes.is_empty() {
        return node::status(cluster, &asked.nodes, form, paint).await;
    }
    let now = Timestamp::now();
    let (operator, rules, nodes) =
        tokio::try_join!(fleet::operator(cluster, now), fleet::rules(cluster), fleet::nodes(cluster))?;
    let fleet = Fleet::of(operator, &cluster.namespace, rules, nodes);
    unless_left(match form {
        Form::Json | Form::Yaml => object(form, &fleet),
        Form::Table => text(&fleet.table(false, now, paint)),
        Form::Wide => text(&fleet.table(true, now, paint)),
    })?;
    Ok(ExitCode::from(if fleet.is_well { 0 } else { NOT_WELL }))
}

impl Fleet {
    fn of(operator: Option<Operator>, namespace: &str, rules: Vec<Rule>, nodes: Vec<Node>) -> Self {
        let is_led = operator.as_ref().is_none_or(|operator| operator.findings.is_empty());
        let is_watched = rules.iter().any(|rule| !rule.is_suspended);
        let is_well =
            is_led && is_watched && rules.iter().all(|rule| rule.is_well) && nodes.iter().all(|node| node.is_well);
        Self { is_well, operator, namespace: namespace.to_owned(), totals: Totals::of(&nodes), rules, nodes }
    }

    fn table(&self, is_wide: bool, now: Timestamp, paint: Paint) -> String {
        let mut text = String::new();
        if self.rules.is_empty() {
            text.push_str(
                "There is no rule: nothing is watched. Write a DataCollectionRule, or take one of crds/presets.\n",
            );
        } else {
            text.push_str(&rules::table(&self.rules, is_wide, now, paint));
        }
        text.push('\n');
        let lacks = "not known: ask to be bound to the Role vedette-viewer in the namespace";
        let operator = self.operator.is_none().then(|| format!("{lacks} {}", self.namespace));
        text.push_str(&self.totals.words(now, operator));
        if is_wide && !self.nodes.is_empty() {
            text.push('\n');
            text.push_str(&wide(&self.nodes, now, paint));
        }
        let findings = self.findings(is_wide, now, paint);
        if !findings.is_empty() {
            text.push('\n');
            text.push_str(&findings);
        }
        text
    }

    /// What is not well, a line each.
    fn findings(&self, is_wide: bool, now: Timestamp, paint: Paint) -> String {
        let mut table = Table::new(&["NOT WELL", "CONDITION", "REASON", "SINCE", "MESSAGE"]);
        for finding in self.operator.iter().flat_map(|operator| &operator.findings) {
            table.row(row("operator", finding, now));
        }
        for rule in &self.rules {
            for finding in rule.findings.iter().filter(|finding| finding.is_bad) {
                table.row(row(&format!("rule {}", rule.name), finding, now));
            }
        }
        let ailing: Vec<&Node> = self.nodes.iter().filter(|node| !node.is_well).collect();
        let shown = if is_wide { ailing.len() } else { NAMED };
        for node in ailing.iter().take(shown) {
            for finding in node.findings.iter().filter(|finding| finding.is_bad) {
                table.row(row(&format!("node {}", node.name), finding, now));
            }
        }
        let mut text = if table.is_empty() { String::new() } else { table.render(paint) };
        match ailing.len().saturating_sub(shown) {
            0 => {}
            more => text.push_str(&format!("and {more} more nodes: -o wide names them all\n")),
        }
        text
    }
}

impl Totals {
    fn of(nodes: &[Node]) -> Self {
        let mut totals = Self { nodes: nodes.len(), ..Self::default() };
        for node in nodes {
            totals.ready += usize::from(node.is_ready);
            // Agents may write any number.
            let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
            add(&mut totals.tracked_items, node.tracked_items);
            add(&mut totals.unknown_items, node.unknown_items);
            add(&mut totals.changes.added, node.changes.added);
            add(&mut totals.changes.modified, node.changes.modified);
            add(&mut totals.changes.removed, node.changes.removed);
            totals.last_change_time = totals.last_change_time.max(node.last_change_time);
            if !node.agent_version.is_empty() {
                *totals.versions.entry(node.agent_version.clone()).or_default() += 1;
            }
        }
        totals
    }

    /// `operator` is what there is to say of it.
    fn words(&self, now: Timestamp, operator: Option<String>) -> String {
        let Changes { added, modified, removed } = self.changes;
        let last = self.last_change_time.map(|last| format!(", the last {} ago", ago(last, now))).unwrap_or_default();
        let unknown = if self.unknown_items == 0 { String::new() } else { format!(", {} unknown", self.unknown_items) };
        let versions: Vec<String> =
            self.versions.iter().map(|(version, count)| format!("{version} ({count})")).collect();
        let agents = if versions.is_empty() { "none".to_owned() } else { versions.join(", ") };
        let mut rows = vec![
            ("Nodes", format!("{} of {} ready", self.ready, self.nodes)),
            ("Items", format!("{}{unknown}", self.tracked_items)),
            ("Changes", format!("{added} added, {modified} modified, {removed} removed{last}")),
            ("Agents", agents),
        ];
        rows.extend(operator.map(|operator| ("Operator", operator)));
        rows.iter().map(|(name, value)| format!("{name:<10}{}\n", shown(value))).collect()
    }
}

/// A line a node.
fn wide(nodes: &[Node], now: Timestamp, paint: Paint) -> String {
    let mut table = Table::new(&[
        "NODE",
        "STATE",
        "RULES",
        "ITEMS",
        "UNKNOWN",
        "ADDED",
        "MODIFIED",
        "REMOVED",
        "LAST CHANGE",
        "COMPARED",
        "AGENT",
        "SEQUENCE",
        "JOURNAL",
    ]);
    for node in nodes {
        let (sequence, journal) =
            node.journal.as_ref().map(|journal| (journal.sequence.to_string(), journal.id.clone())).unwrap_or_default();
        table.row(vec![
            Cell::from(&node.name),
            state(node.is_well, &node.findings, false),
            node.rules.into(),
            node.tracked_items.into(),
            node.unknown_items.into(),
            node.changes.added.into(),
            node.changes.modified.into(),
            node.changes.removed.into(),
            ago_or_never(node.last_change_time, now).into(),
            ago_or_never(node.last_compared, now).into(),
            Cell::from(&node.agent_version),
            sequence.into(),
            journal.into(),
        ]);
    }
    table.render(paint)
}

/// In a word: Ready, or the first reason why not.
pub(crate) fn state(is_well: bool, findings: &[Finding], is_suspended: bool) -> Cell {
    match findings.iter().find(|finding| finding.is_bad).filter(|_| !is_well) {
        Some(finding) => Cell::toned(Tone::Bad, &finding.reason),
        None if is_suspended => Cell::toned(Tone::Notable, "Suspended"),
        None => Cell::toned(Tone::Good, "Ready"),
    }
}

fn row(what: &str, finding: &Finding, now: Timestamp) -> Vec<Cell> {
    vec![
        what.into(),
        Cell::from(&finding.condition),
        Cell::toned(Tone::Bad, &finding.reason),
        ago_or_never(finding.since, now).into(),
        Cell::from(&finding.message),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_that_no_node_can_have_end_nothing() {
        let object = |name: &str| {
            let most = u64::MAX / 2;
            let status = json!({"trackedItems": most, "unknownItems": most,
                "changes": {"added": most, "modified": most, "removed": most}});
            serde_json::from_value(json!({"metadata": {"name": name}, "status": status})).unwrap()
        };
        let totals = Totals::of(&["a", "b", "c"].map(|name| Node::of(&object(name))));
        assert_eq!((totals.tracked_items, totals.changes.added), (u64::MAX, u64::MAX));
    }
}
