//! Whether standard output was open when the process began.
//!
//! Before `main`, Rust opens /dev/null in the place of a closed one: what is written there is gone, and no error says so. So
//! this looks before Rust does, in what the loader runs first.

use std::sync::atomic::{AtomicBool, Ordering};

static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

#[used]
#[allow(unsafe_code, reason = "the section's members are called before main, and this one makes one system call")]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = look;

extern "C" fn look() {
    let closed = rustix::io::fcntl_getfd(rustix::stdio::stdout()) == Err(rustix::io::Errno::BADF);
    WAS_CLOSED.store(closed, Ordering::Relaxed);
}

/// Whether standard output was closed when the process began.
pub(crate) fn was_closed() -> bool {
    WAS_CLOSED.load(Ordering::Relaxed)
}
