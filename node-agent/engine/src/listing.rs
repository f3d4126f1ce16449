//! The names of a directory, sorted, in one piece of memory.

/// What a listing says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EntryKind {
    Directory,
    Symlink,
    Other,
    Unknown,
}

/// Names, each with its type where the file system says it.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    text: Vec<u8>,
    places: Vec<Place>,
}

/// Where a name stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Its first bytes: most names are told apart by them.
    head: u64,
    at: usize,
    len: u32,
    kind: EntryKind,
}

impl Place {
    fn name<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        &text[self.at..self.at + self.len as usize]
    }
}

impl Listing {
    /// These names, which are sorted, of types that nobody knows.
    pub(crate) fn of(names: &[Vec<u8>]) -> Self {
        let mut listing = Self::default();
        names.iter().for_each(|name| listing.push(name, EntryKind::Unknown));
        listing
    }

    pub(crate) fn push(&mut self, name: &[u8], kind: EntryKind) {
        let mut head = [0; 8];
        let count = name.len().min(head.len());
        head[..count].copy_from_slice(&name[..count]);
        // A path has no 4 GiB.
        let place = Place { head: u64::from_be_bytes(head), at: self.text.len(), len: name.len() as u32, kind };
        self.text.extend_from_slice(name);
        self.places.push(place);
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// The name at a place in the order, and its type.
    pub(crate) fn get(&self, at: usize) -> Option<(&[u8], EntryKind)> {
        self.places.get(at).map(|place| (place.name(&self.text), place.kind))
    }

    pub(crate) fn last(&self) -> Option<&[u8]> {
        self.places.last().map(|place| place.name(&self.text))
    }

    /// Where the names from this one on begin.
    pub(crate) fn from(&self, name: &[u8]) -> usize {
        self.places.partition_point(|place| place.name(&self.text) < name)
    }

    /// Whether a name is in it.
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        self.get(self.from(name)).is_some_and(|(found, _)| found == name)
    }

    /// Sorts the names and leaves the first `limit`; says whether these are all.
    pub(crate) fn settle(&mut self, limit: usize) -> bool {
        let Self { text, places } = self;
        places.sort_unstable_by(|a, b| {
            a.head.cmp(&b.head).then_with(|| (a.name(text), a.kind).cmp(&(b.name(text), b.kind)))
        });
        let count = places.len();
        // What is renamed meanwhile may be listed twice.
        places.dedup_by(|a, b| a.head == b.head && a.name(text) == b.name(text));
        let is_all = places.len() <= limit;
        if is_all && places.len() == count {
            return true;
        }
        // Also where names only came again: their text would be kept for as long as they do.
        let mut first = Self::default();
        places.iter().take(limit).for_each(|place| first.push(place.name(text), place.kind));
        *self = first;
        is_all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_come_again_take_no_memory_and_of_two_kinds_a_directory_counts() {
        let mut listing = Listing::default();
        for _ in 0..100 {
            for (name, kind) in [("b", EntryKind::Other), ("a", EntryKind::Symlink), ("a", EntryKind::Directory)] {
                listing.push(name.as_bytes(), kind);
            }
            assert!(listing.settle(10));
            assert_eq!((listing.text.len(), listing.len()), (2, 2));
        }
        assert_eq!(listing.get(0), Some((&b"a"[..], EntryKind::Directory)));
    }

    proptest! {
        #[test]
        fn names_come_in_the_order_of_their_bytes_and_each_once(
            names in proptest::collection::vec(proptest::collection::vec(1u8.., 1..12), 0..40),
            limit in 1..50usize,
        ) {
            let mut listing = Listing::default();
            names.iter().for_each(|name| listing.push(name, EntryKind::Other));
            let sorted: std::collections::BTreeSet<_> = names.iter().collect();
            let is_all = listing.settle(limit);
            let found: Vec<_> = (0..listing.len()).filter_map(|at| listing.get(at)).map(|(name, _)| name.to_vec()).collect();
            prop_assert_eq!(is_all, sorted.len() <= limit);
            let first: Vec<_> = sorted.into_iter().take(limit).cloned().collect();
            prop_assert_eq!(&found, &first);
            for name in &names {
                prop_assert_eq!(listing.has(name), first.contains(name));
                prop_assert_eq!(listing.from(name), first.iter().filter(|other| *other < name).count());
            }
        }
    }
}
