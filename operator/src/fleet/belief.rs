//! What is believed of an agent's report: whoever owns a node makes its agent say what he likes. Reads a NodeConfig as it
//! was observed, produces the findings that count.

use k8s_openapi::jiff::SignedDuration;
use tracing::warn;
use vedette_crds::node_config::NodeConfigSpec;

use super::{Fleet, Name, Uid};
use crate::observed::{Found, ObservedConfig};
use crate::time::Now;

/// Another machine's clock may be ahead of ours by so much.
const CLOCKS_APART: SignedDuration = SignedDuration::from_secs(60);

impl Fleet {
    /// What is taken of an agent's reports: those about rules that its node was given, and no time that is yet to come.
    /// Says also whether there was something else.
    pub(super) fn believe(&mut self, name: &Name, observed: &ObservedConfig, now: Now) -> (Vec<(Uid, Found)>, bool) {
        let node = self.nodes.get(name);
        let latest = now.wall.as_second().saturating_add(CLOCKS_APART.as_secs());
        let mut strange = None;
        let mut believed = Vec::new();
        for report in &observed.reports {
            let share = node.and_then(|node| node.shares.iter().find(|share| *share.rule == *report.rule));
            let carries = |spec: &NodeConfigSpec| {
                spec.rules.iter().any(|form| form.uid == report.rule && form.name == report.name)
            };
            let given = match &observed.spec {
                Some(spec) => carries(spec),
                None => share.is_some_and(|share| share.selected),
            };
            // A rule that was just taken away is reported until the agent knows.
            let had = share.is_some_and(|share| share.found.is_some()) && observed.confirmed < observed.generation;
            if !given && !had {
                strange = Some(format!("the rule {} that it was not given", report.name));
                continue;
            }
            let mut found = report.found;
            if found.last_change.is_some_and(|second| second.get() > latest) {
                strange = Some(format!("a change of the rule {} that is yet to come", report.name));
                found.last_change = None;
            }
            believed.push((self.texts.intern(report.rule.as_str()), found));
        }
        if let Some(what) = &strange
            && node.is_none_or(|node| !node.misreports)
        {
            warn!("the agent of node {name} reports {what:?}: that is ignored");
        }
        (believed, strange.is_some())
    }
}
