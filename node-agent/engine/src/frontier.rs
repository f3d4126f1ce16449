//! Directories that wait to be walked, on one stack for all walkers.

use crate::mounts::MountId;
use crate::path::HostPath;
use crate::plan::Plan;
use crate::select::Context;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// A directory that waits to be walked.
pub(crate) struct Waiting {
    /// The directory that it lies in, which others that wait share: paths may be long, and siblings many.
    pub(crate) above: HostPath,
    /// Its name there; empty for that directory itself.
    pub(crate) name: Vec<u8>,
    pub(crate) context: Context,
    /// The mount that its parent lies on.
    pub(crate) mount: Option<MountId>,
    /// Whether its parent was seen for the first time.
    pub(crate) is_new_ground: bool,
    /// Where its names are taken up: those before were seen. Empty at its beginning.
    pub(crate) from: Vec<u8>,
}

/// The stack of waiting directories; the walk is over when it is empty and no walker is busy.
pub(crate) struct Frontier {
    state: Mutex<FrontierState>,
    changed: Condvar,
    /// So many walkers have nothing to do.
    hungry: AtomicUsize,
}

struct FrontierState {
    waiting: Vec<Waiting>,
    busy: usize,
}

impl Frontier {
    /// The walk from the host's root.
    pub(crate) fn new(plan: &Plan) -> Self {
        let (above, name, context) = (HostPath::root(), Vec::new(), plan.root().context);
        let root = Waiting { above, name, context, mount: None, is_new_ground: false, from: Vec::new() };
        Self {
            state: Mutex::new(FrontierState { waiting: vec![root], busy: 0 }),
            changed: Condvar::new(),
            hungry: AtomicUsize::new(0),
        }
    }

    /// The next directory for a walker, who says when it is done with it; `None` at the end.
    pub(crate) fn next(&self) -> Option<Waiting> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(directory) = state.waiting.pop() {
                state.busy += 1;
                return Some(directory);
            }
            if state.busy == 0 {
                return None;
            }
            self.hungry.fetch_add(1, Ordering::Relaxed);
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            self.hungry.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Another one for a walker that is not done yet, if any waits.
    pub(crate) fn more(&self) -> Option<Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).waiting.pop()
    }

    /// Whether a walker has nothing to do.
    pub(crate) fn is_hungry(&self) -> bool {
        self.hungry.load(Ordering::Relaxed) > 0
    }

    /// Gives the others all but the last directory that a walker has.
    pub(crate) fn share(&self, own: &mut Vec<Waiting>) {
        let given = own.len().saturating_sub(1);
        if given > 0 {
            self.state.lock().unwrap_or_else(PoisonError::into_inner).waiting.extend(own.drain(..given));
            self.changed.notify_all();
        }
    }

    /// A walker is done with the directories that it was given, and with all below them that it did not share.
    pub(crate) fn done(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.busy -= 1;
        if state.busy == 0 {
            drop(state);
            self.changed.notify_all();
        }
    }
}
