//! The pages over real connections on loopback, and what those who mean harm can do to them.
#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vedette_service::http::{LONGEST_CONNECTION, MAX_CONNECTIONS, Pages, bind, serve};

/// More than the socket's buffers at both ends hold.
const LONG: usize = 32 << 20;

struct Shown {
    waits: bool,
    metrics: usize,
}

impl Pages for Shown {
    fn metrics(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        Ok(vec![b'm'; self.metrics])
    }

    fn waits_for(&self) -> Option<String> {
        self.waits.then(|| "waiting for Godot".to_owned())
    }
}

async fn served(shown: Shown, stop: impl Future<Output = ()> + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(serve(listener, Arc::new(shown), stop)))
}

async fn send(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    // A request whose body nobody reads is answered, and then its connection is reset.
    let _ = stream.write_all(request.as_bytes()).await;
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
}

/// Whether the other end has closed it: a read ends, with or without an error.
async fn is_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = timeout(LONGEST_CONNECTION * 2, stream.read_to_end(&mut rest)).await.expect("it stays open");
}

#[tokio::test]
async fn the_three_pages_answer_and_nothing_else_does() {
    let (address, _) = served(Shown { waits: true, metrics: 3 }, pending()).await;
    let metrics = get(address, "/metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.ends_with("\r\n\r\nmmm"), "{metrics}");
    assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
    assert!(get(address, "/healthz").await.ends_with("ok\n"));
    let ready = get(address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.ends_with("waiting for Godot\n"), "{ready}");
    assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));
    let head = ask(address, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.contains("content-length: 3") && head.ends_with("\r\n\r\n"), "{head}");
    let body = "x".repeat(4 << 20);
    let posted = ask(address, &format!("POST /metrics HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
    assert!(posted.starts_with("HTTP/1.1 405") || posted.is_empty(), "{posted}");
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"), "it goes on");
}

#[tokio::test]
async fn hundreds_who_ask_nothing_do_not_shut_out_who_asks() {
    let (address, _) = served(Shown { waits: false, metrics: 3 }, pending()).await;
    let mut idle = Vec::new();
    for number in 0..4 * MAX_CONNECTIONS {
        // Half of a head is no question either.
        idle.push(send(address, if number % 2 == 0 { "" } else { "GET /metrics HTTP/1.1\r\nX: " }).await);
    }
    for _ in 0..3 {
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/metrics").await.ends_with("mmm"));
    }
    // The oldest are closed for the newest, and what is left is closed by its time.
    for stream in &mut idle {
        is_closed(stream).await;
    }
}

#[tokio::test]
async fn hundreds_who_do_not_read_their_answers_do_not_shut_out_who_does() {
    let (address, _) = served(Shown { waits: false, metrics: LONG }, pending()).await;
    let mut slow = Vec::new();
    for _ in 0..2 * MAX_CONNECTIONS {
        slow.push(send(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await);
    }
    for _ in 0..3 {
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    }
    assert!(get(address, "/metrics").await.len() > LONG);
}

#[tokio::test]
async fn a_head_without_an_end_is_cut_off() {
    let (address, _) = served(Shown { waits: false, metrics: 3 }, pending()).await;
    let mut stream = send(address, "GET /metrics HTTP/1.1\r\n").await;
    let endless = "X: y\r\n".repeat(1 << 20);
    let _ = stream.write_all(endless.as_bytes()).await;
    is_closed(&mut stream).await;
}

#[tokio::test]
async fn at_the_end_what_was_asked_is_answered_and_nobody_is_waited_for() {
    let (stop, stopped) = oneshot::channel::<()>();
    let (address, serving) = served(Shown { waits: false, metrics: LONG }, async { drop(stopped.await) }).await;
    let _idle = send(address, "").await;
    let mut reading = send(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let _slow = send(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut first = [0; 16];
    reading.read_exact(&mut first).await.unwrap();
    stop.send(()).unwrap();
    let mut rest = Vec::new();
    reading.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() > LONG);
    timeout(Duration::from_secs(20), serving).await.expect("it ends").unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}
