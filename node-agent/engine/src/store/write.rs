//! The one write transaction: all of it is durable once committed, or none.

use super::kept::Kept;
use super::pages::Pages;
use super::{CURSORS, During, JOURNAL, KEPT, META, PAGES, PLANS, StoreError, VOLUMES, seal};
use crate::page::{PlanId, Volume};
use redb::{TableDefinition, WriteTransaction};

/// A write transaction.
pub(crate) struct Writer {
    pub(super) transaction: WriteTransaction,
}

impl Writer {
    /// Opens every table, so that a reader finds them all.
    pub(super) fn touch(&self) -> Result<(), StoreError> {
        self.transaction.open_table(PLANS).during("write")?;
        self.transaction.open_table(VOLUMES).during("write")?;
        self.transaction.open_table(PAGES).during("write")?;
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
        let name = frozen(rule);
        let table = TableDefinition::<&[u8], &[u8]>::new(&name);
        Ok(Pages { table: self.transaction.open_table(table).during("write")? })
    }

    /// Forgets what a rule's items froze as.
    pub(crate) fn forget_frozen(&self, rule: &str) -> Result<(), StoreError> {
        let name = frozen(rule);
        let table = TableDefinition::<&[u8], &[u8]>::new(&name);
        self.transaction.delete_table(table).during("write")?;
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

/// The name of a rule's table.
fn frozen(rule: &str) -> String {
    format!("frozen:{rule}")
}
