//! Equal values held once: thousands of nodes carry the same rules and labels.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// Below this it is not worth looking for values that nobody holds.
const SMALL: usize = 256;

/// A set of values that are in use.
#[derive(Debug)]
pub(crate) struct Interner<T: ?Sized> {
    values: HashSet<Arc<T>>,
    prune_at: usize,
}

impl<T: ?Sized + Hash + Eq> Interner<T> {
    pub(crate) fn new() -> Self {
        Self { values: HashSet::new(), prune_at: SMALL }
    }

    /// The one copy of this value.
    pub(crate) fn intern<V: Borrow<T> + Into<Arc<T>>>(&mut self, value: V) -> Arc<T> {
        if let Some(held) = self.values.get(value.borrow()) {
            return held.clone();
        }
        if self.values.len() >= self.prune_at {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.prune_at = (2 * self.values.len()).max(SMALL);
        }
        let value: Arc<T> = value.into();
        self.values.insert(value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_unused_ones_do_not_pile_up() {
        let mut interner = Interner::<str>::new();
        let kept = interner.intern("kept");
        for number in 0..10 * SMALL {
            interner.intern(number.to_string());
        }
        assert!(Arc::ptr_eq(&kept, &interner.intern("kept".to_owned())));
        assert!(interner.values.len() <= SMALL);
    }
}
