//! What left watch, as it was: pages beside the state's own, in the order in which they left.
//!
//! Key: when it left (seconds, nanoseconds), the plan that did not select it any more, and the key that the page had.

use super::{During, Found, StoreError, found};
use crate::clock::Time;
use crate::page::{Page, PlanId, merge};
use redb::{ReadableTable, Table};

/// How many bytes of a key stand before the page's own.
pub(super) const BEFORE_PAGE: usize = 16;

/// What left watch, inside a write transaction.
pub(crate) struct Kept<'a> {
    pub(super) table: Table<'a, &'static [u8], &'static [u8]>,
}

/// Items of one directory that left together.
pub(crate) struct Row {
    pub(crate) key: Vec<u8>,
    /// When they left, in time that was lived.
    pub(crate) left: Time,
    /// The plan that did not select them any more.
    pub(crate) under: PlanId,
    /// As they lay in the state.
    pub(crate) found: Found,
}

fn moment(time: Time) -> [u8; 12] {
    let mut key = [0; 12];
    // Before 1970 nothing was kept.
    key[..8].copy_from_slice(&u64::try_from(time.secs).unwrap_or(0).to_be_bytes());
    key[8..].copy_from_slice(&time.nanos.to_be_bytes());
    key
}

/// When a row of this key left, with which plan, and the key of its page.
pub(super) fn parse(key: &[u8]) -> Result<(Time, PlanId, &[u8]), StoreError> {
    let broken = || StoreError::damaged("what left watch has no moment");
    let (left, rest) = key.split_first_chunk::<12>().ok_or_else(broken)?;
    let (under, page) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
    let (secs, nanos) = left.split_first_chunk::<8>().ok_or_else(broken)?;
    let secs = i64::try_from(u64::from_be_bytes(*secs)).map_err(|_| broken())?;
    let nanos = nanos.iter().fold(0, |nanos, byte| nanos << 8 | u32::from(*byte));
    Ok((Time { secs, nanos }, PlanId::from_be_bytes(*under), page))
}

impl Kept<'_> {
    /// Keeps the items of a page that leave.
    pub(crate) fn put(&mut self, left: Time, under: PlanId, key: &[u8], page: &Page) -> Result<(), StoreError> {
        let row = [&moment(left), under.to_be_bytes().as_slice(), key].concat();
        let there = match self.table.get(row.as_slice()).during("read")? {
            Some(value) => found(key, value.value())?.page,
            None => Page { plan: page.plan, items: Vec::new() },
        };
        let page = Page { plan: there.plan, items: merge(there.items, page.items.clone()) };
        self.table.insert(row.as_slice(), page.encode().as_slice()).during("write")?;
        Ok(())
    }

    /// What is kept, oldest first, at most `limit` pages from `from` on.
    pub(crate) fn rows(&self, from: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        for entry in self.table.range(from..).during("read")?.take(limit) {
            let (key, value) = entry.during("read")?;
            let (left, under, page) = parse(key.value())?;
            rows.push(Row { key: key.value().to_vec(), left, under, found: found(page, value.value())? });
        }
        Ok(rows)
    }

    /// Leaves of a row only this page.
    pub(crate) fn reduce(&mut self, key: &[u8], page: &Page) -> Result<(), StoreError> {
        self.table.insert(key, page.encode().as_slice()).during("write")?;
        Ok(())
    }

    /// Forgets a row.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.table.remove(key).during("write")?;
        Ok(())
    }

    /// Forgets what left before `time`, at most `limit` pages of it: the rest is forgotten the next time.
    pub(crate) fn forget_before(&mut self, time: Time, limit: usize) -> Result<(), StoreError> {
        let end = moment(time);
        let old = self.table.extract_from_if(..end.as_slice(), |_, _| true).during("write")?;
        for row in old.take(limit) {
            row.during("write")?;
        }
        Ok(())
    }
}
