//! The journal's bound: the oldest lines go, in the transaction that made it too long, and the chain of what stays can be checked.
//!
//! Reads the oldest lines and the sinks' cursors; removes lines, moves the base in the state's description and says in the
//! journal what a sink has lost. It never moves a cursor: a sink goes on with the first line that is there.

use crate::clock::Time;
use crate::commit::Identity;
use crate::meta::{Base, Meta};
use crate::records::notice;
use crate::store::{StoreError, Writer};
use vedette_crds::record::{GapReason, NoticeKind, chain_of};

/// The bytes of lines that a journal holds unless it is told otherwise: about 200,000 records.
pub const JOURNAL_MAX: u64 = 256 << 20;
/// A journal of less would lose lines of one commit before any sink could read them.
pub const JOURNAL_MIN: u64 = 1 << 20;

/// A journal that is full gives up this part of itself at once, so that few transactions have to.
const PART: u64 = 16;

/// Keeps the journal within its bound.
pub(crate) fn prune(
    writer: &Writer,
    meta: &mut Meta,
    identity: &Identity,
    now: Time,
    max: u64,
) -> Result<(), StoreError> {
    if meta.totals.journal_bytes <= max {
        return Ok(());
    }
    let keep = max - max / PART;
    let (mut base, mut left) = (meta.base, meta.totals.journal_bytes);
    let mut damaged = None;
    let last = meta.sequence;
    writer.oldest_lines(|sequence, line| {
        // It stays, however long it is: who checks a notice of what was lost has to have the line before it.
        if sequence == last {
            return true;
        }
        match chain_of(&line) {
            Some(chain) => base = Base { sequence, chain },
            None => damaged = Some(sequence),
        }
        left = left.saturating_sub(line.len() as u64);
        left <= keep || damaged.is_some()
    })?;
    if let Some(sequence) = damaged {
        return Err(StoreError::damaged(format!("record {sequence} has no chain")));
    }
    if base.sequence == meta.base.sequence {
        return Ok(());
    }
    writer.remove_lines(base.sequence)?;
    let before = std::mem::replace(&mut meta.base, base).sequence;
    meta.totals.journal_bytes = left;
    let mut delivered = base.sequence;
    for (sink, cursor) in writer.cursors()? {
        if cursor < base.sequence {
            *meta.totals.dropped.entry(sink).or_default() += base.sequence - cursor.max(before);
            delivered = delivered.min(cursor);
        }
    }
    if delivered == base.sequence {
        return Ok(());
    }
    // All that the sink has lost so far: an earlier notice of it may be among what leaves now.
    let kind = NoticeKind::Gap { reason: GapReason::JournalFull, from: delivered + 1, to: base.sequence };
    notice(writer, meta, identity, now, kind)
}
