//! A page as it lies in the state, and its items one after the other, each in the memory of the one before.

use super::encoding::Before;
use super::old::{self, TwoDigests};
use super::{FORMAT, PageError, PlanId, bytes};
use crate::digest::Digests;
use crate::item::ItemState;
use xxhash_rust::xxh3::xxh3_64;

#[derive(Clone, Copy, Debug)]
enum Format {
    First,
    Second,
    Third,
}

/// What stands before a page's items.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    format: Format,
    pub(super) plan: PlanId,
    pub(super) count: u32,
    /// Where the items begin.
    end: usize,
}

impl Head {
    /// The head of stored bytes whose checksum holds.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, PageError> {
        let (checksum, body) = bytes.split_first_chunk::<8>().ok_or(PageError::Checksum)?;
        if u64::from_le_bytes(*checksum) != xxh3_64(body) {
            return Err(PageError::Checksum);
        }
        let (format, mut rest) = body.split_first().ok_or(PageError::Malformed)?;
        let format = match *format {
            1 => Format::First,
            2 => Format::Second,
            FORMAT => Format::Third,
            other => return Err(PageError::Format(other)),
        };
        let plan = bytes::take_short(&mut rest).ok_or(PageError::Malformed)?;
        let count = bytes::take_short(&mut rest).ok_or(PageError::Malformed)?;
        Ok(Self { format, plan, count, end: bytes.len() - rest.len() })
    }

    /// What decodes the items in the same bytes.
    pub(super) fn decoder(self, bytes: &[u8]) -> Decoder<'_> {
        let rest = bytes.get(self.end..).unwrap_or_default();
        Decoder { format: self.format, left: self.count, rest, before: Before::default() }
    }
}

/// Decodes the items of one page.
#[derive(Clone)]
pub(super) struct Decoder<'b> {
    format: Format,
    left: u32,
    rest: &'b [u8],
    before: Before,
}

impl Decoder<'_> {
    /// The state of the next item, whose name takes the place of the one before; `None` behind the last.
    pub(super) fn next(&mut self, name: &mut Vec<u8>) -> Result<Option<ItemState>, PageError> {
        let Self { format, left, rest, before } = self;
        if *left == 0 {
            return if rest.is_empty() { Ok(None) } else { Err(PageError::Malformed) };
        }
        *left -= 1;
        let state = match format {
            Format::First => old::take::<TwoDigests>(rest, name),
            Format::Second => old::take::<Digests>(rest, name),
            Format::Third => before.take(rest, name),
        };
        state.map(Some).ok_or(PageError::Malformed)
    }
}

/// A page whose checksum holds and whose items are still to be decoded.
#[derive(Debug)]
pub(crate) struct StoredPage {
    /// The first name that it had.
    pub(crate) first: Vec<u8>,
    bytes: Vec<u8>,
    head: Head,
}

impl StoredPage {
    /// A page in stored bytes.
    ///
    /// # Errors
    /// When they are not what was written, or were written by a version that this one does not know.
    pub(crate) fn open(first: &[u8], bytes: &[u8]) -> Result<Self, PageError> {
        Ok(Self { first: first.to_vec(), bytes: bytes.to_vec(), head: Head::of(bytes)? })
    }

    /// The plan that it was last written under, or [`super::NEVER`].
    pub(crate) fn plan(&self) -> PlanId {
        self.head.plan
    }
}

/// The items of a directory's pages, in order.
pub(crate) struct Items<'p> {
    pages: std::slice::Iter<'p, StoredPage>,
    page: Option<Decoder<'p>>,
    name: Vec<u8>,
    state: Option<ItemState>,
}

impl<'p> Items<'p> {
    /// The items of these pages, at the first.
    ///
    /// # Errors
    /// When that cannot be decoded.
    pub(crate) fn of(pages: &'p [StoredPage]) -> Result<Self, PageError> {
        let mut items = Self { pages: pages.iter(), page: None, name: Vec::new(), state: None };
        items.advance()?;
        Ok(items)
    }

    /// The name and state of the item at which it is; `None` behind the last.
    pub(crate) fn current(&self) -> Option<(&[u8], &ItemState)> {
        Some((self.name.as_slice(), self.state.as_ref()?))
    }

    /// Goes on to the next item.
    ///
    /// # Errors
    /// When it cannot be decoded.
    pub(crate) fn advance(&mut self) -> Result<(), PageError> {
        loop {
            if let Some(page) = &mut self.page {
                self.state = page.next(&mut self.name)?;
                if self.state.is_some() {
                    return Ok(());
                }
            }
            let Some(StoredPage { bytes, head, .. }) = self.pages.next() else {
                self.page = None;
                return Ok(());
            };
            self.page = Some(head.decoder(bytes));
            self.name.clear();
        }
    }
}
