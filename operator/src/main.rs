//! Vedette.
fn main() {}
