//! What the operator says over HTTP: /metrics, /healthz, /readyz on one port. Reads what others keep; changes nothing.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

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

#[derive(Clone)]
struct Shown {
    metrics: Metrics,
    readiness: Readiness,
}

/// Answers until it is told to stop, and then what has been asked.
///
/// # Errors
/// The listener fails.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    readiness: Readiness,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(show_readiness))
        .with_state(Shown { metrics, readiness });
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn show_metrics(State(shown): State<Shown>) -> Response {
    match shown.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn show_readiness(State(shown): State<Shown>) -> Response {
    let missing: Vec<_> = shown.readiness.waits_for().into_iter().map(Kind::as_str).collect();
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    let text = format!("waiting for the first list of {}\n", missing.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}
