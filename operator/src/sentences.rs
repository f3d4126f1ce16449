//! What conditions say to people. A node's sentences are fixed, one for each reason, so that a message never makes a
//! write of its own; a rule's carry its numbers.

use vedette_crds::condition::Reason;
use vedette_crds::condition::node::{AgentAvailable, Ready};

use crate::names::NODE_CONFIG;

/// What to do about a definition that lacks a field of ours.
pub(crate) fn schema_outdated(kind: &str) -> String {
    let plural = if kind == NODE_CONFIG { "nodeconfigs" } else { "datacollectionrules" };
    format!(
        "the CustomResourceDefinition {plural}.vedette.dev of this cluster is older than this operator ({}): apply the \
         definitions of this version, kubectl apply --server-side -f crds/generated/",
        env!("CARGO_PKG_VERSION")
    )
}

/// A reason that has one sentence.
pub(crate) trait Explained: Reason {
    /// For a person who wonders; empty where the reason says it all.
    fn sentence(self) -> &'static str;
}

impl Explained for Ready {
    fn sentence(self) -> &'static str {
        match self {
            Self::Ready => "",
            Self::ConfigNotApplied => "the agent has not applied this generation as it stands: see ConfigApplied",
            Self::BaselineNotReady => "the agent is still looking at everything for the first time",
            Self::AgentUnavailable => "nobody can tell while no agent is available: see AgentAvailable",
        }
    }
}

impl Explained for AgentAvailable {
    fn sentence(self) -> &'static str {
        match self {
            Self::Available => "",
            Self::Starting => "no agent has been ready on the node yet",
            Self::NoPod => "no agent pod is on the node",
            Self::NotReady => "the agent pod on the node is not ready",
            Self::Silent => "the agent pod is ready, but its reports have stopped",
        }
    }
}
