//! What the database lies on: its file, its file left as it is, or in tests what fails when it is told to.

use super::StoreError;
use super::overlay::Overlay;
use redb::{Builder, Database, DatabaseError};
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// Opens a database that is there.
type Open = dyn Fn(&Builder) -> Result<Database, DatabaseError> + Send + Sync;

/// What the database lies on.
#[derive(Clone, Default)]
pub enum Medium {
    /// The file in the state directory.
    #[default]
    File,
    /// The file in the state directory, if there is one, which is left as it is.
    Unchanged,
    /// Of tests: where a database is that was made before.
    Other(Arc<Open>),
}

impl Medium {
    /// Whether there is a database; a link or a pipe in its place is neither followed nor opened.
    pub(super) fn is_there(&self, file: &Path) -> Result<bool, StoreError> {
        match (self, file.symlink_metadata()) {
            (Self::Other(_), _) => Ok(true),
            (_, Ok(found)) if found.is_file() => Ok(true),
            (_, Ok(_)) => Err(StoreError::NoFile { path: file.to_owned() }),
            (_, Err(error)) if error.kind() == ErrorKind::NotFound => Ok(false),
            (_, Err(source)) => Err(StoreError::Open { path: file.to_owned(), source: source.into() }),
        }
    }

    pub(super) fn open(&self, builder: &Builder, file: &Path) -> Result<Database, DatabaseError> {
        match self {
            Self::File => builder.open(file),
            Self::Unchanged => builder.create_with_backend(Overlay::over(file)?),
            Self::Other(open) => open(builder),
        }
    }
}

impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "File",
            Self::Unchanged => "Unchanged",
            Self::Other(_) => "Other",
        })
    }
}
