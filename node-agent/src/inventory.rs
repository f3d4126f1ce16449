//! `vedette-agent inventory`: what is tracked and its last seen state, as JSON lines.

use crate::cli::Inventory;
use crate::socket::Agent;
use crate::{Trouble, answer};
use std::process::ExitCode;
use vedette_engine::StoreError;
use vedette_engine::inspect::Inspector;

/// Prints each item of a state; a running agent is asked for them.
///
/// # Errors
/// When there is no state, it cannot be read, or the output cannot be written.
pub fn inventory(options: &Inventory) -> Result<ExitCode, Trouble> {
    match Inspector::open(&options.state_dir, &options.host_root) {
        Ok(inspector) => print(|from| inspector.inventory(from).map_err(Trouble::of)),
        Err(StoreError::InUse { holder, .. }) => {
            let agent = Agent::new(&options.state_dir, holder);
            print(|from| agent.inventory(from))
        }
        Err(error) => Err(Trouble::of(error)),
    }
}

fn print(part: impl Fn(Option<&[u8]>) -> Result<vedette_engine::inspect::Part, Trouble>) -> Result<ExitCode, Trouble> {
    let mut from: Option<Vec<u8>> = None;
    loop {
        let part = part(from.as_deref())?;
        for item in &part.items {
            answer::write(item)?;
        }
        from = part.next;
        if from.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}
