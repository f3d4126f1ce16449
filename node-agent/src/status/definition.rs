//! What of a status the API server's definition of NodeConfig can take. A server with an older definition refuses an apply
//! that has a field it does not know, whole: the members it names are left out, the rest goes on, and from time to time
//! all of it is tried again.

use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;
use vedette_service::Retry;

/// What every version has. Without these a status says nothing.
const BASE: [&str; 3] = ["conditions", "observedGeneration", "journal"];
/// All of it is tried again at most this much later: definitions are upgraded by people.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// What the server puts before each field that it does not know, and behind it.
const MEMBER: &str = ".status.";
const UNKNOWN: &str = "field not declared in schema";

/// The definition, as far as refusals have shown it.
#[derive(Debug)]
pub(crate) struct Definition {
    left_out: BTreeSet<String>,
    /// The members that the log has named since the definition last knew all.
    named: BTreeSet<String>,
    /// When all is tried again; `None` while nothing is left out, or while that try is under way.
    probe: Option<Instant>,
    retry: Retry,
}

impl Default for Definition {
    fn default() -> Self {
        Self { left_out: BTreeSet::new(), named: BTreeSet::new(), probe: None, retry: Retry::new(LONGEST_PAUSE) }
    }
}

impl Definition {
    /// The members that are left out.
    pub(super) fn left_out(&self) -> &BTreeSet<String> {
        &self.left_out
    }

    /// When all is tried again.
    pub(super) fn probe(&self) -> Option<Instant> {
        self.probe
    }

    /// Leaves nothing out when it is time to try.
    pub(super) fn probe_when_due(&mut self, now: Instant) {
        if self.probe.is_some_and(|probe| probe <= now) {
            self.probe = None;
            self.left_out.clear();
        }
    }

    /// Takes out what is left out.
    pub(super) fn trim(&self, status: &mut Value) {
        if let Some(members) = status.as_object_mut() {
            members.retain(|member, _| !self.left_out.contains(member));
        }
    }

    /// An apply was taken.
    pub(super) fn taken(&mut self, now: Instant) {
        if !self.left_out.is_empty() {
            return;
        }
        self.named.clear();
        if let Some(lasted) = self.retry.succeeded(now) {
            tracing::info!("the NodeConfig CRD knows the whole status now, after {}", vedette_service::rough(lasted));
        }
    }

    /// An apply was refused for fields that are not declared. Says whether less of it may be taken.
    pub(super) fn refused(&mut self, error: &kube::Error, now: Instant) -> bool {
        let kube::Error::Api(status) = error else { return false };
        let named = undeclared(&status.message);
        let before = self.left_out.len();
        self.left_out.extend(named);
        let is_less = self.left_out.len() > before;
        let failed = self.retry.failed(now);
        self.probe = Some(now + failed.pause);
        let is_new = !self.left_out.is_subset(&self.named);
        if failed.say.is_some() || is_new {
            self.named.extend(self.left_out.iter().cloned());
            let members: Vec<&str> = self.left_out.iter().map(String::as_str).collect();
            tracing::warn!(
                "the NodeConfig CRD is older than this agent: status without {}; apply the CRDs of this version",
                members.join(", ")
            );
        }
        is_less
    }
}

/// The members of the status that a refusal names as not declared; when it names none, all that is not in every version.
fn undeclared(message: &str) -> BTreeSet<String> {
    let mut members = BTreeSet::new();
    // One path before each occurrence of the sentence; what stands between belongs to the next.
    for part in message.split_inclusive(UNKNOWN).filter(|part| part.ends_with(UNKNOWN)) {
        if let Some((_, path)) = part.rsplit_once(MEMBER) {
            let member: String = path.chars().take_while(char::is_ascii_alphanumeric).collect();
            if !member.is_empty() && !BASE.contains(&member.as_str()) {
                members.insert(member);
            }
        }
    }
    if members.is_empty() {
        members.extend(optional());
    }
    members
}

/// The members of a status that are not in every version.
fn optional() -> impl Iterator<Item = String> {
    ["agent", "trackedItems", "unknownItems", "changes", "lastChangeTime", "rules", "collectors", "recentChanges"]
        .into_iter()
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use kube::core::Status;
    use serde_json::json;
    use vedette_crds::node_config::{NodeConfig, NodeConfigStatus};

    fn refused(message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, "").with_code(500).boxed())
    }

    #[test]
    fn the_members_that_a_refusal_names_are_left_out_and_no_other() {
        let one = "failed to create typed patch object (/n; vedette.dev/v1alpha1, Kind=NodeConfig): .status.agent: field not \
                   declared in schema";
        assert_eq!(undeclared(one), ["agent".to_owned()].into());
        let two = "errors:\n  .status.rules[0].mood: field not declared in schema\n  .status.unknownItems: field not declared \
                   in schema";
        assert_eq!(undeclared(two), ["rules".to_owned(), "unknownItems".to_owned()].into());
    }

    #[test]
    fn a_refusal_that_names_nothing_leaves_what_every_version_has() {
        let mut definition = Definition::default();
        assert!(definition.refused(&refused("field not declared in schema"), Instant::now()));
        let mut status = json!({"conditions": [], "observedGeneration": 1, "journal": {}, "agent": {}, "rules": []});
        definition.trim(&mut status);
        assert_eq!(status, json!({"conditions": [], "observedGeneration": 1, "journal": {}}));
        assert!(!definition.refused(&refused("field not declared in schema"), Instant::now()), "there is no less");
    }

    #[test]
    fn all_is_tried_again_later_each_time_and_known_once_it_is_taken() {
        let mut definition = Definition::default();
        let mut now = Instant::now();
        for round in 0..12 {
            definition.refused(&refused(".status.agent: field not declared in schema"), now);
            let pause = definition.probe().unwrap() - now;
            assert!(round < 11 || pause >= LONGEST_PAUSE / 2, "{pause:?}");
            definition.probe_when_due(now);
            assert_eq!(definition.left_out().len(), 1, "not yet");
            now += pause;
            definition.probe_when_due(now);
            assert!(definition.left_out().is_empty());
        }
        definition.taken(now);
        assert_eq!(definition.probe(), None);
    }

    #[test]
    fn every_member_of_the_status_is_in_every_version_or_can_be_left_out() {
        use kube::CustomResourceExt as _;
        let definition = json!(NodeConfig::crd());
        let declared =
            definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
                .as_object()
                .unwrap();
        let known: BTreeSet<String> = optional().chain(BASE.map(str::to_owned)).collect();
        assert_eq!(declared.keys().cloned().collect::<BTreeSet<_>>(), known);
        assert_eq!(json!(NodeConfigStatus::default()), json!({}), "a status that says nothing has no member");
    }
}
