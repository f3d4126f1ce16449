//! A database that is worked on and left as it is: what is written stays in memory and goes with the process.
//!
//! Reads the state file, if there is one, under the shared lock; never writes it. So a check leaves evidence untouched,
//! and what would be committed can be looked at without being committed. Memory: what is written.

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Result};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const BLOCK: usize = 4096;

/// A file, and what would be written over it.
#[derive(Debug)]
pub(super) struct Overlay {
    file: Option<FileBackend>,
    over: Mutex<Over>,
}

#[derive(Debug)]
struct Over {
    length: u64,
    /// What of the file still shows.
    of_file: u64,
    written: HashMap<u64, Box<[u8; BLOCK]>>,
}

impl Overlay {
    /// Over the file at a path, or over nothing where there is none.
    pub(super) fn over(path: &Path) -> Result<Self> {
        let file = match File::open(path) {
            Ok(file) => Some(file),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
            Err(error) => return Err(error),
        };
        let length = file.as_ref().map_or(Ok(0), |file| file.metadata().map(|metadata| metadata.len()))?;
        let file = file.map(FileBackend::new).transpose().map_err(std::io::Error::other)?;
        Ok(Self { file, over: Mutex::new(Over { length, of_file: length, written: HashMap::new() }) })
    }

    fn block(&self, over: &Over, number: u64) -> Result<Box<[u8; BLOCK]>> {
        if let Some(block) = over.written.get(&number) {
            return Ok(block.clone());
        }
        let mut block = Box::new([0; BLOCK]);
        let from = number * BLOCK as u64;
        let there = usize::try_from(over.of_file.saturating_sub(from)).unwrap_or(BLOCK).min(BLOCK);
        if let Some(file) = self.file.as_ref().filter(|_| there > 0) {
            file.read(from, &mut block[..there])?;
        }
        Ok(block)
    }

    /// The blocks that a range covers: number, the part of the block, and its place in the range.
    fn blocks(
        offset: u64,
        length: usize,
    ) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let at = offset + done as u64;
            let begin = (at % BLOCK as u64) as usize;
            let count = (BLOCK - begin).min(length - done);
            let part = (at / BLOCK as u64, begin..begin + count, done..done + count);
            done += count;
            (count > 0).then_some(part)
        })
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> Result<u64> {
        Ok(self.over.lock().unwrap_or_else(PoisonError::into_inner).length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        if offset + out.len() as u64 > over.length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        for (number, of_block, of_out) in Self::blocks(offset, out.len()) {
            out[of_out].copy_from_slice(&self.block(&over, number)?[of_block]);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        if length < over.length {
            // What is cut off reads as zeros when it grows again.
            let last = length / BLOCK as u64;
            let mut block = self.block(&over, last)?;
            block[(length % BLOCK as u64) as usize..].fill(0);
            over.written.retain(|number, _| *number < last);
            over.written.insert(last, block);
            over.of_file = over.of_file.min(length);
        }
        over.length = length;
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, of_block, of_data) in Self::blocks(offset, data.len()) {
            let mut block = self.block(&over, number)?;
            block[of_block].copy_from_slice(&data[of_data]);
            over.written.insert(number, block);
        }
        over.length = over.length.max(offset + data.len() as u64);
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.file.as_ref().map_or(Ok(()), StorageBackend::close)
    }

    // Who only reads shares the file with others who do, and with nobody who writes.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<bool, BackendError> {
        self.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<bool, BackendError> {
        self.file.as_ref().map_or(Ok(true), |file| file.try_lock_shared_range(start, end))
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<(), BackendError> {
        self.lock_shared_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<(), BackendError> {
        self.file.as_ref().map_or(Ok(()), |file| file.lock_shared_range(start, end))
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<(), BackendError> {
        self.file.as_ref().map_or(Ok(()), |file| file.unlock_range(start, end))
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<bool, BackendError> {
        self.file.as_ref().map_or(Ok(false), |file| file.query_lock_range(start, end))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Operation {
        Write(u64, Vec<u8>),
        SetLength(u64),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let data = proptest::collection::vec(1u8.., 1..6000);
        prop_oneof![
            (0u64..20_000, data).prop_map(|(at, data)| Operation::Write(at, data)),
            (0u64..30_000).prop_map(Operation::SetLength),
        ]
    }

    proptest! {
        #[test]
        fn it_reads_as_a_file_that_was_written_and_the_file_stays_as_it_was(
            before in proptest::collection::vec(any::<u8>(), 0..20_000),
            operations in proptest::collection::vec(operation(), 0..12),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            std::fs::write(&path, &before).unwrap();
            let overlay = Overlay::over(&path).unwrap();
            let mut model = before.clone();
            for operation in operations {
                match operation {
                    Operation::Write(at, data) => {
                        let end = at as usize + data.len();
                        model.resize(model.len().max(end), 0);
                        model[at as usize..end].copy_from_slice(&data);
                        overlay.write(at, &data).unwrap();
                    }
                    Operation::SetLength(length) => {
                        model.resize(length as usize, 0);
                        overlay.set_len(length).unwrap();
                    }
                }
                let mut read = vec![0; overlay.len().unwrap() as usize];
                overlay.read(0, &mut read).unwrap();
                prop_assert_eq!(&read, &model);
            }
            prop_assert!(overlay.read(model.len() as u64, &mut [0]).is_err());
            prop_assert_eq!(std::fs::read(&path).unwrap(), before);
        }
    }
}
