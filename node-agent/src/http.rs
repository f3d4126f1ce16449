//! What `/metrics` and `/readyz` show; who serves them knows nothing of it.

use crate::metrics::Metrics;
use crate::observe::Watch;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vedette_service::http::Pages;

/// What the pages are made of.
pub(crate) struct Shown {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) watch: Watch,
    /// The state directory is open, and there is a plan or an answer of the API server.
    pub(crate) ready: Arc<AtomicBool>,
}

impl Pages for Shown {
    fn metrics(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        Ok(self.metrics.render(&self.watch)?)
    }

    fn waits_for(&self) -> Option<String> {
        let ready = self.ready.load(Ordering::Relaxed);
        (!ready).then(|| "no plan yet, and no answer from the API server".to_owned())
    }
}
