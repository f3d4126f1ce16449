//! What a caller is told: how a compare ended, why it could not be made, and what stands.

use crate::clock::Time;
use crate::idle::IdleEntry;
use crate::meta::Totals;
use crate::store::StoreError;
use crate::unknown::Unknowns;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Why a compare could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The host root cannot be opened.
    #[error("cannot open --host-root {}, which is where the host's / is mounted", path.display())]
    HostRoot {
        /// The host root.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another directory stands where the host root was: nothing of it can be compared with the state.
    #[error("the host root {} is not the one that the state in {} is of: all of it is unknown. Mount the host's / there again, or give the new host another --state-dir", path.display(), state.display())]
    HostRootChanged {
        /// The host root.
        path: PathBuf,
        /// The state directory.
        state: PathBuf,
    },
    /// The mount table cannot be read.
    #[error("cannot read the mount table /proc/self/mountinfo")]
    Mounts(#[source] std::io::Error),
    /// There is no thread to walk on.
    #[error("cannot start a thread to walk on")]
    Threads(#[source] std::io::Error),
    /// The state cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a compare ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It came to its end.
    Complete(Summary),
    /// It was told to stop; what was committed stays.
    Interrupted,
}

/// What a complete compare did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// When it began.
    pub began: Time,
    /// How long it took.
    pub duration: Duration,
    /// Items that were looked at.
    pub items: u64,
    /// Bytes of content that were hashed.
    pub hashed: u64,
    /// Records that it made.
    pub records: u64,
    /// Items that came into the baseline.
    pub baselined: u64,
    /// What the plan changed, when it was the first complete compare under it.
    pub plan_change: Option<PlanChange>,
}

impl Summary {
    /// This compare and the one that followed it at once.
    pub(crate) fn and(self, next: Self) -> Self {
        Self {
            began: self.began,
            duration: self.duration + next.duration,
            items: self.items + next.items,
            hashed: self.hashed + next.hashed,
            records: self.records + next.records,
            baselined: self.baselined + next.baselined,
            plan_change: next.plan_change,
        }
    }
}

/// What came under watch and what left it with a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanChange {
    /// Items that were baselined.
    pub added: u64,
    /// Items that are selected no more.
    pub forgotten: u64,
}

/// What the state holds, after the last commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The journal's id.
    pub journal: String,
    /// Its last sequence.
    pub sequence: u64,
    /// How many lines are in it: the last ones, if it was once full.
    pub lines: u64,
    /// The chain at that sequence, hex.
    pub head: String,
    /// All counts.
    pub totals: Totals,
    /// The configuration that is in force, by the number that its caller gave it; `None` before the first.
    pub generation: Option<i64>,
    /// Whether a complete compare has ended under the rules in force.
    pub baseline_ready: bool,
    /// Whether this journal has ever had a baseline.
    pub baseline_made: bool,
    /// What could not be seen.
    pub unknowns: Unknowns,
    /// Entries that select nothing.
    pub idle: Arc<[IdleEntry]>,
}
