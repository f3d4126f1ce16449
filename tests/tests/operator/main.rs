//! The operator as users run it, on a real API server under its own account: rules become NodeConfigs, what agents report
//! becomes the rules' status. Tests play the agents, under their real identities. Each works on nodes and rules of its own,
//! so that most share one cluster and one operator.
#![allow(clippy::unwrap_used)]

mod definitions;
mod events;
mod hostile;
mod leaders;
mod limits;
mod newer;
mod nodes;
mod partial;
mod restarts;
mod rules;
mod scene;
mod statuses;
