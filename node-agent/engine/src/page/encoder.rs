//! A page as it is built, item by item: what `Page::decode` reads.

use super::encoding::Before;
use super::{FORMAT, Named, PlanId, bytes};
use xxhash_rust::xxh3::xxh3_64;

/// What stands before the items, at most.
const HEAD: usize = 8 + 1 + 5 + 5;

/// Builds a page item by item.
pub(super) struct Encoder<'i> {
    plan: PlanId,
    pub(super) count: u32,
    body: Vec<u8>,
    before: Before,
    last: &'i [u8],
}

impl<'i> Encoder<'i> {
    pub(super) fn new(plan: PlanId) -> Self {
        Self { plan, count: 0, body: Vec::new(), before: Before::default(), last: &[] }
    }

    pub(super) fn of(plan: PlanId, items: &'i [Named]) -> Self {
        let mut encoder = Self::new(plan);
        items.iter().for_each(|item| encoder.push(item));
        encoder
    }

    fn push(&mut self, item: &'i Named) {
        self.before.put(&mut self.body, self.last, item);
        self.last = &item.name;
        self.count += 1;
    }

    /// Unless the page has items and would be longer than `room` then.
    pub(super) fn push_within(&mut self, item: &'i Named, room: usize) -> bool {
        let (end, before, last) = (self.body.len(), self.before, self.last);
        self.push(item);
        if self.count == 1 || self.len() <= room {
            return true;
        }
        self.body.truncate(end);
        (self.before, self.last) = (before, last);
        self.count -= 1;
        false
    }

    /// How long the page will be at most.
    pub(super) fn len(&self) -> usize {
        HEAD + self.body.len()
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        bytes.extend_from_slice(&[0; 8]);
        bytes.push(FORMAT);
        bytes::put(&mut bytes, self.plan.into());
        bytes::put(&mut bytes, self.count.into());
        bytes.extend_from_slice(&self.body);
        let checksum = xxh3_64(&bytes[8..]);
        bytes[..8].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}
