//! The pages inside a write transaction: the one that holds a name, subtrees in order, and what was never seen.

use super::{During, StoreError, decode_page};
use crate::item::ItemState;
use crate::page::{Page, PlanId, Volume, directory_prefix, subtree_prefix};
use crate::path::HostPath;
use redb::{ReadableTable, Table};

/// The pages inside a write transaction.
pub(crate) struct Pages<'a> {
    pub(super) table: Table<'a, &'static [u8], &'static [u8]>,
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

    /// The item of this name; none without a volume.
    pub(crate) fn item(
        &self,
        volume: Option<Volume>,
        directory: &HostPath,
        name: &[u8],
    ) -> Result<Option<ItemState>, StoreError> {
        let Some(volume) = volume else { return Ok(None) };
        let Some(placed) = self.holding(volume, directory, name)? else { return Ok(None) };
        let mut items = placed.page.items;
        let at = items.binary_search_by(|item| item.name.as_slice().cmp(name));
        Ok(at.ok().map(|at| items.swap_remove(at).state))
    }

    /// Whether any item lies below a path.
    pub(crate) fn has_items(&self, volume: Option<Volume>, path: &HostPath) -> Result<bool, StoreError> {
        let Some(volume) = volume else { return Ok(false) };
        let prefix = subtree_prefix(volume, path);
        // A directory that was never seen has a page without items.
        let mut from = prefix.clone();
        loop {
            let batch = self.subtree(&prefix, &from, 8)?;
            let Some(last) = batch.last() else { return Ok(false) };
            if batch.iter().any(|found| !found.page.items.is_empty()) {
                return Ok(true);
            }
            from = [last.key.as_slice(), &[0]].concat();
        }
    }

    /// The pages of a subtree, at most `limit` from `from` on.
    pub(crate) fn subtree(&self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Found>, StoreError> {
        subtree(&self.table, prefix, from, limit)
    }

    /// Cuts a directory's pages at `upto`, so that what is written between `from` and it does not touch what comes after:
    /// that keeps the plan that it was last compared under, which is `plan` where there is no page.
    pub(crate) fn cut(
        &mut self,
        volume: Volume,
        directory: &HostPath,
        (from, upto): (&[u8], &[u8]),
        plan: PlanId,
    ) -> Result<(), StoreError> {
        let (prefix, key) = (directory_prefix(volume, directory), crate::page::key(volume, directory, upto));
        let begins_there = self.table.get(key.as_slice()).during("read")?.is_some();
        let before = match self.table.range(prefix.as_slice()..key.as_slice()).during("read")?.next_back() {
            Some(entry) => {
                let (key, value) = entry.during("read")?;
                Some((key.value().to_vec(), decode_page(directory, value.value())?))
            }
            None => None,
        };
        let (before_key, mut before) = match before {
            Some(before) => before,
            None => {
                let plan = self.holding(volume, directory, upto)?.map_or(plan, |first| first.page.plan);
                (crate::page::key(volume, directory, from), Page { plan, items: Vec::new() })
            }
        };
        let items = before.items.split_off(before.items.partition_point(|item| item.name.as_slice() < upto));
        if !begins_there {
            self.put(&key, &Page { plan: before.plan, items })?;
        }
        self.put(&before_key, &before)
    }

    /// Notes that a directory was never seen, unless something is known of it.
    pub(crate) fn mark(&mut self, volume: Volume, directory: &HostPath) -> Result<(), StoreError> {
        if self.holding(volume, directory, b"")?.is_none() {
            self.put(&directory_prefix(volume, directory), &Page::default())?;
        }
        Ok(())
    }

    /// Takes away pages in a range that only said under what plan it was seen, if at all.
    pub(crate) fn unmark(
        &mut self,
        volume: Volume,
        directory: &HostPath,
        from: &[u8],
        upto: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let prefix = directory_prefix(volume, directory);
        let upto = upto.map(|upto| crate::page::key(volume, directory, upto));
        let mut marks = Vec::new();
        for entry in self.table.range(crate::page::key(volume, directory, from).as_slice()..).during("read")? {
            let (key, value) = entry.during("read")?;
            if !key.value().starts_with(&prefix) || upto.as_ref().is_some_and(|upto| key.value() >= upto.as_slice()) {
                break;
            }
            if decode_page(directory, value.value())?.items.is_empty() {
                marks.push(key.value().to_vec());
            }
        }
        marks.iter().try_for_each(|mark| self.remove(mark))
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

/// The pages of a subtree in either kind of transaction, at most `limit` from `from` on.
pub(super) fn subtree(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    prefix: &[u8],
    from: &[u8],
    limit: usize,
) -> Result<Vec<Found>, StoreError> {
    let mut pages = Vec::new();
    for entry in table.range(from..).during("read")?.take(limit) {
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
