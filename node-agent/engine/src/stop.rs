//! Why work ends early: the caller said so, it failed elsewhere, or its thread was left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Why looks end early: the caller said so, or the compare failed elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    told: Arc<AtomicBool>,
    /// A failure ends the walkers without touching the caller's flag.
    pub(crate) failed: Arc<AtomicBool>,
    remote: Option<RemoteStop>,
}

/// The same for a thread that may be left behind.
#[derive(Clone, Debug)]
struct RemoteStop {
    is_left: Arc<AtomicBool>,
    /// Who asks whether to stop is alive.
    pulse: Arc<AtomicU64>,
}

impl Stop {
    pub(crate) fn new(told: &Arc<AtomicBool>) -> Self {
        Self { told: Arc::clone(told), failed: Arc::default(), remote: None }
    }

    pub(crate) fn of_remote(&self, is_left: &Arc<AtomicBool>, pulse: &Arc<AtomicU64>) -> Self {
        let remote = RemoteStop { is_left: Arc::clone(is_left), pulse: Arc::clone(pulse) };
        Self { remote: Some(remote), ..self.clone() }
    }

    /// Whether the caller said so.
    pub(crate) fn is_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    pub(crate) fn is_set(&self) -> bool {
        let is_left = self.remote.as_ref().is_some_and(|remote| {
            remote.pulse.fetch_add(1, Ordering::Relaxed);
            remote.is_left.load(Ordering::Relaxed)
        });
        is_left || self.is_told() || self.failed.load(Ordering::Relaxed)
    }
}
