//! A network of its own: a network namespace that lives as long as somebody holds it. Produces processes, connections and links
//! in it, and a port on this machine's loopback that leads into it. Nothing of it is seen outside, so any number stand side by side.
use std::{
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    process::Command,
    sync::Arc,
    thread,
};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener as Listener, TcpStream},
    runtime,
    sync::oneshot,
};

use crate::error::{Doing as _, Error, Result};

/// Held by its owners and by every process in it; the kernel removes it, with its links, behind the last one.
#[derive(Debug, Clone)]
pub(crate) struct Network(Arc<File>);

impl Network {
    /// An empty one, with its loopback up.
    pub(crate) fn new() -> Result<Self> {
        let made = thread::spawn(|| {
            unshare(UnshareFlags::NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let network = Self(Arc::new(joined(made)?.doing(|| "make a network namespace".into())?));
        network.ip("link set lo up")?;
        Ok(network)
    }

    /// The process will run in it.
    #[allow(unsafe_code, reason = "pre_exec is the way to start a process in another namespace")]
    pub(crate) fn enter(&self, command: &mut Command) {
        let network = Arc::clone(&self.0);
        let enter = move || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).map_err(io::Error::from)
        };
        // SAFETY: between fork and exec `enter` makes one system call and allocates nothing.
        unsafe { command.pre_exec(enter) };
    }

    /// Runs `ip` in it, with arguments that blanks separate.
    pub(crate) fn ip(&self, arguments: &str) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(arguments.split(' '));
        self.enter(&mut command);
        succeed(command)
    }

    /// Lets this network's machines hand on what is not for them.
    pub(crate) fn forwards_packets(&self) -> Result<()> {
        // The file under this path is that of the thread's own network.
        self.inside(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))?
            .doing(|| "let a network of tests forward packets".into())
    }

    /// A connection that was made in it; it goes on from any thread.
    pub(crate) fn connect(&self, server: SocketAddr) -> Result<std::net::TcpStream> {
        self.inside(move || std::net::TcpStream::connect(server))?.doing(|| format!("connect to {server}"))
    }

    /// Does `job` on a thread that is in it.
    fn inside<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let network = Arc::clone(&self.0);
        let done = thread::spawn(move || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok::<_, io::Error>(job())
        });
        joined(done)?.doing(|| "enter a network namespace".into())
    }

    /// A port on this machine's loopback whose connections end at `server` in this network.
    pub(crate) fn forward(&self, server: SocketAddr) -> Result<Forward> {
        let what = || format!("forward a port to {server}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing(what)?;
        let port = listener.local_addr().doing(what)?.port();
        listener.set_nonblocking(true).doing(what)?;
        let network = Arc::clone(&self.0);
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = std::sync::mpsc::channel();
        let thread = thread::Builder::new()
            .name("forward".to_owned())
            .spawn(move || {
                // The listener stays where it was made; what this thread dials from here on is dialed in the network.
                let prepared = move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(io::Error::from)
                    .and_then(|()| runtime::Builder::new_current_thread().enable_all().build());
                match prepared {
                    Ok(runtime) => {
                        let _ = ready.send(Ok(()));
                        runtime.block_on(forward(listener, server, stopped));
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            })
            .doing(what)?;
        started.recv().map_err(|_| Error::Unexpected(format!("cannot {}: its thread ended", what())))?.doing(what)?;
        Ok(Forward { port, stop: Some(stop), thread: Some(thread) })
    }
}

async fn forward(listener: TcpListener, server: SocketAddr, stopped: oneshot::Receiver<()>) {
    let serve = async {
        let listener = Listener::from_std(listener)?;
        loop {
            let (mut near, _) = listener.accept().await?;
            tokio::spawn(async move {
                // Whoever asked sees the connection end, as with a server that is away.
                if let Ok(mut far) = TcpStream::connect(server).await {
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    };
    let served: Result<io::Result<()>, _> = tokio::select! {
        ended = serve => Ok(ended),
        stopped = stopped => Err(stopped),
    };
    if let Ok(Err(error)) = served {
        tracing::warn!("the port that leads to {server} is closed: {error}");
    }
}

/// Closed when dropped, with the connections through it.
#[derive(Debug)]
pub(crate) struct Forward {
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Forward {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// This thread alone gets new namespaces.
#[allow(unsafe_code, reason = "the flag for file descriptors, which would be unsound, is in no caller's set")]
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: no descriptor table and no memory is unshared.
    unsafe { unshare_unsafe(flags - UnshareFlags::FILES) }.map_err(io::Error::from)
}

/// Runs a program that must succeed.
pub(crate) fn succeed(mut command: Command) -> Result<()> {
    let line = || {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    };
    let line = line();
    let ran = command.output().doing(|| format!("run `{line}`"))?;
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    Err(Error::Unexpected(format!("`{line}` ended with {}: {}", ran.status, said.trim())))
}

fn joined<T>(thread: thread::JoinHandle<T>) -> Result<T> {
    thread.join().map_err(|_| Error::Unexpected("a thread in a network namespace panicked".into()))
}
