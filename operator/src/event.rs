//! What the watches tell the model, in the order in which they see it.

use std::collections::HashSet;

use vedette_crds::compile::NodeFacts;

use crate::observed::{ObservedConfig, ObservedPod, ObservedRule};

/// Something happened to an object that is watched.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Rule(Change<Box<ObservedRule>>),
    Node(Change<NodeFacts>),
    Config(Change<Box<ObservedConfig>>),
    Pod(Change<ObservedPod>),
}

/// What happened to an object.
#[derive(Debug, Clone)]
pub(crate) enum Change<T> {
    /// It is there, new or changed.
    Applied(T),
    /// It is gone; this is how it was.
    Deleted(T),
    /// A whole list is complete: these names, and no other, are there.
    Listed(HashSet<String>),
}

/// The kinds that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Rule,
    Node,
    Config,
    Pod,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Rule, Self::Node, Self::Config, Self::Pod];

    /// As metrics, logs and readiness spell it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "DataCollectionRule",
            Self::Node => "Node",
            Self::Config => "NodeConfig",
            Self::Pod => "Pod",
        }
    }
}
