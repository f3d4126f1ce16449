//! Agents whose API server goes away, hangs, refuses them or is older than they are: nothing is lost, nothing is said twice,
//! nobody comes back in a storm, and the log says what is going on. Each test has a control plane of its own to harm.
#![allow(clippy::unwrap_used)]

mod away;
mod certificates;
mod definition;
mod identity;
mod newer;
mod plans;
mod rollback;
mod scene;
mod secured;
mod token;
