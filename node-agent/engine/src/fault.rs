//! Why the state cannot be used: errors that name the operation and the object, and say what to do.

use crate::store::FORMAT;
use std::io::ErrorKind;
use std::path::PathBuf;

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory is not there and cannot be made.
    #[error("cannot create the state directory {}", path.display())]
    Create {
        /// The state directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error("the state directory {} is in use by another vedette-agent: stop that one, or give this one a --state-dir of its own", path.display())]
    InUse {
        /// The state directory.
        path: PathBuf,
    },
    /// The database file cannot be opened.
    #[error("cannot open the state in {}", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        source: Box<redb::Error>,
    },
    /// The database file is not what was written.
    #[error("the state in {} is damaged: keep the file for examination, and give a --state-dir of its own, which makes a new baseline", path.display())]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        source: Box<redb::Error>,
    },
    /// It was written by another version.
    #[error("the state in {} has format {found}, this version reads format {FORMAT}: run the version that wrote it, or give this one a --state-dir of its own", path.display())]
    Format {
        /// The database file.
        path: PathBuf,
        /// The format that it has.
        found: u8,
    },
    /// A value is not what was written.
    #[error(
        "the state is damaged: {what}. Keep it for examination, and give a --state-dir of its own, which makes a new baseline"
    )]
    Damaged {
        /// Which value, and what is wrong with it.
        what: String,
    },
    /// The database could not do its work; for example the disk is full.
    #[error("cannot {operation} the state")]
    Io {
        /// `read`, `write` or `commit`.
        operation: &'static str,
        /// What the database said.
        source: Box<redb::Error>,
    },
}

impl StoreError {
    /// Why a database file could not be opened.
    pub(crate) fn opening(path: PathBuf, error: redb::Error) -> Self {
        let source = Box::new(error);
        match &*source {
            redb::Error::Corrupted(_) => Self::Corrupt { path, source },
            redb::Error::Io(error) if error.kind() == ErrorKind::InvalidData => Self::Corrupt { path, source },
            _ => Self::Open { path, source },
        }
    }

    /// Whether it is for want of room on the disk.
    pub fn is_full(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(&**source, redb::Error::Io(error) if error.kind() == ErrorKind::StorageFull)
    }

    /// The database could not be opened again after a fault.
    pub(crate) fn closed() -> Self {
        Self::Io { operation: "use", source: Box::new(redb::Error::PreviousIo) }
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}

/// Turns the database's errors into ours, naming the operation.
pub(crate) trait During<T> {
    fn during(self, operation: &'static str) -> Result<T, StoreError>;
}

impl<T, E: Into<redb::Error>> During<T> for Result<T, E> {
    fn during(self, operation: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::Io { operation, source: Box::new(error.into()) })
    }
}
