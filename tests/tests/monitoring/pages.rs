//! docs/runbooks: a page for each alert, and an alert for each page.

use crate::{rules, tree};
use std::{collections::BTreeSet, fs};

/// What a page answers, in this order.
const HEADINGS: [&str; 5] = ["## Meaning", "## Impact", "## Look at first", "## Causes", "## When it is false"];

#[test]
fn every_alert_has_a_page_and_every_page_an_alert() {
    let alerts: BTreeSet<_> = rules::alerts().into_iter().map(|alert| alert.name).collect();
    let entries = fs::read_dir(tree("docs/runbooks")).unwrap();
    let pages: BTreeSet<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    let expected: BTreeSet<_> = alerts.iter().map(|name| format!("{name}.md")).collect();
    assert_eq!(pages, expected);
    let list = fs::read_to_string(tree("docs/runbooks/README.md")).unwrap();
    for name in alerts {
        assert!(list.contains(&format!("[{name}]({name}.md)")), "docs/runbooks/README.md does not list {name}");
    }
}

#[test]
fn every_page_answers_the_same_questions() {
    for alert in rules::alerts() {
        let page = fs::read_to_string(tree(&format!("docs/runbooks/{}.md", alert.name))).unwrap();
        assert!(page.starts_with(&format!("# {}\n", alert.name)), "{}", alert.name);
        let found: Vec<_> = page.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(found, HEADINGS, "{}", alert.name);
    }
}

#[test]
fn every_alert_says_what_happened_what_it_means_and_where_to_read_on() {
    for alert in rules::alerts() {
        let text = |member: &str| alert.rule["annotations"][member].as_str().unwrap_or_default().to_owned();
        assert_eq!(text("runbook_url"), format!("docs/runbooks/{}.md", alert.name));
        assert!(!text("summary").is_empty() && text("description").len() > text("summary").len(), "{}", alert.name);
        assert!(alert.rule["labels"]["severity"].is_string(), "{}", alert.name);
    }
}

/// A page that names a metric which is there no more leads nowhere.
#[test]
fn every_metric_of_a_page_is_in_the_list_of_metrics() {
    let listed = fs::read_to_string(tree("docs/metrics.md")).unwrap();
    for alert in rules::alerts() {
        let page = fs::read_to_string(tree(&format!("docs/runbooks/{}.md", alert.name))).unwrap();
        let words = page.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        for word in words {
            let short = word.strip_prefix("vedette_agent_").or_else(|| word.strip_prefix("vedette_operator_"));
            let Some(short) = short else { continue };
            assert!(listed.contains(&format!("`{short}`")), "{}: docs/metrics.md has no {word}", alert.name);
        }
    }
}
