//! What a file integrity monitor meets on a real host, case by case through the real `vedette-agent`: a file a heading, a test
//! a sentence. docs/guarantees.md names the test of each case.
#![allow(clippy::unwrap_used)]

// What the engine's tests use too.
#[allow(dead_code, unreachable_pub, reason = "this is a part of what it does there")]
#[path = "../../../node-agent/engine/tests/support/fuse.rs"]
mod fuse;
#[path = "../../../node-agent/engine/tests/support/schemas.rs"]
mod schemas;

mod baseline;
mod kinds;
mod limits;
mod links;
mod metadata;
mod mounts;
mod moves;
mod names;
mod page;
mod rules;
mod scene;
mod service;
mod time;

use vedette_tests::mounts::run;
