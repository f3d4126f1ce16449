//! One node in the model: the Node, its NodeConfig and its agent's pods, as compact as a large fleet asks for; and the
//! judgment whether its agent is available and whether it is ready.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use vedette_crds::compile::NodeFacts;
use vedette_crds::condition::node::{AgentAvailable, Ready};
use vedette_crds::duration;
use vedette_crds::node_config::{ClusterRef, NodeConfigSpec, NodeRule, Reporting};

use super::id::Id;
use super::pace::REFRESH;
use super::plan::Existing;
use super::tally::{Share, Standing};
use super::{Rules, Uid};
use crate::hold::Held;
use crate::notice::{Subject, Told, Transition};
use crate::observed::Written;
use crate::sentences::Explained;
use crate::time::Moment;

/// A node: something of it exists.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) present: Option<Present>,
    pub(crate) config: Option<Config>,
    pub(crate) pods: Vec<Pod>,
    /// Since when no pod is ready; what it says counts while none is.
    pub(crate) without_agent: Moment,
    pub(crate) available: AgentAvailable,
    /// The last apply was refused by a definition older than the operator.
    pub(crate) schema_outdated: bool,
    pub(crate) shares: Vec<Share>,
    /// Its agent has reported what cannot be; it is said once.
    pub(crate) misreports: bool,
    /// The conditions, as far as they are told.
    held: (Held<Ready>, Held<AgentAvailable>),
    /// When time alone will change the judgment, or what is to be told.
    pub(crate) wake: Option<Moment>,
}

/// A Node that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Present {
    pub(crate) uid: Id,
    labels: Box<[Arc<Label>]>,
}

/// A label's key and value.
pub(crate) type Label = (Arc<str>, Arc<str>);

/// A pod of the node's agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) name: Box<str>,
    pub(crate) ready: Option<Moment>,
}

/// A NodeConfig that exists.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) uid: Id,
    pub(crate) version: u64,
    pub(crate) generation: i64,
    pub(crate) deleting: bool,
    /// Whether the Node that the spec names owns it.
    pub(crate) owned: bool,
    /// Absent when this version cannot read it.
    pub(crate) spec: Option<Spec>,
    pub(crate) confirmed: i64,
    pub(crate) applied: bool,
    pub(crate) baseline: bool,
    pub(crate) ready: Option<Written<Ready>>,
    pub(crate) available: Option<Written<AgentAvailable>>,
    pub(crate) fingerprint: u64,
    /// The id of the agent's journal.
    pub(crate) journal: Option<Id>,
    /// When the agent last wrote, or was last asked something new.
    pub(crate) heard: Moment,
    /// When the agent was last asked something new.
    pub(crate) asked: Moment,
    /// The first generation for the Node of this uid: what was confirmed before is another node's.
    pub(crate) fresh_from: i64,
}

/// A NodeConfig's spec whose parts are shared with other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) node_uid: Id,
    pub(crate) common: Arc<Common>,
    pub(crate) rules: Box<[Arc<NodeRule>]>,
}

/// What is the same in every spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Common {
    pub(crate) cluster: Option<ClusterRef>,
    pub(crate) reporting: Reporting,
}

/// How a node stands as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum NodeState {
    /// It is watched as its NodeConfig says.
    Ready,
    /// Its agent is available, and it is not.
    Degraded,
    /// Its agent is not available.
    Unavailable,
    /// No rule selects it.
    NotSelected,
}

impl Node {
    /// A node of which nothing is known yet.
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            present: None,
            config: None,
            pods: Vec::new(),
            without_agent: now,
            available: AgentAvailable::Starting,
            schema_outdated: false,
            shares: Vec::new(),
            misreports: false,
            held: <_>::default(),
            wake: None,
        }
    }

    /// Whether nothing of it exists.
    pub(crate) fn is_void(&self) -> bool {
        self.present.is_none() && self.config.is_none() && self.pods.is_empty()
    }

    pub(crate) fn share(&mut self, rule: &Uid) -> &mut Share {
        let index = self.shares.iter().position(|share| share.rule == *rule).unwrap_or_else(|| {
            self.shares.reserve_exact(1);
            self.shares.push(Share::new(rule.clone()));
            self.shares.len() - 1
        });
        &mut self.shares[index]
    }

    pub(crate) fn is_selected_by(&self, rule: &str) -> bool {
        self.shares.iter().any(|share| share.selected && *share.rule == *rule)
    }

    /// Whether its NodeConfig carries some form of a rule.
    pub(crate) fn carries(&self, rule: &str) -> bool {
        self.forms().iter().any(|form| form.uid == rule)
    }

    pub(crate) fn forms(&self) -> &[Arc<NodeRule>] {
        let spec = self.config.as_ref().and_then(|config| config.spec.as_ref());
        spec.map_or(&[], |spec| &spec.rules)
    }

    /// Judges anew: whether the agent is available, when that would change by time alone, and what the node adds to
    /// each of its rules.
    pub(crate) fn judge(&mut self, rules: &Rules, now: Moment, grace: Duration) {
        (self.available, self.wake) = self.judge_agent(now, grace);
        let own = self.is_for_this_node();
        let mut shares = std::mem::take(&mut self.shares);
        shares.retain(Share::counts);
        shares.shrink_to_fit();
        for share in &mut shares {
            let rule = rules.get(&share.rule);
            let generation = rule.map(|rule| rule.prepared.generation());
            // There is nothing for an agent to look at, so nothing that it could lack.
            let suspended = rule.is_some_and(|rule| rule.prepared.form().is_ok_and(|form| form.suspend));
            let carried = |form: &Arc<NodeRule>| form.uid == *share.rule && Some(form.generation) == generation;
            share.programmed = own && self.forms().iter().any(carried);
            let confirmed = share.found.is_some_and(|found| Some(found.generation) == generation);
            share.standing = match self.available {
                AgentAvailable::Available if suspended => Standing::Ready,
                AgentAvailable::Available if confirmed && self.speaks_for_this_node() => Standing::Ready,
                AgentAvailable::Available => Standing::Degraded,
                _ => Standing::Unavailable,
            };
        }
        self.shares = shares;
    }

    /// Looks at the conditions as they were just judged, and says which of them have stood long enough to be told, each
    /// subject once. [`Node::wake`] is when to look again.
    pub(crate) fn observe(&mut self, now: Moment) -> Vec<(Subject, String)> {
        let Some(config) = self.config.as_ref().filter(|config| !config.deleting && self.present.is_some()) else {
            self.held = <_>::default();
            return Vec::new();
        };
        let written = (config.ready.map(|written| written.reason), config.available.map(|written| written.reason));
        let (is_ready, is_available) = (self.ready(), self.available);
        let (ready, available) = &mut self.held;
        ready.begin(written.0);
        available.begin(written.1);
        let mut told: Vec<_> = available.observe(is_available, now).map(tell).into_iter().collect();
        told.extend(ready.observe(is_ready, now).map(tell));
        told.dedup_by_key(|(subject, _)| *subject);
        self.wake = [self.wake, ready.due(), available.due()].into_iter().flatten().min();
        told
    }

    fn judge_agent(&self, now: Moment, grace: Duration) -> (AgentAvailable, Option<Moment>) {
        let Some(ready_since) = self.pods.iter().filter_map(|pod| pod.ready).min() else {
            let over = self.without_agent + grace;
            return match (now >= over, self.pods.is_empty()) {
                // Pods come and go: what was last known stands until the absence has lasted.
                (false, _) => (self.available, Some(over)),
                (true, true) => (AgentAvailable::NoPod, None),
                (true, false) => (AgentAvailable::NotReady, None),
            };
        };
        match self.config.as_ref().and_then(|config| Some(config.heard.max(ready_since) + config.quiet()?)) {
            Some(over) if now >= over => (AgentAvailable::Silent, None),
            over => (AgentAvailable::Available, over),
        }
    }

    /// The operator's Ready.
    pub(crate) fn ready(&self) -> Ready {
        match &self.config {
            _ if self.available != AgentAvailable::Available => Ready::AgentUnavailable,
            Some(config) if config.applied && config.confirmed >= config.generation && self.is_for_this_node() => {
                if config.baseline {
                    Ready::Ready
                } else {
                    Ready::BaselineNotReady
                }
            }
            _ => Ready::ConfigNotApplied,
        }
    }

    pub(crate) fn state(&self) -> Option<NodeState> {
        self.present.as_ref()?;
        Some(match self.ready() {
            _ if !self.shares.iter().any(|share| share.selected) => NodeState::NotSelected,
            Ready::Ready => NodeState::Ready,
            Ready::AgentUnavailable => NodeState::Unavailable,
            Ready::ConfigNotApplied | Ready::BaselineNotReady => NodeState::Degraded,
        })
    }

    /// When the operator's conditions are to be written; `None` while the NodeConfig holds them as they are. What is wrong is
    /// written at once. That a new generation is not confirmed yet may wait for the answer, `patience` long: until then what
    /// stands says by its generation that it is about another.
    pub(crate) fn conditions_due(&self, patience: Duration) -> Option<Moment> {
        let config = self.config.as_ref().filter(|config| !config.deleting && self.present.is_some())?;
        let reason = self.ready();
        let available = config.available.is_some_and(|written| written.exact && written.reason == self.available);
        let Some(written) = config.ready.filter(|written| written.exact && available) else {
            return Some(Moment::default());
        };
        let is_current = written.generation == config.generation;
        if is_current && written.reason == reason {
            return None;
        }
        let may_answer = !is_current && reason == Ready::ConfigNotApplied && config.confirmed < config.generation;
        Some(if may_answer { config.asked + patience } else { Moment::default() })
    }

    /// Whether the spec names the Node that exists now.
    fn is_for_this_node(&self) -> bool {
        let spec = self.config.as_ref().and_then(|config| config.spec.as_ref());
        spec.zip(self.present.as_ref()).is_some_and(|(spec, present)| spec.node_uid == present.uid)
    }

    /// Whether the status is by the agent of the Node that exists now.
    fn speaks_for_this_node(&self) -> bool {
        let fresh = self.config.as_ref().is_some_and(|config| config.confirmed >= config.fresh_from);
        fresh && self.is_for_this_node()
    }
}

fn tell<R: Told + Explained>(transition: Transition<R>) -> (Subject, String) {
    (transition.to.subject(), transition.note(transition.to.sentence()))
}

impl Present {
    pub(crate) fn new(uid: Id, labels: Box<[Arc<Label>]>) -> Self {
        Self { uid, labels }
    }

    pub(crate) fn facts(&self, name: &str) -> NodeFacts {
        NodeFacts { name: name.into(), uid: self.uid.to_string(), labels: self.labels() }
    }

    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        let owned = |label: &Arc<Label>| (label.0.as_ref().into(), label.1.as_ref().into());
        self.labels.iter().map(owned).collect()
    }
}

impl Config {
    /// How long the agent may write nothing before it is called silent: a status that says the same is no write, so
    /// only a compare that ends in that time makes one. Nothing can be told of an agent that has nothing to compare.
    fn quiet(&self) -> Option<Duration> {
        let active = |form: &&Arc<NodeRule>| !form.suspend;
        let files = self.spec.iter().flat_map(|spec| &spec.rules).filter(active).filter_map(|form| form.files.as_ref());
        let intervals = files.filter(|files| !files.paths.is_empty()).map(|files| duration::parse(&files.interval));
        let shortest = intervals.filter_map(Result::ok).min()?;
        Some(shortest.max(REFRESH) * 5 / 2)
    }

    /// It, as it is now.
    pub(crate) fn existing(&self) -> Existing {
        Existing { uid: self.uid.to_uid(), version: self.version }
    }

    /// Whether the agent has confirmed that it watches nothing.
    pub(crate) fn is_emptied(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.rules.is_empty()) && self.confirmed >= self.generation
    }
}

impl Spec {
    /// Whether it says the same as a compiled one.
    pub(crate) fn says(&self, spec: &NodeConfigSpec) -> bool {
        self.node_uid == spec.node_uid.as_str().into()
            && self.common.cluster == spec.cluster
            && self.common.reporting == spec.reporting
            && self.rules.iter().map(AsRef::as_ref).eq(&spec.rules)
    }
}
