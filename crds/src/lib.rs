//! The vocabulary of Vedette.

pub mod condition;
pub mod definition;
pub mod duration;
mod names;
pub mod node_config;
pub mod parse;
pub mod pattern;
pub mod record;
pub mod refusal;
pub mod rule;
mod schema;
pub mod selector;
mod sentences;
pub mod settings;
pub mod size;
pub mod validate;
