//! What the demo prints: objects as kubectl's columns show them, records as what was and what is.
#![allow(clippy::print_stdout)] // printing is what it is for

use kube::{
    ResourceExt as _,
    api::{Api, DynamicObject},
};
use serde_json::Value;

use crate::{Metrics, Result, error::Doing as _};

/// Members that differ at every change and tell nothing.
const NOISE: [&str; 5] = ["modified", "changed", "created", "inode", "linkCount"];

pub(super) fn step(text: &str) {
    println!("\n── {text}");
}

pub(super) fn line(text: &str) {
    println!("   {text}");
}

/// The status of a condition; `-` while there is none.
pub(super) fn condition<'v>(object: &'v Value, name: &str) -> &'v str {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == name);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or("-")
}

pub(super) fn rule(rule: &DynamicObject) {
    let status = &rule.data["status"];
    line(&format!(
        "{:<28} {:<9} {:<11} {:<6} {:<6} {:<8} CHANGES",
        "DATACOLLECTIONRULE", "ACCEPTED", "PROGRAMMED", "READY", "NODES", "TRACKED"
    ));
    line(&format!(
        "{:<28} {:<9} {:<11} {:<6} {:<6} {:<8} {}",
        rule.name_any(),
        condition(&rule.data, "Accepted"),
        condition(&rule.data, "Programmed"),
        condition(&rule.data, "Ready"),
        text(&status["nodes"]["selected"]),
        text(&status["trackedItems"]),
        changes(&status["changes"])
    ));
}

pub(super) async fn node_configs(api: &Api<DynamicObject>, nodes: &[&str]) -> Result<()> {
    line(&format!("{:<28} {:<6} {:<6} {:<6} {:<8} CHANGES", "NODECONFIG", "READY", "AGENT", "ITEMS", "JOURNAL"));
    for node in nodes {
        let config = api.get(node).await.doing(|| format!("get NodeConfig {node}"))?;
        let status = &config.data["status"];
        line(&format!(
            "{:<28} {:<6} {:<6} {:<6} {:<8} {}",
            node,
            condition(&config.data, "Ready"),
            condition(&config.data, "AgentAvailable"),
            text(&status["trackedItems"]),
            text(&status["journal"]["sequence"]),
            changes(&status["changes"])
        ));
    }
    Ok(())
}

pub(super) async fn recent(api: &Api<DynamicObject>, nodes: &[&str]) -> Result<()> {
    for node in nodes {
        let config = api.get(node).await.doing(|| format!("get NodeConfig {node}"))?;
        for change in config.data["status"]["recentChanges"].as_array().into_iter().flatten() {
            let fields: Vec<&str> =
                change["fields"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            line(&format!(
                "{node} recentChanges: {} {} {} {}",
                text(&change["severity"]),
                text(&change["changeType"]),
                text(&change["path"]),
                fields.join(",")
            ));
        }
    }
    Ok(())
}

/// A record: where, what, and each value that was and is.
pub(super) fn change(change: &Value) {
    line(&format!(
        "{} {:<8} {:<8} {}   reported by {}",
        text(&change["node"]),
        text(&change["severity"]),
        text(&change["changeType"]),
        text(&change["path"]),
        list(&change["rules"])
    ));
    let empty = serde_json::Map::new();
    let before = change["before"].as_object().unwrap_or(&empty);
    let after = change["after"].as_object().unwrap_or(&empty);
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (was, is) = (before.get(name), after.get(name));
        let told = change["changeType"] == "Modified" || ["size", "mode", "owner", "md5"].contains(&name.as_str());
        if was != is && told && !NOISE.contains(&name.as_str()) {
            let side = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), text);
            line(&format!("        {name:<12} {} -> {}", side(was), side(is)));
        }
    }
}

pub(super) fn metrics(node: &str, metrics: &Metrics) {
    for (name, labels, value) in metrics.series() {
        if name == "vedette_agent_changes_total" && value > 0.0 {
            let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
            line(&format!("{node}: {name}{{{}}} {value}", labels.join(",")));
        }
    }
}

fn changes(counts: &Value) -> String {
    let count = |kind: &str| counts[kind].as_u64().unwrap_or(0);
    format!("+{} ~{} -{}", count("added"), count("modified"), count("removed"))
}

fn list(values: &Value) -> String {
    values.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ")
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}
