#![allow(clippy::unwrap_used)]

mod agents;
mod configs;
mod statuses;
mod world;
