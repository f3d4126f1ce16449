//! A consistent view of the state: pages by directory, lines, plans, volumes, cursors.

use super::pages::{Found, subtree};
use super::{
    CURSORS, During, JOURNAL, KEPT, META, MOUNTS, PLANS, StoreError, VOLUMES, decode_page, frozen_rule, frozen_table,
    kept, unseal,
};
use crate::clock::Time;
use crate::item::ItemState;
use crate::page::{Page, PlanId, Volume, directory_prefix, parse_key, subtree_prefix};
use crate::path::HostPath;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition, TableError, TableHandle};

type ByteTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A value that describes the state.
pub(super) fn meta(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    let value = table.get(key).during("read")?;
    value.map(|value| unseal(value.value(), || format!("its {key}"))).transpose()
}

/// What lies in a range, as much of it as was asked for.
pub(crate) struct Part<T> {
    pub(crate) found: Vec<T>,
    /// The name at which the rest begins.
    pub(crate) next: Option<Vec<u8>>,
}

/// A consistent view of the state.
pub(crate) struct Reader {
    pub(super) transaction: ReadTransaction,
    pub(super) pages: ByteTable,
}

impl Reader {
    /// The pages of a directory from the one on that holds `from`, or would, at most `limit`; and where the next begins.
    pub(crate) fn directory(
        &self,
        volume: Volume,
        directory: &HostPath,
        from: &[u8],
        limit: usize,
    ) -> Result<Part<Page>, StoreError> {
        let prefix = directory_prefix(volume, directory);
        let key = crate::page::key(volume, directory, from);
        let mut first = prefix.clone();
        if !from.is_empty() {
            let before = self.pages.range(prefix.as_slice()..=key.as_slice()).during("read")?.next_back();
            if let Some((key, _)) = before.transpose().during("read")? {
                first = key.value().to_vec();
            }
        }
        let mut part = Part { found: Vec::new(), next: None };
        for entry in self.pages.range(first.as_slice()..).during("read")? {
            let (key, value) = entry.during("read")?;
            let Some(name) = key.value().strip_prefix(prefix.as_slice()) else { break };
            if part.found.len() == limit {
                part.next = Some(name.to_vec());
                break;
            }
            part.found.push(decode_page(directory, value.value())?);
        }
        Ok(part)
    }

    /// The state of the item that stands there.
    pub(crate) fn item(
        &self,
        volume: Volume,
        directory: &HostPath,
        name: &[u8],
    ) -> Result<Option<ItemState>, StoreError> {
        let pages = self.directory(volume, directory, name, 1)?.found;
        Ok(crate::page::find(&pages, name).cloned())
    }

    /// The pages that a suspended rule's items froze as, from a key on and with this prefix, at most so many.
    pub(crate) fn frozen(
        &self,
        rule: &str,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        let name = frozen_table(rule);
        match self.optional(TableDefinition::new(&name))? {
            None => Ok(Vec::new()),
            Some(table) => subtree(&table, prefix, from, limit),
        }
    }

    /// When an item of this name left watch last, from whatever file system, of what is kept.
    pub(crate) fn left(&self, directory: &HostPath, name: &[u8]) -> Result<Option<Time>, StoreError> {
        let Some(kept) = self.optional(KEPT)? else { return Ok(None) };
        for entry in kept.iter().during("read")?.rev() {
            let (key, value) = entry.during("read")?;
            let (left, _, page) = kept::parse(key.value())?;
            if parse_key(page).is_some_and(|(_, of)| of == *directory)
                && decode_page(directory, value.value())?.items.iter().any(|item| item.name == name)
            {
                return Ok(Some(left));
            }
        }
        Ok(None)
    }

    /// The pages from a key on, at most so many.
    pub(crate) fn pages_from(&self, key: &[u8], limit: usize) -> Result<Vec<Found>, StoreError> {
        subtree(&self.pages, &[], key, limit)
    }

    /// The names from `from` on, at most `limit`, of a directory's subdirectories that have pages in or below them; and the
    /// next one.
    pub(crate) fn subdirectories(
        &self,
        volume: Volume,
        directory: &HostPath,
        from: &[u8],
        limit: usize,
    ) -> Result<Part<Vec<u8>>, StoreError> {
        let prefix = subtree_prefix(volume, directory);
        let mut part = Part { found: Vec::new(), next: None };
        // A subdirectory's keys go on with its name, the directory's own with 00.
        let mut from = [prefix.as_slice(), if from.is_empty() { &[1] } else { from }].concat();
        loop {
            let Some(entry) = self.pages.range(from.as_slice()..).during("read")?.next() else { return Ok(part) };
            let (key, _) = entry.during("read")?;
            let Some(rest) = key.value().strip_prefix(prefix.as_slice()) else { return Ok(part) };
            let name = rest.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
            if part.found.len() == limit {
                part.next = Some(name);
                return Ok(part);
            }
            from = [prefix.as_slice(), &name, &[1]].concat();
            part.found.push(name);
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
        meta(&self.transaction.open_table(META).during("read")?, key)
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

    /// What was mounted where entries look.
    pub(crate) fn shown(&self) -> Result<Vec<(HostPath, Vec<u8>)>, StoreError> {
        let Some(table) = self.optional(MOUNTS)? else { return Ok(Vec::new()) };
        let mut shown = Vec::new();
        for entry in table.range::<&[u8]>(..).during("read")? {
            let (path, value) = entry.during("read")?;
            let path = shown_path(path.value());
            let value = unseal(value.value(), || format!("the mount at {path}"))?;
            shown.push((path, value));
        }
        Ok(shown)
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

    /// Every line in its order, or why it is none.
    pub(crate) fn check_lines(&self, each: &mut dyn FnMut(u64, Result<Vec<u8>, StoreError>)) -> Result<(), StoreError> {
        let table = self.transaction.open_table(JOURNAL).during("read")?;
        for entry in table.iter().during("read")? {
            let (sequence, value) = entry.during("read")?;
            let sequence = sequence.value();
            each(sequence, unseal(value.value(), || format!("record {sequence}")));
        }
        Ok(())
    }

    /// Looks at every page, also of what is frozen or left watch; returns how many items stand in those of the state.
    pub(crate) fn check_pages(&self, damaged: &mut dyn FnMut(StoreError)) -> Result<u64, StoreError> {
        let items = check_table(&self.pages, 0, damaged)?;
        if let Some(kept) = self.optional(KEPT)? {
            check_table(&kept, kept::BEFORE_PAGE, damaged)?;
        }
        for table in self.transaction.list_tables().during("read")? {
            if let Some(rule) = frozen_rule(table.name()) {
                let name = frozen_table(rule);
                if let Some(frozen) = self.optional(TableDefinition::new(&name))? {
                    check_table(&frozen, 0, damaged)?;
                }
            }
        }
        Ok(items)
    }

    /// Looks at every value that is neither line nor page.
    pub(crate) fn check_values(&self, damaged: &mut dyn FnMut(StoreError)) -> Result<(), StoreError> {
        let mut check = |value: &[u8], what: &dyn Fn() -> String| unseal(value, what).err().map(&mut *damaged);
        for entry in self.transaction.open_table(META).during("read")?.iter().during("read")? {
            let (key, value) = entry.during("read")?;
            check(value.value(), &|| format!("its {}", key.value()));
        }
        for (table, what) in [(PLANS, "plan"), (VOLUMES, "volume")] {
            for entry in self.transaction.open_table(table).during("read")?.iter().during("read")? {
                let (id, value) = entry.during("read")?;
                check(value.value(), &|| format!("{what} {}", id.value()));
            }
        }
        if let Some(mounts) = self.optional(MOUNTS)? {
            for entry in mounts.iter().during("read")? {
                let (path, value) = entry.during("read")?;
                check(value.value(), &|| format!("the mount at {}", shown_path(path.value())));
            }
        }
        Ok(())
    }

    /// A table that an older version did not have.
    fn optional(
        &self,
        table: TableDefinition<'_, &'static [u8], &'static [u8]>,
    ) -> Result<Option<ByteTable>, StoreError> {
        match self.transaction.open_table(table) {
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            table => table.during("read").map(Some),
        }
    }

    /// What a sink has delivered; `None` for a sink that is new here.
    pub(crate) fn cursor(&self, sink: &str) -> Result<Option<u64>, StoreError> {
        let table = self.transaction.open_table(CURSORS).during("read")?;
        Ok(table.get(sink).during("read")?.map(|value| value.value()))
    }
}

/// The path of a key of what is mounted.
pub(super) fn shown_path(key: &[u8]) -> HostPath {
    HostPath::from_components(key.split(|byte| *byte == b'/').skip(1))
}

/// Looks at every page of a table whose keys have so many bytes before the page's own; returns the items of those that are whole.
fn check_table(table: &ByteTable, before: usize, damaged: &mut dyn FnMut(StoreError)) -> Result<u64, StoreError> {
    let mut items = 0;
    for entry in table.iter().during("read")? {
        let (key, value) = entry.during("read")?;
        let place = key.value().get(before..).and_then(parse_key);
        let place = place.ok_or_else(|| StoreError::damaged("a page has no directory"));
        match place.and_then(|(_, directory)| decode_page(&directory, value.value())) {
            Ok(page) => items += page.items.len() as u64,
            Err(error) => damaged(error),
        }
    }
    Ok(items)
}
