//! Pages that not everybody may read: over TLS, and `/metrics` only for whom the API server lets get that path. Probes carry no
//! token; what they are told is no secret.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::Certificate;
use super::readers::{Readers, Verdict};
use super::{Body, text};
use crate::api_server::ApiServer;

/// Whether and how the pages are guarded.
#[derive(Clone, Debug, Default, Args)]
pub struct Guarding {
    /// Serve over TLS, and /metrics only to who may get that path: the API server reviews each reader's bearer token
    #[arg(long)]
    pub secure_metrics: bool,
    /// Of which audience a reader's token has to be; without it, of the API server's own
    #[arg(long, value_name = "AUDIENCE", requires = "secure_metrics")]
    pub metrics_audience: Option<String>,
    /// Where tls.crt and tls.key are, as a Secret of the type kubernetes.io/tls is mounted; they are read anew when they change.
    /// Without it a certificate is made that nobody can verify
    #[arg(long, value_name = "DIR", requires = "secure_metrics")]
    pub tls_dir: Option<PathBuf>,
}

impl Guarding {
    /// What guards the pages; `None`: nothing.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn guard(&self, server: &ApiServer) -> Result<Option<Guard>, GuardError> {
        if !self.secure_metrics {
            return Ok(None);
        }
        let certificate = match &self.tls_dir {
            Some(dir) => Certificate::of(dir)?,
            None => Certificate::make()?,
        };
        Ok(Some(Guard { certificate, readers: Arc::new(Readers::new(server.clone(), self.metrics_audience.clone())) }))
    }
}

/// Why the pages cannot be guarded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// No certificate could be made.
    #[error("cannot make a certificate: {said}")]
    Make {
        /// Why.
        said: String,
    },
}

/// What guards the pages.
pub struct Guard {
    certificate: Certificate,
    readers: Arc<Readers>,
}

impl Guard {
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.certificate.config()).accept(stream).await
    }

    /// What whoever may not read is answered. Notes that somebody has asked who could a while ago: their connection is closed last.
    pub(super) async fn refuse<T>(&self, request: &Request<T>, has_asked: &AtomicBool) -> Option<Response<Body>> {
        let Some(token) = bearer(request) else {
            return Some(unauthorized("send a token: Authorization: Bearer TOKEN"));
        };
        let path = request.uri().path();
        has_asked.store(self.readers.knows(token), Ordering::Relaxed);
        match Arc::clone(&self.readers).may_read(token, path).await {
            Verdict::Welcome => None,
            Verdict::Unknown => Some(unauthorized("the API server does not know this token")),
            Verdict::Forbidden(user) => Some(text(
                StatusCode::FORBIDDEN,
                &format!("{user} may not get {path}: bind it to the ClusterRole vedette-metrics-reader"),
            )),
            // Why is not for everybody who sends a token.
            Verdict::NoAnswer => Some(text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the API server cannot be asked whose token this is: the log of this process says why",
            )),
            Verdict::TooMany => Some(text(
                StatusCode::TOO_MANY_REQUESTS,
                "too many tokens that were not seen before: one a second is looked at",
            )),
        }
    }
}

fn bearer<T>(request: &Request<T>) -> Option<&str> {
    let (scheme, token) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

fn unauthorized(line: &str) -> Response<Body> {
    let mut refused = text(StatusCode::UNAUTHORIZED, line);
    refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    refused
}
