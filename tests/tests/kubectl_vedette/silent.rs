//! Servers that a real API server is not: one that takes a connection and says nothing, one whose versions are always gone.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use vedette_tests::{eventually, not_yet, process::Process};

use crate::scene::{Person, SOON};

/// A kubeconfig for whoever listens there, and the folder that it is in.
fn kubeconfig(listener: &TcpListener) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    let server = format!("http://{}", listener.local_addr().unwrap());
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    fs::write(&file, config.to_string()).unwrap();
    (folder, file)
}

/// Answers what `answer` says to each request line, and counts them.
fn serve(listener: TcpListener, answer: fn(&str) -> (&'static str, String)) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let (status, body) = answer(head.lines().next().unwrap_or_default());
            count.fetch_add(1, Ordering::SeqCst);
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}");
            // Who asks may hang up at any time.
            let _ = stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n{body}").as_bytes()).await;
        }
    });
    asked
}

fn gone() -> (&'static str, String) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Expired",
        "message": "too old resource version", "code": 410});
    ("410 Gone", status.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_a_connection_and_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_folder, file) = kubeconfig(&listener);
    let person = Person::with(file).await;
    for words in [&["changes", "--follow"][..], &["changes"]] {
        let ran = person.runs(words);
        assert_eq!((ran.code, &*ran.output), (Some(2), ""), "{ran:?}");
        assert!(ran.errors.starts_with("error: cannot ") && ran.errors.contains(" NodeConfigs at http://"), "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_are_gone_each_time_are_said_and_not_asked_for_without_a_pause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_folder, file) = kubeconfig(&listener);
    let asked = serve(listener, |_| gone());
    let ran = Person::with(file).await.runs(&["changes", "--follow"]);
    assert_eq!((ran.code, &*ran.output), (Some(2), ""), "{ran:?}");
    assert!(ran.errors.contains("it answers 410: too old resource version"), "{ran:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 2, "an answer that is gone once is asked for again");

    // A list comes, and what it could be watched from is gone by then.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (folder, file) = kubeconfig(&listener);
    let asked = serve(listener, |request| {
        if request.contains("watch=") {
            return gone();
        }
        let list = json!({"kind": "NodeConfigList", "apiVersion": "vedette.dev/v1alpha1",
            "metadata": {"resourceVersion": "1"}, "items": []});
        ("200 OK", list.to_string())
    });
    let command = Person::with(file).await.command(&["changes", "--follow"]);
    let mut following = Process::start("kubectl-vedette", command, &folder.path().join("log")).unwrap();
    eventually("it is said", SOON, async || {
        let said = following.output()?;
        if said.contains("it answers 410: too old resource version. Trying again") {
            Ok(())
        } else {
            Err(not_yet(said))
        }
    })
    .await
    .unwrap();
    let asked = asked.load(Ordering::SeqCst);
    assert!(asked <= 10, "{asked} requests until it was said");
    following.still_runs().unwrap();
}
