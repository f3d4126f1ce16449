//! The log: lines on standard error, by the level in `VEDETTE_LOG`.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;

/// What the client of the API server logs of a failure is in the error that we get and log.
const DEFAULT: &str = "info,kube_client=off,kube_runtime=off";

/// Logs to standard error from now on, as `VEDETTE_LOG` says: error, warn, info, debug, or a filter of them.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("VEDETTE_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        // Of a log that cannot be written it would speak on standard error, and panic there.
        .log_internal_errors(false)
        .init();
}
