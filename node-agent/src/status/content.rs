//! What the status says. Pure: a view, a plan and a time in, a status out.

use super::Recent;
use super::recent::to_seconds;
use crate::config::NodePlan;
use crate::narrate;
use crate::observe::{FaultKind, View};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vedette_crds::condition::node::{
    BaselineReady, Complete, ConfigApplied, OPERATOR_CONDITIONS, Realtime, StorageHealthy,
};
use vedette_crds::condition::{Condition, set};
use vedette_crds::node_config::{AgentInfo, Changes, CollectorProgress, JournalHead, NodeConfigStatus, RuleProgress};
use vedette_crds::record::ChangeType;
use vedette_engine::engine::Standing;

/// Unknown items that a message names.
const NAMED: usize = 3;

/// What a status is made from.
pub(crate) struct Basis<'a> {
    pub(crate) view: &'a View,
    pub(crate) plan: &'a NodePlan,
    pub(crate) boot_id: &'a str,
    pub(crate) recent: &'a Recent,
}

/// The status; `before` are the conditions that were last written or found, whose transition times are kept.
pub(crate) fn content(basis: &Basis<'_>, before: &[Condition], now: Timestamp) -> NodeConfigStatus {
    let Basis { view, plan, boot_id, recent } = basis;
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
    NodeConfigStatus {
        observed_generation: standing.generation,
        conditions: conditions(view, plan, before, now),
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
    }
}

/// Whether a status says something else than another: when a compare ended is not worth a write of its own.
pub(crate) fn differs(last: &NodeConfigStatus, next: &NodeConfigStatus) -> bool {
    let without_times = |status: &NodeConfigStatus| NodeConfigStatus { collectors: Vec::new(), ..status.clone() };
    without_times(last) != without_times(next)
}

fn changes(of: impl Fn(ChangeType) -> u64) -> Changes {
    Changes { added: of(ChangeType::Added), modified: of(ChangeType::Modified), removed: of(ChangeType::Removed) }
}

fn conditions(view: &View, plan: &NodePlan, before: &[Condition], now: Timestamp) -> Vec<Condition> {
    let standing = &view.standing;
    let operators = |condition: &&Condition| !OPERATOR_CONDITIONS.contains(&condition.type_.as_str());
    let mut conditions: Vec<Condition> = before.iter().filter(operators).cloned().collect();
    let observed = standing.generation;
    let now = to_seconds(now);
    let (applied, message) = if standing.generation != Some(plan.generation) {
        (ConfigApplied::Pending, String::new())
    } else if plan.unknown.is_empty() {
        (ConfigApplied::Applied, String::new())
    } else {
        (ConfigApplied::UnknownField, format!("this agent does not know: {}", plan.unknown.join(", ")))
    };
    set(&mut conditions, applied, &message, observed, now);
    let baseline = if standing.baseline_ready { BaselineReady::BaselineMade } else { BaselineReady::Scanning };
    set(&mut conditions, baseline, "", observed, now);
    let asks = plan.spec.rules.iter().any(|rule| rule.files.as_ref().is_some_and(|files| files.realtime));
    let realtime = if asks { Realtime::NotSupported } else { Realtime::NotAsked };
    set(&mut conditions, realtime, "", observed, now);
    let (storage, message) = storage(view);
    set(&mut conditions, storage, &message, observed, now);
    let (complete, message) = complete(view, standing);
    set(&mut conditions, complete, &message, observed, now);
    conditions
}

fn storage(view: &View) -> (StorageHealthy, String) {
    let Some(fault) = &view.fault else { return (StorageHealthy::Healthy, String::new()) };
    let reason = match fault.kind {
        FaultKind::StoreFull => StorageHealthy::DiskFull,
        FaultKind::StoreDamaged => StorageHealthy::Damaged,
        FaultKind::StoreFailing => StorageHealthy::Failing,
        FaultKind::HostRoot | FaultKind::HostRootChanged | FaultKind::Mounts => {
            return (StorageHealthy::Healthy, String::new());
        }
    };
    (reason, fault.message.clone())
}

fn complete(view: &View, standing: &Standing) -> (Complete, String) {
    if let Some(fault) = &view.fault
        && matches!(fault.kind, FaultKind::HostRoot | FaultKind::HostRootChanged | FaultKind::Mounts)
    {
        return (Complete::RootChanged, fault.message.clone());
    }
    let unknown = standing.unknowns.items();
    if unknown == 0 {
        return (Complete::Complete, narrate::idle_on_node(&standing.idle));
    }
    let named = standing.unknowns.named().iter().take(NAMED);
    let named: Vec<String> = named.map(|unknown| format!("{}: {}", unknown.path, unknown.reason)).collect();
    (Complete::ItemsUnknown, format!("{unknown} items, among them {}", named.join("; ")))
}
