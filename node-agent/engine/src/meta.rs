//! What the state says of itself: the journal's head, the plans in force, and the totals that statuses and metrics show.
//!
//! It moves in the same transaction as the records it counts, so totals and journal can never disagree.

use crate::clock::Time;
use crate::compared::Compared;
use crate::page::{PlanId, Volume};
use crate::retain::Lived;
use crate::store::{Reader, StoreError, Writer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use vedette_crds::record::{Chain, ChangeType, Detection};
use vedette_crds::rule::Severity;

pub(crate) const KEY: &str = "state";
/// More plans than this are not held, however often rules change in a week; each may be 64 KiB.
const MAX_PLANS: usize = 64;

/// Counts of one rule since it came to this journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTotals {
    /// The rule's uid: a rule that comes back under its old name is another one.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// The generation that is in force.
    #[serde(default)]
    pub generation: i64,
    /// Items that its entries select, suspended or not.
    pub tracked: u64,
    /// Records that name it, by [`ChangeType`] and [`Severity`] in their declared order.
    pub changes: [[u64; 5]; 3],
    /// When the last of them was detected.
    pub last_change: Option<Time>,
}

impl RuleTotals {
    /// Records of one type, over all severities.
    pub fn changes_of(&self, change: ChangeType) -> u64 {
        self.changes[change as usize].iter().sum()
    }
}

/// All counts of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Of the rules in force, in their order.
    pub rules: Vec<RuleTotals>,
    /// Records of files, by [`ChangeType`] and [`Detection`] in their declared order.
    pub files: [[u64; 5]; 3],
    /// Items in the state.
    pub tracked: u64,
    /// When the last record was detected.
    pub last_change: Option<Time>,
    /// Bytes of the lines that are in the journal.
    #[serde(default)]
    pub journal_bytes: u64,
    /// Lines that left the journal before a sink had delivered them, by the sink's word.
    #[serde(default)]
    pub dropped: BTreeMap<String, u64>,
}

impl Totals {
    /// Records of one type, whatever detected them.
    pub fn changes_of(&self, change: ChangeType) -> u64 {
        self.files[change as usize].iter().sum()
    }

    /// Counts a record that the rules at these indices report, each with the severity of its own entries.
    pub(crate) fn count(&mut self, change: ChangeType, detection: Detection, rules: &[(usize, Severity)], time: Time) {
        self.files[change as usize][detection as usize] += 1;
        self.last_change = Some(time);
        for (rule, severity) in rules {
            if let Some(rule) = self.rules.get_mut(*rule) {
                rule.changes[change as usize][*severity as usize] += 1;
                rule.last_change = Some(time);
            }
        }
    }
}

/// A configuration that is in force but whose first complete compare is still to come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) added: u64,
    pub(crate) forgotten: u64,
}

/// A place between two lines: what is before it has left the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Base {
    /// Of the line before it; 0 at the beginning.
    pub(crate) sequence: u64,
    /// The chain after that line.
    pub(crate) chain: Chain,
}

/// A plan that is in force, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InForce {
    pub(crate) plan: PlanId,
    /// When it came into force, in time that was [`Lived`].
    pub(crate) since: Time,
    /// Whether a complete compare has ended under it.
    pub(crate) is_complete: bool,
    /// A hash of its rules; a state of an older version does not say.
    #[serde(default)]
    pub(crate) rules: Option<u64>,
}

/// A rule that is suspended, with its items as they were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Frozen {
    /// The rule's uid.
    pub(crate) rule: String,
    /// The first plan that suspended it.
    pub(crate) under: PlanId,
    /// The file systems of the state that were mounted then: where it has no item on one of them, it had found none. A state
    /// of an older version names none.
    #[serde(default)]
    pub(crate) volumes: BTreeSet<Volume>,
}

/// A file system that came while it was watched where it is mounted: a record said so, and one says its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Visitor {
    pub(crate) volume: Volume,
    /// When its end was said.
    pub(crate) left: Option<Time>,
}

/// The description of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// The journal's id.
    pub(crate) journal: String,
    /// Of its last line; 0 before the first.
    pub(crate) sequence: u64,
    /// The chain after that line.
    pub(crate) head: Chain,
    /// The last line that left the journal: the first one that is there continues its chain.
    #[serde(default)]
    pub(crate) base: Base,
    /// The identity of the host root that this state is of.
    pub(crate) host_root: Option<String>,
    /// The plan in force.
    pub(crate) plan: Option<PlanId>,
    /// The latest plan under which a complete compare ended.
    pub(crate) complete: Option<PlanId>,
    pub(crate) pending: Option<Pending>,
    pub(crate) baseline_made: bool,
    #[serde(flatten)]
    pub(crate) compared: Compared,
    /// When the state was last written, by the latest that the clock has shown.
    pub(crate) alive: Option<Time>,
    pub(crate) totals: Totals,
    /// Journals that this one took the place of.
    #[serde(default)]
    pub(crate) predecessors: Vec<String>,
    /// Whether all content is to be read again: the clock went back, or somebody asked for it.
    #[serde(default)]
    pub(crate) reread: bool,
    /// The plan in force and older ones that the state holds, oldest first.
    #[serde(default)]
    pub(crate) plans: Vec<InForce>,
    /// What left watch before this is forgotten. It never goes back, even when the clock does.
    #[serde(default)]
    pub(crate) forgotten_before: Time,
    #[serde(default)]
    pub(crate) lived: Option<Lived>,
    #[serde(default)]
    pub(crate) frozen: Vec<Frozen>,
    #[serde(default)]
    pub(crate) visitors: Vec<Visitor>,
}

impl Meta {
    /// An id that no other journal has.
    pub(crate) fn new_id() -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }

    /// The description of a new journal.
    pub(crate) fn new(journal: String) -> Self {
        Self {
            journal,
            sequence: 0,
            head: Chain::default(),
            base: Base::default(),
            host_root: None,
            plan: None,
            complete: None,
            pending: None,
            baseline_made: false,
            compared: Compared::default(),
            alive: None,
            totals: Totals::default(),
            predecessors: Vec::new(),
            reread: false,
            plans: Vec::new(),
            forgotten_before: Time::default(),
            lived: None,
            frozen: Vec::new(),
            visitors: Vec::new(),
        }
    }

    /// Notes that a plan is in force from `now` on, in time that was lived, and which older ones still say something.
    pub(crate) fn put_into_force(&mut self, plan: PlanId, rules: u64, now: Time) {
        if self.plans.is_empty() {
            // A state of an older version does not say since when.
            let known = self.complete.into_iter().chain(self.plan.filter(|plan| Some(*plan) != self.complete));
            let is_complete = |plan| Some(plan) == self.complete;
            let (since, rules) = Default::default();
            self.plans = known.map(|plan| InForce { plan, since, is_complete: is_complete(plan), rules }).collect();
        }
        self.plan = Some(plan);
        self.plans.push(InForce { plan, since: now, is_complete: false, rules: Some(rules) });
        // What an older one alone selected has left with the one after it; what is frozen still may have been watched.
        let frozen = self.frozen.iter().map(|frozen| frozen.under).min();
        while let [oldest, next, ..] = *self.plans
            && Some(oldest.plan) < self.complete
            && next.since < self.forgotten_before
            && frozen.is_none_or(|frozen| oldest.plan < frozen)
        {
            self.plans.remove(0);
        }
        while self.plans.len() > MAX_PLANS {
            self.let_go_of_a_plan();
        }
    }

    /// Who may write a link that is followed makes plans as he likes: one whose rules are those of the next goes first, and that
    /// takes its place. Then the oldest.
    fn let_go_of_a_plan(&mut self) {
        let is_kept = |held: &InForce| Some(held.plan) == self.complete;
        let repeated = self.plans.windows(2).position(|pair| {
            let [held, next] = pair else { return false };
            let says_as_much = next.is_complete || !held.is_complete;
            held.rules.is_some() && held.rules == next.rules && says_as_much && !is_kept(held)
        });
        if let Some(at) = repeated {
            let since = self.plans.remove(at).since;
            self.plans[at].since = since;
        } else if let Some(oldest) = self.plans.iter().position(|held| !is_kept(held)) {
            self.plans.remove(oldest);
        }
    }

    /// The file system, if it came while it was watched.
    pub(crate) fn visitor(&mut self, volume: Volume) -> Option<&mut Visitor> {
        self.visitors.iter_mut().find(|visitor| visitor.volume == volume)
    }

    /// Whether the state holds a plan.
    pub(crate) fn holds(&self, plan: PlanId) -> bool {
        self.plans.iter().any(|held| held.plan == plan)
    }

    /// The plans that the state holds from before this one, newest first.
    pub(crate) fn before(&self, plan: PlanId) -> Vec<InForce> {
        self.plans.iter().rev().filter(|older| older.plan < plan).copied().collect()
    }

    pub(crate) fn load(reader: &Reader) -> Result<Option<Self>, StoreError> {
        reader.meta(KEY)?.map(|bytes| decode(&bytes)).transpose()
    }

    pub(crate) fn save(&self, writer: &Writer) -> Result<(), StoreError> {
        let bytes =
            serde_json::to_vec(self).map_err(|error| StoreError::damaged(format!("its description: {error}")))?;
        writer.set_meta(KEY, &bytes)
    }
}

/// The journal's id in a stored description.
pub(crate) fn journal(description: Option<Vec<u8>>) -> Result<String, StoreError> {
    #[derive(Deserialize)]
    struct Named {
        journal: String,
    }
    let bytes = description.ok_or_else(|| StoreError::damaged("its description is missing"))?;
    decode(&bytes).map(|Named { journal }| journal)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::damaged(format!("its description: {error}")))
}
