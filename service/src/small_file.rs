//! Files that a kubelet puts into a pod and replaces there: tokens, certificates. They are read where requests are made: what
//! waits for its other end, as a pipe does, would hold up everything.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// A Secret holds a mebibyte at most; nobody keeps such a token or certificate.
const LONGEST: u64 = 64 * 1024;

/// # Errors
/// It cannot be opened or read, it is no file, or it is too long for what is looked for.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    if file.take(LONGEST + 1).read_to_string(&mut text)? as u64 > LONGEST {
        return Err(io::Error::other(format!("it is longer than {} KiB", LONGEST / 1024)));
    }
    Ok(text)
}
