//! The status sink: what stands, as the NodeConfig's status, written when it changed and not more often than allowed.
//!
//! It writes by server-side apply and leaves out Ready and AgentAvailable, which are the operator's. The first change
//! after quiet goes out at once, then at most one write each `minInterval`; without a change one each `refreshInterval`.

mod content;
mod recent;

pub(crate) use content::{Basis, content, differs};
pub(crate) use recent::Recent;

use crate::config::{PlanState, Seen, generation};
use crate::metrics::{Metrics, SinkFault};
use crate::observe::{View, Watch};
use crate::{Trouble, sentence};
use jiff::Timestamp;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use vedette_crds::duration;
use vedette_crds::node_config::NodeConfigStatus;
use vedette_engine::journal::{Journal, Sink};

/// The field manager of agents.
pub(crate) const MANAGER: &str = "vedette-agent";
/// Where the spec says nothing that can be read.
const MIN_INTERVAL: Duration = Duration::from_secs(10);
const REFRESH_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// No spec makes an agent write without a pause.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// A failed write is tried again after one second, then after twice as long each time, up to this.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// What the status is written to, and from what beside the engine's view.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    pub(crate) state: PlanState,
    /// The uid of the NodeConfig that is there; without one there is nothing to write to.
    pub(crate) object: Option<String>,
    /// The conditions in that object when the agent first saw it.
    pub(crate) found: NodeConfigStatus,
}

impl Target {
    /// The target after what the API server said; the plan is set by who reads the spec.
    pub(crate) fn after(self, seen: &Seen) -> Self {
        match seen {
            Seen::Absent => Self { state: self.state.without_object(), object: None, found: self.found },
            Seen::Present(object) => {
                let uid = object.metadata.uid.clone();
                let found = if uid == self.object { self.found } else { found(object) };
                Self { state: self.state, object: uid, found }
            }
        }
    }
}

fn found(object: &DynamicObject) -> NodeConfigStatus {
    let Some(status) = object.data.get("status") else { return NodeConfigStatus::default() };
    serde_json::from_value(status.clone()).unwrap_or_else(|error| {
        tracing::warn!(
            generation = generation(object),
            "the status that stands cannot be read and is replaced: {error}"
        );
        NodeConfigStatus::default()
    })
}

/// Writes the status until the watch closes.
pub(crate) struct StatusSink {
    pub(crate) node: String,
    pub(crate) boot_id: String,
    pub(crate) api: Api<DynamicObject>,
    pub(crate) journal: Journal,
    pub(crate) metrics: Arc<Metrics>,
}

impl StatusSink {
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) async fn run(self, mut watch: Watch, mut target: watch::Receiver<Target>) -> Result<(), Trouble> {
        let head = watch.borrow().standing.sequence;
        let cursor = self.journal.cursor(Sink::Status, head).map_err(unread)?;
        self.metrics.delivered(Sink::Status, cursor);
        let mut recent = Recent::default();
        let mut written: Option<(String, NodeConfigStatus)> = None;
        let mut pace = Pace::new();
        loop {
            let view = watch.borrow_and_update().clone();
            let to = target.borrow_and_update().clone();
            // While the state cannot be used, the status is what says so.
            let _ = recent.read(&self.journal, view.standing.sequence).inspect_err(not_followed);
            pace.set(&to.state, &self.node);
            let mut wait = None;
            if let (Some(object), Some(plan), true) = (&to.object, to.state.plan(), is_settled(&view)) {
                let last = written.as_ref().filter(|(uid, _)| uid == object).map(|(_, status)| status);
                let basis = Basis { view: &view, plan, boot_id: &self.boot_id, recent: &recent };
                let next = content(&basis, &last.unwrap_or(&to.found).conditions, Timestamp::now());
                let changed = last.is_none_or(|last| differs(last, &next));
                let now = Instant::now();
                let due = pace.due(changed, now);
                if due <= now {
                    match self.write(&next).await {
                        Ok(()) => {
                            pace.wrote();
                            let _ =
                                self.journal.advance(Sink::Status, view.standing.sequence).inspect_err(not_followed);
                            self.metrics.delivered(Sink::Status, view.standing.sequence);
                            written = Some((object.clone(), next));
                        }
                        Err(_) => pace.failed(),
                    }
                    wait = Some(pace.due(false, Instant::now()));
                } else {
                    wait = Some(due);
                }
            }
            let waiting = async {
                match wait {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = watch.changed() => if changed.is_err() { return Ok(()) },
                changed = target.changed() => if changed.is_err() { return Ok(()) },
                () = waiting => {}
            }
        }
    }

    async fn write(&self, status: &NodeConfigStatus) -> Result<(), SinkFault> {
        let apply = json!({
            "apiVersion": "vedette.dev/v1alpha1",
            "kind": "NodeConfig",
            "metadata": {"name": self.node},
            "status": status,
        });
        let parameters = PatchParams::apply(MANAGER).force();
        let result = self.api.patch_status(&self.node, &parameters, &Patch::Apply(&apply)).await;
        result.map(|_| ()).map_err(|error| {
            let fault = fault(&error);
            tracing::warn!(
                reason = fault.as_str(),
                "cannot write the status of NodeConfig {}: {}",
                self.node,
                sentence(&error)
            );
            self.metrics.sink_failed(Sink::Status, fault);
            fault
        })
    }
}

/// Whether a status made now would be true: after a restart with a baseline, what is unknown is known only once the first
/// compare has ended, and until then the status that stands says more.
fn is_settled(view: &View) -> bool {
    view.last.is_some() || view.fault.is_some() || !view.standing.baseline_ready
}

fn not_followed(error: &vedette_engine::StoreError) {
    tracing::warn!("the status cannot follow the journal: {}; it will once that works", sentence(error));
}

fn unread(source: vedette_engine::StoreError) -> Trouble {
    Trouble::because("the status cannot follow the journal", source)
}

fn fault(error: &kube::Error) -> SinkFault {
    match error {
        kube::Error::Api(status) => match status.code {
            404 => SinkFault::NotFound,
            401 | 403 => SinkFault::Forbidden,
            400..=499 => SinkFault::Invalid,
            _ => SinkFault::Unavailable,
        },
        _ => SinkFault::Unavailable,
    }
}

/// When the next write may go out.
struct Pace {
    min: Duration,
    refresh: Duration,
    last: Option<Instant>,
    retry: Option<(Duration, Instant)>,
    /// 0.9 to 1.1, the node's own, so that a fleet does not write in step.
    jitter: f64,
}

impl Pace {
    fn new() -> Self {
        Self { min: MIN_INTERVAL, refresh: REFRESH_INTERVAL, last: None, retry: None, jitter: 1.0 }
    }

    fn set(&mut self, state: &PlanState, node: &str) {
        let Some(plan) = state.plan() else { return };
        let reporting = &plan.spec.reporting;
        let min = duration::parse(&reporting.min_interval).unwrap_or(MIN_INTERVAL);
        let refresh = duration::parse(&reporting.refresh_interval).unwrap_or(REFRESH_INTERVAL);
        self.min = min.max(SHORTEST_INTERVAL);
        self.refresh = refresh.max(self.min);
        let spread = node.bytes().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
        self.jitter = 0.9 + 0.2 * f64::from(spread) / 255.0;
    }

    /// When a write is due: with a change as soon as allowed, without one at the refresh.
    fn due(&self, changed: bool, now: Instant) -> Instant {
        let quiet = match (self.last, changed) {
            (None, _) => now,
            (Some(last), true) => last + self.min,
            (Some(last), false) => last + self.refresh.mul_f64(self.jitter),
        };
        self.retry.map_or(quiet, |(_, retry)| retry)
    }

    fn wrote(&mut self) {
        self.last = Some(Instant::now());
        self.retry = None;
    }

    fn failed(&mut self) {
        let backoff = self.retry.map_or(Duration::from_secs(1), |(last, _)| (last * 2).min(LONGEST_BACKOFF));
        self.retry = Some((backoff, Instant::now() + backoff.mul_f64(self.jitter)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_change_after_quiet_goes_out_at_once_and_the_next_waits() {
        let mut pace = Pace::new();
        let now = Instant::now();
        assert!(pace.due(true, now) <= now, "nothing was written yet");
        pace.last = Some(now - MIN_INTERVAL * 2);
        assert!(pace.due(true, now) <= now, "quiet for longer than minInterval");
        pace.last = Some(now);
        assert_eq!(pace.due(true, now), now + MIN_INTERVAL);
        assert_eq!(pace.due(false, now), now + REFRESH_INTERVAL);
    }

    #[test]
    fn failed_writes_back_off_up_to_a_minute_and_a_good_one_ends_that() {
        let mut pace = Pace::new();
        let mut waits = Vec::new();
        for _ in 0..8 {
            let now = Instant::now();
            pace.failed();
            waits.push(pace.due(true, now).saturating_duration_since(now).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        pace.wrote();
        assert!(pace.retry.is_none());
    }
}
