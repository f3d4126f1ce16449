//! A thread that all else goes before: it gets the processors that nobody wants, and its reads the disks that nobody uses.

#![allow(
    unsafe_code,
    reason = "one system call on a number and a structure; the crates that wrap it bring a dozen others"
)]

use std::io::Error;
use std::sync::Once;

/// Every compare has new threads.
static SAID: Once = Once::new();

/// Puts the calling thread behind all others; there is no way back.
///
/// To SCHED_IDLE belongs the idle class of I/O, as long as no other was set.
pub(crate) fn enter() {
    // SAFETY: the structure lives until the call returns and is not written; 0 is the calling thread.
    let result = unsafe {
        let parameters: libc::sched_param = std::mem::zeroed();
        libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters)
    };
    if result != 0 {
        let error = Error::last_os_error();
        SAID.call_once(
            || tracing::warn!(%error, "cannot work in the background: it takes its share of processors like any other"),
        );
    }
}
