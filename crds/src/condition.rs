//! Conditions: what holds of a rule or a node, why, and since when.
//!
//! A condition's reasons are a closed set, and each stands for one status: who gives a reason has said the status.
//! This module writes and reads conditions in a list; it never asks a clock.

pub mod node;
pub mod rule;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use schemars::{Schema, SchemaGenerator, json_schema};

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The longest message, in characters.
const MAX_MESSAGE: usize = 1024;

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody can tell.
    Unknown,
}

impl Status {
    /// The status as conditions spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A reason of one type of condition.
pub trait Reason: Copy + Eq + 'static {
    /// The type of the condition.
    const CONDITION: &'static str;
    /// Every reason there is.
    const ALL: &'static [Self];

    /// The status that the reason stands for.
    fn status(self) -> Status;

    /// The reason as conditions spell it.
    fn as_str(self) -> &'static str;
}

/// Sets a condition, and keeps the time of its last transition when its status stays. A message that is too long
/// is cut. Says whether anything but the observed generation differs from before.
pub fn set<R: Reason>(
    conditions: &mut Vec<Condition>,
    reason: R,
    message: &str,
    observed_generation: Option<i64>,
    now: Timestamp,
) -> bool {
    let mut next = Condition {
        type_: R::CONDITION.into(),
        status: reason.status().as_str().into(),
        reason: reason.as_str().into(),
        message: message.chars().take(MAX_MESSAGE).collect(),
        observed_generation,
        last_transition_time: Time(now),
    };
    match conditions.iter_mut().find(|condition| condition.type_ == R::CONDITION) {
        None => {
            conditions.push(next);
            true
        }
        Some(last) => {
            if last.status == next.status {
                next.last_transition_time = last.last_transition_time.clone();
            }
            let differs = (&last.status, &last.reason, &last.message) != (&next.status, &next.reason, &next.message);
            *last = next;
            differs
        }
    }
}

/// The condition of this type, whatever its reason.
pub fn find<R: Reason>(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == R::CONDITION)
}

/// The reason of the condition of this type; `None` when it is absent or its reason is none of this version's.
pub fn reason<R: Reason>(conditions: &[Condition]) -> Option<R> {
    let written = &find::<R>(conditions)?.reason;
    R::ALL.iter().copied().find(|reason| reason.as_str() == written)
}

/// Whether the condition of this type is there and holds.
pub fn is_true<R: Reason>(conditions: &[Condition]) -> bool {
    find::<R>(conditions).is_some_and(|condition| condition.status == Status::True.as_str())
}

/// The reasons of one type of condition, each after the status it stands for.
macro_rules! reasons {
    ($(#[$about:meta])* $condition:ident { $($(#[$why:meta])* $status:ident: $reason:ident,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $condition { $($(#[$why])* $reason,)+ }

        impl $crate::condition::Reason for $condition {
            const CONDITION: &'static str = stringify!($condition);
            const ALL: &'static [Self] = &[$(Self::$reason),+];

            fn status(self) -> $crate::condition::Status {
                match self { $(Self::$reason => $crate::condition::Status::$status,)+ }
            }

            fn as_str(self) -> &'static str {
                match self { $(Self::$reason => stringify!($reason),)+ }
            }
        }
    };
}
use reasons;

/// The schema of a list of conditions: merged by type, so that operator and agent each keep their own.
pub(crate) fn conditions_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {"type": "string", "maxLength": 64},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "observedGeneration": {"type": "integer", "format": "int64"},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "reason": {"type": "string", "minLength": 1, "maxLength": 128},
                "message": {"type": "string", "maxLength": MAX_MESSAGE}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::node::AgentAvailable;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_with_the_status_alone() {
        let mut conditions = Vec::new();
        assert!(set(&mut conditions, AgentAvailable::NoPod, "", Some(1), at(1)));
        assert!(set(&mut conditions, AgentAvailable::NotReady, "", Some(1), at(2)));
        assert_eq!(conditions[0].last_transition_time, Time(at(1)));
        assert!(!set(&mut conditions, AgentAvailable::NotReady, "", Some(2), at(3)));
        assert_eq!(conditions[0].observed_generation, Some(2));
        assert!(set(&mut conditions, AgentAvailable::Available, "", Some(2), at(4)));
        assert_eq!(conditions[0].last_transition_time, Time(at(4)));
        assert!(is_true::<AgentAvailable>(&conditions));
        assert_eq!(conditions.len(), 1);
    }

    #[test]
    fn a_reason_reads_back_and_a_newer_one_is_none() {
        let mut conditions = Vec::new();
        set(&mut conditions, node::Realtime::NotSupported, "", None, at(1));
        assert_eq!(reason(&conditions), Some(node::Realtime::NotSupported));
        conditions[0].reason = "Newer".into();
        assert_eq!(reason::<node::Realtime>(&conditions), None);
    }

    /// The rows of a table's section: condition, status, reason.
    fn documented(section: &str) -> Vec<(String, String, String)> {
        let page = include_str!("../../docs/conditions.md");
        let section = page.split("\n## ").find(|part| part.starts_with(section)).unwrap();
        let mut condition = String::new();
        let rows = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| condition"));
        rows.map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            if !cells[0].is_empty() {
                condition = cells[0].into();
            }
            (condition.clone(), cells[1].into(), cells[2].into())
        })
        .collect()
    }

    fn reasons_of<R: Reason>() -> Vec<(String, String, String)> {
        R::ALL
            .iter()
            .map(|reason| (R::CONDITION.into(), reason.status().as_str().into(), reason.as_str().into()))
            .collect()
    }

    #[test]
    fn the_page_on_conditions_has_every_reason_and_no_other() {
        use super::{node, rule};
        let of_rules = [
            reasons_of::<rule::Accepted>(),
            reasons_of::<rule::Programmed>(),
            reasons_of::<rule::Ready>(),
            reasons_of::<rule::AllNodesCovered>(),
        ];
        assert_eq!(documented("DataCollectionRule"), of_rules.concat());
        let of_nodes = [
            reasons_of::<node::Ready>(),
            reasons_of::<AgentAvailable>(),
            reasons_of::<node::ConfigApplied>(),
            reasons_of::<node::BaselineReady>(),
            reasons_of::<node::Realtime>(),
            reasons_of::<node::StorageHealthy>(),
            reasons_of::<node::Confined>(),
            reasons_of::<node::Complete>(),
        ];
        assert_eq!(documented("NodeConfig"), of_nodes.concat());
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let mut conditions = Vec::new();
        set(&mut conditions, rule::Accepted::Refused, &"é".repeat(2000), None, at(1));
        assert_eq!(conditions[0].message.chars().count(), MAX_MESSAGE);
    }
}
