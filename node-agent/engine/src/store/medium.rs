//! What the database lies on: its file, its file left as it is, or in tests what fails when it is told to.

use super::overlay::Overlay;
use redb::{Builder, Database, DatabaseError};
use std::fmt;
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
    pub(super) fn is_there(&self, file: &Path) -> bool {
        match self {
            Self::File | Self::Unchanged => file.exists(),
            Self::Other(_) => true,
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
