//! The pages inside a write transaction: the one that holds a name, subtrees in order, and what was never seen.

use super::staged::{Staged, after};
use super::{During, StoreError, decode_page, found, is_mark};
use crate::page::{Leaf, Named, Page, PlanId, Volume, directory_prefix, fill, merge, spread, subtree_prefix};
use crate::path::HostPath;
use redb::ReadableTable;
use std::ops::Bound;

/// The pages inside a write transaction. What is written reaches their table when they are dropped; the commit says whether
/// it did.
pub(crate) struct Pages<'a> {
    pub(super) staged: Staged<'a>,
    /// Where the next page of a new directory comes, for commits go through them in order.
    pub(super) leaf: Leaf,
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

/// Finds items one after the other; a page is decoded once for those that follow each other in it.
pub(crate) struct Finder<'p, 't> {
    pages: &'p Pages<'t>,
    last: Option<(Volume, HostPath, Option<Placed>)>,
}

impl<'p, 't> Finder<'p, 't> {
    pub(crate) fn new(pages: &'p Pages<'t>) -> Self {
        Self { pages, last: None }
    }

    /// The item of this name.
    pub(crate) fn item(
        &mut self,
        volume: Volume,
        directory: &HostPath,
        name: &[u8],
    ) -> Result<Option<&Named>, StoreError> {
        let key = crate::page::key(volume, directory, name);
        let covers = |placed: &Placed| placed.key <= key && placed.next.as_ref().is_none_or(|next| key < *next);
        let placed = match self.last.take() {
            Some((of, at, placed)) if of == volume && at == *directory && placed.as_ref().is_none_or(covers) => placed,
            _ => self.pages.holding(volume, directory, name)?,
        };
        let (_, _, placed) = self.last.insert((volume, directory.clone(), placed));
        let items = placed.as_ref().map_or(&[][..], |placed| &placed.page.items);
        Ok(items.binary_search_by(|item| item.name.as_slice().cmp(name)).ok().map(|at| &items[at]))
    }
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
        let before = self.staged.last(&prefix, Bound::Included(&key))?;
        let found = before.map_or_else(|| self.staged.first(&prefix, &prefix), |before| Ok(Some(before)))?;
        let Some((key, value)) = found else { return Ok(None) };
        let next = self.staged.first_key(&prefix, &after(&key))?;
        Ok(Some(Placed { page: decode_page(directory, &value)?, key, next }))
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
            from = after(&last.key);
        }
    }

    /// The pages of a subtree, at most `limit` from `from` on.
    pub(crate) fn subtree(&self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Found>, StoreError> {
        let mut pages = Vec::new();
        self.staged.each(from, |key, value| {
            if pages.len() == limit || !key.starts_with(prefix) {
                return Ok(true);
            }
            pages.push(found(key, value)?);
            Ok(false)
        })?;
        Ok(pages)
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
        let begins_there = self.staged.first_key(&key, &key)?.is_some_and(|first| first == key);
        let before = self.staged.last(&prefix, Bound::Excluded(&key))?;
        let before = before.map(|(key, value)| Ok((key, decode_page(directory, &value)?))).transpose()?;
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
        let mut from = crate::page::key(volume, directory, from);
        while let Some((key, value)) = self.staged.first(&prefix, &from)? {
            if upto.as_ref().is_some_and(|upto| key >= *upto) {
                break;
            }
            if is_mark(directory, &value)? {
                self.staged.remove(&key)?;
            }
            from = after(&key);
        }
        Ok(())
    }

    /// Puts items among those of a directory, sorted like them; of two under one name the one that was looked at later
    /// stays. Returns how many came in. `plan` is that of pages that have none.
    pub(crate) fn restore(
        &mut self,
        volume: Volume,
        directory: &HostPath,
        plan: PlanId,
        items: Vec<Named>,
    ) -> Result<u64, StoreError> {
        let mut items = items.into_iter().peekable();
        let mut came = 0;
        while let Some(first) = items.next() {
            let placed = self.holding(volume, directory, &first.name)?;
            let (key, page, next) = match placed {
                Some(placed) => (Some(placed.key), placed.page, placed.next),
                None => (None, Page { plan, items: Vec::new() }, None),
            };
            let belongs =
                |item: &Named| next.as_ref().is_none_or(|next| crate::page::key(volume, directory, &item.name) < *next);
            let mut here = vec![first];
            here.extend(std::iter::from_fn(|| items.next_if(belongs)));
            // A page without items only said that its directory was never seen.
            let plan = if page.items.is_empty() { plan } else { page.plan };
            let before = page.items.len();
            let merged = merge(page.items, here);
            came += (merged.len() - before) as u64;
            self.replace(key.as_deref(), volume, directory, plan, &merged, before == 0)?;
        }
        Ok(came)
    }

    /// Writes the items that take the place of a page, or where `is_new` of none.
    pub(crate) fn replace(
        &mut self,
        old: Option<&[u8]>,
        volume: Volume,
        directory: &HostPath,
        plan: PlanId,
        items: &[Named],
        is_new: bool,
    ) -> Result<(), StoreError> {
        let prefix = directory_prefix(volume, directory);
        let cut = if is_new { fill(plan, &prefix, items, &mut self.leaf) } else { spread(plan, &prefix, items) };
        if let Some(old) = old.filter(|old| cut.first().is_none_or(|(first, _)| first != old)) {
            self.staged.remove(old)?;
        }
        cut.into_iter().try_for_each(|(key, value)| self.staged.put(key, value))
    }

    pub(crate) fn put(&mut self, key: &[u8], page: &Page) -> Result<(), StoreError> {
        self.staged.put(key.to_vec(), page.encode())
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.staged.remove(key)
    }
}

/// The pages of a subtree in a read transaction, at most `limit` from `from` on.
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
        pages.push(found(key.value(), value.value())?);
    }
    Ok(pages)
}
