//! The status sink: what stands, as the NodeConfig's status, written when it changed and not more often than allowed.
//!
//! It writes by server-side apply and leaves out Ready and AgentAvailable, which are the operator's. `pace` says when,
//! `content` says what, and `definition` what of it the API server's definition of NodeConfig can take.

mod content;
mod definition;
mod pace;
mod recent;
mod room;

use crate::config::{PlanState, Seen, generation};
use crate::confine::Confinement;
use crate::metrics::{Metrics, SinkFault};
use crate::observe::{View, Watch};
use crate::{Trouble, sentence};
use content::{Basis, content, differs, is_under_way};
use definition::Definition;
use jiff::Timestamp;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use pace::Pace;
use recent::Recent;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};
use vedette_crds::node_config::NodeConfigStatus;
use vedette_engine::StoreError;
use vedette_engine::journal::{Cursor, Journal, Sink};
use vedette_service::{Refusal, Retry, lasting, reason, refusal, rough};

/// The field manager of agents.
const MANAGER: &str = "vedette-agent";
/// A connection that died without a word must not hold a write for ever.
const LONGEST_WRITE: Duration = Duration::from_secs(15);
/// A journal that cannot be read or written is tried again at most this much later.
const LONGEST_JOURNAL_PAUSE: Duration = Duration::from_secs(30);

/// What the status is written to, and from what beside the engine's view.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    pub(crate) state: PlanState,
    /// The uid of the NodeConfig that is there; without one there is nothing to write to.
    pub(crate) object: Option<String>,
    /// The status of that object when the agent first saw it.
    pub(crate) found: NodeConfigStatus,
    /// How often the API server has come back after it could not be asked.
    pub(crate) returns: u64,
}

impl Target {
    /// The target after what the API server said; the plan is set by who reads the spec.
    pub(crate) fn after(self, seen: &Seen) -> Self {
        match seen {
            Seen::Absent => Self { state: self.state.without_object(), object: None, ..self },
            Seen::Present(object) => {
                let uid = object.metadata.uid.clone();
                let found = if uid == self.object { self.found } else { found(object) };
                Self { object: uid, found, ..self }
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
    pub(crate) confinement: Confinement,
    /// Where the API server is, for the log.
    pub(crate) url: String,
    pub(crate) api: Api<DynamicObject>,
    pub(crate) journal: Journal,
    pub(crate) metrics: Arc<Metrics>,
}

/// What the sink remembers from one write to the next.
struct Written {
    pace: Pace,
    definition: Definition,
    /// The uid of the object that was last written to, and what was written.
    last: Option<(String, NodeConfigStatus)>,
    recent: Recent,
    journal: Retry,
    /// When the journal is tried again.
    journal_again: Option<Instant>,
}

impl StatusSink {
    /// Runs until the engine ends; what the API server or the journal refuse is tried again.
    pub(crate) async fn run(self, mut watch: Watch, mut target: watch::Receiver<Target>) -> Result<(), Trouble> {
        let mut written = Written {
            pace: Pace::new(),
            definition: Definition::default(),
            last: None,
            recent: Recent::default(),
            journal: Retry::new(LONGEST_JOURNAL_PAUSE),
            journal_again: None,
        };
        let head = watch.borrow().standing.sequence;
        self.show_cursor(&mut written, head).await?;
        loop {
            let view = watch.borrow_and_update().clone();
            let to = target.borrow_and_update().clone();
            self.read_journal(&mut written, &view).await?;
            written.pace.set(&to, &self.node);
            let due = self.write_when_due(&mut written, &view, &to).await?;
            let wait = [due, written.journal_again].into_iter().flatten().min();
            let waiting = async {
                match wait {
                    Some(until) => sleep_until(until).await,
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

    /// Shows what an earlier process has delivered, and that nothing has failed yet.
    async fn show_cursor(&self, written: &mut Written, head: u64) -> Result<(), Trouble> {
        let journal = self.journal.clone();
        let cursor = off_thread(move || journal.cursor(Sink::Status, head)).await?;
        self.metrics.delivered(Sink::Status, cursor.as_ref().map_or(0, |cursor| cursor.sequence));
        self.judge_journal(written, cursor.map(drop));
        Ok(())
    }

    /// Writes if it is time to, and says when it will be; `None`: not before something changes.
    async fn write_when_due(
        &self,
        written: &mut Written,
        view: &View,
        to: &Target,
    ) -> Result<Option<Instant>, Trouble> {
        let (Some(object), Some(plan), true) = (&to.object, to.state.plan(), is_settled(view)) else { return Ok(None) };
        written.definition.probe_when_due(Instant::now());
        written.pace.settle(is_under_way(view, plan), Instant::now());
        // Twice: what the definition turns out not to know is left out, and the rest goes out at once.
        for _ in 0..2 {
            let last = written.last.as_ref().filter(|(uid, _)| uid == object).map(|(_, status)| status);
            let basis = Basis {
                view,
                plan,
                boot_id: &self.boot_id,
                confinement: &self.confinement,
                recent: &written.recent,
                left_out: written.definition.left_out(),
            };
            let next = content(&basis, last.unwrap_or(&to.found), Timestamp::now());
            let changed = last.is_none_or(|last| differs(last, &next));
            let due = written.pace.due(changed, Instant::now());
            if due > Instant::now() {
                let probe = written.definition.probe();
                return Ok(Some(probe.map_or(due, |probe| due.min(probe))));
            }
            let mut status = json!(next);
            written.definition.trim(&mut status);
            match self.write(status).await {
                Ok(()) => {
                    if let Some(lasted) = written.pace.wrote(Instant::now()) {
                        let node = &self.node;
                        tracing::info!("the status of NodeConfig {node} can be written again, after {}", rough(lasted));
                    }
                    written.definition.taken(Instant::now());
                    written.last = Some((object.clone(), next));
                    self.delivered(written, view).await?;
                    break;
                }
                Err(NotWritten::Refused(error)) if refusal(&error) == Refusal::SchemaOutdated => {
                    self.metrics.sink_failed(Sink::Status, SinkFault::SchemaOutdated);
                    if !written.definition.refused(&error, Instant::now()) {
                        self.failed(written, &NotWritten::Refused(error));
                        break;
                    }
                }
                Err(error) => {
                    self.metrics.sink_failed(Sink::Status, error.fault());
                    self.failed(written, &error);
                    break;
                }
            }
        }
        Ok(Some(written.pace.due(false, Instant::now())))
    }

    async fn write(&self, status: Value) -> Result<(), NotWritten> {
        let apply = json!({
            "apiVersion": "vedette.dev/v1alpha1",
            "kind": "NodeConfig",
            "metadata": {"name": self.node},
            "status": status,
        });
        let parameters = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&apply);
        let writing = self.api.patch_status(&self.node, &parameters, &patch);
        match timeout(LONGEST_WRITE, writing).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(NotWritten::Refused(error)),
            Err(_) => Err(NotWritten::TimedOut),
        }
    }

    fn failed(&self, written: &mut Written, why: &NotWritten) {
        if let Some(lasted) = written.pace.failed(Instant::now()) {
            let lasting = lasting(lasted);
            tracing::warn!(
                reason = why.fault().as_str(),
                "cannot write the status of NodeConfig {} at {}{lasting}: {}; the journal keeps what it is to say",
                self.node,
                self.url,
                why.sentence()
            );
        }
    }

    /// Takes in the newest lines.
    async fn read_journal(&self, written: &mut Written, view: &View) -> Result<(), Trouble> {
        let (journal, mut recent) = (self.journal.clone(), std::mem::take(&mut written.recent));
        let (id, head) = (view.standing.journal.clone(), view.standing.sequence);
        let read = off_thread(move || {
            let result = recent.read(&journal, &id, head);
            (result, recent)
        });
        let (result, recent) = read.await?;
        written.recent = recent;
        self.judge_journal(written, result);
        Ok(())
    }

    /// Remembers what the status has said. The cursor of a status is for its lag alone: one that cannot be moved now moves
    /// with the next write.
    async fn delivered(&self, written: &mut Written, view: &View) -> Result<(), Trouble> {
        let journal = self.journal.clone();
        let to = Cursor { journal: view.standing.journal.clone(), sequence: view.standing.sequence };
        let result = off_thread(move || journal.advance(Sink::Status, &to)).await?;
        self.metrics.delivered(Sink::Status, view.standing.sequence);
        self.judge_journal(written, result.map(drop));
        Ok(())
    }

    fn judge_journal(&self, written: &mut Written, result: Result<(), StoreError>) {
        let now = Instant::now();
        match result {
            Ok(()) => {
                written.journal.succeeded(now);
                written.journal_again = None;
            }
            Err(error) => {
                let failed = written.journal.failed(now);
                written.journal_again = Some(now + failed.pause);
                if failed.say.is_some() {
                    tracing::warn!("the status cannot follow the journal: {}; trying again", sentence(&error));
                }
            }
        }
    }
}

/// Why a status was not written.
enum NotWritten {
    Refused(kube::Error),
    TimedOut,
}

impl NotWritten {
    fn fault(&self) -> SinkFault {
        match self {
            Self::TimedOut => SinkFault::Unavailable,
            Self::Refused(error) => match refusal(error) {
                Refusal::NotFound => SinkFault::NotFound,
                Refusal::Unauthorized | Refusal::Forbidden => SinkFault::Forbidden,
                Refusal::SchemaOutdated => SinkFault::SchemaOutdated,
                Refusal::Invalid | Refusal::Expired => SinkFault::Invalid,
                _ => SinkFault::Unavailable,
            },
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::TimedOut => format!("no answer within {}s", LONGEST_WRITE.as_secs()),
            Self::Refused(error) => reason(error),
        }
    }
}

/// The journal is the engine's too: who waits for it must not hold up scrapes, probes and the end.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    spawn_blocking(work).await.map_err(|error| Trouble::because("the task that reads the journal failed", error))
}

/// Whether a status made now would be true: after a restart with a baseline, what is unknown is known only once the first
/// compare has ended, and until then the status that stands says more.
fn is_settled(view: &View) -> bool {
    view.last.is_some() || view.fault.is_some() || !view.standing.baseline_ready
}
