//! Where the API server is and a client of it: from a kubeconfig file, from the pod's service account, or as kubectl would
//! find it. Every request has a deadline for the beginning of its answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::ServiceBuilder;
use tower::timeout::TimeoutLayer;
use tower::util::MapRequestLayer;

use crate::report;
use crate::token::TokenFile;

/// A machine that is gone does not refuse a connection: it says nothing. TLS is part of it.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A server that is alive begins to answer within this, watches included; the longest that it lets a request queue is
/// half of it.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The kubeconfig file cannot be used.
    // Its source is not kept: what a parser says of the file shows pieces of it, and secrets are in them.
    #[error("cannot use the kubeconfig {}: {said}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// The first line of what is wrong with it.
        said: String,
    },
    /// Nothing says where the API server is.
    #[error(
        "cannot find the API server: this is no pod with a service account, and there is no kubeconfig ({said}): give one with --kubeconfig"
    )]
    NoCluster {
        /// What came of looking for a kubeconfig.
        said: String,
    },
    /// The token cannot be read.
    #[error("cannot read the token {}", path.display())]
    Token {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The credentials make no client.
    #[error("cannot make a client of the API server at {url}")]
    Client {
        /// Where the API server would be.
        url: String,
        /// What is wrong.
        source: Box<kube::Error>,
    },
}

/// The API server: a client, and what to call it.
#[derive(Clone)]
pub struct ApiServer {
    client: Client,
    url: Arc<str>,
}

impl ApiServer {
    /// Reads where it is and with what to identify ourselves; asks it nothing yet. Without a kubeconfig: as a pod of the
    /// cluster, else as kubectl would.
    ///
    /// # Errors
    /// When nothing says where it is, or the credentials cannot be used.
    pub async fn find(kubeconfig: Option<&Path>) -> Result<Self, ConnectError> {
        let mut config = configuration(kubeconfig).await?;
        let url: Arc<str> = config.cluster_url.to_string().trim_end_matches('/').into();
        config.connect_timeout = Some(CONNECT_WITHIN);
        // Who asks tries again by its own rules.
        config.default_retry = false;
        let token = config.auth_info.token_file.take().map(PathBuf::from);
        let token = match token.filter(|_| config.auth_info.token.is_none()) {
            None => None,
            Some(path) => {
                let read = TokenFile::open(&path);
                Some(read.map_err(|source| ConnectError::Token { path, source })?)
            }
        };
        let authorized = token.map(|token| {
            MapRequestLayer::new(move |mut request: http::Request<Body>| {
                request.headers_mut().insert(AUTHORIZATION, token.authorization());
                request
            })
        });
        let layers =
            ServiceBuilder::new().layer(TimeoutLayer::new(ANSWER_WITHIN)).option_layer(authorized).into_inner();
        let built = ClientBuilder::try_from(config);
        let built = built.map_err(|source| ConnectError::Client { url: url.to_string(), source: Box::new(source) })?;
        Ok(Self { client: built.with_layer(&layers).build(), url })
    }

    #[cfg(test)]
    pub(crate) fn of(client: Client) -> Self {
        Self { client, url: "http://test".into() }
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }
}

async fn configuration(kubeconfig: Option<&Path>) -> Result<Config, ConnectError> {
    if let Some(path) = kubeconfig {
        let unusable = |error| {
            let said = match error {
                KubeconfigError::ReadConfig(source, _) => source.to_string(),
                error => first_line(&error),
            };
            ConnectError::Kubeconfig { path: path.to_owned(), said }
        };
        let read = Kubeconfig::read_from(path).map_err(unusable)?;
        return configured(read).await.map_err(unusable);
    }
    // In a pod KUBERNETES_SERVICE_HOST is dialed as it stands: no name has to be looked up.
    match Config::incluster() {
        Ok(config) => Ok(config),
        Err(_) => {
            let found = match Kubeconfig::read() {
                Ok(read) => configured(read).await,
                Err(error) => Err(error),
            };
            found.map_err(|error| {
                let said = match error {
                    KubeconfigError::ReadConfig(source, path) => format!("{}: {source}", path.display()),
                    error => first_line(&error),
                };
                ConnectError::NoCluster { said }
            })
        }
    }
}

async fn configured(kubeconfig: Kubeconfig) -> Result<Config, KubeconfigError> {
    let ca = ca_file(&kubeconfig);
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // Read anew now and then, as the library does with a pod's: a CA is replaced under running programs.
    config.root_cert_file = ca;
    Ok(config)
}

/// Where the CA's certificate stands, if it is a file and does not stand in the kubeconfig itself.
fn ca_file(kubeconfig: &Kubeconfig) -> Option<PathBuf> {
    let context = kubeconfig.contexts.iter().find(|context| Some(&context.name) == kubeconfig.current_context.as_ref());
    let name = &context?.context.as_ref()?.cluster;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == *name)?.cluster.as_ref()?;
    let path = cluster.certificate_authority.as_ref().filter(|_| cluster.certificate_authority_data.is_none());
    path.map(PathBuf::from)
}

/// Behind its first line the parser of a kubeconfig shows a piece of the file.
fn first_line(error: &(dyn std::error::Error + 'static)) -> String {
    report(error).lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    async fn refused(content: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, content).unwrap();
        let Err(error) = ApiServer::find(Some(&path)).await else { panic!("it is a kubeconfig: {content}") };
        report(&error)
    }

    #[tokio::test]
    async fn a_kubeconfig_that_cannot_be_used_shows_nothing_of_what_is_in_it() {
        for secret in [
            "users:\n- name: x\n  user: {token: [s3cret}\n",
            "users:\n- name: x\n  user:\n    token: s3cret\n   bad: indent\n",
            "users: {s3cret: 1}\n",
            "s3cret",
        ] {
            let said = refused(secret).await;
            assert!(said.starts_with("cannot use the kubeconfig /"), "{said}");
            assert!(!said.contains("s3cret") && !said.contains('\n'), "{said}");
        }
    }

    #[tokio::test]
    async fn a_kubeconfig_that_is_missing_is_named_once() {
        let Err(error) = ApiServer::find(Some(Path::new("/nonexistent/config"))).await else { panic!("it is there") };
        let said = report(&error);
        assert_eq!(said, "cannot use the kubeconfig /nonexistent/config: No such file or directory (os error 2)");
    }

    #[tokio::test]
    async fn a_token_file_that_is_missing_is_named() {
        let said = refused(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n\
             users: [{name: u, user: {tokenFile: /nonexistent/token}}]\n\
             contexts: [{name: c, context: {cluster: c, user: u}}]\n",
        )
        .await;
        assert!(said.starts_with("cannot read the token /nonexistent/token: No such file"), "{said}");
    }
}
