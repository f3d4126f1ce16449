//! Files with several names that were read in this compare: the next name of one takes over what was found.
//!
//! Holds states by inode for as long as one compare lasts. It never says that a file is unchanged: who asks has seen it.

use crate::host::FileId;
use crate::item::ItemState;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// So many files are remembered, some 400 bytes each; the oldest make room, and are read again under their next name.
const LIMIT: usize = 16_384;

/// What was read of files with several names.
#[derive(Debug, Default)]
pub(crate) struct HardLinks {
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    states: HashMap<FileId, Box<ItemState>>,
    /// In the order in which they came.
    order: VecDeque<FileId>,
}

impl HardLinks {
    /// What was read of a file, if `still` says that it holds.
    pub(crate) fn get(&self, file: FileId, still: impl FnOnce(&ItemState) -> bool) -> Option<ItemState> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.states.get(&file).filter(|state| still(state)).map(|state| ItemState::clone(state))
    }

    /// Remembers what was read of a file.
    pub(crate) fn remember(&self, file: FileId, state: &ItemState) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.states.insert(file, Box::new(state.clone())).is_some() {
            return;
        }
        read.order.push_back(file);
        if read.order.len() > LIMIT
            && let Some(oldest) = read.order.pop_front()
        {
            read.states.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::tests::regular;

    #[test]
    fn the_oldest_make_room() {
        let links = HardLinks::default();
        for inode in 0..=LIMIT as u64 {
            links.remember(FileId::new(8, 1, inode), &regular());
        }
        let knows = |inode| links.get(FileId::new(8, 1, inode), |_| true).is_some();
        assert!(!knows(0) && knows(1) && knows(LIMIT as u64));
    }
}
