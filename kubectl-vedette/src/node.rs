//! `kubectl vedette status NODE…`: all that is known of a node.

use crate::NOT_WELL;
use crate::ago::{ago, ago_or_never};
use crate::cli::Form;
use crate::connect::Cluster;
use crate::fleet::{Node, part};
use crate::output::{Paint, Tone, object, shown, text, unless_left};
use crate::table::{Cell, Table};
use crate::trouble::Trouble;
use jiff::Timestamp;
use kube::api::DynamicObject;
use serde::Serialize;
use std::fmt::Write as _;
use std::process::ExitCode;
use vedette_crds::node_config::{Changes, NodeConfigStatus};

/// A node with what its agent wrote.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    #[serde(flatten)]
    node: Node,
    status: NodeConfigStatus,
}

/// Says how these nodes are.
pub(crate) async fn status(cluster: &Cluster, names: &[String], form: Form, paint: Paint) -> Result<ExitCode, Trouble> {
    let mut nodes = Vec::new();
    for name in names {
        let found = get(cluster, name).await?;
        nodes.push(Whole { node: Node::of(&found), status: part(&found, "status").unwrap_or_default() });
    }
    unless_left(match form {
        Form::Json | Form::Yaml => object(form, &nodes),
        Form::Table | Form::Wide => {
            let now = Timestamp::now();
            let pages: Vec<String> = nodes.iter().map(|node| node.words(now, paint)).collect();
            text(&pages.join("\n"))
        }
    })?;
    Ok(ExitCode::from(if nodes.iter().all(|whole| whole.node.is_well) { 0 } else { NOT_WELL }))
}

/// A node's NodeConfig.
pub(crate) async fn get(cluster: &Cluster, name: &str) -> Result<DynamicObject, Trouble> {
    let found = cluster.ask(&format!("read the NodeConfig of {name}"), cluster.node_configs().get_opt(name)).await?;
    if let Some(found) = found {
        return Ok(found);
    }
    // No such object and no such kind are answered alike here.
    let probe = kube::api::ListParams::default().limit(1);
    cluster.ask("list NodeConfigs", cluster.node_configs().list_metadata(&probe)).await?;
    Err(Trouble::said(format!(
        "{name} has no NodeConfig: there is no such node, or no rule selects it (kubectl vedette rules list -o wide)"
    )))
}

impl Whole {
    fn words(&self, now: Timestamp, paint: Paint) -> String {
        let Self { node, status } = self;
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<11}{}", shown(&value)); // writing to a String cannot fail
        };
        line("Node", node.name.clone());
        line("State", if node.is_well { "Ready".to_owned() } else { "not well, see its conditions".to_owned() });
        line("Agent", if node.agent_version.is_empty() { "-".to_owned() } else { node.agent_version.clone() });
        line("Items", format!("{}, {} unknown", node.tracked_items, node.unknown_items));
        let Changes { added, modified, removed } = node.changes;
        let last = node.last_change_time.map(|last| format!(", the last {} ago", ago(last, now))).unwrap_or_default();
        line("Changes", format!("{added} added, {modified} modified, {removed} removed{last}"));
        for collector in &status.collectors {
            let when = ago_or_never(collector.last_completed.as_ref().map(|time| time.0), now);
            let took = collector.duration_seconds.map(|seconds| format!(", in {seconds} s")).unwrap_or_default();
            line(
                "Compared",
                format!("{} {when} before or later{took}: quiet compares are not written", collector.name),
            );
        }
        if let Some(journal) = &status.journal {
            line("Journal", format!("{} at {}, {}", journal.id, journal.sequence, journal.head));
        }
        text.push('\n');
        text.push_str(&self.conditions(now, paint));
        for part in [self.rules(now, paint), self.recent(paint)].into_iter().flatten() {
            text.push('\n');
            text.push_str(&part);
        }
        text
    }

    fn conditions(&self, now: Timestamp, paint: Paint) -> String {
        let mut table = Table::new(&["CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"]);
        for condition in &self.status.conditions {
            let finding = self.node.findings.iter().find(|finding| finding.condition == condition.type_);
            let tone = match finding {
                Some(finding) if finding.is_bad => Tone::Bad,
                Some(_) => Tone::Notable,
                None => Tone::Plain,
            };
            table.row(vec![
                Cell::from(&condition.type_),
                Cell::from(&condition.status),
                Cell::toned(tone, &condition.reason),
                ago(condition.last_transition_time.0, now).into(),
                Cell::from(&condition.message),
            ]);
        }
        table.render(paint)
    }

    fn rules(&self, now: Timestamp, paint: Paint) -> Option<String> {
        let mut table = Table::new(&["RULE", "GENERATION", "ITEMS", "ADDED", "MODIFIED", "REMOVED", "LAST CHANGE"]);
        for rule in &self.status.rules {
            table.row(vec![
                Cell::from(&rule.name),
                rule.generation.into(),
                rule.tracked_items.into(),
                rule.changes.added.into(),
                rule.changes.modified.into(),
                rule.changes.removed.into(),
                ago_or_never(rule.last_change_time.as_ref().map(|time| time.0), now).into(),
            ]);
        }
        (!table.is_empty()).then(|| table.render(paint))
    }

    fn recent(&self, paint: Paint) -> Option<String> {
        let mut table = Table::new(&["NEWEST CHANGES", "CHANGE", "SEVERITY", "FIELDS", "PATH"]);
        for change in &self.status.recent_changes {
            table.row(vec![
                change.time.0.into(),
                Cell::from(&change.change_type),
                Cell::from(&change.severity),
                change.fields.join(",").into(),
                Cell::from(&change.path),
            ]);
        }
        (!table.is_empty()).then(|| table.render(paint))
    }
}
