//! The one embedded database: pages, journal, plans, volumes, cursors, and what describes them.
//!
//! Reads and writes the state directory, nothing else. Every value carries a checksum that is verified when it is read,
//! because the database returns a flipped byte without an error. Nothing here knows what a change is.

pub(crate) use crate::fault::{During, StoreError};
use crate::holder;
use crate::page::{Page, PageError, PlanId, Volume, directory_prefix, subtree_prefix};
use crate::path::HostPath;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    Table, TableDefinition, WriteTransaction,
};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use xxhash_rust::xxh3::xxh3_64;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const PLANS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("plans");
const VOLUMES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("volumes");
const PAGES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pages");
const JOURNAL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journal");
const CURSORS: TableDefinition<'_, &str, u64> = TableDefinition::new("cursors");

const FORMAT_KEY: &str = "format";
/// What this version writes and reads.
pub(crate) const FORMAT: u8 = 1;
const FILE: &str = "vedette.redb";
/// A database that is being made.
const UNFINISHED: &str = "vedette.redb.new";
/// Measured: 32 MiB read no faster.
const CACHE: usize = 8 * 1024 * 1024;

/// An open state directory; while it is open no other process gets it.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    /// Empty only while, and after, opening it anew failed.
    database: RwLock<Option<Database>>,
}

impl Store {
    /// Opens the state in a directory, making both where they are missing.
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        // Its owner's alone: digests of secrets are in it.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => StoreError::NoDirectory { path: directory.to_owned() },
            _ => StoreError::Create { path: directory.to_owned(), source },
        })?;
        let store = Self { directory: directory.to_owned(), database: RwLock::new(None) };
        if !store.file().exists() {
            store.make()?;
        }
        store.reopen()?;
        store.check_format()?;
        Ok(store)
    }

    /// Closes the database and opens it again: after a fault it refuses all work until that is done.
    pub(crate) fn reopen(&self) -> Result<(), StoreError> {
        self.close();
        let database = self.open_file(&self.file())?;
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
        Ok(())
    }

    fn close(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The database file.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    fn open_file(&self, path: &Path) -> Result<Database, StoreError> {
        // Without the check a file that was damaged from outside makes the database panic.
        let opened = Builder::new().set_cache_size(CACHE).set_check_integrity_on_open(true).open(path);
        opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => {
                StoreError::InUse { path: self.directory.clone(), holder: holder::of(path) }
            }
            error => StoreError::opening(path.to_owned(), error.into()),
        })
    }

    /// Makes the database under another name first: killed half-way it would be a file that no one can open.
    fn make(&self) -> Result<(), StoreError> {
        let path = self.directory.join(UNFINISHED);
        // Under the name that it will have: the other one is nobody's.
        let io = |error: std::io::Error| StoreError::Open { path: self.file(), source: error.into() };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(io)?;
        drop(file);
        let database = Builder::new().set_cache_size(CACHE).create(&path);
        let database = database.map_err(|error| StoreError::Open { path: self.file(), source: error.into() })?;
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
        let writer = self.write()?;
        writer.set_meta(FORMAT_KEY, &[FORMAT])?;
        writer.touch()?;
        writer.commit()?;
        self.close();
        // A link is not made over a database that another process has made meanwhile; some file systems have none.
        match std::fs::hard_link(&path, self.file()) {
            Ok(()) => std::fs::remove_file(&path).map_err(io)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(_) => std::fs::rename(&path, self.file()).map_err(io)?,
        }
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(io)
    }

    fn check_format(&self) -> Result<(), StoreError> {
        match self.read()?.meta(FORMAT_KEY)?.as_deref() {
            Some([FORMAT]) => Ok(()),
            Some([found, ..]) => Err(StoreError::Format { path: self.file(), found: *found }),
            Some([]) | None => Err(StoreError::damaged("its format is missing")),
        }
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
        Ok(Writer { transaction })
    }
}

/// A consistent view of the state.
pub(crate) struct Reader {
    transaction: ReadTransaction,
    pages: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl Reader {
    /// The pages of one directory, in order.
    pub(crate) fn directory(&self, volume: Volume, directory: &HostPath) -> Result<Vec<Page>, StoreError> {
        let prefix = directory_prefix(volume, directory);
        let mut pages = Vec::new();
        for entry in self.pages.range(prefix.as_slice()..).during("read")? {
            let (key, value) = entry.during("read")?;
            if !key.value().starts_with(&prefix) {
                break;
            }
            pages.push(decode_page(directory, value.value())?);
        }
        Ok(pages)
    }

    /// The names of a directory's subdirectories that have pages in or below them.
    pub(crate) fn subdirectories(&self, volume: Volume, directory: &HostPath) -> Result<Vec<Vec<u8>>, StoreError> {
        let prefix = subtree_prefix(volume, directory);
        let mut names = Vec::new();
        // A subdirectory's keys go on with its name, the directory's own with 00.
        let mut from = [prefix.as_slice(), &[1]].concat();
        loop {
            let Some(entry) = self.pages.range(from.as_slice()..).during("read")?.next() else { return Ok(names) };
            let (key, _) = entry.during("read")?;
            let Some(rest) = key.value().strip_prefix(prefix.as_slice()) else { return Ok(names) };
            let name = rest.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
            from = [prefix.as_slice(), &name, &[1]].concat();
            names.push(name);
        }
    }

    /// How many items lie in and below a directory.
    pub(crate) fn items_below(&self, volume: Volume, directory: &HostPath) -> Result<u64, StoreError> {
        let prefix = subtree_prefix(volume, directory);
        let mut items = 0;
        for entry in self.pages.range(prefix.as_slice()..).during("read")? {
            let (key, value) = entry.during("read")?;
            if !key.value().starts_with(&prefix) {
                break;
            }
            items += decode_page(directory, value.value())?.items.len() as u64;
        }
        Ok(items)
    }

    /// A value that describes the state.
    pub(crate) fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.transaction.open_table(META).during("read")?;
        get_meta(&table, key)
    }

    /// A stored plan.
    pub(crate) fn plan(&self, id: PlanId) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.transaction.open_table(PLANS).during("read")?;
        let value = table.get(id).during("read")?;
        value.map(|value| unseal(value.value(), || format!("plan {id}"))).transpose()
    }

    /// All volumes.
    pub(crate) fn volumes(&self) -> Result<Vec<(Volume, Vec<u8>)>, StoreError> {
        let table = self.transaction.open_table(VOLUMES).during("read")?;
        let mut volumes = Vec::new();
        for entry in table.range::<u32>(..).during("read")? {
            let (id, value) = entry.during("read")?;
            volumes.push((id.value(), unseal(value.value(), || format!("volume {}", id.value()))?));
        }
        Ok(volumes)
    }

    /// The lines after a sequence, at most `limit` bytes of them but at least one.
    pub(crate) fn lines(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let table = self.transaction.open_table(JOURNAL).during("read")?;
        let mut lines = Vec::new();
        let mut bytes = 0;
        for entry in table.range(after.saturating_add(1)..).during("read")? {
            let (sequence, value) = entry.during("read")?;
            let line = unseal(value.value(), || format!("record {}", sequence.value()))?;
            if bytes > 0 && bytes + line.len() > limit {
                break;
            }
            bytes += line.len();
            lines.push((sequence.value(), line));
        }
        Ok(lines)
    }

    /// What a sink has delivered; `None` for a sink that is new here.
    pub(crate) fn cursor(&self, sink: &str) -> Result<Option<u64>, StoreError> {
        let table = self.transaction.open_table(CURSORS).during("read")?;
        Ok(table.get(sink).during("read")?.map(|value| value.value()))
    }
}

/// A write transaction.
pub(crate) struct Writer {
    transaction: WriteTransaction,
}

impl Writer {
    /// Opens every table, so that a reader finds them all.
    fn touch(&self) -> Result<(), StoreError> {
        self.transaction.open_table(PLANS).during("write")?;
        self.transaction.open_table(VOLUMES).during("write")?;
        self.transaction.open_table(PAGES).during("write")?;
        self.transaction.open_table(JOURNAL).during("write")?;
        self.transaction.open_table(CURSORS).during("write")?;
        Ok(())
    }

    /// The pages, for as long as the result lives.
    pub(crate) fn pages(&self) -> Result<Pages<'_>, StoreError> {
        Ok(Pages { table: self.transaction.open_table(PAGES).during("write")? })
    }

    pub(crate) fn set_meta(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let mut table = self.transaction.open_table(META).during("write")?;
        table.insert(key, seal(value).as_slice()).during("write")?;
        Ok(())
    }

    /// Stores a plan, and of the others those that `keep` names.
    pub(crate) fn set_plan(&self, id: PlanId, value: &[u8], keep: impl Fn(PlanId) -> bool) -> Result<(), StoreError> {
        let mut table = self.transaction.open_table(PLANS).during("write")?;
        table.insert(id, seal(value).as_slice()).during("write")?;
        table.retain(|plan, _| keep(plan)).during("write")
    }

    pub(crate) fn set_volume(&self, id: Volume, value: &[u8]) -> Result<(), StoreError> {
        let mut table = self.transaction.open_table(VOLUMES).during("write")?;
        table.insert(id, seal(value).as_slice()).during("write")?;
        Ok(())
    }

    pub(crate) fn append(&self, sequence: u64, line: &[u8]) -> Result<(), StoreError> {
        let mut table = self.transaction.open_table(JOURNAL).during("write")?;
        table.insert(sequence, seal(line).as_slice()).during("write")?;
        Ok(())
    }

    pub(crate) fn set_cursor(&self, sink: &str, sequence: u64) -> Result<(), StoreError> {
        let mut table = self.transaction.open_table(CURSORS).during("write")?;
        table.insert(sink, sequence).during("write")?;
        Ok(())
    }

    pub(crate) fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().during("commit")
    }
}

/// The pages inside a write transaction.
pub(crate) struct Pages<'a> {
    table: Table<'a, &'static [u8], &'static [u8]>,
}

/// A page as it lies in the table.
pub(crate) struct Placed {
    pub(crate) key: Vec<u8>,
    pub(crate) page: Page,
    /// The key of the directory's next page.
    pub(crate) next: Option<Vec<u8>>,
}

/// A page of a subtree.
pub(crate) struct Found {
    pub(crate) key: Vec<u8>,
    pub(crate) volume: Volume,
    pub(crate) directory: HostPath,
    pub(crate) page: Page,
}

impl Pages<'_> {
    /// The page of a directory that holds `name`, or would; `None` while the directory has none.
    pub(crate) fn holding(
        &self,
        volume: Volume,
        directory: &HostPath,
        name: &[u8],
    ) -> Result<Option<Placed>, StoreError> {
        let prefix = directory_prefix(volume, directory);
        let key = crate::page::key(volume, directory, name);
        let before = match self.table.range(prefix.as_slice()..=key.as_slice()).during("read")?.next_back() {
            Some(entry) => Some(entry.during("read")?),
            None => None,
        };
        let from = before.as_ref().map_or_else(|| prefix.clone(), |(found, _)| found.value().to_vec());
        let mut here = self.table.range(from.as_slice()..).during("read")?;
        let Some(entry) = here.next() else { return Ok(None) };
        let (found, value) = entry.during("read")?;
        if !found.value().starts_with(&prefix) {
            return Ok(None);
        }
        let next = here.next().transpose().during("read")?.map(|(key, _)| key.value().to_vec());
        let next = next.filter(|next| next.starts_with(&prefix));
        Ok(Some(Placed { key: found.value().to_vec(), page: decode_page(directory, value.value())?, next }))
    }

    /// The pages of a subtree, at most `limit` from `from` on.
    pub(crate) fn subtree(&self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Found>, StoreError> {
        let mut pages = Vec::new();
        for entry in self.table.range(from..).during("read")?.take(limit) {
            let (key, value) = entry.during("read")?;
            if !key.value().starts_with(prefix) {
                break;
            }
            let (volume, directory) =
                crate::page::parse_key(key.value()).ok_or_else(|| StoreError::damaged("a page has no directory"))?;
            let page = decode_page(&directory, value.value())?;
            pages.push(Found { key: key.value().to_vec(), volume, directory, page });
        }
        Ok(pages)
    }

    /// Notes that a directory was never seen, unless something is known of it.
    pub(crate) fn mark(&mut self, volume: Volume, directory: &HostPath) -> Result<(), StoreError> {
        if self.holding(volume, directory, b"")?.is_none() {
            self.put(&directory_prefix(volume, directory), &Page::default())?;
        }
        Ok(())
    }

    /// Takes that note away.
    pub(crate) fn unmark(&mut self, volume: Volume, directory: &HostPath) -> Result<(), StoreError> {
        match self.holding(volume, directory, b"")? {
            Some(placed) if placed.page.items.is_empty() => self.remove(&placed.key),
            _ => Ok(()),
        }
    }

    pub(crate) fn put(&mut self, key: &[u8], page: &Page) -> Result<(), StoreError> {
        self.table.insert(key, page.encode().as_slice()).during("write")?;
        Ok(())
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.table.remove(key).during("write")?;
        Ok(())
    }
}

fn get_meta(table: &impl ReadableTable<&'static str, &'static [u8]>, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let value = table.get(key).during("read")?;
    value.map(|value| unseal(value.value(), || format!("its {key}"))).transpose()
}

fn decode_page(directory: &HostPath, bytes: &[u8]) -> Result<Page, StoreError> {
    Page::decode(bytes).map_err(|error: PageError| StoreError::damaged(format!("the page of {directory}: {error}")))
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
