//! A server that takes requests and never answers, as a hung process or a black hole behind a load balancer does.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::runtime::watcher;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::time::timeout;
use vedette_service::{ApiServer, Refusal, Watch, reason, refusal};

/// More than twice what a server has to begin its answer in.
const NOTICED_WITHIN: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_server_that_never_answers_is_noticed_by_requests_and_by_watches() {
    let asked = Arc::new(Mutex::new(String::new()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let heard = Arc::clone(&heard);
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                    heard.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
                }
            });
        }
    });

    let folder = tempfile::tempdir().unwrap();
    let (kubeconfig, token) = (folder.path().join("kubeconfig"), folder.path().join("token"));
    std::fs::write(&token, "first\n").unwrap();
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: '{url}'}}}}]\n\
         users: [{{name: u, user: {{tokenFile: {}}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n",
        token.display()
    );
    std::fs::write(&kubeconfig, text).unwrap();
    let server = ApiServer::find(Some(&kubeconfig)).await.unwrap();
    assert_eq!(server.url(), url);
    let nodes: Api<Node> = Api::all(server.client());
    let mut watch = Watch::new(&server, nodes.clone(), watcher::Config::default(), "Nodes", String::new);
    let watching = async {
        // What comes before the list is no answer.
        while let Ok(event) = watch.next().await {
            assert!(matches!(event, watcher::Event::Init), "{event:?}");
        }
        std::fs::write(&token, "second").unwrap();
        nodes.get("n").await
    };
    let (watched, got) = tokio::join!(timeout(NOTICED_WITHIN, watching), timeout(NOTICED_WITHIN, nodes.get("m")));
    for error in [watched.expect("noticed").unwrap_err(), got.expect("noticed").unwrap_err()] {
        assert_eq!(refusal(&error), Refusal::Unreachable);
        assert_eq!(reason(&error), "it does not begin to answer within 30s");
    }
    let asked = asked.lock().unwrap().to_lowercase();
    assert!(
        asked.contains("authorization: bearer first\r\n") && asked.contains("authorization: bearer second\r\n"),
        "{asked}"
    );
}
