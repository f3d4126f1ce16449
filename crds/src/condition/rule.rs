//! The conditions of a DataCollectionRule and their reasons.

use super::reasons;

reasons! {
    /// Whether the rule can be used as it is written.
    Accepted {
        /// It can.
        True: Accepted,
        /// Something in it cannot be meant, which the message names; nodes keep its last good form.
        False: Refused,
        /// Its form for a node is too large, whatever else the node carries; nodes keep its last good form.
        False: TooLarge,
    }
}

reasons! {
    /// Whether the NodeConfig of every selected node carries this generation of the rule.
    Programmed {
        /// All do.
        True: Programmed,
        /// All do, and the rule is suspended.
        True: Suspended,
        /// Some do not yet.
        False: Pending,
        /// A node's NodeConfig has no room for it: older rules fill it.
        False: NodeConfigTooLarge,
        /// The API server's definition of NodeConfig is older than the operator.
        False: SchemaOutdated,
        /// No node is selected.
        False: NoNodes,
    }
}

reasons! {
    /// Whether every selected node with an available agent watches by this generation, baseline included.
    Ready {
        /// All do.
        True: Ready,
        /// The rule is suspended.
        False: Suspended,
        /// No node is selected.
        False: NoNodes,
        /// No selected node has an available agent.
        False: NoAgents,
        /// Some do not yet, or cannot.
        False: NodesNotReady,
    }
}

reasons! {
    /// Whether every selected node has an available agent.
    AllNodesCovered {
        /// All have.
        True: Covered,
        /// No node is selected.
        False: NoNodes,
        /// Some have none.
        False: NodesUnavailable,
    }
}
