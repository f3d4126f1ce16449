//! The state as it was last committed, for who asks often.

use super::{Reader, Store, StoreError};

/// A view that is held over many reads, and given up for another one after each commit: the file grows while an old one is held.
pub(crate) struct Current<'s> {
    store: &'s Store,
    reader: Option<(u64, Reader)>,
}

impl<'s> Current<'s> {
    pub(crate) fn of(store: &'s Store) -> Self {
        Self { store, reader: None }
    }

    /// The state as it was last committed.
    pub(crate) fn read(&mut self) -> Result<&Reader, StoreError> {
        // Asked before a view is taken: what is committed meanwhile only makes the next one be taken early.
        let changes = self.store.changes();
        let reader = match self.reader.take() {
            Some((of, reader)) if of == changes => reader,
            _ => self.store.read()?,
        };
        Ok(&self.reader.insert((changes, reader)).1)
    }

    /// Holds nothing that is not the state any more.
    pub(crate) fn let_go_if_old(&mut self) {
        let changes = self.store.changes();
        if self.reader.as_ref().is_some_and(|(of, _)| *of != changes) {
            self.reader = None;
        }
    }

    /// Holds nothing while what comes next may take for ever.
    pub(crate) fn let_go(&mut self) {
        self.reader = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::Medium;

    #[test]
    fn a_view_is_held_until_something_is_committed_and_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Medium::File).unwrap();
        let mut current = Current::of(&store);
        let value = |current: &mut Current<'_>| current.read().unwrap().meta("key").unwrap();
        assert_eq!(value(&mut current), None);
        current.let_go_if_old();
        assert!(current.reader.is_some());
        let writer = store.write().unwrap();
        writer.set_meta("key", b"new").unwrap();
        writer.commit().unwrap();
        current.let_go_if_old();
        assert!(current.reader.is_none(), "the file grows while it is held");
        assert_eq!(value(&mut current).unwrap(), b"new");
    }
}
