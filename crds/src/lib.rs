//! The vocabulary of Vedette: what an operator, an agent and a command line have to agree on. No client, no files,
//! no clock, no threads: everything here is a type or a pure function.
//!
//! ```text
//! YAML file ──parse──> DataCollectionRule <── API server     rule, selector, duration, size
//!                            │                               what a rule refuses: sentences, schema, validate
//!                         prepare                            once per generation: its form, or why it has none
//!                            │
//!        NodeFacts ───────compile──────> NodeConfig.spec     compile, node_config
//!                                              │
//!                                           resolve          settings: values that cannot be wrong
//!                                              │
//!                                          FileEntry         pattern: what an entry selects
//! ```
//!
//! [`lint`] goes all of this way with a file and names everything that is wrong, where the API server and [`parse`] stop
//! at the first kind of it.
//!
//! What comes back is a status with conditions, each with a reason of a closed set ([`condition`]). A refusal says
//! everything that is wrong at once, and what to write instead ([`refusal`]). The custom resource definitions are
//! made from the types ([`definition`], `cargo crdgen`), and each sentence of theirs stands once, as CEL for the
//! API server and as Rust for everybody else, so that a rule gets one verdict wherever it is read.

pub mod compile;
pub mod condition;
#[doc(hidden)]
pub mod corpus;
pub mod definition;
pub mod duration;
pub mod lint;
pub mod names;
pub mod node_config;
pub mod parse;
pub mod pattern;
pub mod presets;
pub mod record;
pub mod refusal;
pub mod rule;
mod schema;
pub mod selector;
mod sentences;
pub mod settings;
pub mod size;
mod suggest;
pub mod templates;
pub mod validate;
