//! Pages that not everybody may read: over TLS, and `/metrics` only for whom the API server lets get that path. Probes carry no
//! token; what they are told is no secret.

use std::io;
use std::path::PathBuf;

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
    /// Where tls.crt and tls.key are, read anew when they change; without it a certificate is made that nobody can verify
    #[arg(long, value_name = "DIR", requires = "secure_metrics")]
    pub tls_dir: Option<PathBuf>,
}

impl Guarding {
    /// What guards the pages; `None`: nothing.
    ///
    /// # Errors
    /// When there is no certificate to serve with.
    pub fn guard(&self, server: &ApiServer) -> Result<Option<Guard>, GuardError> {
        if !self.secure_metrics {
            return Ok(None);
        }
        let certificate = match &self.tls_dir {
            Some(dir) => Certificate::open(dir)?,
            None => Certificate::make()?,
        };
        Ok(Some(Guard { certificate, readers: Readers::new(server.clone()) }))
    }
}

/// Why the pages cannot be guarded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// A file cannot be read.
    #[error("cannot read {}: --tls-dir takes a folder with tls.crt and tls.key, as a Secret of the type kubernetes.io/tls is mounted", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// What the files hold is no certificate with its key.
    #[error("cannot serve with the certificate in {}: {said}", dir.display())]
    Unusable {
        /// Where it is.
        dir: PathBuf,
        /// What is wrong with it.
        said: String,
    },
    /// None could be made.
    #[error("cannot make a certificate: {said}")]
    Make {
        /// Why.
        said: String,
    },
}

/// What guards the pages.
pub struct Guard {
    certificate: Certificate,
    readers: Readers,
}

impl Guard {
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.certificate.config()).accept(stream).await
    }

    /// What whoever may not read is answered.
    pub(super) async fn refuse<T>(&self, request: &Request<T>) -> Option<Response<Body>> {
        let Some(token) = bearer(request) else {
            return Some(unauthorized("send a token: Authorization: Bearer TOKEN"));
        };
        let path = request.uri().path();
        match self.readers.may_read(token, path).await {
            Verdict::Welcome => None,
            Verdict::Unknown => Some(unauthorized("the API server does not know this token")),
            Verdict::Forbidden(user) => Some(text(
                StatusCode::FORBIDDEN,
                &format!("{user} may not get {path}: bind it to the ClusterRole vedette-metrics-reader"),
            )),
            Verdict::NoAnswer(why) => Some(text(
                StatusCode::SERVICE_UNAVAILABLE,
                &format!("the API server cannot be asked whose token this is: {why}"),
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
