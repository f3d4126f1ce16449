//! The answering end: made by the process that holds the state, gone with it.

use super::{Answer, Asked, LONGEST_QUESTION, Short};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use std::convert::Infallible;
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vedette_engine::SOCKET;
use vedette_engine::explain::Question;
use vedette_engine::inspect::Inspector;

/// A question is there within this time, for who asks has it ready,
const ASKED: Duration = Duration::from_secs(2);
/// and its answer is taken in within this, or the next one has its turn.
const ANSWERED: Duration = Duration::from_secs(10);
/// The thread that answers ends within this, or the agent ends without it.
const ENDED: Duration = Duration::from_secs(5);
/// No walk goes to a longer path, or a deeper one; to explain one takes time that grows with the square of its levels.
const LONGEST_PATH: usize = 64 << 10;
const DEEPEST_PATH: usize = 1024;
/// After the system had no descriptor for a connection.
const PAUSE: Duration = Duration::from_secs(1);
/// So many who ask wait for their turn.
const WAITING: i32 = 128;
/// What the name of a socket begins with that nobody is to find yet.
const UNFINISHED: &str = "agent.sock.";

/// Listens under a name that nobody knows yet: made before the process binds itself, for then it makes no socket any more.
pub(crate) struct Bound {
    state: Short,
    name: String,
    listener: UnixListener,
}

impl Bound {
    /// A socket in this directory.
    ///
    /// # Errors
    /// When the directory takes no socket.
    pub(crate) fn to(state_dir: &Path) -> std::io::Result<Self> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // What is bound takes its mode from here: nobody else may ever reach it.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        let state = Short::to(state_dir)?;
        // Another process may hold the state, and just be at this too.
        let name = format!("{UNFINISHED}{:016x}", fastrand::u64(..));
        bind(&socket, &SocketAddrUnix::new(state.path(&name))?)?;
        listen(&socket, WAITING)?;
        Ok(Self { state, name, listener: UnixListener::from(socket) })
    }

    /// Gives it the name that who asks looks for. What killed agents left is removed: this process holds the state.
    fn publish(&mut self) -> std::io::Result<()> {
        std::fs::rename(self.state.path(&self.name), self.state.path(SOCKET))?;
        SOCKET.clone_into(&mut self.name);
        for entry in std::fs::read_dir(self.state.path("."))? {
            let left = entry?.file_name();
            if left.as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
                std::fs::remove_file(self.state.path(&left.to_string_lossy()))?;
            }
        }
        Ok(())
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // It fails only where the socket is gone already.
        let _ = std::fs::remove_file(self.state.path(&self.name));
    }
}

/// Answers for as long as it lives.
pub(crate) struct Server {
    bound: Bound,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Hangs up when the thread ends.
    ended: Receiver<Infallible>,
}

impl Server {
    /// Starts to answer. A socket that a killed agent left is replaced.
    ///
    /// # Errors
    /// When the directory takes no socket, or the system has no thread to give.
    pub(crate) fn start(mut bound: Bound, inspector: Inspector) -> std::io::Result<Self> {
        bound.publish()?;
        let ending = Arc::new(AtomicBool::new(false));
        let (accepting, is_ending) = (bound.listener.try_clone()?, Arc::clone(&ending));
        let (ends, ended) = channel::<Infallible>();
        let thread = std::thread::Builder::new().name("answers".into()).spawn(move || {
            let _ends = ends;
            answer_all(&accepting, &is_ending, &inspector);
        })?;
        Ok(Self { bound, ending, thread: Some(thread), ended })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        // It fails only where the socket is gone already.
        let _ = rustix::net::shutdown(&self.bound.listener, Shutdown::Both);
        if self.ended.recv_timeout(ENDED) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the thread that answers questions is busy with one: it is left behind");
        } else if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that answers questions had panicked");
        }
    }
}

fn answer_all(listener: &UnixListener, ending: &AtomicBool, inspector: &Inspector) {
    while !ending.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let mut stream = Timed { stream, until: Instant::now() + ASKED };
                // Who asked is gone or too slow: nobody is there to be told.
                if let Err(error) = answer(&mut stream, inspector) {
                    tracing::debug!("a question was not answered to its end: {error}");
                }
            }
            Err(_) if ending.load(Ordering::Relaxed) => {}
            Err(error) => {
                tracing::warn!("cannot take a question: {error}");
                std::thread::park_timeout(PAUSE);
            }
        }
    }
}

fn answer(stream: &mut Timed, inspector: &Inspector) -> std::io::Result<()> {
    let mut line = Vec::new();
    BufReader::new(&mut *stream).take(LONGEST_QUESTION).read_until(b'\n', &mut line)?;
    stream.until = Instant::now() + ANSWERED;
    let mut out = BufWriter::new(stream);
    let mut write = |answer: &Answer| -> std::io::Result<()> {
        serde_json::to_writer(&mut out, answer)?;
        out.write_all(b"\n")
    };
    let refused = |error: &(dyn std::error::Error + 'static)| Answer::Refused(crate::sentence(error));
    match serde_json::from_slice(&line) {
        Ok(Asked::Inventory { from }) => match inspector.inventory(from.as_deref()) {
            Ok(part) => {
                for item in part.items {
                    write(&Answer::Item(Box::new(item)))?;
                }
                write(&Answer::End { next: part.next })?;
            }
            Err(error) => write(&refused(&error))?,
        },
        Ok(Asked::Explain(question)) if !is_path_of_a_host(&question) => write(&Answer::Refused(format!(
            "the path is longer than {} KiB or deeper than {DEEPEST_PATH} levels: no such path is tracked",
            LONGEST_PATH >> 10
        )))?,
        Ok(Asked::Explain(question)) => match inspector.explain(&question) {
            Ok(explanation) => {
                write(&Answer::Explanation(Box::new(explanation)))?;
                write(&Answer::End { next: None })?;
            }
            Err(error) => write(&refused(&error))?,
        },
        Err(_) if !line.ends_with(b"\n") => {
            write(&Answer::Refused(format!(
                "the question is longer than {} MiB, or does not end",
                LONGEST_QUESTION >> 20
            )))?;
        }
        Err(error) => write(&Answer::Refused(format!("the question is not understood: {error}")))?,
    }
    out.flush()
}

fn is_path_of_a_host(question: &Question) -> bool {
    let path = question.path.to_bytes(question.path_bytes.as_deref());
    path.len() <= LONGEST_PATH
        && path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).count() <= DEEPEST_PATH
}

/// A connection that ends at a moment, however slowly it goes.
struct Timed {
    stream: UnixStream,
    until: Instant,
}

impl Timed {
    fn left(&self) -> std::io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vedette_crds::record::ByteText;

    #[test]
    fn a_path_that_no_walk_goes_to_is_none_of_a_host() {
        let is_one = |bytes: Vec<u8>| {
            let (path, path_bytes) = ByteText::exact(&bytes);
            is_path_of_a_host(&Question { path, path_bytes, rules: None })
        };
        assert!(is_one(b"/a".repeat(1024)) && !is_one(b"/a".repeat(1025)));
        assert!(is_one(b"/\xff".repeat(1024)) && !is_one(b"/\xff".repeat(1025)), "by the exact bytes");
        assert!(
            is_one([b"/", &*b"x".repeat((64 << 10) - 1)].concat()) && !is_one([b"/", &*b"x".repeat(64 << 10)].concat())
        );
    }
}
