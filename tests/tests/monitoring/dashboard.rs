//! The dashboard as a file: what Grafana would show crookedly, or not at all, without a word.

use crate::tree;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs};

/// Grafana's grid is so wide.
const WIDTH: u64 = 24;

pub(crate) struct Query {
    /// The panel's title and the query's letter.
    pub(crate) place: String,
    pub(crate) query: String,
}

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(tree("charts/vedette/files/dashboard.json")).unwrap()).unwrap()
}

fn all_panels(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.flat_map(|panel| std::iter::once(panel).chain(panel["panels"].as_array().into_iter().flatten())).collect()
}

/// Those that show something.
fn panels(dashboard: &Value) -> Vec<&Value> {
    all_panels(dashboard).into_iter().filter(|panel| panel["type"] != "row").collect()
}

pub(crate) fn queries() -> Vec<Query> {
    let dashboard = dashboard();
    let of_panel = |panel: &Value| {
        let targets = panel["targets"].as_array().unwrap().clone();
        let title = panel["title"].as_str().unwrap().to_owned();
        targets.into_iter().map(move |target| Query {
            place: format!("{title}, {}", target["refId"].as_str().unwrap()),
            query: target["expr"].as_str().unwrap().to_owned(),
        })
    };
    panels(&dashboard).into_iter().flat_map(of_panel).collect()
}

#[test]
fn every_panel_says_what_it_shows_in_which_unit_and_takes_the_chosen_data_source() {
    let dashboard = dashboard();
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap_or_default();
        assert!(!title.is_empty(), "{panel}");
        assert!(panel["description"].as_str().is_some_and(|said| said.len() > title.len()), "{title}: no description");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}: no unit");
        assert_eq!(panel["datasource"], source, "{title}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}: no query");
        let letters: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert_eq!(letters.len(), targets.len(), "{title}: a letter twice");
        for target in targets {
            assert_eq!(target["datasource"], source, "{title}");
        }
    }
    let of_variables = dashboard["templating"]["list"].as_array().unwrap();
    assert_eq!((&of_variables[0]["name"], &of_variables[0]["type"]), (&json!("datasource"), &json!("datasource")));
    for variable in &of_variables[1..] {
        assert_eq!(variable["datasource"], source, "{}", variable["name"]);
    }
}

#[test]
fn no_panel_lies_on_another_or_beyond_the_edge() {
    let dashboard = dashboard();
    let all = all_panels(&dashboard);
    let ids: BTreeSet<_> = all.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), all.len(), "an id twice");
    let mut taken = BTreeSet::new();
    for panel in all {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|member| panel["gridPos"][member].as_u64().unwrap());
        assert!(x + w <= WIDTH && w > 0 && h > 0, "{}", panel["title"]);
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} lies on another", panel["title"]);
        }
    }
}

/// A panel of an agent's metrics that leaves the choice out would show all nodes to who asked for one.
#[test]
fn what_an_agent_counts_is_shown_of_the_chosen_nodes_and_rules() {
    for Query { place, query } in queries() {
        for selector in query.split("vedette_agent_").skip(1) {
            // The bound beside a value is matched to it.
            if ["journal_limit_bytes", "scan_interval_seconds"].iter().any(|name| selector.starts_with(name)) {
                continue;
            }
            let braces = selector.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
            let matchers = braces.map(|(matchers, _)| matchers).unwrap_or_default();
            assert!(matchers.contains(r#"node=~"$node""#), "{place}: {query}");
            let has_rules = ["changes_total", "tracked_items", "config_generation"];
            if has_rules.iter().any(|name| selector.starts_with(name)) {
                assert!(matchers.contains(r#"rule=~"$rule""#), "{place}: {query}");
            }
        }
    }
}
