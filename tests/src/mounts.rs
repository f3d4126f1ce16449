//! Mounts that nobody else sees.
use std::{ffi::OsStr, process::Command};

/// Gives this thread, and the processes that it starts, a mount namespace of their own.
#[allow(unsafe_code, reason = "only this thread's view of mounts, root and working directory is unshared")]
pub fn own_mounts() {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: no descriptor and no memory is unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.expect("root may have mounts of its own");
    run("mount", &["--make-rprivate".as_ref(), "/".as_ref()]);
}

/// Runs a program that must succeed.
///
/// # Panics
/// When it does not, with what it said.
pub fn run(program: &str, arguments: &[&OsStr]) {
    let ran = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(ran.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
}
