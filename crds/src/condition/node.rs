//! The conditions of a NodeConfig and their reasons. Ready and AgentAvailable are the operator's, the others the
//! agent's.

use super::{Reason, reasons};

/// The conditions that the operator writes; the agent writes all others.
pub const OPERATOR_CONDITIONS: [&str; 2] = [Ready::CONDITION, AgentAvailable::CONDITION];

reasons! {
    /// Whether the node is watched as its NodeConfig says.
    Ready {
        /// It is.
        True: Ready,
        /// The agent has not applied this generation, or not all of it.
        False: ConfigNotApplied,
        /// The agent has not made its baseline yet.
        False: BaselineNotReady,
        /// The agent is not there to say.
        Unknown: AgentUnavailable,
    }
}

reasons! {
    /// Whether an agent works on the node.
    AgentAvailable {
        /// One does.
        True: Available,
        /// None has been ready yet, and one may still start.
        Unknown: Starting,
        /// No agent pod is on the node.
        False: NoPod,
        /// The agent pod is not ready.
        False: NotReady,
        /// The agent pod is ready and has not written for too long.
        False: Silent,
    }
}

reasons! {
    /// Whether the agent has applied the observed generation as it stands.
    ConfigApplied {
        /// It has.
        True: Applied,
        /// It has not yet.
        False: Pending,
        /// It has, but for fields or values that it does not know; the message names them.
        False: UnknownField,
        /// It has; the API server's definition of NodeConfig is older than the agent, whose status is not whole.
        False: SchemaOutdated,
    }
}

reasons! {
    /// Whether all that is to be watched has been looked at once.
    BaselineReady {
        /// It has.
        True: BaselineMade,
        /// It has not yet.
        False: Scanning,
    }
}

reasons! {
    /// Whether kernel events are used between compares.
    Realtime {
        /// They are.
        True: Active,
        /// No rule asks for them.
        False: NotAsked,
        /// This agent or this kernel has none; compares find everything that stands.
        False: NotSupported,
    }
}

reasons! {
    /// Whether state and journal can be written.
    StorageHealthy {
        /// They can.
        True: Healthy,
        /// The disk is full; nothing is committed until there is room.
        False: DiskFull,
        /// The disk refuses to write or to read.
        False: Failing,
        /// Pages of the store were damaged, and what they held is unknown.
        False: Damaged,
    }
}

reasons! {
    /// Whether the agent has bound itself: whatever its pod was given, it writes only its own places and changes nothing that it sees.
    Confined {
        /// It has.
        True: Confined,
        /// This kernel does not let it, or not in all of it; the message says what is not refused.
        False: NotSupported,
    }
}

reasons! {
    /// Whether everything under watch could be looked at.
    Complete {
        /// It could.
        True: Complete,
        /// Some items could not; they keep their last state and are counted.
        False: ItemsUnknown,
        /// Mounts of the host cannot be seen from here.
        False: MountsHidden,
        /// The host's root, or an entry's, is not the one it was.
        False: RootChanged,
    }
}
