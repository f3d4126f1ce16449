//! The pages over real connections on loopback, and what those who mean harm can do to them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::error::Error;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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
    (address, tokio::spawn(serve(listener, Arc::new(shown), None, stop)))
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

async fn is_served_at(host: IpAddr, port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((host, port)).await else { return false };
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.starts_with("HTTP/1.1 200")
}

async fn every_address() -> u16 {
    let listener = bind((Ipv6Addr::UNSPECIFIED, 0).into()).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(serve(listener, Arc::new(Shown { waits: false, metrics: 1 }), None, pending()));
    port
}

#[tokio::test]
async fn every_address_is_both_kinds() {
    let port = every_address().await;
    assert!(is_served_at(Ipv4Addr::LOCALHOST.into(), port).await);
    assert!(is_served_at(Ipv6Addr::LOCALHOST.into(), port).await);
}

/// As a kernel that began with ipv6.disable=1: the filter is of this thread alone.
#[test]
fn every_address_is_those_of_ipv4_where_there_is_no_ipv6() {
    use seccompiler::{SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule};
    let no_ipv6 = std::thread::spawn(|| {
        let is_ipv6 =
            SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::AF_INET6 as u64).unwrap();
        let rules = BTreeMap::from([(libc::SYS_socket, vec![SeccompRule::new(vec![is_ipv6]).unwrap()])]);
        let refused = SeccompAction::Errno(libc::EAFNOSUPPORT as u32);
        let architecture = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture).unwrap();
        let filter: seccompiler::BpfProgram = filter.try_into().unwrap();
        seccompiler::apply_filter(&filter).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let port = every_address().await;
            assert!(is_served_at(Ipv4Addr::LOCALHOST.into(), port).await);
            let named = bind((Ipv6Addr::LOCALHOST, 0).into()).await.unwrap_err();
            assert!(named.to_string().contains("cannot listen on [::1]:0"), "one that was named is not exchanged");
        });
    });
    no_ipv6.join().unwrap();
}
