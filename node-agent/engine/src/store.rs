//! The one embedded database: pages, journal, plans, volumes, cursors, and what describes them.
//!
//! Reads and writes the state directory, nothing else. Every value carries a checksum that is verified when it is read,
//! because the database returns a flipped byte without an error. Nothing here knows what a change is.

mod current;
mod kept;
mod make;
mod medium;
mod overlay;
mod pages;
mod read;
mod staged;
mod write;

pub(crate) use crate::fault::{During, StoreError};
pub(crate) use current::Current;
pub(crate) use kept::{Kept, Row};
pub use medium::Medium;
pub(crate) use pages::{Finder, Found, Pages};
pub(crate) use read::{Reader, Stretch};
pub(crate) use write::Writer;

use crate::holder;
use crate::page::{Page, PageError, StoredPage};
use crate::path::HostPath;
use redb::{Builder, Database, DatabaseError, Durability, ReadableDatabase, TableDefinition};
use std::cell::Cell;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use xxhash_rust::xxh3::xxh3_64;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const PLANS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("plans");
const VOLUMES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("volumes");
const PAGES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pages");
/// What left watch.
const KEPT: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("kept");
/// Begins the name of the table of what a suspended rule's items froze as; its uid follows.
const FROZEN: &str = "frozen:";
const JOURNAL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journal");
/// What is mounted where entries look, by path.
const MOUNTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("mounts");
const CURSORS: TableDefinition<'_, &str, u64> = TableDefinition::new("cursors");

const FORMAT_KEY: &str = "format";
/// What this version writes and reads.
pub(crate) const FORMAT: u8 = 3;
/// Those before: their pages are read as they are, all else is the same.
const OLD_FORMATS: Range<u8> = 1..FORMAT;
/// The socket in a state directory at which the process that holds it answers questions.
pub const SOCKET: &str = "agent.sock";
const FILE: &str = "vedette.redb";
/// Names the journal, so that a database that was taken away is missed.
const MARK: &str = "vedette.journal";
/// What else a process leaves in its state directory, once it has a state.
const LEFT_BEHIND: [&str; 3] = ["vedette.journal.new", "unreadable-plan", SOCKET];
/// Measured: more read no faster; the branches of a million items take 2 MiB.
const CACHE: usize = 4 * 1024 * 1024;
/// Who goes through a table reads so many pages at a time: about 16,000 items, 8 MiB.
pub(crate) const BATCH: usize = 256;

/// An open state directory; while it is open no other process gets it.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    medium: Medium,
    /// Empty only while, and after, opening it anew failed.
    database: RwLock<Option<Database>>,
    /// How often something was committed, or the database opened.
    changes: Arc<AtomicU64>,
}

impl Store {
    /// Opens the state in a directory, making both where they are missing.
    pub(crate) fn open(directory: &Path, medium: Medium) -> Result<Self, StoreError> {
        if matches!(medium, Medium::Unchanged) {
            return Self::open_unchanged(directory);
        }
        // Its owner's alone: digests of secrets are in it.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => StoreError::NoDirectory { path: directory.to_owned() },
            _ => StoreError::Create { path: directory.to_owned(), source },
        })?;
        let store = Self::closed(directory, medium);
        if !store.medium.is_there(&store.file())? {
            store.make()?;
        }
        store.reopen()?;
        store.sweep();
        store.check_format()?;
        Ok(store)
    }

    fn closed(directory: &Path, medium: Medium) -> Self {
        Self { directory: directory.to_owned(), medium, database: RwLock::new(None), changes: Arc::default() }
    }

    /// Opens the state in a directory where there has to be one.
    pub(crate) fn open_existing(directory: &Path, medium: Medium) -> Result<Self, StoreError> {
        if !medium.is_there(&directory.join(FILE))? {
            return Err(StoreError::NoState { path: directory.to_owned() });
        }
        Self::open(directory, medium)
    }

    /// Opens the state in a directory without changing anything there; where there is none, an empty one in memory.
    fn open_unchanged(directory: &Path) -> Result<Self, StoreError> {
        let store = Self::closed(directory, Medium::Unchanged);
        let is_there = store.medium.is_there(&store.file())?;
        store.reopen()?;
        if !is_there {
            store.initialize()?;
        }
        store.check_format()?;
        Ok(store)
    }

    /// Closes the database and opens it again: after a fault it refuses all work until that is done.
    pub(crate) fn reopen(&self) -> Result<(), StoreError> {
        self.close();
        let database = self.open_file(&self.file())?;
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
        self.changes.fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn close(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The database file.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// Where the process that holds the state answers questions.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join(SOCKET)
    }

    fn open_file(&self, path: &Path) -> Result<Database, StoreError> {
        // Without the check a file that was damaged from outside makes the database panic.
        let opened = self.medium.open(Builder::new().set_cache_size(CACHE).set_check_integrity_on_open(true), path);
        opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => {
                StoreError::InUse { path: self.directory.clone(), holder: holder::of(path) }
            }
            error => StoreError::opening(path.to_owned(), error.into()),
        })
    }

    /// Whether nothing in the directory is to be changed.
    fn is_unchanged(&self) -> bool {
        matches!(self.medium, Medium::Unchanged)
    }

    fn initialize(&self) -> Result<(), StoreError> {
        let writer = self.write()?;
        writer.set_meta(FORMAT_KEY, &[FORMAT])?;
        writer.touch()?;
        writer.commit()
    }

    /// The journal that the directory was last known to hold; a mark that says nothing names none that is known.
    pub(crate) fn mark(&self) -> Result<Option<String>, StoreError> {
        let path = self.directory.join(MARK);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Open { path, source: source.into() }),
        }
    }

    /// Whether something stands in the directory that only a process with a state leaves: then there was one, whatever
    /// became of database and mark.
    pub(crate) fn has_leftovers(&self) -> Result<bool, StoreError> {
        // A first start that was killed leaves these.
        let is_of_a_start = |name: &[u8]| {
            name == FILE.as_bytes() || name == MARK.as_bytes() || name.starts_with(make::UNFINISHED.as_bytes())
        };
        let is_left = |name: &[u8]| {
            name.starts_with(FILE.as_bytes()) && !is_of_a_start(name)
                || LEFT_BEHIND.iter().any(|left| left.as_bytes() == name)
        };
        let unread = |source: std::io::Error| StoreError::Open { path: self.directory.clone(), source: source.into() };
        let entries = match std::fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            entries => entries.map_err(unread)?,
        };
        for entry in entries {
            if is_left(entry.map_err(unread)?.file_name().as_bytes()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn set_mark(&self, journal: &str) -> Result<(), StoreError> {
        if self.is_unchanged() || self.mark()?.as_deref() == Some(journal) {
            return Ok(());
        }
        let path = self.directory.join(MARK);
        let new = path.with_extension("journal.new");
        let written =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).and_then(|file| {
                (&file).write_all(format!("{journal}\n").as_bytes())?;
                file.sync_all()?;
                std::fs::rename(&new, &path)?;
                File::open(&self.directory)?.sync_all()
            });
        written.map_err(|source| StoreError::Keep { path, source })
    }

    /// Keeps a copy of the database for examination, under this name behind its own; `None` where it is no file.
    pub(crate) fn keep_aside(&self, name: &str) -> Result<Option<PathBuf>, StoreError> {
        let file = self.file();
        if self.is_unchanged() || !file.exists() {
            return Ok(None);
        }
        let (path, new) = (self.directory.join(format!("{FILE}.{name}")), self.directory.join(format!("{FILE}.copy")));
        // Not by std::fs::copy, which changes modes: an agent that has bound itself cannot.
        let copied =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).and_then(|copy| {
                std::io::copy(&mut File::open(&file)?, &mut &copy)?;
                copy.sync_all()?;
                std::fs::rename(&new, &path)?;
                File::open(&self.directory)?.sync_all()
            });
        match copied {
            Ok(()) => Ok(Some(path)),
            Err(source) => {
                // Half a copy only takes room; the next try makes it anew.
                let _ = std::fs::remove_file(&new);
                Err(StoreError::Keep { path, source })
            }
        }
    }

    fn check_format(&self) -> Result<(), StoreError> {
        match self.read()?.meta(FORMAT_KEY)?.as_deref() {
            Some([FORMAT]) => Ok(()),
            // From here on an older version refuses the state by name.
            Some([old]) if OLD_FORMATS.contains(old) => self.initialize(),
            Some([found, ..]) => Err(StoreError::Format { path: self.file(), found: *found }),
            Some([]) | None => Err(StoreError::damaged("its format is missing")),
        }
    }

    /// What tells whether a view is of the state as it is now.
    fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// A consistent view; short-lived, because the file grows while it is held.
    pub(crate) fn read(&self) -> Result<Reader, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(StoreError::closed)?;
        let transaction = database.begin_read().during("read")?;
        let pages = transaction.open_table(PAGES).during("read")?;
        Ok(Reader { transaction, pages })
    }

    /// The one write transaction; all of it is durable once committed, or none.
    pub(crate) fn write(&self) -> Result<Writer, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(StoreError::closed)?;
        let mut transaction = database.begin_write().during("write")?;
        transaction.set_durability(Durability::Immediate).during("write")?;
        Ok(Writer { transaction, failed: Cell::default(), changes: Arc::clone(&self.changes) })
    }
}

/// The name of the table of what a suspended rule's items froze as.
fn frozen_table(rule: &str) -> String {
    format!("{FROZEN}{rule}")
}

/// The uid of the suspended rule whose items are in a table of this name.
fn frozen_rule(table: &str) -> Option<&str> {
    table.strip_prefix(FROZEN)
}

/// A page of either table of them, from its key and value.
fn found(key: &[u8], value: &[u8]) -> Result<Found, StoreError> {
    let (volume, directory) =
        crate::page::parse_key(key).ok_or_else(|| StoreError::damaged("a page has no directory"))?;
    let page = decode_page(&directory, value)?;
    Ok(Found { key: key.to_vec(), volume, directory, page })
}

fn decode_page(directory: &HostPath, bytes: &[u8]) -> Result<Page, StoreError> {
    Page::decode(bytes).map_err(|error| damaged_page(directory, error))
}

fn stored_page(directory: &HostPath, first: &[u8], bytes: &[u8]) -> Result<StoredPage, StoreError> {
    StoredPage::open(first, bytes).map_err(|error| damaged_page(directory, error))
}

fn is_mark(directory: &HostPath, bytes: &[u8]) -> Result<bool, StoreError> {
    Page::is_mark(bytes).map_err(|error| damaged_page(directory, error))
}

/// A page whose bytes are none.
pub(crate) fn damaged_page(directory: &HostPath, error: PageError) -> StoreError {
    StoreError::damaged(format!("the page of {directory}: {error}"))
}

fn seal(value: &[u8]) -> Vec<u8> {
    [&xxh3_64(value).to_le_bytes()[..], value].concat()
}

fn unseal(sealed: &[u8], what: impl Fn() -> String) -> Result<Vec<u8>, StoreError> {
    match sealed.split_first_chunk::<8>() {
        Some((checksum, value)) if u64::from_le_bytes(*checksum) == xxh3_64(value) => Ok(value.to_vec()),
        _ => Err(StoreError::damaged(format!("{}: its checksum does not match", what()))),
    }
}
