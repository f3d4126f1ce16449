//! Capabilities: none but those that were asked for, whatever the process was given.

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// Gives up all others of this thread, and of all that it starts.
///
/// # Errors
/// Why the kernel does not.
pub(super) fn give_up(kept: CapabilitySet) -> Result<(), String> {
    let had = capabilities(None).map_err(|error| error.to_string())?;
    let left = CapabilitySets {
        effective: had.effective & kept,
        permitted: had.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, left).map_err(|error| error.to_string())
}
