//! Why the state cannot be used: errors that name the operation and the object, and say what to do.

use crate::holder::Holder;
use crate::store::FORMAT;
use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;

/// What the database said.
#[derive(Debug)]
pub struct Cause(Box<redb::Error>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            // Without the words that the database puts before what the system said.
            redb::Error::Io(error) => error.fmt(f),
            redb::Error::PreviousIo => {
                f.write_str("an earlier read or write failed, and it could not be opened anew yet")
            }
            error => error.fmt(f),
        }
    }
}

impl std::error::Error for Cause {}

impl<E: Into<redb::Error>> From<E> for Cause {
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

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
    /// There is something else in its place.
    #[error("the state directory {} is no directory: give --state-dir a directory, which is made if it is not there", path.display())]
    NoDirectory {
        /// What was given as the state directory.
        path: PathBuf,
    },
    /// There is none, where one has to be.
    #[error("there is no state in {}: give the directory that vedette-agent was given as --state-dir", path.display())]
    NoState {
        /// What was given as the state directory.
        path: PathBuf,
    },
    /// Another process has it.
    #[error("the state directory {} is in use by {}: stop that one, or give this one another --state-dir", path.display(), whom(.holder.as_ref()))]
    InUse {
        /// The state directory.
        path: PathBuf,
        /// Who uses it, where that can be told.
        holder: Option<Holder>,
    },
    /// The database file cannot be opened.
    #[error("cannot open the state in {}", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        source: Cause,
    },
    /// There is something else than a file in the database's place.
    #[error("the state {} is no file: look what put something else there, and start over with another --state-dir, which makes a new baseline", path.display())]
    NoFile {
        /// Where the database should be.
        path: PathBuf,
    },
    /// A file beside the database cannot be written.
    #[error("cannot write {}", path.display())]
    Keep {
        /// That file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database file is not what was written.
    #[error("the state in {} is damaged: keep the file for examination, and start over with another --state-dir, which makes a new baseline", path.display())]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        source: Cause,
    },
    /// It was written by another version.
    #[error("the state in {} is of {} version of vedette-agent (format {found}, this one reads {FORMAT}): run that version, or start over with another --state-dir, which makes a new baseline", path.display(), age(*found))]
    Format {
        /// The database file.
        path: PathBuf,
        /// The format that it has.
        found: u8,
    },
    /// A value is not what was written.
    #[error(
        "the state is damaged: {what}. Keep it for examination, and start over with another --state-dir, which makes a new baseline"
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
        source: Cause,
    },
}

fn whom(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| "another vedette-agent".to_owned(), Holder::to_string)
}

fn age(format: u8) -> &'static str {
    if format > FORMAT { "a newer" } else { "an older" }
}

impl StoreError {
    /// Why a database file could not be opened.
    pub(crate) fn opening(path: PathBuf, error: redb::Error) -> Self {
        let source = Cause::from(error);
        match &*source.0 {
            redb::Error::Corrupted(_) => Self::Corrupt { path, source },
            // A file that was cut ends within its header.
            redb::Error::Io(error) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
                Self::Corrupt { path, source }
            }
            _ => Self::Open { path, source },
        }
    }

    /// Whether it is for want of room on the disk.
    pub fn is_full(&self) -> bool {
        let full = |error: &std::io::Error| [ErrorKind::StorageFull, ErrorKind::QuotaExceeded].contains(&error.kind());
        match self {
            Self::Io { source, .. } | Self::Open { source, .. } => {
                matches!(&*source.0, redb::Error::Io(error) if full(error))
            }
            Self::Keep { source, .. } => full(source),
            _ => false,
        }
    }

    /// The database could not be opened again after a fault.
    pub(crate) fn closed() -> Self {
        Self::Io { operation: "use", source: redb::Error::PreviousIo.into() }
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
        self.map_err(|error| StoreError::Io { operation, source: error.into().into() })
    }
}
