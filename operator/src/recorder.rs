//! Tells notices as Events: reads them from a short queue, writes one Event each into the namespace `default`, where those
//! about objects without a namespace belong. At most so many a minute, and never in the way of anything else: what has
//! no room is counted and left out. kube's own recorder is not used: it makes two Events with the same reason about one
//! object into a series, which keeps the first note, so that a journal's second change would be lost.

use std::collections::VecDeque;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};
use vedette_service::{Refusal, reason, refusal};

use crate::fleet::Name;
use crate::metrics::{Metrics, Outcome};
use crate::names::{API_VERSION, NODE_CONFIG, OPERATOR, RULE};
use crate::notice::{About, Notice, Subject};
use crate::time::Moment;

/// Where Events about objects without a namespace are.
const NAMESPACE: &str = "default";

/// As many Events in any minute: enough to tell a small outage node by node. A large one is told by its rules.
const PER_MINUTE: usize = 60;

/// As many of them by one node: one that is not its admin's any more must not use up what is there for all.
const PER_NODE: usize = 6;

const MINUTE: Duration = Duration::from_secs(60);

/// Both budgets of a minute: a queue that holds them never refuses what a budget let pass, unless the API server is away.
const WAITING: usize = 2 * PER_MINUTE;

const ATTEMPTS: u32 = 3;
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);
const LONGEST_REQUEST: Duration = Duration::from_secs(5);

/// The longest note that an API server takes, in bytes.
const LONGEST_NOTE: usize = 1024;

/// The longest name of an instance that it takes, in bytes.
const LONGEST_INSTANCE: usize = 128;

/// An Event's name is its object's, cut so that the time behind it still fits.
const LONGEST_NAME: usize = 253 - 24;

/// Where notices go: counts what is left out.
#[derive(Debug)]
pub(crate) struct Recorder {
    notices: mpsc::Sender<Notice>,
    metrics: Metrics,
    budget: Budget,
    security: Budget,
}

/// At most [`PER_MINUTE`] in any minute, [`PER_NODE`] of them by one node.
#[derive(Debug, Default)]
struct Budget(VecDeque<(Moment, Option<Name>)>);

impl Budget {
    fn allows(&mut self, node: Option<&Name>, now: Moment) -> bool {
        while self.0.front().is_some_and(|(told, _)| now.since(*told) >= MINUTE) {
            self.0.pop_front();
        }
        let by_node = self.0.iter().filter(|(_, by)| node.is_some() && by.as_ref() == node).count();
        let allows = self.0.len() < PER_MINUTE && by_node < PER_NODE;
        if allows {
            self.0.push_back((now, node.cloned()));
        }
        allows
    }
}

impl Recorder {
    /// The recorder, and the task that writes for it until the recorder is dropped.
    pub(crate) fn new(client: Client, identity: String, metrics: Metrics) -> (Self, impl Future<Output = ()>) {
        let (notices, waiting) = mpsc::channel(WAITING);
        let writer = Writer { events: Api::namespaced(client, NAMESPACE), identity, metrics: metrics.clone(), told: 0 };
        (Self { notices, metrics, budget: Budget::default(), security: Budget::default() }, writer.run(waiting))
    }

    /// Tells a notice, or leaves it out.
    pub(crate) fn tell(&mut self, notice: Notice, now: Moment) {
        let subject = notice.subject;
        // What may be an attack is told even while a fleet falls apart.
        let budget = if subject.is_security() { &mut self.security } else { &mut self.budget };
        if !budget.allows(notice.node.as_ref(), now) || self.notices.try_send(notice).is_err() {
            self.metrics.event(subject, Outcome::LeftOut);
        }
    }
}

struct Writer {
    events: Api<Event>,
    identity: String,
    metrics: Metrics,
    told: u64,
}

impl Writer {
    async fn run(mut self, mut waiting: mpsc::Receiver<Notice>) {
        while let Some(notice) = waiting.recv().await {
            self.told += 1;
            let event = event(&notice, &self.identity, Timestamp::now(), self.told);
            let written = self.write(&event).await;
            if let Err(why) = &written {
                warn!(
                    "cannot raise the Event {} about {}: {why}: {}",
                    notice.subject.as_str(),
                    notice.name,
                    notice.note
                );
            } else {
                debug!("raised the Event {} about {}", notice.subject.as_str(), notice.name);
            }
            self.metrics.event(notice.subject, if written.is_ok() { Outcome::Raised } else { Outcome::Failed });
        }
    }

    async fn write(&self, event: &Event) -> Result<(), String> {
        let how = PostParams { field_manager: Some(OPERATOR.into()), ..PostParams::default() };
        let mut attempt = 1;
        loop {
            let why = match timeout(LONGEST_REQUEST, self.events.create(&how, event)).await {
                Ok(Ok(_)) => return Ok(()),
                // An attempt before this one came through after all.
                Ok(Err(kube::Error::Api(status))) if status.code == 409 && attempt > 1 => return Ok(()),
                Ok(Err(error)) if is_final(&error) => return Err(reason(&error)),
                Ok(Err(error)) => reason(&error),
                Err(_) => format!("no answer within {LONGEST_REQUEST:?}"),
            };
            if attempt == ATTEMPTS {
                return Err(why);
            }
            attempt += 1;
            sleep(BETWEEN_ATTEMPTS).await;
        }
    }
}

/// Whether the same Event would be refused again.
fn is_final(error: &kube::Error) -> bool {
    matches!(refusal(error), Refusal::Forbidden | Refusal::NotFound | Refusal::Invalid)
}

fn event(notice: &Notice, identity: &str, now: Timestamp, number: u64) -> Event {
    let Notice { subject, about, name, uid, note, .. } = notice;
    let kind = match about {
        About::Rule => RULE,
        About::NodeConfig => NODE_CONFIG,
    };
    let regarding = ObjectReference {
        api_version: Some(API_VERSION.into()),
        kind: Some(kind.into()),
        name: Some(name.as_ref().into()),
        uid: Some(uid.as_ref().into()),
        ..ObjectReference::default()
    };
    let object = cut(name, LONGEST_NAME).trim_end_matches(['.', '-']);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{object}.{:x}{:02x}", now.as_microsecond(), number % 256)),
            namespace: Some(NAMESPACE.into()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        type_: Some(subject.weight().as_str().into()),
        reason: Some(subject.as_str().into()),
        action: Some(Subject::action(*subject).into()),
        note: Some(cut(note, LONGEST_NOTE).into()),
        regarding: Some(regarding),
        reporting_controller: Some(OPERATOR.into()),
        reporting_instance: Some(cut(identity, LONGEST_INSTANCE).into()),
        ..Event::default()
    }
}

/// As much of a text as has room, in whole characters.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    fn notice(subject: Subject, name: &str) -> Notice {
        let (about, node) = (About::NodeConfig, Some(name.into()));
        Notice { subject, about, name: name.into(), uid: "uid".into(), node, note: format!("x{}", "é".repeat(2_000)) }
    }

    fn recorder() -> (Recorder, mpsc::Receiver<Notice>, Metrics) {
        let (notices, waiting) = mpsc::channel(WAITING);
        let metrics = Metrics::new().unwrap();
        let (budget, security) = Default::default();
        (Recorder { notices, metrics: metrics.clone(), budget, security }, waiting, metrics)
    }

    fn left_out(metrics: &Metrics, subject: Subject) -> String {
        let text = metrics.text().unwrap();
        let series = format!("vedette_operator_events_total{{outcome=\"LeftOut\",reason=\"{}\"}} ", subject.as_str());
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().into()
    }

    #[test]
    fn an_outage_of_the_fleet_makes_sixty_events_a_minute_and_hides_no_lost_journal() {
        let (mut recorder, mut waiting, metrics) = recorder();
        for number in 0..5_000 {
            recorder.tell(notice(Subject::AgentUnavailable, &format!("n{number}")), at(number / 100));
        }
        recorder.tell(notice(Subject::JournalChanged, "n1"), at(50));
        let told: Vec<_> = std::iter::from_fn(|| waiting.try_recv().ok()).collect();
        assert_eq!(told.len(), PER_MINUTE + 1);
        assert_eq!(told.last().unwrap().subject, Subject::JournalChanged);
        assert_eq!(left_out(&metrics, Subject::AgentUnavailable), "4940");
        assert_eq!(left_out(&metrics, Subject::JournalChanged), "0");
        recorder.tell(notice(Subject::AgentUnavailable, "n1"), at(60));
        assert!(waiting.try_recv().is_ok(), "the next minute");
    }

    #[test]
    fn one_node_cannot_use_up_what_is_there_for_all() {
        let (mut recorder, waiting, metrics) = recorder();
        (0..1_000).for_each(|_| recorder.tell(notice(Subject::JournalChanged, "hostile"), at(0)));
        recorder.tell(notice(Subject::JournalChanged, "victim"), at(0));
        assert_eq!(waiting.len(), PER_NODE + 1);
        assert_eq!(left_out(&metrics, Subject::JournalChanged), (1_000 - PER_NODE).to_string());
    }

    #[test]
    fn notices_that_nobody_takes_are_left_out_and_hold_up_nothing() {
        let (mut recorder, waiting, metrics) = recorder();
        for minute in 0..10 {
            let nodes = (0..PER_MINUTE).map(|number| format!("n{number}"));
            nodes.for_each(|node| recorder.tell(notice(Subject::NodeReady, &node), at(minute * 60)));
        }
        assert_eq!(waiting.len(), WAITING);
        assert_eq!(left_out(&metrics, Subject::NodeReady), (10 * PER_MINUTE - WAITING).to_string());
    }

    #[test]
    fn an_event_is_what_an_api_server_takes_however_long_names_and_notes_are() {
        let now: Timestamp = "2026-11-24T04:00:00Z".parse().unwrap();
        let long = format!("{}.-{}", "a".repeat(LONGEST_NAME - 2), "b".repeat(40));
        let event = event(&notice(Subject::JournalChanged, &long), "one", now, 999);
        let name = event.metadata.name.unwrap();
        assert!(name.len() <= 253 && !name.contains(".-."), "{name}");
        let note = event.note.unwrap();
        assert!(note.len() <= LONGEST_NOTE && note.len() > LONGEST_NOTE - 2 && note.ends_with('é'), "{note}");
        assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Warning"), Some("JournalChanged")));
        let regarding = event.regarding.unwrap();
        assert_eq!((regarding.kind.as_deref(), regarding.name.as_deref()), (Some("NodeConfig"), Some(long.as_str())));
    }
}
