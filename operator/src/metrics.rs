//! What the operator counts. Reads numbers that others keep, produces Prometheus text; no name of an object is ever a
//! label, and every series is there from the start.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::apply::Trouble;
use crate::event::Kind;
use crate::fleet::node::NodeState;
use crate::fleet::rule::RuleCondition;
use crate::notice::Subject;
use crate::queue::Key;

/// The operator's registry and what is in it.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    durations: HistogramVec,
    errors: IntCounterVec,
    watch_errors: IntCounterVec,
    lease_errors: IntCounterVec,
    events: IntCounterVec,
    pub(crate) leader: IntGauge,
    pub(crate) lease_transitions: IntGauge,
    pub(crate) nodes: IntGaugeVec,
    pub(crate) rules: IntGaugeVec,
    pub(crate) rules_unmet: IntGaugeVec,
    pub(crate) nodes_deselected: IntCounter,
    pub(crate) queue: IntGauge,
}

/// What was reconciled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reconciled {
    NodeConfig,
    NodeConfigStatus,
    RuleStatus,
}

impl Reconciled {
    const ALL: [Self; 3] = [Self::NodeConfig, Self::NodeConfigStatus, Self::RuleStatus];

    pub(crate) fn of(key: &Key) -> Self {
        match key {
            Key::Config(_) => Self::NodeConfig,
            Key::Conditions(_) => Self::NodeConfigStatus,
            Key::Rule(_) => Self::RuleStatus,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::NodeConfig => "NodeConfig",
            Self::NodeConfigStatus => "NodeConfigStatus",
            Self::RuleStatus => "DataCollectionRuleStatus",
        }
    }
}

/// What became of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The API server has it.
    Raised,
    /// It would have been one too many.
    LeftOut,
    /// The API server does not take it.
    Failed,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Raised, Self::LeftOut, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "Raised",
            Self::LeftOut => "LeftOut",
            Self::Failed => "Failed",
        }
    }
}

impl NodeState {
    pub(crate) const ALL: [Self; 4] = [Self::Ready, Self::Degraded, Self::Unavailable, Self::NotSelected];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Degraded => "Degraded",
            Self::Unavailable => "Unavailable",
            Self::NotSelected => "NotSelected",
        }
    }
}

impl Metrics {
    /// A registry of its own.
    ///
    /// # Errors
    /// A name is no metric's name, or is there twice.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Self {
            reconciles: add(
                &registry,
                IntCounterVec::new(
                    named("reconciles_total", "Objects looked at, whether or not something had to be written."),
                    &["kind"],
                )?,
            )?,
            durations: add(
                &registry,
                HistogramVec::new(
                    HistogramOpts::from(named("reconcile_duration_seconds", "How long a write took."))
                        .buckets(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
                    &["kind"],
                )?,
            )?,
            errors: add(
                &registry,
                IntCounterVec::new(
                    named("reconcile_errors_total", "Writes that failed, and are tried again later."),
                    &["kind", "reason"],
                )?,
            )?,
            watch_errors: add(
                &registry,
                IntCounterVec::new(
                    named("watch_errors_total", "Watches that broke, and were begun again."),
                    &["kind"],
                )?,
            )?,
            lease_errors: add(
                &registry,
                IntCounterVec::new(
                    named("lease_errors_total", "Rounds of the election that came to nothing, and are tried again."),
                    &["reason"],
                )?,
            )?,
            events: add(
                &registry,
                IntCounterVec::new(named("events_total", "Events by what became of them."), &["reason", "outcome"])?,
            )?,
            leader: add(
                &registry,
                IntGauge::with_opts(named("leader", "1 where this operator leads, 0 where it stands by."))?,
            )?,
            lease_transitions: add(
                &registry,
                IntGauge::with_opts(named("lease_transitions", "How often the Lease has changed hands."))?,
            )?,
            nodes: add(&registry, IntGaugeVec::new(named("nodes", "Nodes by how they stand."), &["state"])?)?,
            rules: add(
                &registry,
                IntGaugeVec::new(named("rules", "Rules of which the condition holds."), &["condition"])?,
            )?,
            rules_unmet: add(
                &registry,
                IntGaugeVec::new(
                    named("rules_unmet", "Rules of which the condition does not hold, or is not known yet."),
                    &["condition"],
                )?,
            )?,
            nodes_deselected: add(
                &registry,
                IntCounter::with_opts(named(
                    "nodes_deselected_total",
                    "Times that a live node left a rule because its own labels changed.",
                ))?,
            )?,
            queue: add(&registry, IntGauge::with_opts(named("queue_length", "Objects to be looked at."))?)?,
            registry,
        };
        let version = named("build_info", "The version that runs.").const_label("version", env!("CARGO_PKG_VERSION"));
        add(&metrics.registry, IntGauge::with_opts(version)?)?.set(1);
        metrics.show_every_series();
        Ok(metrics)
    }

    /// Counts one look at an object.
    pub(crate) fn reconciled(&self, key: &Key) {
        self.reconciles.with_label_values(&[Reconciled::of(key).as_str()]).inc();
    }

    /// Counts one write and how it went.
    pub(crate) fn wrote(&self, key: &Key, took: Duration, trouble: Option<Trouble>) {
        let kind = Reconciled::of(key).as_str();
        self.duration(kind).observe(took.as_secs_f64());
        if let Some(trouble) = trouble {
            self.errors.with_label_values(&[kind, trouble.as_str()]).inc();
        }
    }

    /// Counts a watch that broke.
    pub(crate) fn watch_broke(&self, kind: Kind) {
        self.watch_errors.with_label_values(&[kind.as_str()]).inc();
    }

    /// Counts a round of the election that came to nothing.
    pub(crate) fn lease_failed(&self, trouble: Trouble) {
        self.lease_errors.with_label_values(&[trouble.as_str()]).inc();
    }

    /// Counts an Event.
    pub(crate) fn event(&self, subject: Subject, outcome: Outcome) {
        self.events.with_label_values(&[subject.as_str(), outcome.as_str()]).inc();
    }

    /// Everything as Prometheus text.
    ///
    /// # Errors
    /// A family cannot be written as text.
    pub(crate) fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    fn duration(&self, kind: &str) -> Histogram {
        self.durations.with_label_values(&[kind])
    }

    fn show_every_series(&self) {
        for kind in Reconciled::ALL.map(Reconciled::as_str) {
            self.reconciles.with_label_values(&[kind]);
            self.duration(kind);
            for trouble in Trouble::ALL {
                self.errors.with_label_values(&[kind, trouble.as_str()]);
            }
        }
        for trouble in Trouble::ALL {
            self.lease_errors.with_label_values(&[trouble.as_str()]);
        }
        for subject in Subject::ALL {
            for outcome in Outcome::ALL {
                self.events.with_label_values(&[subject.as_str(), outcome.as_str()]);
            }
        }
        for kind in Kind::ALL {
            self.watch_errors.with_label_values(&[kind.as_str()]);
        }
        for state in NodeState::ALL {
            self.nodes.with_label_values(&[state.as_str()]);
        }
        for condition in RuleCondition::ALL {
            self.rules.with_label_values(&[condition.as_str()]);
            self.rules_unmet.with_label_values(&[condition.as_str()]);
        }
    }
}

fn named(name: &str, help: &str) -> Opts {
    Opts::new(format!("vedette_operator_{name}"), help)
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_series_is_there_before_anything_happens() {
        let text = Metrics::new().unwrap().text().unwrap();
        for series in [
            r#"vedette_operator_reconciles_total{kind="NodeConfig"} 0"#,
            r#"vedette_operator_reconcile_errors_total{kind="NodeConfig",reason="SchemaOutdated"} 0"#,
            r#"vedette_operator_nodes{state="Ready"} 0"#,
            r#"vedette_operator_rules{condition="Accepted"} 0"#,
            r#"vedette_operator_rules_unmet{condition="Accepted"} 0"#,
            "vedette_operator_nodes_deselected_total 0",
            "vedette_operator_leader 0",
            r#"vedette_operator_lease_errors_total{reason="Forbidden"} 0"#,
            r#"vedette_operator_events_total{outcome="LeftOut",reason="JournalChanged"} 0"#,
            r#"vedette_operator_build_info{version="0.1.0"} 1"#,
        ] {
            assert!(text.lines().any(|line| line == series), "{series} in\n{text}");
        }
    }
}
