#![allow(clippy::unwrap_used)]

mod agents;
mod configs;
mod events;
mod heap;
mod hostile;
mod leaders;
mod scale;
mod statuses;
mod world;
