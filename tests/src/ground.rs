//! Where a control plane stands: on this machine's loopback, or in a network of its own that nodes join. Produces ports, addresses
//! and the API server's flags that follow from it.
use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
};

use crate::{
    error::{Doing as _, Result},
    loopback::{self, Answer, free_port},
    nodes::network::{Forward, Network},
    pki::{Authority, Certified, Pki},
    run_folder::RunFolder,
};

/// The API server's own service, the first address of the range of services.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const PORT: u16 = 6443;

/// Where etcd and the API server listen and are asked.
pub(crate) enum Ground {
    /// On free ports of this machine's loopback. No node can join.
    Loopback,
    /// At `address` in a network; tests ask through a port on loopback.
    Network { network: Network, address: Ipv4Addr, door: Forward },
}

impl Ground {
    pub(crate) fn network(network: Network, address: Ipv4Addr) -> Result<Self> {
        let door = network.forward((Ipv4Addr::LOCALHOST, PORT).into())?;
        Ok(Self::Network { network, address, door })
    }

    /// A port that nobody has there. The same name gets the same one in a network.
    pub(crate) fn port(&self, who: Listener) -> Result<u16> {
        match self {
            Self::Loopback => free_port(),
            Self::Network { .. } => Ok(match who {
                Listener::EtcdClients => 2379,
                Listener::EtcdPeers => 2380,
                Listener::Api => PORT,
            }),
        }
    }

    /// Where tests find the API server that listens on `port`.
    pub(crate) fn url(&self, port: u16) -> String {
        let port = match self {
            Self::Loopback => port,
            Self::Network { door, .. } => door.port(),
        };
        format!("https://127.0.0.1:{port}")
    }

    /// The process will run there.
    pub(crate) fn enter(&self, command: &mut Command) {
        if let Self::Network { network, .. } = self {
            network.enter(command);
        }
    }

    /// Asks a plain server that listens on the loopback there.
    pub(crate) async fn get(&self, port: u16, path: &str) -> Result<Answer> {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match self {
            Self::Loopback => loopback::get(server, path).await,
            Self::Network { network, .. } => {
                let what = || format!("connect to {server}");
                let stream = network.connect(server)?;
                stream.set_nonblocking(true).doing(what)?;
                let stream = tokio::net::TcpStream::from_std(stream).doing(what)?;
                loopback::get_on(stream, server, path).await
            }
        }
    }

    /// The certificate of an API server there.
    pub(crate) fn certificate(&self, pki: &Pki, authority: Authority) -> Result<Certified> {
        let mut names: Vec<String> = vec!["localhost".into(), "127.0.0.1".into()];
        if let Self::Network { address, .. } = self {
            names.extend([address, &SERVICE].map(ToString::to_string));
            names.extend(["", ".default", ".default.svc"].map(|end| format!("kubernetes{end}")));
        }
        pki.server_by(authority, "kube-apiserver", None, &names)
    }

    /// The API server's flags that depend on where it stands.
    pub(crate) fn flags(&self, folder: &RunFolder, pki: &Pki, ca_file: &str) -> Result<Vec<String>> {
        Ok(match self {
            Self::Loopback => vec![
                "--bind-address=127.0.0.1".into(),
                "--advertise-address=127.0.0.1".into(),
                // A loopback address cannot be an endpoint of the service "kubernetes".
                "--endpoint-reconciler-type=none".into(),
            ],
            Self::Network { address, .. } => {
                let Certified { certificate, key } = pki.person("kube-apiserver", Some("system:masters"))?;
                vec![
                    "--bind-address=0.0.0.0".into(),
                    format!("--advertise-address={address}"),
                    "--kubelet-preferred-address-types=InternalIP".into(),
                    format!("--kubelet-certificate-authority={ca_file}"),
                    format!("--kubelet-client-certificate={}", folder.file("to-kubelets.crt", &certificate)?.display()),
                    format!("--kubelet-client-key={}", folder.file("to-kubelets.key", &key)?.display()),
                ]
            }
        })
    }
}

/// Who listens.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Listener {
    EtcdClients,
    EtcdPeers,
    Api,
}
