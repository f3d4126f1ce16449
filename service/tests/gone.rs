//! A server whose every watch begins with a version that is gone.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::runtime::watcher;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;
use vedette_service::{ApiServer, Broken, Watch};

const SOON: Duration = Duration::from_secs(60);

async fn server_of_versions_that_are_gone() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = [0; 8192];
                let count = stream.read(&mut head).await.unwrap_or(0);
                let (status, body) = if String::from_utf8_lossy(&head[..count]).contains("watch=true") {
                    let gone =
                        r#"{"kind":"Status","status":"Failure","message":"too old","reason":"Expired","code":410}"#;
                    ("410 Gone", gone)
                } else {
                    ("200 OK", r#"{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"5"},"items":[]}"#)
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    url
}

#[tokio::test]
async fn a_version_that_is_gone_again_after_a_new_list_is_a_failure() {
    let url = server_of_versions_that_are_gone().await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: '{url}'}}}}]\n\
         users: [{{name: u, user: {{token: t}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
    );
    std::fs::write(&kubeconfig, text).unwrap();
    let server = ApiServer::find(Some(&kubeconfig)).await.unwrap();
    let nodes: Api<Node> = Api::all(server.client());
    let mut watch = Watch::new(&server, nodes, watcher::Config::default(), "Nodes", String::new);
    let mut lists = 0;
    let broken = async {
        loop {
            match watch.next().await {
                Ok(watcher::Event::InitDone) => lists += 1,
                Ok(_) => {}
                Err(Broken) => break,
            }
        }
    };
    timeout(SOON, broken).await.expect("it is told");
    assert_eq!(lists, 2, "once it is the way of things");
}
