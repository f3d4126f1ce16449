//! The agent's metrics. Totals come from the store, so they survive restarts; what only a process knows is counted here.
//!
//! Labels are closed sets and rule names: never a path, hash, user or pid.

use crate::observe::{FaultKind, Watch};
use prometheus::{
    Counter, CounterVec, Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use vedette_crds::node_config::NodeRule;
use vedette_crds::record::{Category, ChangeType, Detection};
use vedette_crds::rule::Severity;
use vedette_crds::settings::resolve;
use vedette_engine::engine::Summary;
use vedette_engine::journal::Sink;
use vedette_engine::{Budget, Pace, Wait};

const COLLECTOR: &str = "Files";
const SEVERITIES: [Severity; 5] = [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

/// Why a sink could not deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SinkFault {
    /// The output refused the lines.
    Write,
    /// The object is not there.
    NotFound,
    /// The API server's rules or policy refuse the write.
    Forbidden,
    /// The API server refuses the content.
    Invalid,
    /// The API server's definition of NodeConfig lacks a field of the status.
    SchemaOutdated,
    /// The API server does not answer, or answers that it cannot.
    Unavailable,
}

impl SinkFault {
    const ALL: [Self; 6] =
        [Self::Write, Self::NotFound, Self::Forbidden, Self::Invalid, Self::SchemaOutdated, Self::Unavailable];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Write => "Write",
            Self::NotFound => "NotFound",
            Self::Forbidden => "Forbidden",
            Self::Invalid => "Invalid",
            Self::SchemaOutdated => "SchemaOutdated",
            Self::Unavailable => "Unavailable",
        }
    }
}

/// What this process counts, and what it needs to render the store's totals.
pub(crate) struct Metrics {
    registry: Registry,
    duration: Histogram,
    completed: Gauge,
    interval: Gauge,
    items: IntCounter,
    overruns: IntCounter,
    hashed: IntCounter,
    errors: IntCounterVec,
    sink_errors: IntCounterVec,
    watch_errors: IntCounterVec,
    pace: Arc<Pace>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The severities that each rule can produce.
    severities: BTreeMap<String, Vec<Severity>>,
    /// Generations that are wanted, by rule.
    desired: BTreeMap<String, i64>,
    /// What each sink has delivered.
    delivered: BTreeMap<&'static str, u64>,
}

fn name(name: &str) -> String {
    format!("vedette_agent_{name}")
}

impl Metrics {
    /// # Errors
    /// Never for the names in this file; a clash would be a mistake of ours.
    pub(crate) fn new(pace: Arc<Pace>, threads: usize, journal_max: u64) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let collector = |opts: Opts| opts.const_label("collector", COLLECTOR);
        let buckets = vec![0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];
        let duration =
            HistogramOpts::new(name("scan_duration_seconds"), "How long complete compares took.").buckets(buckets);
        let metrics = Self {
            duration: Histogram::with_opts(duration.const_label("collector", COLLECTOR))?,
            completed: Gauge::with_opts(collector(Opts::new(
                name("scan_last_completed_timestamp_seconds"),
                "When the last complete compare ended.",
            )))?,
            interval: Gauge::with_opts(collector(Opts::new(
                name("scan_interval_seconds"),
                "The shortest interval that something is compared at.",
            )))?,
            items: IntCounter::new(name("scan_items_total"), "Items that compares looked at.")?,
            overruns: IntCounter::with_opts(collector(Opts::new(
                name("scan_overruns_total"),
                "Compares that took longer than their interval.",
            )))?,
            hashed: IntCounter::new(name("hashed_bytes_total"), "Bytes of content that were hashed.")?,
            errors: IntCounterVec::new(
                Opts::new(name("scan_errors_total"), "Compares that did not come to their end."),
                &["collector", "reason"],
            )?,
            sink_errors: IntCounterVec::new(
                Opts::new(name("sink_errors_total"), "Deliveries that failed; each is tried again."),
                &["sink", "reason"],
            )?,
            watch_errors: IntCounterVec::new(
                Opts::new(name("watch_errors_total"), "Watches of the API server that broke and were begun again."),
                &["kind"],
            )?,
            pace,
            inner: Mutex::default(),
            registry,
        };
        for fault in FaultKind::ALL {
            metrics.errors.with_label_values(&[COLLECTOR, fault.as_str()]);
        }
        metrics.registry.register(Box::new(metrics.duration.clone()))?;
        metrics.registry.register(Box::new(metrics.completed.clone()))?;
        metrics.interval.set(f64::INFINITY);
        metrics.registry.register(Box::new(metrics.interval.clone()))?;
        metrics.registry.register(Box::new(metrics.items.clone()))?;
        metrics.registry.register(Box::new(metrics.overruns.clone()))?;
        metrics.registry.register(Box::new(metrics.hashed.clone()))?;
        metrics.registry.register(Box::new(metrics.errors.clone()))?;
        metrics.registry.register(Box::new(metrics.sink_errors.clone()))?;
        metrics.registry.register(Box::new(metrics.watch_errors.clone()))?;
        let build = IntGaugeVec::new(Opts::new(name("build_info"), "Always 1; the version is a label."), &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics.registry.register(Box::new(build))?;
        let started = Gauge::new(name("start_time_seconds"), "When this process began.")?;
        started.set(now());
        metrics.registry.register(Box::new(started))?;
        metrics.limits(threads, journal_max)?;
        Ok(metrics)
    }

    /// What may be taken; infinite where that is as much as there is.
    fn limits(&self, threads: usize, journal_max: u64) -> Result<(), prometheus::Error> {
        let Budget { cpu, read, .. } = self.pace.budget();
        let gauges = [
            ("cpu_limit_cores", "Processor time that looking and committing may take, in cores.", cpu),
            (
                "read_limit_bytes_per_second",
                "Bytes of content that may be read in a second.",
                read.map(|read| read as f64),
            ),
            ("scan_threads", "Threads that look at files.", Some(threads as f64)),
            ("journal_limit_bytes", "Bytes of lines that the journal holds at most.", Some(journal_max as f64)),
        ];
        for (short, help, value) in gauges {
            let gauge = Gauge::new(name(short), help)?;
            gauge.set(value.unwrap_or(f64::INFINITY));
            self.registry.register(Box::new(gauge))?;
        }
        Ok(())
    }

    /// A complete compare.
    pub(crate) fn compared(&self, summary: &Summary, overrun: bool) {
        self.duration.observe(summary.duration.as_secs_f64());
        self.completed.set(now());
        self.items.inc_by(summary.items);
        self.hashed.inc_by(summary.hashed);
        self.overruns.inc_by(u64::from(overrun));
    }

    /// A compare that failed.
    pub(crate) fn failed(&self, fault: FaultKind) {
        self.errors.with_label_values(&[COLLECTOR, fault.as_str()]).inc();
    }

    /// A kind that is watched in the API server.
    pub(crate) fn watches(&self, kind: &str) {
        self.watch_errors.with_label_values(&[kind]);
    }

    /// A watch that broke.
    pub(crate) fn watch_broke(&self, kind: &str) {
        self.watch_errors.with_label_values(&[kind]).inc();
    }

    /// Rules that are wanted from now on.
    pub(crate) fn configured(&self, rules: &[NodeRule]) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.desired = rules.iter().map(|rule| (rule.name.clone(), rule.generation)).collect();
        inner.severities.clear();
        let mut shortest = f64::INFINITY;
        for entry in resolve(rules).entries {
            // Nothing of a suspended rule is compared.
            if !rules[entry.rule].suspend {
                shortest = shortest.min(entry.interval.as_secs_f64());
            }
            let severities = inner.severities.entry(rules[entry.rule].name.clone()).or_default();
            if !severities.contains(&entry.severity) {
                severities.push(entry.severity);
            }
        }
        self.interval.set(shortest);
    }

    /// A sink that is in use, and what it has delivered.
    pub(crate) fn delivered(&self, sink: Sink, sequence: u64) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.delivered.insert(sink.as_str(), sequence).is_none() {
            for fault in SinkFault::ALL {
                self.sink_errors.with_label_values(&[sink.as_str(), fault.as_str()]);
            }
        }
    }

    /// A delivery that failed.
    pub(crate) fn sink_failed(&self, sink: Sink, fault: SinkFault) {
        self.sink_errors.with_label_values(&[sink.as_str(), fault.as_str()]).inc();
    }

    /// All metrics as Prometheus text.
    ///
    /// # Errors
    /// When the encoder fails, which it does not on memory.
    pub(crate) fn render(&self, watch: &Watch) -> Result<Vec<u8>, prometheus::Error> {
        let stored = self.stored(watch)?;
        let mut families = self.registry.gather();
        families.extend(self.taken()?.gather());
        families.extend(stored.gather());
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }

    /// What was taken so far: the engine counts it.
    fn taken(&self) -> Result<Registry, prometheus::Error> {
        let (registry, usage) = (Registry::new(), self.pace.usage());
        let cpu = Counter::new(name("cpu_seconds_total"), "Processor time that this process took.")?;
        cpu.inc_by(usage.cpu.as_secs_f64());
        registry.register(Box::new(cpu))?;
        let read = IntCounter::new(name("read_bytes_total"), "Bytes of content that were read.")?;
        read.inc_by(usage.read);
        registry.register(Box::new(read))?;
        let help = "Time that threads waited to stay in the budget or to make way for others, added up.";
        let waited = CounterVec::new(Opts::new(name("scan_waited_seconds_total"), help), &["reason"])?;
        for reason in Wait::ALL {
            waited.with_label_values(&[reason.as_str()]).inc_by(usage.waited[reason as usize].as_secs_f64());
        }
        registry.register(Box::new(waited))?;
        Ok(registry)
    }

    /// What the store says, in a registry of its own: every total is set, never counted twice.
    fn stored(&self, watch: &Watch) -> Result<Registry, prometheus::Error> {
        let registry = Registry::new();
        let counters = |short: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let counters = IntCounterVec::new(Opts::new(name(short), help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok(counters)
        };
        let gauges = |short: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec, prometheus::Error> {
            let gauges = IntGaugeVec::new(Opts::new(name(short), help), labels)?;
            registry.register(Box::new(gauges.clone()))?;
            Ok(gauges)
        };
        let view = watch.borrow().clone();
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = &view.standing;
        let changes = counters(
            "changes_total",
            "Change records that name a rule, since it came to this journal.",
            &["rule", "change_type", "severity"],
        )?;
        let tracked = gauges("tracked_items", "Items that a rule tracks.", &["rule", "category"])?;
        let generation = gauges("config_generation", "The generation of each rule.", &["rule", "state"])?;
        let category = format!("{:?}", Category::File);
        for (rule, desired) in &inner.desired {
            generation.with_label_values(&[rule.as_str(), "Desired"]).set(*desired);
        }
        for rule in &standing.totals.rules {
            tracked.with_label_values(&[rule.name.as_str(), category.as_str()]).set(signed(rule.tracked));
            generation.with_label_values(&[rule.name.as_str(), "Applied"]).set(rule.generation);
            let can_produce = inner.severities.get(&rule.name);
            for change in ChangeType::ALL {
                for severity in SEVERITIES {
                    let count = rule.changes[change as usize][severity as usize];
                    if count > 0 || can_produce.is_some_and(|severities| severities.contains(&severity)) {
                        let severity = format!("{severity:?}");
                        changes
                            .with_label_values(&[rule.name.as_str(), change.as_str(), severity.as_str()])
                            .inc_by(count);
                    }
                }
            }
        }
        let records =
            counters("records_total", "Change records in this journal.", &["category", "change_type", "detection"])?;
        for change in ChangeType::ALL {
            for detection in Detection::ALL {
                let count = standing.totals.files[change as usize][detection as usize];
                records.with_label_values(&[category.as_str(), change.as_str(), detection.as_str()]).inc_by(count);
            }
        }
        let unknown = gauges("unknown_items", "Items that could not be seen.", &["collector"])?;
        unknown.with_label_values(&[COLLECTOR]).set(signed(standing.unknowns.items()));
        let lag = gauges("sink_lag_records", "Lines that a sink has not delivered.", &["sink"])?;
        for (sink, delivered) in &inner.delivered {
            lag.with_label_values(&[*sink]).set(signed(standing.sequence.saturating_sub(*delivered)));
        }
        let dropped = counters(
            "records_dropped_total",
            "Lines that left the journal before a sink had delivered them.",
            &["sink"],
        )?;
        for sink in inner.delivered.keys() {
            dropped.with_label_values(&[*sink]).inc_by(standing.totals.dropped.get(*sink).copied().unwrap_or_default());
        }
        let sequence = IntGauge::new(name("journal_sequence"), "The sequence of the journal's last line.")?;
        sequence.set(signed(standing.sequence));
        registry.register(Box::new(sequence))?;
        let bytes = IntGauge::new(name("journal_bytes"), "Bytes of the lines in the journal.")?;
        bytes.set(signed(standing.totals.journal_bytes));
        registry.register(Box::new(bytes))?;
        let lines = IntGauge::new(name("journal_records"), "Lines in the journal.")?;
        lines.set(signed(standing.lines));
        registry.register(Box::new(lines))?;
        Ok(registry)
    }
}

/// Seconds since the epoch.
fn now() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1000.0
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
