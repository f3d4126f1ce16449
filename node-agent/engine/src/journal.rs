//! The journal as its readers see it: lines after a sequence, and a cursor for each kind of sink.

use crate::meta;
use crate::store::{Store, StoreError};
use std::sync::Arc;

/// Lines of the journal, as they were rendered when they were committed.
#[derive(Clone, Debug)]
pub struct Journal {
    store: Arc<Store>,
    is_new: bool,
}

/// How far a sink is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The journal's id.
    pub journal: String,
    /// The last line that it has delivered; 0 before the first.
    pub sequence: u64,
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
    pub(crate) const ALL: [Self; 3] = [Self::Stdout, Self::File, Self::Status];

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
    pub(crate) fn new(store: Arc<Store>, is_new: bool) -> Self {
        Self { store, is_new }
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
    pub fn cursor(&self, sink: Sink, head: u64) -> Result<Cursor, StoreError> {
        let reader = self.store.read()?;
        let journal = meta::journal(reader.meta(meta::KEY)?)?;
        if let Some(sequence) = reader.cursor(sink.as_str())? {
            return Ok(Cursor { journal, sequence });
        }
        drop(reader);
        let start = Cursor { journal, sequence: if self.is_new { 0 } else { head } };
        self.advance(sink, &start)?;
        Ok(start)
    }

    /// Remembers that a sink has delivered all lines up to a sequence of a journal; durable when it returns. False when
    /// another journal has taken that one's place meanwhile: the sink is then before its first line.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn advance(&self, sink: Sink, to: &Cursor) -> Result<bool, StoreError> {
        let writer = self.store.write()?;
        if meta::journal(writer.meta(meta::KEY)?)? != to.journal {
            return Ok(false);
        }
        writer.set_cursor(sink.as_str(), to.sequence)?;
        writer.commit()?;
        Ok(true)
    }
}
