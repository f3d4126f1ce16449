//! What this process can do no more from its beginning on: write outside its own places, change what it sees of the host,
//! look into other processes, talk to the host's sockets.
//!
//! Binds the calling thread and all that it starts, before it starts any. A pod's read-only mount is none below it, and a
//! capability that is added by mistake would undo the rest: so the agent binds itself, whatever it was given. Where the kernel
//! cannot, that is said, and refused where it was demanded.

mod calls;
mod rights;
mod writes;

use crate::Trouble;
use crate::socket::Bound;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::CapabilitySet;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// What holds from the beginning on.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Whether it looks up names, for which datagrams are sent.
    pub(crate) names: bool,
    /// The ports that it connects to; `None` where that is not known.
    pub(crate) ports: Option<&'p [u16]>,
    /// The capabilities that it keeps, if it has them.
    pub(crate) capabilities: CapabilitySet,
}

/// What a pod is given: to read every file.
pub(crate) const READS: CapabilitySet = CapabilitySet::DAC_READ_SEARCH;
/// What root has of use outside: state and records may be another user's, files' times of access stay as they are, and the
/// metrics may have a port that is root's to give.
pub(crate) const WRITES_AND_LISTENS: CapabilitySet =
    READS.union(CapabilitySet::DAC_OVERRIDE).union(CapabilitySet::FOWNER).union(CapabilitySet::NET_BIND_SERVICE);

/// Binds this thread and all that it starts; gives the one socket with a path that it will have, which is its own.
///
/// # Errors
/// When that is demanded, and not all of it can be.
pub(crate) fn confine(needs: Needs<'_>, is_demanded: bool) -> Result<(Confinement, std::io::Result<Bound>), Trouble> {
    own(needs.state_dir);
    // From then on none can be made.
    let socket = Bound::to(needs.state_dir);
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

/// Makes the directory its owner's alone, as the store does: also where a kubelet has just made it for all to read.
fn own(state_dir: &Path) {
    // What fails here fails again when the store is opened, which says so.
    let _ = DirBuilder::new().recursive(true).mode(0o700).create(state_dir);
    let is_new = std::fs::read_dir(state_dir).is_ok_and(|mut entries| entries.next().is_none());
    let is_open = state_dir.metadata().is_ok_and(|found| found.mode() & 0o077 != 0);
    if is_new && is_open {
        let _ = std::fs::set_permissions(state_dir, Permissions::from_mode(0o700));
    }
}

impl Confinement {
    /// Binds this thread and all that it starts.
    pub(crate) fn begin(needs: Needs<'_>) -> Self {
        let mut lacks = Vec::new();
        if let Err(why) = writes::confine(needs) {
            lacks.push(format!("writes outside {} are not refused: {why}", needs.state_dir.display()));
        }
        // Its memory is nobody's, and no helper of the host's is started for it when it ends badly.
        if let Err(why) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            lacks.push(format!("its memory may be dumped: {why}"));
        }
        if let Err(why) = rights::give_up(needs.capabilities) {
            lacks.push(format!("capabilities that it does not need are kept: {why}"));
        }
        if let Err(why) = calls::refuse(needs) {
            lacks.push(format!("mounts, namespaces and the host's sockets are not refused: {why}"));
        }
        Self { lacks }
    }

    /// That of an agent whose process has bound nothing.
    pub(crate) fn none() -> Self {
        Self { lacks: vec!["nothing is refused: this process has not bound itself".into()] }
    }

    /// What is missing, as one sentence; `None` where nothing is.
    pub(crate) fn lack(&self) -> Option<String> {
        (!self.lacks.is_empty()).then(|| self.lacks.join("; "))
    }
}

#[cfg(test)]
mod tests;
