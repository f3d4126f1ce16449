//! The one task that owns model and queue: takes in events, asks for plans, has them carried out a few at a time and no
//! faster than the API server is to bear, and takes in what came of them. All decisions are the model's. While another
//! operator leads, it takes in events and does nothing else.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};
use vedette_service::report;

use crate::apply::{Applied, Applier, ApplyError, Trouble};
use crate::event::{Change, Event, Kind};
use crate::fleet::Fleet;
use crate::fleet::node::NodeState;
use crate::fleet::plan::Action;
use crate::fleet::rule::RuleCondition;
use crate::http::Readiness;
use crate::leadership::{Leadership, Role};
use crate::metrics::Metrics;
use crate::observed::ObservedConfig;
use crate::queue::{BETWEEN_WRITES, Key, Queue};
use crate::recorder::Recorder;
use crate::time::{Clock, Moment, Now};

/// At 50 writes a second an API server that takes 300 ms for each still keeps up.
const WRITES_AT_ONCE: usize = 16;

/// A plan takes some 10 us; events must not wait for a whole fleet of them.
const PLANS_AT_ONCE: usize = 64;

/// As many events are taken in before the next plans are asked for.
const EVENTS_AT_ONCE: usize = 256;

/// A term that has run out may be renewed yet: it is looked for so often.
const BETWEEN_TERMS: Duration = Duration::from_millis(500);

/// What is being written when the end comes has this long.
const DRAIN: Duration = Duration::from_secs(10);

/// The task and all it owns.
pub(crate) struct Reconciler {
    fleet: Fleet,
    queue: Queue,
    applier: Applier,
    metrics: Metrics,
    readiness: Readiness,
    clock: Clock,
    next_write: Moment,
    writes: JoinSet<Written>,
    leadership: Leadership,
    recorder: Recorder,
    synced: watch::Sender<bool>,
}

/// What the reconciler works with.
pub(crate) struct Tools {
    pub(crate) applier: Applier,
    pub(crate) leadership: Leadership,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    /// Is told when everything has been listed once.
    pub(crate) synced: watch::Sender<bool>,
}

struct Written {
    key: Key,
    /// After the word "cannot".
    what: String,
    took: Duration,
    result: Result<Applied, ApplyError>,
}

impl Reconciler {
    pub(crate) fn new(fleet: Fleet, tools: Tools) -> Self {
        let Tools { applier, leadership, recorder, metrics, readiness, synced } = tools;
        let clock = Clock::start();
        Self {
            fleet,
            queue: Queue::default(),
            applier,
            metrics,
            readiness,
            clock,
            next_write: Moment::default(),
            writes: JoinSet::new(),
            leadership,
            recorder,
            synced,
        }
    }

    /// Works until it is told to stop, then waits for what is being written.
    ///
    /// # Errors
    /// A write panicked.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), JoinError> {
        let mut batch = Vec::with_capacity(EVENTS_AT_ONCE);
        let mut role = self.leadership.role();
        loop {
            let more = self.advance();
            self.show();
            let wake = self.wake(more);
            tokio::select! {
                // Told, or nobody is left to tell.
                _ = stop.wait_for(|stop| *stop) => break,
                Ok(()) = role.changed() => {
                    let next = *role.borrow_and_update();
                    self.take_role(next);
                }
                Some(written) = self.writes.join_next() => self.settle(written?),
                count = events.recv_many(&mut batch, EVENTS_AT_ONCE) => {
                    if count == 0 {
                        break;
                    }
                    let now = self.clock.now();
                    batch.drain(..).for_each(|event| self.fleet.apply(event, now));
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
        let drained = timeout(DRAIN, async {
            while let Some(written) = self.writes.join_next().await {
                self.settle(written?);
            }
            Ok(())
        });
        drained.await.unwrap_or_else(|_| {
            warn!(writes = self.writes.len(), "writes that got no answer are left to the next operator");
            Ok(())
        })
    }

    fn take_role(&mut self, role: Role) {
        let now = self.clock.now();
        match role {
            Role::Leader { unled } => self.fleet.lead(now, unled),
            Role::Standby => {
                self.fleet.follow(now);
                self.queue = Queue::default();
                // What is on its way is cut off: it is another one's to decide now, and the watches say what came of it.
                self.writes = JoinSet::new();
            }
        }
    }

    /// Lets time pass, and starts what there is to do. Says when more can be started without anything happening.
    fn advance(&mut self) -> Option<Moment> {
        let now = self.clock.now();
        self.fleet.tick(now);
        for notice in self.fleet.take_notices() {
            self.recorder.tell(notice, now.moment);
        }
        self.take_dirty();
        let more = self.start_writes(now);
        // A plan may find out something about other objects.
        self.take_dirty();
        more
    }

    fn take_dirty(&mut self) {
        self.fleet.take_dirty().into_iter().for_each(|dirty| self.queue.push(dirty));
    }

    fn start_writes(&mut self, now: Now) -> Option<Moment> {
        if !self.may_write() {
            // A renewal that comes late is no change of role: nobody says that there is something to do again.
            return (!self.queue.is_empty()).then(|| now.moment + BETWEEN_TERMS);
        }
        for _ in 0..PLANS_AT_ONCE {
            if self.writes.len() >= WRITES_AT_ONCE {
                return None;
            }
            if self.next_write > now.moment {
                return Some(self.next_write);
            }
            let key = self.queue.pop(now.moment)?;
            self.metrics.reconciled(&key);
            match self.fleet.plan(&key, now) {
                None => self.queue.done(key),
                Some(action) => {
                    self.next_write = now.moment + BETWEEN_WRITES;
                    self.start(key, action);
                }
            }
        }
        Some(now.moment)
    }

    fn start(&mut self, key: Key, action: Action) {
        let applier = self.applier.clone();
        self.writes.spawn(async move {
            let what = action.to_string();
            let start = Instant::now();
            let result = applier.run(action).await;
            Written { key, what, took: start.elapsed(), result }
        });
    }

    /// Takes in what came of a write: what the API server stored is known before its watch says so.
    fn settle(&mut self, written: Written) {
        let now = self.clock.now();
        let Written { key, what, took, result } = written;
        let trouble = result.as_ref().err().map(ApplyError::trouble);
        self.metrics.wrote(&key, took, trouble);
        if let Key::Config(name) = &key {
            match trouble {
                None => self.fleet.schema_outdated(name, false, now),
                Some(Trouble::SchemaOutdated) => self.fleet.schema_outdated(name, true, now),
                Some(_) => {}
            }
        }
        match result {
            Ok(applied) => {
                let event = match applied {
                    Applied::Config(config) => Event::Config(Change::Applied(config)),
                    Applied::ConfigGone { name, uid } => Event::Config(Change::Deleted(Box::new(ObservedConfig {
                        name: name.as_ref().into(),
                        uid: uid.as_ref().into(),
                        ..ObservedConfig::default()
                    }))),
                    Applied::Rule(rule) => Event::Rule(Change::Applied(rule)),
                };
                self.fleet.apply(event, now);
                self.queue.done(key);
            }
            Err(error) => {
                match error.trouble() {
                    // What it was decided on has changed: the watch says how.
                    Trouble::Conflict => {
                        debug!("cannot {what}: {}", report(&error));
                        self.queue.overtaken(key, now.moment);
                    }
                    Trouble::NotLeading => {
                        debug!("cannot {what}: {}", report(&error));
                        self.queue.failed(key, now.moment);
                    }
                    _ => {
                        warn!("cannot {what}: {}", report(&error));
                        self.queue.failed(key, now.moment);
                    }
                }
            }
        }
    }

    fn may_write(&self) -> bool {
        self.leadership.left().is_some()
    }

    /// When to look again although nothing happens.
    fn wake(&self, more: Option<Moment>) -> Option<Instant> {
        let starts = self.writes.len() < WRITES_AT_ONCE && self.may_write();
        let due = self.queue.next_due().filter(|_| starts).map(|due| due.max(self.next_write));
        let next = [more, due, self.fleet.next_wake()].into_iter().flatten().min();
        next.map(|moment| self.clock.instant(moment))
    }

    fn show(&mut self) {
        if !*self.synced.borrow() {
            let missing: Vec<Kind> = self.fleet.unlisted().collect();
            let synced = missing.is_empty();
            self.readiness.wait_for(missing);
            if synced {
                info!("rules, nodes, configurations and pods are known");
                self.synced.send_replace(true);
            }
        }
        let metrics = &self.metrics;
        metrics.queue.set(gauge(self.queue.len()));
        for state in NodeState::ALL {
            metrics.nodes.with_label_values(&[state.as_str()]).set(gauge(self.fleet.nodes_in(state)));
        }
        for condition in RuleCondition::ALL {
            let (holds, unmet): (Vec<_>, Vec<_>) = self.fleet.rules().partition(|rule| rule.holds(condition));
            metrics.rules.with_label_values(&[condition.as_str()]).set(gauge(holds.len()));
            metrics.rules_unmet.with_label_values(&[condition.as_str()]).set(gauge(unmet.len()));
        }
        metrics.nodes_deselected.inc_by(self.fleet.deselected() - metrics.nodes_deselected.get());
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
