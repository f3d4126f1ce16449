//! The one write transaction: all of it is durable once committed, or none.

use super::kept::Kept;
use super::pages::Pages;
use super::read::{self, shown_path};
use super::staged::Staged;
use super::{
    CURSORS, During, JOURNAL, KEPT, META, MOUNTS, PAGES, PLANS, StoreError, VOLUMES, frozen_table, seal, unseal,
};
use crate::page::{Leaf, PlanId, Volume};
use crate::path::HostPath;
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A write transaction.
pub(crate) struct Writer {
    pub(super) transaction: WriteTransaction,
    /// Why pages could not be written.
    pub(super) failed: Cell<Option<StoreError>>,
    /// Counts the commits.
    pub(super) changes: Arc<AtomicU64>,
}

impl Writer {
    /// Opens every table, so that a reader finds them all.
    pub(super) fn touch(&self) -> Result<(), StoreError> {
        self.transaction.open_table(PLANS).during("write")?;
        self.transaction.open_table(VOLUMES).during("write")?;
        self.transaction.open_table(PAGES).during("write")?;
        self.transaction.open_table(MOUNTS).during("write")?;
        self.transaction.open_table(KEPT).during("write")?;
        self.transaction.open_table(JOURNAL).during("write")?;
        self.transaction.open_table(CURSORS).during("write")?;
        Ok(())
    }

    /// What left watch, for as long as the result lives.
    pub(crate) fn kept(&self) -> Result<Kept<'_>, StoreError> {
        Ok(Kept { table: self.transaction.open_table(KEPT).during("write")? })
    }

    /// The pages that a suspended rule's items froze as, for as long as the result lives.
    pub(crate) fn frozen(&self, rule: &str) -> Result<Pages<'_>, StoreError> {
        let name = frozen_table(rule);
        let table = TableDefinition::<&[u8], &[u8]>::new(&name);
        self.staged(table)
    }

    /// Forgets what a rule's items froze as.
    pub(crate) fn forget_frozen(&self, rule: &str) -> Result<(), StoreError> {
        let name = frozen_table(rule);
        let table = TableDefinition::<&[u8], &[u8]>::new(&name);
        self.transaction.delete_table(table).during("write")?;
        Ok(())
    }

    /// The pages, for as long as the result lives.
    pub(crate) fn pages(&self) -> Result<Pages<'_>, StoreError> {
        self.staged(PAGES)
    }

    fn staged(&self, table: TableDefinition<'_, &'static [u8], &'static [u8]>) -> Result<Pages<'_>, StoreError> {
        let table = self.transaction.open_table(table).during("write")?;
        Ok(Pages { staged: Staged::new(table, &self.failed), leaf: Leaf::default() })
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

    pub(crate) fn remove_volume(&self, id: Volume) -> Result<(), StoreError> {
        self.transaction.open_table(VOLUMES).during("write")?.remove(id).during("write")?;
        Ok(())
    }

    /// What is mounted at a path, as it was last noted.
    pub(crate) fn shown(&self, path: &HostPath) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.transaction.open_table(MOUNTS).during("read")?;
        let value = table.get(path.as_bytes()).during("read")?;
        value.map(|value| unseal(value.value(), || format!("the mount at {path}"))).transpose()
    }

    /// What is mounted below a path, as it was last noted.
    pub(crate) fn shown_below(&self, path: &HostPath) -> Result<Vec<(HostPath, Vec<u8>)>, StoreError> {
        let table = self.transaction.open_table(MOUNTS).during("read")?;
        let prefix = [path.as_bytes(), b"/"].concat();
        let mut shown = Vec::new();
        for entry in table.range(prefix.as_slice()..).during("read")? {
            let (key, value) = entry.during("read")?;
            if !key.value().starts_with(&prefix) {
                break;
            }
            let path = shown_path(key.value());
            let value = unseal(value.value(), || format!("the mount at {path}"))?;
            shown.push((path, value));
        }
        Ok(shown)
    }

    pub(crate) fn set_shown(&self, path: &HostPath, value: Option<&[u8]>) -> Result<(), StoreError> {
        let mut table = self.transaction.open_table(MOUNTS).during("write")?;
        match value {
            Some(value) => table.insert(path.as_bytes(), seal(value).as_slice()).during("write")?,
            None => table.remove(path.as_bytes()).during("write")?,
        };
        Ok(())
    }

    pub(crate) fn append(&self, sequence: u64, line: &[u8]) -> Result<(), StoreError> {
        let mut table = self.transaction.open_table(JOURNAL).during("write")?;
        table.insert(sequence, seal(line).as_slice()).during("write")?;
        Ok(())
    }

    /// The oldest lines, until `enough` says so of one that was read.
    pub(crate) fn oldest_lines(&self, mut enough: impl FnMut(u64, Vec<u8>) -> bool) -> Result<(), StoreError> {
        let table = self.transaction.open_table(JOURNAL).during("read")?;
        for entry in table.range::<u64>(..).during("read")? {
            let (sequence, value) = entry.during("read")?;
            let line = unseal(value.value(), || format!("record {}", sequence.value()))?;
            if enough(sequence.value(), line) {
                break;
            }
        }
        Ok(())
    }

    /// Takes the lines up to this one out of the journal.
    pub(crate) fn remove_lines(&self, last: u64) -> Result<(), StoreError> {
        let mut table = self.transaction.open_table(JOURNAL).during("write")?;
        table.retain_in(..=last, |_, _| false).during("write")
    }

    /// What each sink has delivered.
    pub(crate) fn cursors(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let table = self.transaction.open_table(CURSORS).during("read")?;
        let cursors = table.iter().during("read")?.map(|entry| {
            let (sink, sequence) = entry.during("read")?;
            Ok((sink.value().to_owned(), sequence.value()))
        });
        cursors.collect()
    }

    pub(crate) fn set_cursor(&self, sink: &str, sequence: u64) -> Result<(), StoreError> {
        let mut table = self.transaction.open_table(CURSORS).during("write")?;
        table.insert(sink, sequence).during("write")?;
        Ok(())
    }

    /// Takes all lines away and puts every sink before the first of the next ones.
    pub(crate) fn empty_journal(&self) -> Result<(), StoreError> {
        self.transaction.delete_table(JOURNAL).during("write")?;
        self.transaction.open_table(JOURNAL).during("write")?;
        self.cursors()?.iter().try_for_each(|(sink, _)| self.set_cursor(sink, 0))
    }

    /// A value that describes the state.
    pub(crate) fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.transaction.open_table(META).during("read")?;
        read::meta(&table, key)
    }

    /// Whether what pages held back could be written when they were dropped: the first failure says why, later ones only
    /// that there was one.
    pub(crate) fn written(&self) -> Result<(), StoreError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    pub(crate) fn commit(self) -> Result<(), StoreError> {
        self.written()?;
        let committed = self.transaction.commit().during("commit");
        self.changes.fetch_add(1, Ordering::Release);
        committed
    }
}
