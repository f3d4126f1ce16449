//! What the operator shows at /metrics and /readyz. Reads what others keep; changes nothing.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use vedette_service::http::Pages;

use crate::event::Kind;
use crate::metrics::Metrics;

/// What readiness waits for.
#[derive(Debug, Clone)]
pub(crate) struct Readiness(Arc<Mutex<Vec<Kind>>>);

impl Readiness {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Kind::ALL.to_vec())))
    }

    /// Says which kinds have not been listed yet.
    pub(crate) fn wait_for(&self, kinds: Vec<Kind>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = kinds;
    }

    fn waits_for(&self) -> Vec<Kind> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the pages are made of.
pub(crate) struct Shown {
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
}

impl Pages for Shown {
    fn metrics(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        Ok(self.metrics.text()?.into_bytes())
    }

    fn waits_for(&self) -> Option<String> {
        let missing: Vec<_> = self.readiness.waits_for().into_iter().map(Kind::as_str).collect();
        (!missing.is_empty()).then(|| format!("waiting for the first list of {}", missing.join(", ")))
    }
}
