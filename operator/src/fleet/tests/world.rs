//! A cluster as the model sees it: an API server that stores what is planned and says so, and time that a test moves.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroI64;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use vedette_crds::compile::NodeFacts;
use vedette_crds::condition::node::{AgentAvailable, Ready};
use vedette_crds::condition::{self, Condition, Reason, Status};
use vedette_crds::node_config::{Changes, ClusterRef, NodeRule};
use vedette_crds::rule::DataCollectionRuleStatus;

use crate::event::{Change, Event, Kind};
use crate::fleet::plan::Action;
use crate::fleet::{AGENT_GRACE, Fleet};
use crate::notice::Notice;
use crate::observed::{Found, ObservedConfig, ObservedPod, ObservedRule, Report, Written};
use crate::queue::{Key, Queue};
use crate::sentences::Explained;
use crate::time::{Moment, Now};
use rival::Rival;

mod rival;

pub(super) struct World {
    pub(super) fleet: Fleet,
    queue: Queue,
    second: u64,
    version: u64,
    pub(super) rules: BTreeMap<String, ObservedRule>,
    pub(super) nodes: BTreeMap<String, NodeFacts>,
    pub(super) configs: BTreeMap<String, ObservedConfig>,
    pods: BTreeMap<String, ObservedPod>,
    /// The API server refuses NodeConfigs because it does not know a field of theirs.
    pub(super) definition_is_older: bool,
    /// Every write since this was last emptied, in order.
    pub(super) writes: Vec<Action>,
    /// How many writes were refused because what they were decided on had changed.
    pub(super) conflicts: usize,
    /// What was told since this was last emptied.
    pub(super) notices: Vec<Notice>,
    rival: Option<Rival>,
    /// The first operator while the rival works, and what it will be told.
    first: Option<(Fleet, Vec<Event>)>,
}

fn epoch() -> Timestamp {
    "2026-11-24T04:00:00Z".parse().unwrap()
}

impl World {
    /// An operator that has listed an empty cluster.
    pub(super) fn new() -> Self {
        let mut world = Self::unlisted();
        Kind::ALL.into_iter().for_each(|kind| world.list(kind));
        world
    }

    /// An operator that has just started.
    pub(super) fn unlisted() -> Self {
        Self {
            fleet: fleet(),
            queue: Queue::default(),
            second: 0,
            version: 0,
            rules: BTreeMap::new(),
            nodes: BTreeMap::new(),
            configs: BTreeMap::new(),
            pods: BTreeMap::new(),
            definition_is_older: false,
            writes: Vec::new(),
            conflicts: 0,
            notices: Vec::new(),
            rival: None,
            first: None,
        }
    }

    /// Ends the operator; another one stands by, and has listed everything.
    pub(super) fn restart_standby(&mut self) {
        self.restart();
        self.fleet = follower();
        Kind::ALL.into_iter().for_each(|kind| self.list(kind));
    }

    /// Ends the operator; another one has not listed anything yet.
    pub(super) fn restart(&mut self) {
        self.fleet = fleet();
        self.queue = Queue::default();
    }

    pub(super) fn list(&mut self, kind: Kind) {
        let objects: Vec<_> = match kind {
            Kind::Rule => self.rules.values().cloned().map(rule_event).collect(),
            Kind::Node => self.nodes.values().cloned().map(|node| Event::Node(Change::Applied(node))).collect(),
            Kind::Config => self.configs.values().cloned().map(config_event).collect(),
            Kind::Pod => self.pods.values().cloned().map(|pod| Event::Pod(Change::Applied(pod))).collect(),
        };
        objects.into_iter().for_each(|event| self.tell(event));
        let names = |names: Vec<&String>| names.into_iter().cloned().collect::<HashSet<_>>();
        self.tell(match kind {
            Kind::Rule => Event::Rule(Change::Listed(names(self.rules.keys().collect()))),
            Kind::Node => Event::Node(Change::Listed(names(self.nodes.keys().collect()))),
            Kind::Config => Event::Config(Change::Listed(names(self.configs.keys().collect()))),
            Kind::Pod => Event::Pod(Change::Listed(names(self.pods.values().map(|pod| &pod.name).collect()))),
        });
    }

    pub(super) fn tell(&mut self, event: Event) {
        let now = self.now();
        if let Some(rival) = &mut self.rival {
            rival.inbox.push(event.clone());
        }
        if let Some((_, told)) = &mut self.first {
            told.push(event.clone());
        }
        self.fleet.apply(event, now);
    }

    pub(super) fn now(&self) -> Now {
        let wall = epoch() + SignedDuration::from_secs(self.second.try_into().unwrap());
        Now { moment: Moment::default() + Duration::from_secs(self.second), wall }
    }

    /// The second so long ago.
    pub(super) fn ago(&self, seconds: i64) -> i64 {
        self.now().wall.as_second() - seconds
    }

    /// Lets everything happen that is due now; then time passes, second by second.
    pub(super) fn pass(&mut self, seconds: u64) {
        self.work();
        for _ in 0..seconds {
            self.second += 1;
            self.work();
        }
    }

    fn work(&mut self) {
        self.work_alone();
        if self.rival.is_some() {
            self.rival_reads();
            self.rival_works();
        }
    }

    fn work_alone(&mut self) {
        loop {
            let now = self.now();
            self.fleet.tick(now);
            self.notices.extend(self.fleet.take_notices());
            self.fleet.take_dirty().into_iter().for_each(|dirty| self.queue.push(dirty));
            let Some(key) = self.queue.pop(now.moment) else { return };
            if let Some(action) = self.fleet.plan(&key, now) {
                if self.refuses(&action) {
                    self.conflicts += 1;
                    self.queue.overtaken(key, now.moment);
                    continue;
                }
                self.writes.push(action.clone());
                if let Key::Config(name) = &key {
                    self.fleet.schema_outdated(name, self.definition_is_older, now);
                    if self.definition_is_older {
                        self.queue.failed(key, now.moment);
                        continue;
                    }
                }
                self.store(action);
            }
            self.queue.done(key);
        }
    }

    /// Whether an API server refuses a write because it was decided on something that has changed.
    fn refuses(&self, action: &Action) -> bool {
        let (name, existing) = match action {
            Action::ApplyConfig { name, existing, .. } => (name, existing.as_ref()),
            Action::DeleteConfig { name, existing } => (name, Some(existing)),
            Action::ApplyConditions { .. } => return false,
            Action::ApplyRuleStatus { name, existing, .. } => {
                return self.rules.get(name.as_ref()).is_none_or(|rule| rule.version != existing.version);
            }
        };
        let stored = self.configs.get(name.as_ref()).map(|stored| (stored.uid.as_str(), stored.version));
        stored != existing.map(|existing| (&*existing.uid, existing.version))
    }

    /// What an API server makes of a write.
    fn store(&mut self, action: Action) {
        self.version += 1;
        match action {
            Action::ApplyConfig { name, existing, owner, spec } => {
                let name = name.as_ref().to_owned();
                let (version, now) = (self.version, self.now().wall);
                assert_eq!(existing.is_some(), self.configs.contains_key(&name), "refused before");
                let stored = self.configs.entry(name.clone()).or_insert_with(|| {
                    // As an API server makes them.
                    let uid = format!("{version:08x}-8d0e-4b1f-9a57-0c2f5d1b7e11");
                    ObservedConfig { name, uid, created: Some(now), ..ObservedConfig::default() }
                });
                stored.version = version;
                stored.owner = Some(owner.as_ref().into());
                if stored.spec.as_ref() != Some(&*spec) {
                    stored.generation += 1;
                    stored.spec = Some(*spec);
                }
                let stored = stored.clone();
                self.tell(config_event(stored));
            }
            Action::DeleteConfig { name, .. } => {
                let gone = self.configs.remove(name.as_ref()).unwrap();
                self.tell(Event::Config(Change::Deleted(Box::new(gone))));
            }
            Action::ApplyConditions { name, conditions, .. } => {
                self.change_config(&name, |config| {
                    config.ready = written::<Ready>(&conditions);
                    config.available = written::<AgentAvailable>(&conditions);
                });
            }
            Action::ApplyRuleStatus { name, status, .. } => {
                let version = self.version;
                let stored = self.rules.get_mut(name.as_ref()).unwrap();
                stored.status = *status;
                stored.version = version;
                let stored = stored.clone();
                self.tell(rule_event(stored));
            }
        }
    }

    /// Applies a rule: its generation is one more each time.
    pub(super) fn rule(&mut self, name: &str, spec: Value) {
        self.version += 1;
        let before = self.rules.get(name);
        let generation = before.map_or(0, |rule| rule.metadata.generation.unwrap()) + 1;
        let metadata = json!({ "name": name, "uid": format!("{name}-uid"), "generation": generation,
            "creationTimestamp": (epoch() + SignedDuration::from_secs(self.rules.len().try_into().unwrap())).to_string() });
        let rule = ObservedRule {
            metadata: serde_json::from_value(metadata).unwrap(),
            data: json!({ "spec": spec }),
            status: before.map(|rule| rule.status.clone()).unwrap_or_default(),
            version: self.version,
        };
        self.rules.insert(name.into(), rule.clone());
        self.tell(rule_event(rule));
    }

    pub(super) fn delete_rule(&mut self, name: &str) {
        let rule = self.rules.remove(name).unwrap();
        self.tell(Event::Rule(Change::Deleted(Box::new(rule))));
    }

    /// Makes a node with a ready agent pod.
    pub(super) fn node(&mut self, name: &str, labels: &[(&str, &str)]) {
        self.node_alone(name, labels);
        self.pod(name, true);
    }

    /// Makes a node, or gives it other labels.
    pub(super) fn node_alone(&mut self, name: &str, labels: &[(&str, &str)]) {
        let uid = self.nodes.get(name).map_or_else(|| format!("{name}-uid"), |node| node.uid.clone());
        self.node_of(name, &uid, labels);
    }

    pub(super) fn node_of(&mut self, name: &str, uid: &str, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let node = NodeFacts { name: name.into(), uid: uid.into(), labels };
        self.nodes.insert(name.into(), node.clone());
        self.tell(Event::Node(Change::Applied(node)));
    }

    pub(super) fn delete_node(&mut self, name: &str) {
        let node = self.nodes.remove(name).unwrap();
        self.tell(Event::Node(Change::Deleted(node)));
    }

    /// Says whether a node's agent pod is ready.
    pub(super) fn pod(&mut self, node: &str, ready: bool) {
        let pod = ObservedPod {
            name: format!("vedette-agent-{node}"),
            node: node.into(),
            ready: ready.then(|| self.now().wall),
        };
        self.pods.insert(node.into(), pod.clone());
        self.tell(Event::Pod(Change::Applied(pod)));
    }

    pub(super) fn delete_pod(&mut self, node: &str) {
        let pod = self.pods.remove(node).unwrap();
        self.tell(Event::Pod(Change::Deleted(pod)));
    }

    /// The agent confirms everything that its NodeConfig asks for, and has found this much for every rule.
    pub(super) fn confirm(&mut self, node: &str, tracked: u64, modified: u64) {
        let last_change = NonZeroI64::new(self.now().wall.as_second()).filter(|_| modified > 0);
        self.change_config(node, |config| {
            config.confirmed = config.generation;
            config.applied = true;
            config.baseline = true;
            config.fingerprint += 1;
            config.journal.get_or_insert_with(|| "6f1c0a52-8d0e-4b1f-9a57-0c2f5d1b7e11".into());
            let changes = Changes { modified, ..Changes::default() };
            let report = |rule: &NodeRule| Report {
                rule: rule.uid.clone(),
                name: rule.name.clone(),
                found: Found { generation: rule.generation, tracked, changes, last_change },
            };
            config.reports = config.spec.iter().flat_map(|spec| &spec.rules).map(report).collect();
        });
    }

    /// Something in a NodeConfig changes, whoever does it.
    pub(super) fn change_config(&mut self, name: &str, change: impl FnOnce(&mut ObservedConfig)) {
        self.version += 1;
        let config = self.configs.get_mut(name).unwrap();
        config.version = self.version;
        change(config);
        let config = config.clone();
        self.tell(config_event(config));
    }

    pub(super) fn carried(&self, node: &str) -> Vec<(&str, i64)> {
        let spec = self.configs[node].spec.as_ref().unwrap();
        spec.rules.iter().map(|rule| (rule.name.as_str(), rule.generation)).collect()
    }

    pub(super) fn ready(&self, node: &str) -> Option<Ready> {
        self.configs[node].ready.map(|written| written.reason)
    }

    pub(super) fn available(&self, node: &str) -> Option<AgentAvailable> {
        self.configs[node].available.map(|written| written.reason)
    }

    pub(super) fn status(&self, rule: &str) -> &DataCollectionRuleStatus {
        &self.rules[rule].status
    }

    /// A rule's condition, as in `True Programmed`.
    pub(super) fn says<R: Reason>(&self, rule: &str) -> String {
        let found = condition::find::<R>(&self.status(rule).conditions);
        found.map_or("absent".into(), |condition| format!("{} {}", condition.status, condition.reason))
    }

    pub(super) fn message<R: Reason>(&self, rule: &str) -> &str {
        &condition::find::<R>(&self.status(rule).conditions).unwrap().message
    }

    /// What was told since this was last asked, in short.
    pub(super) fn told(&mut self) -> Vec<String> {
        let short = |notice: Notice| format!("{}: {}", notice.name, notice.subject.as_str());
        self.notices.drain(..).map(short).collect()
    }

    /// The writes since this was last asked, in short.
    pub(super) fn written(&mut self) -> Vec<String> {
        let short = |action: Action| match action {
            Action::ApplyConfig { name, spec, .. } => format!("{name}: {} rules", spec.rules.len()),
            Action::DeleteConfig { name, .. } => format!("{name}: deleted"),
            Action::ApplyConditions { name, .. } => format!("{name}: conditions"),
            Action::ApplyRuleStatus { name, .. } => format!("{name}: status"),
        };
        self.writes.drain(..).map(short).collect()
    }
}

fn fleet() -> Fleet {
    let mut fleet = follower();
    fleet.lead(Now { moment: Moment::default(), wall: epoch() }, Duration::ZERO);
    fleet
}

/// An operator that another one leads.
fn follower() -> Fleet {
    Fleet::new(ClusterRef { name: "test".into(), uid: "cluster".into() }, AGENT_GRACE)
}

pub(super) fn rule_event(rule: ObservedRule) -> Event {
    Event::Rule(Change::Applied(Box::new(rule)))
}

pub(super) fn config_event(config: ObservedConfig) -> Event {
    Event::Config(Change::Applied(Box::new(config)))
}

fn written<R: Explained>(conditions: &[Condition]) -> Option<Written<R>> {
    let condition = condition::find::<R>(conditions)?;
    assert!([Status::True, Status::False, Status::Unknown].iter().any(|status| status.as_str() == condition.status));
    Some(Written {
        reason: condition::reason(conditions)?,
        exact: true,
        generation: condition.observed_generation.unwrap_or_default(),
        since: condition.last_transition_time.0.as_second(),
    })
}

/// A rule's spec: one entry, compared every minute, on every node or those with this label.
pub(super) fn etc(selector: Option<(&str, &str)>) -> Value {
    let mut spec = json!({ "files": { "interval": "1m", "paths": [{ "name": "etc", "path": "/etc" }] } });
    if let Some((key, value)) = selector {
        spec["nodeSelector"] = json!({ "matchLabels": { key: value } });
    }
    spec
}
