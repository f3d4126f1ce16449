//! The log: lines on standard error, by the level in `VEDETTE_LOG`.

use std::io::{IsTerminal as _, stderr};

use tracing::warn;
use tracing_subscriber::EnvFilter;

/// What the client of the API server logs of a failure is in the error that we get and log.
const DEFAULT: &str = "info,kube_client=off,kube_runtime=off";

/// Logs to standard error from now on, as `VEDETTE_LOG` says: error, warn, info, debug, or a filter of them.
pub fn log_to_stderr() {
    let wanted = std::env::var("VEDETTE_LOG").ok().filter(|wanted| !wanted.is_empty());
    let wanted = wanted.map(EnvFilter::try_new).transpose();
    let (filter, refused) = match wanted {
        Ok(filter) => (filter.unwrap_or_else(|| EnvFilter::new(DEFAULT)), None),
        Err(refused) => (EnvFilter::new(DEFAULT), Some(refused)),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        // Of a log that cannot be written it would speak on standard error, and panic there.
        .log_internal_errors(false)
        .init();
    if let Some(refused) = refused {
        warn!("VEDETTE_LOG cannot be used, logging info: {refused}");
    }
}
