//! Pages over TLS: with a certificate of their own, and with one in files that are replaced.
#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::fs;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::{Client, Config};
use tokio::net::TcpStream;
use vedette_service::ApiServer;
use vedette_service::http::{Guarding, LONGEST_CONNECTION, MAX_CONNECTIONS, Pages, bind, serve};

struct Shown;

impl Pages for Shown {
    fn metrics(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        Ok(b"secret".to_vec())
    }

    fn waits_for(&self) -> Option<String> {
        None
    }
}

/// An API server that is not there.
async fn nobody(folder: &Path) -> ApiServer {
    let kubeconfig = folder.join("kubeconfig");
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: c\nusers: [{name: u, user: {}}]\n\
                clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n\
                contexts: [{name: c, context: {cluster: c, user: u}}]\n";
    fs::write(&kubeconfig, text).unwrap();
    ApiServer::find(Some(&kubeconfig)).await.unwrap()
}

async fn served(guarding: &Guarding, folder: &Path) -> SocketAddr {
    let guard = guarding.guard(&nobody(folder).await).unwrap();
    let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, Arc::new(Shown), guard, pending()));
    address
}

fn secure(tls_dir: Option<PathBuf>) -> Guarding {
    Guarding { secure_metrics: true, metrics_audience: None, tls_dir }
}

/// Asks over TLS; `None`: who answers is not whom `ca` vouches for. Without a `ca` anybody will do.
async fn get(address: SocketAddr, path: &str, ca: Option<&[u8]>, token: &str) -> Option<(u16, String)> {
    let mut config = Config::new(format!("https://{address}").parse().unwrap());
    config.root_cert = ca.map(|der| vec![der.to_vec()]);
    config.accept_invalid_certs = ca.is_none();
    config.default_retry = false;
    let request = http::Request::get(path);
    let request = if token.is_empty() { request } else { request.header("authorization", token) };
    let client = Client::try_from(config).unwrap();
    let answer = client.send(request.body(Body::empty()).unwrap()).await.ok()?;
    let status = answer.status().as_u16();
    Some((status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()))
}

/// Puts a certificate for loopback into a folder, and gives its CA.
fn issue(dir: &Path) -> Vec<u8> {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    fs::write(dir.join("tls.crt"), params.signed_by(&key, &ca).unwrap().pem()).unwrap();
    fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
    ca.der().to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_need_no_token_and_metrics_do() {
    let folder = tempfile::tempdir().unwrap();
    let address = served(&secure(None), folder.path()).await;
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(get(address, probe, None, "").await.unwrap(), (200, "ok\n".into()));
    }
    let (status, said) = get(address, "/metrics", None, "").await.unwrap();
    assert_eq!((status, said.as_str()), (401, "send a token: Authorization: Bearer TOKEN\n"));
    for none in ["Bearer", "Bearer ", "Basic dTpw", "token"] {
        assert_eq!(get(address, "/metrics", None, none).await.unwrap().0, 401, "{none}");
    }
    let (status, said) = get(address, "/metrics", None, "bearer x").await.unwrap();
    assert!(status == 503 && said.starts_with("the API server cannot be asked whose token this is: "), "{said}");
    for _ in 0..20 {
        let (status, said) = get(address, "/metrics", None, "bearer y").await.unwrap();
        assert!([429, 503].contains(&status) && !said.contains("secret"), "{status} {said}");
    }
    // The path as it is asked for decides, not one that means the same to somebody else.
    for other in ["/metrics/", "//metrics", "/%6detrics", "/metrics?x=y"] {
        let (status, said) = get(address, other, None, "").await.unwrap();
        assert!([401, 404].contains(&status) && !said.contains("secret"), "{other}: {status} {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_in_files_is_taken_up_when_it_is_replaced_and_kept_while_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("tls");
    fs::create_dir(&dir).unwrap();
    let first = issue(&dir);
    let address = served(&secure(Some(dir.clone())), folder.path()).await;
    assert_eq!(get(address, "/healthz", Some(&first), "").await.unwrap().0, 200);
    for broken in ["", "no certificate"] {
        fs::write(dir.join("tls.crt"), broken).unwrap();
        assert_eq!(get(address, "/healthz", Some(&first), "").await.unwrap().0, 200, "{broken}");
    }
    fs::remove_file(dir.join("tls.key")).unwrap();
    assert_eq!(get(address, "/healthz", Some(&first), "").await.unwrap().0, 200);
    let second = issue(&dir);
    assert_eq!(get(address, "/healthz", Some(&second), "").await.unwrap().0, 200);
    assert!(get(address, "/healthz", Some(&first), "").await.is_none(), "the first one is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_certificate_that_can_be_used_a_made_one_serves_until_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("tls");
    let address = served(&secure(Some(dir.clone())), folder.path()).await;
    let served = async || get(address, "/healthz", None, "").await.unwrap().0;
    assert_eq!(served().await, 200, "there is no such folder");
    fs::create_dir(&dir).unwrap();
    let first = issue(&dir);
    let key = fs::read_to_string(dir.join("tls.key")).unwrap();
    let second = issue(&dir);
    let other = fs::read_to_string(dir.join("tls.key")).unwrap();
    fs::write(dir.join("tls.key"), key).unwrap();
    for ca in [first, second.clone()] {
        assert!(get(address, "/healthz", Some(&ca), "").await.is_none(), "the key is another one's");
    }
    assert_eq!(served().await, 200);
    fs::write(dir.join("tls.key"), other).unwrap();
    assert_eq!(get(address, "/healthz", Some(&second), "").await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_speak_tls_shuts_out_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let address = served(&secure(None), folder.path()).await;
    let mut idle = Vec::new();
    for _ in 0..4 * MAX_CONNECTIONS {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(get(address, "/healthz", None, "").await.unwrap().0, 200);
    for stream in &idle {
        let closed = async { while stream.readable().await.is_ok() && stream.try_read(&mut [0; 64]).is_err() {} };
        tokio::time::timeout(LONGEST_CONNECTION, closed).await.expect("it stays open");
    }
}
