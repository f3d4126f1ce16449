//! The certificate that pages are served with: from files that may be replaced at any time, or made at the start.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tracing::{info, warn};

use super::guard::GuardError;
use crate::small_file;

/// What a Secret of the type kubernetes.io/tls calls them.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// A certificate with its key.
pub(super) enum Certificate {
    Made(Arc<ServerConfig>),
    Files { dir: PathBuf, last: Mutex<Read> },
}

/// What was used last; no content: what was made.
pub(super) struct Read {
    content: [String; 2],
    config: Arc<ServerConfig>,
    /// What is there now cannot be used, and that was said.
    is_stale: bool,
}

impl Certificate {
    /// Makes one that lives as long as this process. Nobody can verify it.
    pub(super) fn make() -> Result<Self, GuardError> {
        Ok(Self::Made(made()?))
    }

    /// That of a folder, whatever is in it now: what cannot be served with is said, and a made one serves until it can. Nobody
    /// would be watched less for a page's sake.
    pub(super) fn of(dir: &Path) -> Result<Self, GuardError> {
        let last = Mutex::new(Read { content: Default::default(), config: made()?, is_stale: false });
        let files = Self::Files { dir: dir.to_owned(), last };
        files.config();
        Ok(files)
    }

    /// What to serve the next connection with. While the files hold nothing to serve with, what there was before: its readers
    /// judge it.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let (dir, last) = match self {
            Self::Made(config) => return Arc::clone(config),
            Self::Files { dir, last } => (dir, last),
        };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let said = match read(dir) {
            Ok(content) if content == last.content => None,
            Ok(content) => match parse(&content) {
                Ok(config) => {
                    info!("serving with the certificate in {}", dir.display());
                    (last.content, last.config) = (content, config);
                    None
                }
                Err(said) => Some(said),
            },
            Err(said) => Some(said),
        };
        if let Some(said) = &said
            && !last.is_stale
        {
            let goes_on = match last.content[0].is_empty() {
                true => "serving with one that nobody can verify until it can be",
                false => "going on with the one before",
            };
            warn!("the certificate in {} cannot be used, {goes_on}: {said}", dir.display());
        }
        last.is_stale = said.is_some();
        Arc::clone(&last.config)
    }
}

fn made() -> Result<Arc<ServerConfig>, GuardError> {
    let made = rcgen::generate_simple_self_signed(["vedette".to_owned()]);
    let made = made.map_err(|source| GuardError::Make { said: source.to_string() })?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    config(vec![made.cert.into()], key.into()).map_err(|said| GuardError::Make { said })
}

fn read(dir: &Path) -> Result<[String; 2], String> {
    let read = |name| small_file::read(&dir.join(name)).map_err(|error| format!("{name}: {error}"));
    Ok([read(CERTIFICATE)?, read(KEY)?])
}

fn parse([certificate, key]: &[String; 2]) -> Result<Arc<ServerConfig>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{CERTIFICATE}: {error}"))?;
    if chain.is_empty() {
        return Err(format!("{CERTIFICATE} holds no certificate in PEM"));
    }
    // Which kinds there are says the error; what it read it does not.
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| format!("{KEY}: {error}"))?;
    config(chain, key)
}

fn config(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Arc<ServerConfig>, String> {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
