//! What this process can do no more from its beginning on: write outside its own places, change what it sees of the host,
//! look into other processes, talk to the host's sockets.
//!
//! Binds the calling thread and all that it starts, before it starts any. A pod's read-only mount is none below it, and a
//! capability that is added by mistake would undo the rest: so the agent binds itself, whatever it was given. Where the kernel
//! cannot, that is said, and refused where it was demanded.

mod calls;
mod writes;

use crate::Trouble;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::os::fd::OwnedFd;
use std::path::Path;

/// What holds from the beginning on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Confinement {
    /// What the kernel could not be made to refuse, and why.
    pub(crate) lacks: Vec<String>,
}

/// What the process needs itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs<'p> {
    /// Its state, which is made where it is missing.
    pub(crate) state_dir: &'p Path,
    /// Where records go, if that is a file.
    pub(crate) records: Option<&'p Path>,
    /// Whether it may start other programs, as a kubeconfig may ask for one.
    pub(crate) programs: bool,
}

/// Binds this thread and all that it starts; gives the one socket with a path that it will have, which is its own.
///
/// # Errors
/// When that is demanded, and not all of it can be.
pub(crate) fn confine(
    needs: Needs<'_>,
    is_demanded: bool,
) -> Result<(Confinement, rustix::io::Result<OwnedFd>), Trouble> {
    // From then on none can be made.
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let confinement = Confinement::begin(needs);
    match confinement.lack() {
        Some(lack) if is_demanded => {
            return Err(Trouble::new(format!("cannot bind itself as --require-confinement demands: {lack}")));
        }
        Some(lack) => tracing::warn!("this agent can do more than it needs: {lack}"),
        None => {}
    }
    Ok((confinement, socket))
}

impl Confinement {
    /// Binds this thread and all that it starts.
    pub(crate) fn begin(needs: Needs<'_>) -> Self {
        let mut lacks = Vec::new();
        if let Err(why) = writes::confine(needs) {
            lacks.push(format!("writes outside {} are not refused: {why}", needs.state_dir.display()));
        }
        if let Err(why) = calls::refuse(needs.programs) {
            lacks.push(format!("mounts, namespaces and the host's sockets are not refused: {why}"));
        }
        Self { lacks }
    }

    /// What is missing, as one sentence; `None` where nothing is.
    pub(crate) fn lack(&self) -> Option<String> {
        (!self.lacks.is_empty()).then(|| self.lacks.join("; "))
    }
}

#[cfg(test)]
mod tests;
