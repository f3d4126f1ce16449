//! The vocabulary of Vedette.

pub mod condition;
pub mod node_config;
pub mod pattern;
