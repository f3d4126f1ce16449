//! A fleet of agents on one real control plane, and what it costs: `cargo bench-fleet`.
//!
//! ```text
//! Plan ─► stage (cluster, operator, agents) ─► phases, one after the other ─► Report ─► table
//!           │ agents    the product's own agent, many in one process; hosts with next to nothing on them
//!           │ sights    what a watch of the API server shows, and when
//!           └ meter     processors and memory of each process; who wrote what, by the API server's audit
//! ```
//! Real: API server, etcd, operator, identities with their rights, and each agent from its watch to its writes, engine and state
//! included. Not real: kubelets (pods are ready because an administrator says so), and that all agents share one process.
//! etcd does not wait for its disk here (`--unsafe-no-fsync`).

mod agents;
mod meter;
mod phases;
mod sights;
mod stage;
mod table;

use std::time::Duration;

pub use meter::{Phase, Quantiles, Rates, Usage};
pub use table::print;

use crate::{control_plane::Write, error::Result};

/// How large and how long.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Nodes, each with an agent.
    pub agents: usize,
    /// How often agents compare. A change is found that much later at most.
    pub interval: Duration,
    /// How long nothing happens. Agents refresh their statuses every 15 minutes, a tenth more or less.
    pub quiet: Duration,
    /// For so long every node has a change each second.
    pub storm: Duration,
    /// How often the labels of all nodes change.
    pub rounds: usize,
    /// What happens once the fleet is there, in this order.
    pub steps: Vec<Step>,
}

/// What can happen to a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Quiet,
    /// One change on every node at once.
    Change,
    /// A change a second on every node.
    Storm,
    /// The rule says something else, so every node has to.
    Edit,
    /// Another operator takes over and lists everything.
    Restart,
    /// Labels of all nodes change that no rule names, and some nodes come to a rule and leave it.
    Relabel,
}

impl Step {
    /// All, each once.
    pub const ALL: [Self; 6] = [Self::Quiet, Self::Change, Self::Storm, Self::Edit, Self::Restart, Self::Relabel];

    /// What it is called in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Change => "change",
            Self::Storm => "storm",
            Self::Edit => "edit",
            Self::Restart => "restart",
            Self::Relabel => "relabel",
        }
    }
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Report {
    /// How it was made.
    pub plan: Plan,
    /// In their order.
    pub phases: Vec<Phase>,
    /// From what to what, and how long that took.
    pub latencies: Vec<(String, Quantiles)>,
    /// The shortest time between the answer to one status of an agent and the arrival of its next one.
    pub closest: Duration,
    /// The shortest time between two statuses of one rule that one operator wrote.
    pub closest_of_rule: Duration,
    /// What agents were told to keep between two statuses.
    pub min_interval: Duration,
    /// What the operator's memory grew by while it came to know the fleet, in bytes a node.
    pub operator_bytes: f64,
    /// A NodeConfig as etcd holds it, in bytes.
    pub object_bytes: f64,
    /// etcd's database at the end, in bytes a node: with the history of the last minutes, Nodes and pods.
    pub database_bytes: f64,
    /// Writes of the product that the API server has refused.
    pub refused: Vec<Write>,
}

/// Plays all of it.
///
/// # Errors
/// When the control plane or the operator does not start, or a phase does not come to its end: with what was seen instead.
pub async fn run(plan: &Plan) -> Result<Report> {
    let mut stage = stage::Stage::set(plan).await?;
    let report = phases::all(&mut stage).await?;
    stage.end().await?;
    Ok(report)
}
