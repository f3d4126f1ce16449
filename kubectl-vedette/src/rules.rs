//! `kubectl vedette rules list`: the rules of the cluster, and what became of each.

use crate::ago::ago_or_never;
use crate::cli::Form;
use crate::connect::Cluster;
use crate::fleet::{self, Rule};
use crate::output::{Paint, object, text};
use crate::status::state;
use crate::table::{Cell, Table};
use crate::trouble::Trouble;
use jiff::Timestamp;
use std::process::ExitCode;
use vedette_crds::selector::NodeSelector;

/// Lists them.
pub(crate) async fn list(cluster: &Cluster, form: Form, paint: Paint) -> Result<ExitCode, Trouble> {
    let rules = fleet::rules(cluster).await?;
    match form {
        Form::Json | Form::Yaml => object(form, &rules)?,
        Form::Table | Form::Wide if rules.is_empty() => crate::output::say("there is no rule"),
        Form::Table | Form::Wide => text(&table(&rules, form == Form::Wide, Timestamp::now(), paint))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A line a rule.
pub(crate) fn table(rules: &[Rule], is_wide: bool, now: Timestamp, paint: Paint) -> String {
    let mut heads = vec!["RULE", "STATE", "NODES", "ITEMS", "ADDED", "MODIFIED", "REMOVED", "LAST CHANGE", "AGE"];
    if is_wide {
        heads.extend(["SELECTS", "TAGS"]);
    }
    let mut table = Table::new(&heads);
    for rule in rules {
        let mut row: Vec<Cell> = vec![
            Cell::from(&rule.name),
            state(rule.is_well, &rule.findings, rule.is_suspended),
            format!("{}/{}", rule.nodes.ready, rule.nodes.selected).into(),
            rule.tracked_items.into(),
            rule.changes.added.into(),
            rule.changes.modified.into(),
            rule.changes.removed.into(),
            ago_or_never(rule.last_change_time, now).into(),
            ago_or_never(rule.created, now).into(),
        ];
        if is_wide {
            row.push(selects(rule.node_selector.as_ref()).into());
            row.push(rule.tags.join(",").into());
        }
        table.row(row);
    }
    table.render(paint)
}

/// A selector as kubectl's --selector writes it.
fn selects(selector: Option<&NodeSelector>) -> String {
    selector.map_or_else(|| "every Linux node".to_owned(), ToString::to_string)
}
