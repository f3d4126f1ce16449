#![allow(clippy::unwrap_used)]

mod agents;
mod configs;
mod heap;
mod scale;
mod statuses;
mod world;
