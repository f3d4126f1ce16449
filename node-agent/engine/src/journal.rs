//! The journal as its readers see it: lines after a sequence, and a cursor for each kind of sink.

use crate::store::{Store, StoreError};
use std::sync::Arc;

/// Lines of the journal, as they were rendered when they were committed.
#[derive(Clone, Debug)]
pub struct Journal {
    store: Arc<Store>,
    is_new: bool,
    id: String,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its place in the journal, from 1.
    pub sequence: u64,
    /// A JSON object without its newline.
    pub bytes: Vec<u8>,
}

/// Who reads the journal; each kind has one cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// A file of lines.
    File,
    /// The status of the node's NodeConfig.
    Status,
}

impl Sink {
    /// The word for metrics, and the cursor's key.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "Stdout",
            Self::File => "File",
            Self::Status => "Status",
        }
    }
}

impl Journal {
    pub(crate) fn new(store: Arc<Store>, is_new: bool, id: String) -> Self {
        Self { store, is_new, id }
    }

    /// The journal's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The lines after a sequence: about `limit` bytes, at least one line when there is one.
    ///
    /// # Errors
    /// When the state cannot be read or a line is not what was written.
    pub fn after(&self, sequence: u64, limit: usize) -> Result<Vec<Line>, StoreError> {
        let lines = self.store.read()?.lines(sequence, limit)?;
        Ok(lines.into_iter().map(|(sequence, bytes)| Line { sequence, bytes }).collect())
    }

    /// What a sink has delivered. A sink that is new to a journal starts at its end, `head`; on a new journal at 0.
    ///
    /// # Errors
    /// When the state cannot be read or written.
    pub fn cursor(&self, sink: Sink, head: u64) -> Result<u64, StoreError> {
        if let Some(sequence) = self.store.read()?.cursor(sink.as_str())? {
            return Ok(sequence);
        }
        let start = if self.is_new { 0 } else { head };
        self.advance(sink, start)?;
        Ok(start)
    }

    /// Remembers that a sink has delivered all lines up to `sequence`; durable when it returns.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn advance(&self, sink: Sink, sequence: u64) -> Result<(), StoreError> {
        let writer = self.store.write()?;
        writer.set_cursor(sink.as_str(), sequence)?;
        writer.commit()
    }
}
