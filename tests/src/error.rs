//! What can go wrong while the harness works: every error names the operation and the object, and keeps its source.
//! `Debug` prints the same sentence with its sources below, because that is what `unwrap` and a failing test show.
use std::{error::Error as _, fmt, io, path::PathBuf, process::ExitStatus, time::Duration};

/// A result whose error is the harness's own.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the harness could not do what it was asked.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The machine lacks something that has to be there before the tests; the sentence says what, and where it is written down.
    #[error("{0}")]
    Prerequisite(String),
    /// A file, socket or process operation failed.
    #[error("cannot {what}")]
    Io {
        /// The operation and its object, as in "read /x/y".
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A request to the API server failed.
    #[error("cannot {what}")]
    Kube {
        /// The operation and its object, as in "create node n1".
        what: String,
        /// The client's or the server's reason.
        source: Box<kube::Error>,
    },
    /// A credential could not be turned into a client.
    #[error("cannot {what}")]
    Kubeconfig {
        /// The operation and its object.
        what: String,
        /// The client library's reason.
        source: Box<kube::config::KubeconfigError>,
    },
    /// A certificate or key could not be made.
    #[error("cannot {what}")]
    Certificate {
        /// The operation and its object.
        what: String,
        /// The certificate library's reason.
        source: rcgen::Error,
    },
    /// A manifest in the tree is not what the harness can apply.
    #[error("{}: {reason}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A process ended although it was needed; what it wrote last is part of the sentence.
    #[error("{name} ended with {status}; the end of {}:\n{tail}", log.display())]
    Ended {
        /// Which process.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Where all of its output is.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A state was not reached in time; the last one seen is part of the sentence.
    #[error("{what}: not within {within:?}; last seen:\n{last}")]
    Expired {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// What was seen instead.
        last: String,
    },
    /// Something answered, but not in the form that was agreed.
    #[error("{0}")]
    Unexpected(String),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        if let Self::Kube { source, .. } = self
            && let kube::Error::Api(refusal) = &**source
        {
            // The library's own text repeats the whole answer.
            return write!(f, "\n  because the server says {}: {}", refusal.code, refusal.message);
        }
        let mut source = self.source();
        while let Some(cause) = source {
            write!(f, "\n  because: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
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

impl<T> Doing<T> for kube::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Kube { what: what(), source: Box::new(source) })
    }
}

impl<T> Doing<T> for Result<T, kube::config::KubeconfigError> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Kubeconfig { what: what(), source: Box::new(source) })
    }
}

impl<T> Doing<T> for Result<T, rcgen::Error> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Certificate { what: what(), source })
    }
}
