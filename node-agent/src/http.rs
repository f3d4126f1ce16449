//! `/metrics`, `/healthz` and `/readyz` on one port.

use crate::Trouble;
use crate::metrics::Metrics;
use crate::observe::Watch;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;

/// What the handlers read.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) watch: Watch,
    /// The state directory is open, and there is a plan or an answer of the API server.
    pub(crate) ready: Arc<AtomicBool>,
}

/// Takes the address and says so in the log.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Trouble> {
    let failed =
        |source| Trouble::because(format!("cannot listen on {address}: give another address with --listen"), source);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!("listening on http://{address}");
    Ok(listener)
}

/// Serves until the process ends.
pub(crate) async fn serve(listener: TcpListener, served: Served) -> Result<(), Trouble> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(served);
    axum::serve(listener, router).await.map_err(|source| Trouble::because("the HTTP server ended", source))
}

async fn metrics(State(served): State<Served>) -> Response {
    match served.metrics.render(&served.watch) {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn ready(State(served): State<Served>) -> Response {
    if served.ready.load(Ordering::Relaxed) {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no plan yet, and no answer from the API server\n").into_response()
    }
}
