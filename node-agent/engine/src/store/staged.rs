//! Pages that are written, held back for a while and then put into their table in order.
//!
//! Neighbors that come in order fill the table's leaves, and what comes and goes within one transaction never gets there.
//! Reads see what is held back.

use super::{During, StoreError};
use redb::{ReadableTable, Table};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Bound;

/// So many bytes are held back: what a commit's findings come to.
const HELD_BACK: usize = 4 * 1024 * 1024;

/// A key and its value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);
/// The same, with its value where that is held back.
type Noted = (Vec<u8>, Option<Vec<u8>>);

/// A table, and what is held back of it.
pub(super) struct Staged<'a> {
    table: Table<'a, &'static [u8], &'static [u8]>,
    /// What is to become of keys: `None` takes one away.
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
    gap: RefCell<Option<Gap>>,
    failed: &'a Cell<Option<StoreError>>,
}

/// The first key behind this one.
pub(super) fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Two neighbors in the table; between them it has no key.
#[derive(Clone)]
struct Gap {
    /// `None` is its beginning,
    before: Option<Vec<u8>>,
    /// and its end.
    after: Option<Vec<u8>>,
}

impl Gap {
    /// Whether a key lies behind the first of the two, and is not behind the other.
    fn holds(&self, key: &[u8]) -> bool {
        self.before.as_deref().is_none_or(|before| before < key)
            && self.after.as_deref().is_none_or(|after| key <= after)
    }
}

impl<'a> Staged<'a> {
    /// What cannot be written when it is dropped is said in `failed`.
    pub(super) fn new(table: Table<'a, &'static [u8], &'static [u8]>, failed: &'a Cell<Option<StoreError>>) -> Self {
        Self { table, changes: BTreeMap::new(), bytes: 0, gap: RefCell::default(), failed }
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        self.change(key, Some(value))
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.change(key.to_vec(), None)
    }

    fn change(&mut self, key: Vec<u8>, change: Option<Vec<u8>>) -> Result<(), StoreError> {
        self.bytes += key.len() + change.as_ref().map_or(0, Vec::len);
        self.changes.insert(key, change);
        if self.bytes < HELD_BACK { Ok(()) } else { self.flush() }
    }

    /// The first pair from a key on of those whose keys begin so.
    pub(super) fn first(&self, prefix: &[u8], from: &[u8]) -> Result<Option<Pair>, StoreError> {
        self.next(prefix, from)?.map(|found| self.whole(found)).transpose()
    }

    /// Its key alone.
    pub(super) fn first_key(&self, prefix: &[u8], from: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.next(prefix, from)?.map(|(key, _)| key))
    }

    fn next(&self, prefix: &[u8], from: &[u8]) -> Result<Option<Noted>, StoreError> {
        let mut from = from.to_vec();
        loop {
            let changed = self.changes.range::<[u8], _>((Bound::Included(from.as_slice()), Bound::Unbounded)).next();
            let changed = changed.filter(|(key, _)| key.starts_with(prefix));
            let stored = self.gap_at(&from)?.after.filter(|key| key.starts_with(prefix));
            match changed {
                Some((key, change)) if stored.as_ref().is_none_or(|stored| key <= stored) => match change {
                    Some(value) => return Ok(Some((key.clone(), Some(value.clone())))),
                    None => from = after(key),
                },
                _ => return Ok(stored.map(|key| (key, None))),
            }
        }
    }

    /// The last pair before a key, or with it, of those whose keys begin so.
    pub(super) fn last(&self, prefix: &[u8], upto: Bound<&[u8]>) -> Result<Option<Pair>, StoreError> {
        let mut upto = upto.map(<[u8]>::to_vec);
        loop {
            let end = upto.as_ref().map(Vec::as_slice);
            let changed = self.changes.range::<[u8], _>((Bound::Unbounded, end)).next_back();
            let changed = changed.filter(|(key, _)| key.starts_with(prefix));
            let stored = match &upto {
                Bound::Included(key) => {
                    let gap = self.gap_at(key)?;
                    gap.after.filter(|after| after == key).or(gap.before)
                }
                Bound::Excluded(key) => self.gap_at(key)?.before,
                Bound::Unbounded => None,
            };
            let stored = stored.filter(|key| key.starts_with(prefix));
            let found = match changed {
                Some((key, change)) if stored.as_ref().is_none_or(|stored| key >= stored) => match change {
                    Some(value) => (key.clone(), Some(value.clone())),
                    None => {
                        upto = Bound::Excluded(key.clone());
                        continue;
                    }
                },
                _ => match stored {
                    Some(key) => (key, None),
                    None => return Ok(None),
                },
            };
            return self.whole(found).map(Some);
        }
    }

    /// The neighbors in the table that a key lies between, or is the second of.
    fn gap_at(&self, key: &[u8]) -> Result<Gap, StoreError> {
        if let Some(gap) = self.gap.borrow().as_ref().filter(|gap| gap.holds(key)) {
            return Ok(gap.clone());
        }
        let before = self.table.range::<&[u8]>(..key).during("read")?.next_back().transpose().during("read")?;
        let after = self.table.range::<&[u8]>(key..).during("read")?.next().transpose().during("read")?;
        let gap = Gap {
            before: before.map(|(key, _)| key.value().to_vec()),
            after: after.map(|(key, _)| key.value().to_vec()),
        };
        Ok(self.gap.borrow_mut().insert(gap).clone())
    }

    fn whole(&self, (key, value): Noted) -> Result<Pair, StoreError> {
        if let Some(value) = value {
            return Ok((key, value));
        }
        let value = self.table.get(key.as_slice()).during("read")?;
        let value = value.ok_or_else(|| StoreError::damaged("a page is gone"))?.value().to_vec();
        Ok((key, value))
    }

    /// Calls `each` with the pairs from a key on in their order, until it says that it has enough.
    pub(super) fn each(
        &self,
        from: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut changes = self.changes.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)).peekable();
        for entry in self.table.range(from..).during("read")? {
            let (key, value) = entry.during("read")?;
            while let Some((changed, change)) = changes.next_if(|(changed, _)| changed.as_slice() < key.value()) {
                if change.as_ref().map_or(Ok(false), |value| each(changed, value))? {
                    return Ok(());
                }
            }
            let is_enough = match changes.next_if(|(changed, _)| changed.as_slice() == key.value()) {
                Some((_, None)) => false,
                Some((_, Some(value))) => each(key.value(), value)?,
                None => each(key.value(), value.value())?,
            };
            if is_enough {
                return Ok(());
            }
        }
        for (key, change) in changes {
            if change.as_ref().map_or(Ok(false), |value| each(key, value))? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Puts what is held back into the table.
    fn flush(&mut self) -> Result<(), StoreError> {
        self.bytes = 0;
        self.gap.take();
        let mut changes = std::mem::take(&mut self.changes).into_iter().peekable();
        while let Some((key, change)) = changes.next() {
            let Some(value) = change else {
                self.table.remove(key.as_slice()).during("write")?;
                continue;
            };
            let mut cursor = self.table.lower_bound_mut(Bound::Included(key.as_slice())).during("write")?;
            let after = cursor.peek_next().during("write")?.map(|(after, _)| after.value().to_vec());
            if after.as_ref() == Some(&key) {
                cursor.close().during("write")?;
                self.table.insert(key.as_slice(), value.as_slice()).during("write")?;
                continue;
            }
            cursor.insert_before(key.as_slice(), value.as_slice()).during("write")?;
            let is_next = |(key, change): &(Vec<u8>, Option<Vec<u8>>)| {
                change.is_some() && after.as_ref().is_none_or(|after| key < after)
            };
            while let Some((key, Some(value))) = changes.next_if(is_next) {
                cursor.insert_before(key.as_slice(), value.as_slice()).during("write")?;
            }
            cursor.close().during("write")?;
        }
        Ok(())
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            self.failed.set(Some(error));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::PAGES;
    use proptest::prelude::*;
    use redb::backends::InMemoryBackend;
    use redb::{Builder, ReadableDatabase};

    #[derive(Clone, Debug)]
    enum Step {
        Put(Vec<u8>, usize),
        Remove(Vec<u8>),
        /// What is held back reaches the table.
        Flush,
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        (0..3u8, 0..12u8).prop_map(|(directory, name)| vec![directory, name])
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (key(), 0..2000usize).prop_map(|(key, length)| Step::Put(key, length)),
            3 => key().prop_map(Step::Remove),
            1 => Just(Step::Flush),
        ]
    }

    type Model = BTreeMap<Vec<u8>, Vec<u8>>;

    fn pair((key, value): (&Vec<u8>, &Vec<u8>)) -> Pair {
        (key.clone(), value.clone())
    }

    fn shows(staged: &Staged<'_>, model: &Model, at: &[u8], prefix: &[u8]) {
        let begins = |(key, _): &(&Vec<u8>, &Vec<u8>)| key.starts_with(prefix);
        let first = model.range(at.to_vec()..).next().filter(begins).map(pair);
        assert_eq!(staged.first_key(prefix, at).unwrap(), first.clone().map(|(key, _)| key));
        assert_eq!(staged.first(prefix, at).unwrap(), first);
        let last = model.range(..=at.to_vec()).next_back().filter(begins).map(pair);
        assert_eq!(staged.last(prefix, Bound::Included(at)).unwrap(), last);
        let last = model.range(..at.to_vec()).next_back().filter(begins).map(pair);
        assert_eq!(staged.last(prefix, Bound::Excluded(at)).unwrap(), last);
        let mut all = Vec::new();
        let mut each = |key: &[u8], value: &[u8]| {
            all.push((key.to_vec(), value.to_vec()));
            Ok(all.len() == 5)
        };
        staged.each(at, &mut each).unwrap();
        assert_eq!(all, model.range(at.to_vec()..).take(5).map(pair).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn what_is_held_back_is_seen_as_if_it_were_in_the_table(
            steps in proptest::collection::vec((step(), key()), 0..60),
        ) {
            let database = Builder::new().create_with_backend(InMemoryBackend::new()).unwrap();
            let failed = Cell::default();
            let mut model = Model::new();
            let writer = database.begin_write().unwrap();
            let mut staged = Staged::new(writer.open_table(PAGES).unwrap(), &failed);
            for (step, at) in steps {
                match step {
                    Step::Put(key, length) => {
                        let value = vec![7; length];
                        model.insert(key.clone(), value.clone());
                        staged.put(key, value).unwrap();
                    }
                    Step::Remove(key) => {
                        model.remove(&key);
                        staged.remove(&key).unwrap();
                    }
                    Step::Flush => staged.flush().unwrap(),
                }
                shows(&staged, &model, &at, &[]);
                shows(&staged, &model, &at, &at[..1]);
            }
            drop(staged);
            prop_assert!(failed.take().is_none());
            writer.commit().unwrap();
            let table = database.begin_read().unwrap().open_table(PAGES).unwrap();
            let stored: Vec<Pair> = table.iter().unwrap().map(|entry| {
                let (key, value) = entry.unwrap();
                (key.value().to_vec(), value.value().to_vec())
            }).collect();
            prop_assert_eq!(stored, model.iter().map(pair).collect::<Vec<_>>());
        }
    }
}
