//! Who talks to the API server: a person with a certificate, or a service account with a token in a file. Produces clients
//! and the kubeconfig files that the product's binaries read.
use std::{
    fs,
    path::{Path, PathBuf},
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::{
    error::{Doing as _, Error, Result},
    pki::Certified,
};

/// Somebody the API server knows, with what proves it.
#[derive(Debug, Clone)]
pub struct Identity {
    name: String,
    kubeconfig: Value,
}

/// Where an API server is, and the CA that its certificate comes from.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) ca: Ca,
}

/// A CA's certificate.
#[derive(Debug, Clone)]
pub(crate) enum Ca {
    /// PEM, for good.
    Inline(String),
    /// What this file says, as in a pod.
    File(PathBuf),
}

impl Identity {
    pub(crate) fn person(server: &Server, name: &str, certified: &Certified) -> Self {
        let user = json!({
            "client-certificate-data": base64(&certified.certificate),
            "client-key-data": base64(&certified.key),
        });
        Self::new(server, name, user)
    }

    /// `token_file` is read again when its token is about to expire.
    pub(crate) fn service_account(server: &Server, name: &str, token_file: &Path) -> Self {
        Self::new(server, name, json!({ "tokenFile": token_file }))
    }

    fn new(server: &Server, name: &str, user: Value) -> Self {
        let cluster = match &server.ca {
            Ca::Inline(pem) => json!({ "server": server.url, "certificate-authority-data": base64(pem) }),
            Ca::File(path) => json!({ "server": server.url, "certificate-authority": path }),
        };
        Self {
            name: name.to_owned(),
            kubeconfig: json!({
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{ "name": "vedette", "cluster": cluster }],
                "users": [{ "name": name, "user": user }],
                "contexts": [{ "name": "vedette", "context": { "cluster": "vedette", "user": name } }],
                "current-context": "vedette",
            }),
        }
    }

    /// A client of its own, with its own connections. It belongs to the runtime that it is made on.
    ///
    /// # Errors
    /// When the credentials cannot be read.
    pub async fn client(&self) -> Result<Client> {
        let unusable = || format!("make a client for {}", self.name);
        let kubeconfig: Kubeconfig = serde_json::from_value(self.kubeconfig.clone())
            .map_err(|error| Error::Unexpected(format!("a kubeconfig of our own: {error}")))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.doing(unusable)?;
        Client::try_from(config).doing(unusable)
    }

    /// Writes a kubeconfig file, as kubectl and the product's binaries read it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_kubeconfig(&self, path: &Path) -> Result<()> {
        fs::write(path, self.kubeconfig()?).doing(|| format!("write {}", path.display()))
    }

    /// What is in such a file.
    pub(crate) fn kubeconfig(&self) -> Result<String> {
        serde_saphyr::to_string(&self.kubeconfig)
            .map_err(|error| Error::Unexpected(format!("a kubeconfig of our own: {error}")))
    }
}

fn base64(pem: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(pem)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_kubeconfig_file_is_read_as_it_was_meant() {
        let folder = tempfile::tempdir().unwrap();
        let (file, token) = (folder.path().join("kubeconfig"), folder.path().join("token"));
        let server = Server { url: "https://127.0.0.1:6443".into(), ca: Ca::Inline("a CA".into()) };
        Identity::service_account(&server, "vedette-agent-n1", &token).write_kubeconfig(&file).unwrap();
        let read = Kubeconfig::read_from(&file).unwrap();
        let cluster = read.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:6443"));
        assert_eq!(cluster.certificate_authority_data.as_deref(), Some("YSBDQQ=="));
        let user = read.auth_infos[0].auth_info.as_ref().unwrap();
        assert_eq!(user.token_file.as_deref(), token.to_str());
        assert_eq!(read.current_context.as_deref(), Some("vedette"));
    }
}
