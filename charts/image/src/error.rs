//! What can go wrong: every error names the operation and the object, and says what to do where we know it.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// A result whose error is this crate's own.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a program could not be used.
    #[error("cannot {what}")]
    Io {
        /// The operation and its object, as in "read /x/y".
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The compiler said why, on standard error.
    #[error("cargo build for {target} ended with {status}: see above. Is the target there? rustup target add {target}")]
    Build {
        /// Rust's name of the target.
        target: String,
        /// How cargo ended.
        status: ExitStatus,
    },
    /// cargo did not say where it put what it built.
    #[error("cargo build did not name the program {0}")]
    NotBuilt(&'static str),
    /// A program that could not run in an image that holds nothing else.
    #[error("{}: {reason}", path.display())]
    Program {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
}

/// Names the operation that failed.
pub(crate) trait Doing<T> {
    /// `what` continues the word "cannot": "read /x/y".
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}
