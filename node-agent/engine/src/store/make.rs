//! A new database: made under a name of its own, so that it is whole when it has the one that all look for.
//!
//! Killed half-way it would be a file that no one can open. Of two that make one at once, the first to give it its name has
//! made the state; the other finds that one.

use super::{CACHE, Store, StoreError};
use redb::Builder;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// Begins the name of a database that is being made.
pub(super) const UNFINISHED: &str = "vedette.redb.new";

impl Store {
    /// Makes the database, unless another process makes it meanwhile.
    pub(super) fn make(&self) -> Result<(), StoreError> {
        let made = self.prepare()?;
        self.publish(&made).map_err(|error| self.not_made(error))
    }

    /// Under the name that it will have: the other one is nobody's.
    fn not_made(&self, error: Error) -> StoreError {
        StoreError::Open { path: self.file(), source: error.into() }
    }

    /// An empty database under a name that nobody else uses.
    fn prepare(&self) -> Result<PathBuf, StoreError> {
        let path = self.directory.join(format!("{UNFINISHED}.{}", uuid::Uuid::new_v4().simple()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let backend = redb::backends::FileBackend::new(file.map_err(|error| self.not_made(error))?);
        let database = backend.and_then(|backend| Builder::new().set_cache_size(CACHE).create_with_backend(backend));
        let database = database.map_err(|error| StoreError::Open { path: self.file(), source: error.into() })?;
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
        let initialized = self.initialize();
        self.close();
        initialized.map(|()| path)
    }

    /// Gives it its name, or takes it away where another one has that.
    fn publish(&self, made: &Path) -> Result<(), Error> {
        let file = self.file();
        // Over nothing that is there; some file systems have no links, and few of those cannot rename so.
        let named = match std::fs::hard_link(made, &file) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                match renameat_with(CWD, made, CWD, &file, RenameFlags::NOREPLACE) {
                    Err(Errno::INVAL | Errno::NOSYS) => std::fs::rename(made, &file),
                    renamed => renamed.map_err(Error::from),
                }
            }
            linked => linked,
        };
        match named {
            // Who holds the state takes away what is left of others.
            Err(_) if file.exists() => {}
            named => named?,
        }
        forget(made)?;
        File::open(&self.directory)?.sync_all()
    }

    /// Takes away what others that were killed left half made: this one holds the state.
    pub(super) fn sweep(&self) {
        let swept = std::fs::read_dir(&self.directory).and_then(|mut entries| {
            entries.try_for_each(|entry| {
                let entry = entry?;
                let is_left = entry.file_name().to_str().is_some_and(|name| name.starts_with(UNFINISHED));
                if is_left && entry.file_type()?.is_file() { forget(&entry.path()) } else { Ok(()) }
            })
        });
        // It only takes room.
        if let Err(error) = swept {
            tracing::warn!("cannot take away what is left half made in {}: {error}", self.directory.display());
        }
    }
}

fn forget(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::{FILE, Medium};

    fn store(directory: &Path) -> Store {
        Store::closed(directory, Medium::File)
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn of_two_that_make_a_state_at_once_the_second_finds_that_of_the_first() {
        for is_swept in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let (one, other) = (store(folder.path()), store(folder.path()));
            let (first, second) = (one.prepare().unwrap(), other.prepare().unwrap());
            one.publish(&first).unwrap();
            one.reopen().unwrap();
            let writer = one.write().unwrap();
            writer.set_meta("whose", b"of the first").unwrap();
            writer.commit().unwrap();
            if is_swept {
                one.sweep();
            }
            other.publish(&second).unwrap();
            assert!(matches!(other.reopen(), Err(StoreError::InUse { .. })));
            one.close();
            other.reopen().unwrap();
            assert_eq!(other.read().unwrap().meta("whose").unwrap().unwrap(), b"of the first");
            assert_eq!(names(folder.path()), [FILE], "swept: {is_swept}");
        }
    }

    #[test]
    fn what_a_killed_one_left_half_made_is_taken_away_by_who_holds_the_state() {
        let folder = tempfile::tempdir().unwrap();
        let left = store(folder.path()).prepare().unwrap();
        File::create(folder.path().join(UNFINISHED)).unwrap();
        let opened = Store::open(folder.path(), Medium::File).unwrap();
        assert!(!left.exists());
        assert_eq!(names(folder.path()), [FILE]);
        drop(opened);
    }
}
