//! What the API server asks for logs. There are no containers here, and a real kubelet gives no log that a taken-over node would.

use std::{
    future::pending,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer},
};
use vedette_tests::Cluster;

/// More than a server between here and there holds back until it has more.
const MUCH: usize = 256 << 10;

/// What the log of a container is.
pub(crate) enum Log {
    /// What stands in this file.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes, many that say nothing, and no end.
    Stalled(Vec<u8>),
}

/// A node's kubelet. Its port is closed when it is dropped.
pub(crate) struct Kubelet {
    log: Arc<Mutex<Log>>,
    served: JoinHandle<()>,
}

impl Kubelet {
    /// Serves this as the log of every container that runs on the node; none ran before.
    pub(crate) async fn start(cluster: &Cluster, node: &str, log: Log) -> Self {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        at(cluster, node, listener.local_addr().unwrap().port()).await;
        let log = Arc::new(Mutex::new(log));
        let shown = Arc::clone(&log);
        let served = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Who asks may hang up at any time.
                tokio::spawn(answer(tls.clone(), stream, Arc::clone(&shown)));
            }
        });
        Self { log, served }
    }

    /// From now on it is this one.
    pub(crate) fn shows(&self, log: Log) {
        *self.log.lock().unwrap() = log;
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.served.abort();
    }
}

/// Says that a node's kubelet is at this port.
pub(crate) async fn at(cluster: &Cluster, node: &str, port: u16) {
    let address = json!([{"type": "InternalIP", "address": "127.0.0.1"}]);
    let status = json!({"status": {"addresses": address, "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    let nodes: Api<Node> = Api::all(cluster.client());
    nodes.patch_status(node, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

async fn answer(tls: TlsAcceptor, stream: TcpStream, log: Arc<Mutex<Log>>) -> std::io::Result<()> {
    let mut stream = tls.accept(stream).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if String::from_utf8_lossy(&head).contains("previous=true") {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await?;
        return stream.shutdown().await;
    }
    let (content, is_stalled) = match &*log.lock().unwrap() {
        Log::File(path) => (std::fs::read(path)?, false),
        Log::Bytes(bytes) => (bytes.clone(), false),
        Log::Stalled(bytes) => ([&bytes[..], &b"nothing\n".repeat(MUCH / 8)].concat(), true),
    };
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n").await?;
    stream.write_all(&content).await?;
    stream.flush().await?;
    if is_stalled {
        pending::<()>().await;
    }
    stream.shutdown().await
}
