//! What the status says. Pure: a view, a plan and a time in, a status out.

use super::recent::to_seconds;
use super::{Recent, room};
use crate::config::NodePlan;
use crate::confine::Confinement;
use crate::narrate;
use crate::observe::{FaultKind, View};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeSet;
use vedette_crds::condition::node::{
    BaselineReady, Complete, ConfigApplied, Confined, OPERATOR_CONDITIONS, Realtime, StorageHealthy,
};
use vedette_crds::condition::{Condition, set};
use vedette_crds::node_config::{AgentInfo, Changes, CollectorProgress, JournalHead, NodeConfigStatus, RuleProgress};
use vedette_crds::record::ChangeType;
use vedette_engine::Aspect;
use vedette_engine::engine::Standing;

/// Unknown items that a message names.
const NAMED: usize = 3;

/// What a status is made from.
pub(crate) struct Basis<'a> {
    pub(crate) view: &'a View,
    pub(crate) plan: &'a NodePlan,
    pub(crate) boot_id: &'a str,
    pub(crate) confinement: &'a Confinement,
    pub(crate) recent: &'a Recent,
    /// Members that the API server's definition does not know.
    pub(crate) left_out: &'a BTreeSet<String>,
}

/// The status; `before` is the one that was last written to this object or found in it: its transition times are kept, and
/// its generation for as long as no later one of the same object is in force.
pub(crate) fn content(basis: &Basis<'_>, before: &NodeConfigStatus, now: Timestamp) -> NodeConfigStatus {
    let Basis { view, plan, boot_id, recent, .. } = basis;
    let standing = &view.standing;
    let totals = &standing.totals;
    let time = |time: vedette_engine::clock::Time| Time(to_seconds(time.timestamp()));
    let rules = totals.rules.iter().map(|rule| RuleProgress {
        name: rule.name.clone(),
        uid: rule.uid.clone(),
        generation: rule.generation,
        tracked_items: rule.tracked,
        changes: changes(|change| rule.changes_of(change)),
        last_change_time: rule.last_change.map(time),
    });
    let collector = view.last.as_ref().map(|last| CollectorProgress {
        name: "Files".to_owned(),
        last_completed: Some(Time(to_seconds(last.ended.0))),
        duration_seconds: Some((last.seconds * 1000.0).round() / 1000.0),
        items: Some(last.items),
    });
    let observed = if is_in_force(view, plan) { Some(plan.generation) } else { before.observed_generation };
    let mut status = NodeConfigStatus {
        observed_generation: observed,
        conditions: conditions(basis, &before.conditions, observed, now),
        agent: Some(AgentInfo { version: env!("CARGO_PKG_VERSION").to_owned(), boot_id: (*boot_id).to_owned() }),
        tracked_items: Some(totals.tracked),
        unknown_items: Some(standing.unknowns.items()),
        changes: Some(changes(|change| totals.changes_of(change))),
        last_change_time: totals.last_change.map(time),
        rules: rules.collect(),
        collectors: collector.into_iter().collect(),
        journal: Some(JournalHead {
            id: standing.journal.clone(),
            sequence: standing.sequence,
            head: format!("sha256:{}", standing.head),
        }),
        recent_changes: recent.list(),
    };
    room::fit(&mut status);
    status
}

/// Whether a status says something else than another: when a compare ended is not worth a write of its own.
pub(crate) fn differs(last: &NodeConfigStatus, next: &NodeConfigStatus) -> bool {
    let without_times = |status: &NodeConfigStatus| NodeConfigStatus { collectors: Vec::new(), ..status.clone() };
    without_times(last) != without_times(next)
}

fn changes(of: impl Fn(ChangeType) -> u64) -> Changes {
    Changes { added: of(ChangeType::Added), modified: of(ChangeType::Modified), removed: of(ChangeType::Removed) }
}

/// Whether the engine works by this plan: by its own number, for a generation is of one object only.
fn is_in_force(view: &View, plan: &NodePlan) -> bool {
    view.standing.generation == Some(plan.revision)
}

/// Whether a plan is about to take effect, or the first compare under it goes on: nothing keeps them from it.
pub(crate) fn is_under_way(view: &View, plan: &NodePlan) -> bool {
    view.fault.is_none() && !(is_in_force(view, plan) && view.standing.baseline_ready)
}

fn conditions(basis: &Basis<'_>, before: &[Condition], observed: Option<i64>, now: Timestamp) -> Vec<Condition> {
    let Basis { view, plan, confinement, .. } = basis;
    let standing = &view.standing;
    let operators = |condition: &&Condition| !OPERATOR_CONDITIONS.contains(&condition.type_.as_str());
    let mut conditions: Vec<Condition> = before.iter().filter(operators).cloned().collect();
    let now = to_seconds(now);
    let (applied, message) = applied(basis);
    set(&mut conditions, applied, &message, observed, now);
    let baseline = if standing.baseline_ready { BaselineReady::BaselineMade } else { BaselineReady::Scanning };
    set(&mut conditions, baseline, "", observed, now);
    let asks = plan.spec.rules.iter().any(|rule| rule.files.as_ref().is_some_and(|files| files.realtime));
    let (realtime, message) = if asks {
        let message = "this version has no kernel events: compares find changes (files.interval)";
        (Realtime::NotSupported, message)
    } else {
        (Realtime::NotAsked, "no rule has files.realtime")
    };
    set(&mut conditions, realtime, message, observed, now);
    let (storage, message) = storage(view);
    set(&mut conditions, storage, &message, observed, now);
    let (confined, message) = match confinement.lack() {
        None => (Confined::Confined, String::new()),
        Some(lack) => (Confined::NotSupported, lack),
    };
    set(&mut conditions, confined, &message, observed, now);
    let (complete, message) = complete(view, standing);
    set(&mut conditions, complete, &message, observed, now);
    conditions
}

fn applied(basis: &Basis<'_>) -> (ConfigApplied, String) {
    let Basis { view, plan, left_out, .. } = basis;
    if !is_in_force(view, plan) {
        let why = match &view.fault {
            Some(fault) => fault.message.clone(),
            None => "it takes effect when the step under way ends; if it does not within minutes, see the agent's log"
                .into(),
        };
        return (ConfigApplied::Pending, format!("generation {} is not in force yet: {why}", plan.generation));
    }
    if !left_out.is_empty() {
        let members: Vec<&str> = left_out.iter().map(String::as_str).collect();
        let members = members.join(", ");
        let message = format!(
            "the NodeConfig CRD does not know status members of this agent, they are left out: {members}. Apply the CRDs of agent {}",
            env!("CARGO_PKG_VERSION")
        );
        return (ConfigApplied::SchemaOutdated, message);
    }
    if plan.unknown.is_empty() {
        return (ConfigApplied::Applied, String::new());
    }
    (ConfigApplied::UnknownField, format!("this agent does not know: {}", plan.unknown.join(", ")))
}

fn storage(view: &View) -> (StorageHealthy, String) {
    let Some(fault) = &view.fault else { return (StorageHealthy::Healthy, String::new()) };
    let reason = match fault.kind {
        FaultKind::StoreFull => StorageHealthy::DiskFull,
        FaultKind::StoreDamaged => StorageHealthy::Damaged,
        FaultKind::StoreFailing => StorageHealthy::Failing,
        FaultKind::HostRoot | FaultKind::HostRootChanged | FaultKind::Mounts | FaultKind::Threads => {
            return (StorageHealthy::Healthy, String::new());
        }
    };
    (reason, fault.message.clone())
}

fn complete(view: &View, standing: &Standing) -> (Complete, String) {
    if let Some(fault) = &view.fault
        && matches!(
            fault.kind,
            FaultKind::HostRoot | FaultKind::HostRootChanged | FaultKind::Mounts | FaultKind::Threads
        )
    {
        return (Complete::RootChanged, fault.message.clone());
    }
    let unknown = standing.unknowns.items();
    if unknown == 0 {
        return (Complete::Complete, narrate::idle_on_node(&standing.idle));
    }
    let named = standing.unknowns.named().iter().take(NAMED);
    let named: Vec<String> = named.map(|unknown| format!("{}: {}", unknown.path, unknown.reason)).collect();
    let is_hidden = standing.unknowns.named().iter().any(|unknown| unknown.aspect == Aspect::HiddenMount);
    let reason = if is_hidden { Complete::MountsHidden } else { Complete::ItemsUnknown };
    (reason, format!("{unknown} items, among them {}", named.join("; ")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;
    use vedette_crds::condition::{find, reason};
    use vedette_engine::{Totals, Unknowns};

    fn view(generation: Option<i64>) -> View {
        let standing = Standing {
            journal: "j".into(),
            sequence: 0,
            lines: 0,
            head: String::new(),
            totals: Totals::default(),
            generation,
            baseline_ready: true,
            baseline_made: true,
            unknowns: Unknowns::default(),
            idle: [].into(),
        };
        View { standing, last: None, fault: None }
    }

    fn plan(uid: &str, generation: i64, revision: i64) -> NodePlan {
        let spec = json!({"nodeUid": "n", "reporting": {"minInterval": "10s", "refreshInterval": "15m"}, "rules": []});
        NodePlan { revision, ..NodePlan::of(uid, generation, &spec).unwrap() }
    }

    fn status(view: &View, plan: &NodePlan, left_out: &[&str], before: &NodeConfigStatus) -> NodeConfigStatus {
        let left_out = left_out.iter().map(|member| (*member).to_owned()).collect();
        let confinement = Confinement { lacks: vec!["mounts are not refused".into(), "so are writes".into()] };
        let recent = &Recent::default();
        let basis = Basis { view, plan, boot_id: "b", confinement: &confinement, recent, left_out: &left_out };
        content(&basis, before, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn what_the_agent_could_not_bind_itself_to_is_said() {
        let said = status(&view(Some(1)), &plan("u", 1, 1), &[], &NodeConfigStatus::default());
        assert_eq!(reason(&said.conditions), Some(Confined::NotSupported));
        assert_eq!(find::<Confined>(&said.conditions).unwrap().message, "mounts are not refused; so are writes");
    }

    #[test]
    fn a_plan_is_applied_when_it_is_this_one_and_not_when_its_generation_is_the_same() {
        let first = status(&view(Some(1)), &plan("u", 1, 1), &[], &NodeConfigStatus::default());
        assert_eq!((reason(&first.conditions), first.observed_generation), (Some(ConfigApplied::Applied), Some(1)));
        // Another object: nothing was found in it, and the engine still works by the first.
        let second = status(&view(Some(1)), &plan("v", 1, 2), &[], &NodeConfigStatus::default());
        assert_eq!((reason(&second.conditions), second.observed_generation), (Some(ConfigApplied::Pending), None));
        let message = &find::<ConfigApplied>(&second.conditions).unwrap().message;
        assert!(
            message.contains("generation 1 is not in force yet") && message.contains("the agent's log"),
            "{message}"
        );
        // The same object at its next generation: the last one stands until then.
        let third = status(&view(Some(1)), &plan("u", 2, 2), &[], &first);
        assert_eq!((reason(&third.conditions), third.observed_generation), (Some(ConfigApplied::Pending), Some(1)));
    }

    #[test]
    fn a_plan_that_is_not_in_force_and_a_baseline_that_is_not_made_are_under_way_unless_something_fails() {
        let plan = plan("u", 2, 2);
        assert!(!is_under_way(&view(Some(2)), &plan));
        assert!(is_under_way(&view(Some(1)), &plan));
        let mut scanning = view(Some(2));
        scanning.standing.baseline_ready = false;
        assert!(is_under_way(&scanning, &plan));
        scanning.fault = Some(crate::observe::Fault { kind: FaultKind::StoreFull, message: "full".into() });
        assert!(!is_under_way(&scanning, &plan));
    }

    #[test]
    fn what_keeps_a_plan_from_being_applied_is_in_the_message() {
        let mut view = view(Some(1));
        view.fault =
            Some(crate::observe::Fault { kind: FaultKind::HostRoot, message: "cannot open the host root".into() });
        let pending = status(&view, &plan("u", 2, 2), &[], &NodeConfigStatus::default());
        let message = &find::<ConfigApplied>(&pending.conditions).unwrap().message;
        assert_eq!(message, "generation 2 is not in force yet: cannot open the host root");
    }

    #[test]
    fn a_definition_that_does_not_know_a_member_is_said_and_what_it_is_to_get() {
        let said = status(&view(Some(1)), &plan("u", 1, 1), &["agent", "rules"], &NodeConfigStatus::default());
        assert_eq!(reason(&said.conditions), Some(ConfigApplied::SchemaOutdated));
        let message = &find::<ConfigApplied>(&said.conditions).unwrap().message;
        assert!(message.contains("agent, rules. Apply the CRDs"), "{message}");
    }

    #[test]
    fn a_condition_that_does_not_hold_says_what_to_do() {
        let mut asking = plan("u", 1, 1);
        let files = vedette_crds::node_config::NodeFiles { realtime: true, ..Default::default() };
        asking.spec.rules = vec![vedette_crds::node_config::NodeRule {
            files: Some(files),
            ..vedette_crds::node_config::NodeRule::default()
        }];
        for (plan, expected) in [(plan("u", 1, 1), Realtime::NotAsked), (asking, Realtime::NotSupported)] {
            let said = status(&view(Some(1)), &plan, &[], &NodeConfigStatus::default());
            assert_eq!(reason(&said.conditions), Some(expected));
            let message = &find::<Realtime>(&said.conditions).unwrap().message;
            assert!(message.contains("files."), "{message}");
        }
    }
}
