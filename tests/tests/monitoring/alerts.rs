//! Each alert on series that are made up: when it fires, with which words, and when it does not.

use crate::{PROMTOOL, rules, tree};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::PathBuf};

/// Each alert's own: `promtool test rules FILE` runs one of them.
fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(tree("tests/tests/monitoring/alerts")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn promtool_finds_nothing_to_say_about_the_rules() {
    let rules = rules::path();
    let said = PROMTOOL.run(["check", "rules", "--lint=all", "--lint-fatal", rules.to_str().unwrap()], "").unwrap();
    said.unwrap_or_else(|said| panic!("{said}"));
}

/// As somebody would copy it, but for where pods are found: Debian's promtool knows no API server.
#[test]
fn the_configuration_on_the_page_of_metrics_is_one() {
    let page = fs::read_to_string(tree("docs/metrics.md")).unwrap();
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (configuration, _) = rest.split_once("```").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let (discovery, none) =
        ("kubernetes_sd_configs: [{role: pod, namespaces: {names: [vedette-system]}}]", "static_configs: []");
    assert!(configuration.contains(discovery));
    fs::write(file.path(), configuration.replace(discovery, none)).unwrap();
    let said = PROMTOOL.run(["check", "config", "--syntax-only", file.path().to_str().unwrap()], "").unwrap();
    said.unwrap_or_else(|said| panic!("{said}"));
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    let files = files();
    let files = files.iter().map(|file| file.to_str().unwrap());
    let said = PROMTOOL.run(["test", "rules"].into_iter().chain(files), "").unwrap();
    said.unwrap_or_else(|said| panic!("{said}"));
}

#[test]
fn every_alert_has_cases_of_both_kinds() {
    let mut missing: BTreeSet<String> = rules::alerts().into_iter().map(|alert| alert.name).collect();
    for file in files() {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(missing.remove(&name), "{} is named after no alert", file.display());
        let cases: Value = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let looks =
            cases["tests"].as_array().unwrap().iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap());
        let (mut fires, mut is_silent) = (false, false);
        for look in looks.filter(|look| look["alertname"] == name.as_str()) {
            match look["exp_alerts"].as_array().filter(|alerts| !alerts.is_empty()) {
                Some(_) => fires = true,
                None => is_silent = true,
            }
        }
        assert!(fires && is_silent, "{}: one look at it firing, and one at it not firing", file.display());
    }
    assert!(missing.is_empty(), "no file in tests/tests/monitoring/alerts for {missing:?}");
}
