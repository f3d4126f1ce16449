//! The room that a status has in etcd. Pure: over it, the ends of long messages go first, then the oldest of the recent
//! changes: the records tell both whole.

use vedette_crds::node_config::{NodeConfigStatus, RuleProgress};

/// A status is to stay under 5 kB of JSON with 8 rules; the operator's two conditions take up to 600 bytes of that.
const MAX_BYTES: usize = 4_400;
const RULES_IN_THAT: usize = 8;
/// A sentence and the names in it; and what is left of it when that is still too much.
const MESSAGE: usize = 176;
const SHORT_MESSAGE: usize = 32;

/// Cuts a status until it has room.
pub(super) fn fit(status: &mut NodeConfigStatus) {
    let further: &[RuleProgress] = status.rules.get(RULES_IN_THAT..).unwrap_or_default();
    let room = MAX_BYTES + further.iter().map(bytes).sum::<usize>();
    if bytes(status) > room {
        cut_messages(status, MESSAGE);
    }
    while bytes(status) > room && status.recent_changes.pop().is_some() {}
    if bytes(status) > room {
        cut_messages(status, SHORT_MESSAGE);
    }
}

fn cut_messages(status: &mut NodeConfigStatus, longest: usize) {
    for condition in &mut status.conditions {
        let message = &mut condition.message;
        if bytes(message) > longest {
            let mut room = longest - bytes("…");
            let fits = |character: &char| {
                room = room.saturating_sub(bytes(character) - bytes(""));
                room > 0
            };
            *message = message.chars().take_while(fits).chain(['…']).collect();
        }
    }
}

fn bytes(value: &(impl serde::Serialize + ?Sized)) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX / 2, |json| json.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use vedette_crds::condition::node::{
        AgentAvailable, BaselineReady, Complete, ConfigApplied, Confined, Ready, Realtime, StorageHealthy,
    };
    use vedette_crds::condition::{Condition, Reason, set};
    use vedette_crds::node_config::{AgentInfo, Changes, CollectorProgress, JournalHead, RecentChange};

    fn time() -> Time {
        Time(Timestamp::from_second(1_795_000_000).unwrap())
    }

    fn longest<R: Reason>() -> R {
        *R::ALL.iter().max_by_key(|reason| reason.as_str().len()).unwrap()
    }

    fn say<R: Reason>(conditions: &mut Vec<Condition>, message: &str) {
        set(conditions, longest::<R>(), message, Some(i64::from(u32::MAX)), time().0);
    }

    /// Every member there, every number and name as long as a cluster brings them.
    fn largest(rules: usize, name: usize, message: &str) -> NodeConfigStatus {
        let million = 1_000_000_000;
        let changes = Changes { added: million, modified: million, removed: million };
        let mut conditions = Vec::new();
        say::<ConfigApplied>(&mut conditions, message);
        say::<BaselineReady>(&mut conditions, message);
        say::<Realtime>(&mut conditions, message);
        say::<StorageHealthy>(&mut conditions, message);
        say::<Confined>(&mut conditions, message);
        say::<Complete>(&mut conditions, message);
        let rule = |index: usize| RuleProgress {
            name: format!("{index:0name$}"),
            uid: "0f8fad5b-d9cb-469f-a165-70867728950e".into(),
            generation: 100_000,
            tracked_items: million,
            changes,
            last_change_time: Some(time()),
        };
        let recent = |sequence: u64| RecentChange {
            sequence,
            time: time(),
            category: "File".into(),
            change_type: "Modified".into(),
            detection: "Startup".into(),
            path: "/etc/x".into(),
            fields: vec!["Content".into(), "ContentState".into(), "Size".into()],
            severity: "Critical".into(),
        };
        NodeConfigStatus {
            observed_generation: Some(i64::from(u32::MAX)),
            conditions,
            agent: Some(AgentInfo {
                version: "10.100.1000-rc.1".into(),
                boot_id: "0f8fad5b-d9cb-469f-a165-70867728950e".into(),
            }),
            tracked_items: Some(million),
            unknown_items: Some(million),
            changes: Some(changes),
            last_change_time: Some(time()),
            rules: (0..rules).map(rule).collect(),
            collectors: vec![CollectorProgress {
                name: "Files".into(),
                last_completed: Some(time()),
                duration_seconds: Some(86_399.999),
                items: Some(million),
            }],
            journal: Some(JournalHead {
                id: "0f8fad5b-d9cb-469f-a165-70867728950e".into(),
                sequence: million,
                head: format!("sha256:{}", "0".repeat(64)),
            }),
            recent_changes: (0..4).map(recent).collect(),
        }
    }

    /// With the operator's conditions, as it is stored.
    fn stored(mut status: NodeConfigStatus) -> usize {
        say::<Ready>(&mut status.conditions, &"x".repeat(120));
        say::<AgentAvailable>(&mut status.conditions, &"x".repeat(120));
        bytes(&status)
    }

    #[test]
    fn the_largest_status_of_eight_rules_stays_under_five_kilobytes() {
        let messages = ["x".repeat(1024), "é\"".repeat(512), "\u{7}".repeat(1024), "檔案".repeat(512), String::new()];
        for message in messages {
            for name in [1, 20, 63, 128] {
                let mut status = largest(8, name, &message);
                fit(&mut status);
                let bytes = stored(status);
                assert!(bytes < 5_000, "{bytes} bytes with names of {name}");
            }
        }
    }

    #[test]
    fn what_has_room_is_left_as_it_is() {
        let status = largest(2, 20, "3 items, among them /etc/shadow: no permission");
        let mut fitted = status.clone();
        fit(&mut fitted);
        assert_eq!(fitted, status);
    }

    #[test]
    fn more_rules_take_their_own_room_and_nobody_elses() {
        let mut eight = largest(8, 20, "short");
        let mut all = largest(32, 20, "short");
        fit(&mut eight);
        fit(&mut all);
        assert_eq!(all.recent_changes, eight.recent_changes);
        assert_eq!(all.conditions, eight.conditions);
        assert_eq!(all.rules.len(), 32);
    }

    #[test]
    fn a_message_is_cut_before_a_recent_change_is_left_out_and_between_characters() {
        let mut status = largest(4, 20, &"é".repeat(1024));
        fit(&mut status);
        assert_eq!(status.recent_changes.len(), 4);
        let message = &status.conditions[0].message;
        assert!(message.ends_with("é…") && message.len() < MESSAGE, "{message}");
    }
}
