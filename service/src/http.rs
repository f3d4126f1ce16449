//! `/metrics`, `/healthz` and `/readyz` on one port, within hard limits: whoever can reach the port can shut neither a
//! scraper nor a probe out of it, nor use up what the rest of the process needs.
//!
//! One connection carries one request and lives at most [`LONGEST_CONNECTION`]. At most [`MAX_CONNECTIONS`] are open; a
//! newcomer beyond that closes the oldest one that has not asked anything yet, else the oldest of all. Where a [`Guard`]
//! stands, nobody has asked for `/metrics` before it is known that they may, or could a while ago.

mod certificate;
mod guard;
mod readers;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::io::Errno;
use rustix::net::sockopt::set_ipv6_v6only;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::retry::Retry;

pub use guard::{Guard, GuardError, Guarding};

type Body = Full<Bytes>;

/// Prometheus and a kubelet need three; the rest is for people. Where the system gives few descriptors it is a quarter of
/// them: who connects must not take what the work needs.
pub const MAX_CONNECTIONS: usize = 64;
/// Who has connected to ask asks at once.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// The longest answer is read in this time over any line worth having.
pub const LONGEST_CONNECTION: Duration = Duration::from_secs(30);
/// What is being answered at the end is finished within this.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Of a request's head; what hyper needs at the least.
const MAX_HEAD: usize = 8 * 1024;
/// Who connects while we are busy waits in the system.
const BACKLOG: u32 = 1024;
/// How long to leave it alone when the system has no descriptor to give.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// Prometheus' text format.
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// What is shown.
pub trait Pages: Send + Sync + 'static {
    /// All metrics, as Prometheus text.
    ///
    /// # Errors
    /// When they cannot be written as text.
    fn metrics(&self) -> Result<Vec<u8>, Box<dyn StdError + Send + Sync>>;

    /// What is still waited for, as a sentence; `None`: ready.
    fn waits_for(&self) -> Option<String>;
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: give another address with --listen")]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// Takes the address. `[::]` is every address of both kinds, or those of IPv4 where there is no IPv6.
///
/// # Errors
/// When the system does not give it.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let failed = |source| ListenError { address, source };
    let listener = match listen(address) {
        Err(error) if is_every(address) && has_no_ipv6(&error) => {
            listen((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        listener => listener,
    };
    listener.map_err(failed)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if is_every(address) {
        // Else net.ipv6.bindv6only decides.
        set_ipv6_v6only(&socket, false)?;
    }
    // A restart does not wait for the connections of who was there before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn is_every(address: SocketAddr) -> bool {
    address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
}

/// The kernel began without it, or its addresses were taken away.
fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

/// Says in the log where it answers, and does so until it is told to stop; then finishes what has been asked.
pub async fn serve(
    listener: TcpListener,
    pages: Arc<impl Pages>,
    guard: Option<Guard>,
    stop: impl Future<Output = ()>,
) {
    let guard = guard.map(Arc::new);
    match listener.local_addr() {
        Ok(address) => info!("listening on {}://{address}", if guard.is_some() { "https" } else { "http" }),
        Err(error) => warn!("listening, and the system does not say where: {error}"),
    }
    let mut open = Connections { most: most_connections(), ..Connections::default() };
    let mut retry = Retry::new(LONGEST_PAUSE);
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, _)) => {
                retry.succeeded(Instant::now());
                open.make_room().await;
                open.answer(stream, Arc::clone(&pages), guard.clone());
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                let failed = retry.failed(Instant::now());
                if failed.say.is_some() {
                    warn!("cannot accept connections: {error}; trying again");
                }
                // It may be our own connections that leave no descriptor: then the next one has room at once.
                if open.close_one().await {
                    continue;
                }
                tokio::select! {
                    () = sleep(failed.pause) => {}
                    () = &mut stop => break,
                }
            }
        }
    }
    drop(listener);
    open.finish().await;
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn most_connections() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    descriptors.map_or(MAX_CONNECTIONS, |descriptors| (descriptors / 4).clamp(1, MAX_CONNECTIONS))
}

/// The connections that are open, oldest first.
#[derive(Default)]
struct Connections {
    most: usize,
    next: u64,
    open: BTreeMap<u64, Connection>,
}

struct Connection {
    task: JoinHandle<()>,
    has_asked: Arc<AtomicBool>,
}

impl Connections {
    async fn make_room(&mut self) {
        self.open.retain(|_, connection| !connection.task.is_finished());
        while self.open.len() >= self.most {
            self.close_one().await;
        }
    }

    /// Closes the oldest that has asked nothing, else the oldest; its descriptor is free when this returns. Says whether
    /// there was one.
    async fn close_one(&mut self) -> bool {
        let idle = self.open.iter().find(|(_, connection)| !connection.has_asked.load(Ordering::Relaxed));
        let Some(oldest) = idle.or_else(|| self.open.iter().next()).map(|(number, _)| *number) else { return false };
        let Some(connection) = self.open.remove(&oldest) else { return false };
        connection.task.abort();
        // Aborted or just ended: either way it is gone.
        let _ = connection.task.await;
        true
    }

    fn answer(&mut self, stream: TcpStream, pages: Arc<impl Pages>, guard: Option<Arc<Guard>>) {
        let has_asked = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&has_asked);
        let connection = async move {
            match guard {
                None => converse(stream, pages, None, asked).await,
                Some(guard) => {
                    let accepted = timeout(REQUEST_WITHIN, guard.accept(stream)).await;
                    if let Ok(Ok(stream)) = accepted {
                        converse(stream, pages, Some(guard), asked).await;
                    }
                }
            }
        };
        let task = tokio::spawn(async move { drop(timeout(LONGEST_CONNECTION, connection).await) });
        self.open.insert(self.next, Connection { task, has_asked });
        self.next += 1;
    }

    async fn finish(self) {
        let (asked, idle): (Vec<_>, Vec<_>) =
            self.open.into_values().partition(|connection| connection.has_asked.load(Ordering::Relaxed));
        for connection in idle {
            connection.task.abort();
        }
        let deadline = Instant::now() + LAST_ANSWERS;
        for mut connection in asked {
            if tokio::time::timeout_at(deadline, &mut connection.task).await.is_err() {
                connection.task.abort();
            }
        }
    }
}

/// One request, one answer.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    pages: Arc<impl Pages>,
    guard: Option<Arc<Guard>>,
    has_asked: Arc<AtomicBool>,
) {
    let service = service_fn(async |request| {
        Ok::<_, Infallible>(answer(&request, pages.as_ref(), guard.as_deref(), &has_asked).await)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_WITHIN)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    // What goes wrong on a connection is its other end's: it is closed, and there is nobody to tell.
    drop(connection.await);
}

async fn answer(
    request: &Request<Incoming>,
    pages: &impl Pages,
    guard: Option<&Guard>,
    has_asked: &AtomicBool,
) -> Response<Body> {
    let path = request.uri().path();
    if let Some(guard) = guard.filter(|_| path == "/metrics")
        && let Some(refused) = guard.refuse(request, has_asked).await
    {
        return refused;
    }
    has_asked.store(true, Ordering::Relaxed);
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/metrics" => match pages.metrics() {
            Ok(metrics) => page(StatusCode::OK, METRICS, metrics),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
        "/healthz" => text(StatusCode::OK, "ok"),
        "/readyz" => match pages.waits_for() {
            None => text(StatusCode::OK, "ok"),
            Some(what) => text(StatusCode::SERVICE_UNAVAILABLE, &what),
        },
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz"),
    }
}

fn text(status: StatusCode, line: &str) -> Response<Body> {
    page(status, TEXT, format!("{line}\n").into_bytes())
}

fn page(status: StatusCode, kind: HeaderValue, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
