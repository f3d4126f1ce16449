//! A consistent view of the state: pages by directory, lines, plans, volumes, cursors.

use super::pages::{Found, subtree};
use super::{
    CURSORS, During, JOURNAL, KEPT, META, MOUNTS, PLANS, StoreError, VOLUMES, damaged_page, decode_page, frozen_rule,
    frozen_table, kept, stored_page, unseal,
};
use crate::clock::Time;
use crate::item::ItemState;
use crate::page::{Items, PlanId, StoredPage, Volume, directory_prefix, parse_key, subtree_prefix};
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

/// What the state has of a directory from one name to another.
#[derive(Debug, Default)]
pub(crate) struct Stretch {
    /// The pages that hold its items.
    pub(crate) pages: Vec<StoredPage>,
    /// Names that it has items below.
    pub(crate) below: Vec<Vec<u8>>,
    /// Where it has more.
    pub(crate) next: Option<Vec<u8>>,
}

/// A consistent view of the state.
pub(crate) struct Reader {
    pub(super) transaction: ReadTransaction,
    pub(super) pages: ByteTable,
}

impl Reader {
    /// What the state has of a directory from the page on that holds `from`, or would: at most so many pages, and so many names
    /// that it has items below.
    pub(crate) fn stretch(
        &self,
        volume: Volume,
        directory: &HostPath,
        from: &[u8],
        (pages, names): (usize, usize),
    ) -> Result<Stretch, StoreError> {
        let prefix = directory_prefix(volume, directory);
        let first = self.page_holding(&prefix, from)?;
        let mut stretch = Stretch::default();
        let mut behind = None;
        for entry in self.pages.range(first.as_deref().unwrap_or(&prefix)..).during("read")? {
            let (key, value) = entry.during("read")?;
            let Some(name) = key.value().strip_prefix(prefix.as_slice()) else {
                behind = Some(key.value().to_vec());
                break;
            };
            if stretch.pages.len() == pages {
                stretch.next = Some(name.to_vec());
                break;
            }
            stretch.pages.push(stored_page(directory, name, value.value())?);
        }
        // A subdirectory's keys go on with its name, the directory's own with 00 and come first.
        let subtree = &prefix[..prefix.len() - 1];
        let first = behind.as_deref().map(|key| key.strip_prefix(subtree).map(component));
        if names == 0 || matches!(first, Some(None)) {
            return Ok(stretch);
        }
        let mut begin = [subtree, if from.is_empty() { &[1] } else { from }].concat();
        if let Some(Some(first)) = first.filter(|_| from.is_empty()) {
            stretch.below.push(first.to_vec());
            go_behind(&mut begin, subtree, first);
        }
        let next = self.subdirectories(subtree, begin, names, &mut stretch.below)?;
        stretch.next = stretch.next.into_iter().chain(next).min();
        Ok(stretch)
    }

    /// The key of a directory's page that holds a name or would, unless that is its first.
    fn page_holding(&self, prefix: &[u8], name: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if name.is_empty() {
            return Ok(None);
        }
        let key = [prefix, name].concat();
        let last = self.pages.range(prefix..=key.as_slice()).during("read")?.next_back().transpose().during("read")?;
        Ok(last.map(|(key, _)| key.value().to_vec()))
    }

    /// The names of the subdirectories in this subtree that have pages in or below them, from a key on until there are so many;
    /// returns the next one.
    fn subdirectories(
        &self,
        subtree: &[u8],
        mut from: Vec<u8>,
        limit: usize,
        found: &mut Vec<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        loop {
            let Some(entry) = self.pages.range(from.as_slice()..).during("read")?.next() else { return Ok(None) };
            let (key, _) = entry.during("read")?;
            let Some(name) = key.value().strip_prefix(subtree).map(component) else { return Ok(None) };
            if found.len() == limit {
                return Ok(Some(name.to_vec()));
            }
            found.push(name.to_vec());
            go_behind(&mut from, subtree, name);
        }
    }

    /// The state of the item that stands there.
    pub(crate) fn item(
        &self,
        volume: Volume,
        directory: &HostPath,
        name: &[u8],
    ) -> Result<Option<ItemState>, StoreError> {
        let Stretch { pages, .. } = self.stretch(volume, directory, name, (1, 0))?;
        let damaged = |error| damaged_page(directory, error);
        let mut items = Items::of(&pages).map_err(damaged)?;
        while items.current().is_some_and(|(at, _)| at < name) {
            items.advance().map_err(damaged)?;
        }
        Ok(items.current().filter(|(at, _)| *at == name).map(|(_, state)| state.clone()))
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

/// The first component of the rest of a key.
fn component(rest: &[u8]) -> &[u8] {
    rest.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Makes of a key the first that may come behind all of a subdirectory's.
fn go_behind(key: &mut Vec<u8>, subtree: &[u8], name: &[u8]) {
    key.truncate(subtree.len());
    key.extend_from_slice(name);
    key.push(1);
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
