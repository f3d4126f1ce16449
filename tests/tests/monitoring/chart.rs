//! Rules and dashboard as the chart renders them.

use crate::{rules, tree};
use serde_json::{Value, json};
use std::{env, fs, sync::LazyLock};
use vedette_tests::helm::{Helm, chart};

static HELM: LazyLock<Helm> = LazyLock::new(|| Helm::find_or_build().unwrap_or_else(|error| panic!("{error:?}")));

const HEAD: &str = "# The alerts for a Prometheus without its operator: name this file in rule_files. docs/runbooks has a page for each.
# Rendered from charts/vedette: change it there, then VEDETTE_REGENERATE=1 cargo test -p vedette-tests --test monitoring
";

/// What one template renders, or what helm says instead.
fn template(name: &str, values: &[&str]) -> Result<String, String> {
    let (chart, name) = (chart(), format!("templates/monitoring/{name}.yaml"));
    let mut all = vec!["template", "vedette", chart.to_str().unwrap(), "--namespace", "vedette-system", "--show-only"];
    all.push(&name);
    all.extend(values);
    let ran = HELM.run(all).unwrap();
    if ran.success { Ok(ran.output) } else { Err(ran.errors) }
}

fn prometheus_rule(values: &[&str]) -> Value {
    let rendered = template("prometheus-rule", &[&["--set=prometheusRule.enabled=true"], values].concat());
    serde_saphyr::from_str(&rendered.unwrap_or_else(|errors| panic!("{errors}"))).unwrap()
}

fn find<'a>(rules: &'a [Value], alert: &str) -> &'a Value {
    rules.iter().find(|rule| rule["alert"] == alert).unwrap_or_else(|| panic!("no {alert}"))
}

#[test]
fn the_plain_rules_are_what_the_chart_renders() {
    let rendered = template("prometheus-rule", &["--set=prometheusRule.enabled=true"]).unwrap();
    let (_, groups) = rendered.split_once("\n  groups:\n").unwrap();
    let lines = groups.trim_end().lines().map(|line| line.strip_prefix("  ").unwrap_or(line).to_owned() + "\n");
    let expected = format!("{HEAD}groups:\n{}", lines.collect::<String>());
    if env::var_os("VEDETTE_REGENERATE").is_some() {
        fs::write(rules::path(), &expected).unwrap();
    }
    let shipped = fs::read_to_string(rules::path()).unwrap();
    assert!(shipped == expected, "{} has drifted: its head says how to render it", rules::path().display());
}

#[test]
fn nothing_of_it_is_there_unless_it_is_asked_for() {
    for name in ["prometheus-rule", "dashboard"] {
        let errors = template(name, &[]).unwrap_err();
        assert!(errors.contains("could not find template"), "{errors}");
    }
}

#[test]
fn values_reach_the_alerts() {
    let object = prometheus_rule(&[
        "--set=prometheusRule.labels.release=prometheus,prometheusRule.alertLabels.team=security",
        "--set=prometheusRule.runbookUrl=https://wiki.example.com/vedette/",
        "--set=prometheusRule.alerts.VedetteCriticalChange.severities={Critical}",
        "--set=prometheusRule.alerts.VedetteCriticalChange.window=2h",
        "--set=prometheusRule.alerts.VedetteCriticalChange.lookback=3d",
        "--set=prometheusRule.alerts.VedetteCompareOverdue.intervals=5",
        "--set=prometheusRule.alerts.VedetteCompareOverdue.for=1h",
        "--set=prometheusRule.alerts.VedetteCompareOverdue.severity=page",
        "--set=prometheusRule.alerts.VedetteItemsUnknown.items=2000000",
        "--set=prometheusRule.alerts.VedetteAgentRestarting.restarts=7",
        "--set=prometheusRule.alerts.VedetteJournalNearLimit.percent=25",
    ]);
    assert_eq!(object["metadata"]["labels"]["release"], "prometheus");
    let rules = rules::of(&object["spec"]);
    let change = find(&rules, "VedetteCriticalChange");
    let query = change["expr"].as_str().unwrap();
    assert!(query.contains(r#"{severity=~"Critical"}[3d] offset 2h)"#), "{query}");
    assert_eq!(change["labels"], json!({"severity": "critical", "team": "security"}));
    let page = "https://wiki.example.com/vedette/VedetteCriticalChange.md";
    assert_eq!(change["annotations"]["runbook_url"], page);
    assert!(change["annotations"]["description"].as_str().unwrap().contains("within 2h"));
    let overdue = find(&rules, "VedetteCompareOverdue");
    assert!(
        overdue["expr"].as_str().unwrap().contains("> 5 * min_over_time(node:vedette_agent_scan_interval_seconds:min")
    );
    assert_eq!((&overdue["for"], &overdue["labels"]["severity"]), (&json!("1h"), &json!("page")));
    assert_eq!(
        find(&rules, "VedetteItemsUnknown")["expr"],
        r#"vedette_agent_unknown_items{job="vedette-agent"} > 2000000"#
    );
    assert!(find(&rules, "VedetteAgentRestarting")["expr"].as_str().unwrap().ends_with(">= 7"));
    assert!(find(&rules, "VedetteJournalNearLimit")["expr"].as_str().unwrap().ends_with("> 25"));
}

/// A key that is there twice is an error, and a severity stays a word.
#[test]
fn what_an_alert_and_the_objects_say_of_themselves_comes_before_what_is_given() {
    let object = prometheus_rule(&[
        "--set=prometheusRule.alertLabels.severity=none,prometheusRule.alertLabels.team=security",
        "--set=prometheusRule.labels.app\\.kubernetes\\.io/part-of=x",
        "--set-string=prometheusRule.alerts.VedetteAgentSilent.severity=1",
        "--set-string=prometheusRule.alerts.VedetteCriticalChange.severity=null",
        "--namespace=123",
    ]);
    let rules = rules::of(&object["spec"]);
    assert_eq!(find(&rules, "VedetteJournalChanged")["labels"], json!({"severity": "critical", "team": "security"}));
    assert_eq!(find(&rules, "VedetteAgentSilent")["labels"]["severity"], "1");
    assert_eq!(find(&rules, "VedetteCriticalChange")["labels"]["severity"], "null");
    assert_eq!(object["metadata"]["namespace"], "123");
    assert_eq!(object["metadata"]["labels"], json!({"app.kubernetes.io/part-of": "vedette"}));
    let values = ["--set=dashboard.enabled=true,dashboard.labels.app\\.kubernetes\\.io/part-of=x", "--namespace=123"];
    let dashboard: Value = serde_saphyr::from_str(&template("dashboard", &values).unwrap()).unwrap();
    assert_eq!(dashboard["metadata"]["namespace"], "123");
    assert_eq!(dashboard["metadata"]["labels"]["app.kubernetes.io/part-of"], "vedette");
}

#[test]
fn each_alert_can_be_left_out() {
    for alert in rules::alerts() {
        let object = prometheus_rule(&[&format!("--set=prometheusRule.alerts.{}.enabled=false", alert.name)]);
        let left = rules::of(&object["spec"]);
        assert_eq!(left.len(), rules::all().len() - 1, "{}", alert.name);
        assert!(left.iter().all(|rule| rule["alert"] != alert.name.as_str()), "{}", alert.name);
    }
}

#[test]
fn what_no_alert_can_be_is_refused_by_name() {
    let alerts = "prometheusRule.alerts";
    for (value, words) in [
        (format!("{alerts}.VedetteCriticalChanges.enabled=false"), "'VedetteCriticalChanges' not allowed"),
        (format!("{alerts}.VedetteItemsUnknown.threshold=3"), "'threshold' not allowed"),
        (
            format!("{alerts}.VedetteCriticalChange.severities={{Severe}}"),
            "'Info', 'Low', 'Medium', 'High', 'Critical'",
        ),
        (format!("{alerts}.VedetteCriticalChange.severities={{}}"), "/VedetteCriticalChange/severities"),
        (format!("{alerts}.VedetteSinkLagging.for=5 minutes"), "/VedetteSinkLagging/for"),
        (format!("{alerts}.VedetteJournalNearLimit.percent=100"), "/VedetteJournalNearLimit/percent"),
        (format!("{alerts}.VedetteAgentRestarting.restarts=0"), "/VedetteAgentRestarting/restarts"),
        (format!("{alerts}.VedetteAgentSilent.severity="), "/VedetteAgentSilent/severity"),
        ("dashboard.label.x=y".into(), "'label' not allowed"),
    ] {
        let errors = template("prometheus-rule", &["--set=prometheusRule.enabled=true", "--set", &value]).unwrap_err();
        assert!(errors.contains(words), "{value}: no {words:?} in {errors}");
    }
}

#[test]
fn the_dashboard_is_in_a_config_map_that_grafanas_sidecar_takes() {
    let values = ["--set=dashboard.enabled=true,dashboard.annotations.grafana_folder=Security"];
    let object: Value = serde_saphyr::from_str(&template("dashboard", &values).unwrap()).unwrap();
    assert_eq!(object["metadata"]["labels"]["grafana_dashboard"], "1");
    assert_eq!(object["metadata"]["annotations"], json!({"grafana_folder": "Security"}));
    let held: Value = serde_json::from_str(object["data"]["vedette.json"].as_str().unwrap()).unwrap();
    let file = fs::read_to_string(tree("charts/vedette/files/dashboard.json")).unwrap();
    assert_eq!(held, serde_json::from_str::<Value>(&file).unwrap());
}
