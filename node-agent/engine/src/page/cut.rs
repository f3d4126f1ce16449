//! How items are cut into pages, so that these fill the leaves of the database.
//!
//! The database puts neighbors into one leaf as long as they fit, and gives what fits into none a leaf of its own, of twice,
//! four times, ... the size. What no page takes at the end of a leaf is lost.

use super::encoder::Encoder;
use super::{MAX_ITEMS, Named, PlanId};

/// What the database reads and writes at once,
const LEAF: usize = 4096;
/// of which it takes this for itself,
const LEAF_HEAD: usize = 4;
/// and this for each pair of key and value.
const PAIR: usize = 8;
/// A page that begins in a leaf with less room than this takes the next one: each page costs a key.
const LEAST: usize = 512;

/// How full the leaf is that the next page comes into, if pages are written in their order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Leaf {
    used: usize,
}

impl Leaf {
    /// How long a page under a key of this length may be here.
    fn room(self, key: usize) -> usize {
        let left = (LEAF - LEAF_HEAD).saturating_sub(self.used + PAIR + key);
        if left >= LEAST { left } else { whole(key) }
    }

    fn put(&mut self, key: usize, page: usize) {
        let pair = PAIR + key + page;
        self.used = if LEAF_HEAD + self.used + pair <= LEAF { self.used + pair } else { pair };
    }
}

/// How long a page may be that has a leaf for itself.
fn whole(key: usize) -> usize {
    let taken = LEAF_HEAD + PAIR + key;
    (taken + LEAF / 2).next_power_of_two().max(LEAF) - taken
}

/// Sorted items of the directory with this prefix as pages with their keys, as they fill leaf after leaf.
pub(crate) fn fill(plan: PlanId, prefix: &[u8], items: &[Named], leaf: &mut Leaf) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut pages = Vec::new();
    let mut left = items;
    while let Some(first) = left.first() {
        let key = [prefix, &first.name].concat();
        let page = next(plan, &mut left, leaf.room(key.len()), usize::MAX);
        leaf.put(key.len(), page.len());
        pages.push((key, page));
    }
    pages
}

/// The same in as few pages as they need, each about as full as the others: what was cut before need not be with each item
/// that comes or grows.
pub(crate) fn spread(plan: PlanId, prefix: &[u8], items: &[Named]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut pages = Vec::new();
    let mut enough = None;
    let mut left = items;
    while let Some(first) = left.first() {
        let key = [prefix, &first.name].concat();
        let room = whole(key.len());
        let enough = *enough.get_or_insert_with(|| {
            let length = Encoder::of(plan, items).len();
            length.div_ceil(length.div_ceil(room).max(items.len().div_ceil(MAX_ITEMS)))
        });
        let page = next(plan, &mut left, room, enough);
        pages.push((key, page));
    }
    pages
}

/// The first of the items, which are taken away, as a page no longer than `room`, where it is not of one item alone; until
/// it is long `enough`.
fn next(plan: PlanId, items: &mut &[Named], room: usize, enough: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(plan);
    while let Some((item, rest)) = items.split_first() {
        let is_full = encoder.count >= MAX_ITEMS as u32 || encoder.len() >= enough;
        if encoder.count > 0 && is_full || !encoder.push_within(item, room) {
            break;
        }
        *items = rest;
    }
    encoder.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::state;
    use super::super::{Page, key};
    use super::*;
    use crate::path::HostPath;

    fn named(count: u64, length: usize) -> Vec<Named> {
        (0..count)
            .map(|at| Named { name: [vec![b'x'; length], at.to_be_bytes().to_vec()].concat(), state: state(at) })
            .collect()
    }

    /// How many items lie in each page, once all of them together are what was cut.
    fn counts(prefix: &[u8], items: &[Named], pages: &[(Vec<u8>, Vec<u8>)]) -> Vec<usize> {
        let decoded: Vec<Page> = pages.iter().map(|(_, page)| Page::decode(page).unwrap()).collect();
        for ((key, _), page) in pages.iter().zip(&decoded) {
            assert_eq!(*key, [prefix, &page.items[0].name].concat());
        }
        assert_eq!(decoded.iter().flat_map(|page| page.items.clone()).collect::<Vec<_>>(), items);
        decoded.iter().map(|page| page.items.len()).collect()
    }

    #[test]
    fn pages_of_one_directory_after_the_other_fill_leaf_after_leaf() {
        let mut leaf = Leaf::default();
        let (mut leaves, mut used) = (0, LEAF);
        let mut bytes = 0;
        for at in 0..500 {
            let directory = HostPath::from(format!("/usr/share/doc/package-{at:03}").as_str());
            let prefix = key(1, &directory, b"");
            let items = named(at * 7 % 90, 4);
            let pages = fill(7, &prefix, &items, &mut leaf);
            assert!(items.len() < 64 || pages.len() > 1);
            counts(&prefix, &items, &pages);
            for (key, page) in pages {
                let pair = PAIR + key.len() + page.len();
                assert!(LEAF_HEAD + pair <= LEAF);
                if used + pair > LEAF {
                    leaves += 1;
                    used = LEAF_HEAD;
                }
                used += pair;
                bytes += pair;
            }
        }
        assert!(bytes * 100 / (leaves * LEAF) >= 92, "{bytes} bytes in {leaves} leaves");
    }

    #[test]
    fn a_page_that_is_cut_again_is_cut_evenly() {
        let one = |items: &[Named]| counts(b"etc", items, &spread(7, b"etc", items));
        let full = (1..).take_while(|count| one(&named(*count, 4)).len() == 1).last().unwrap();
        let [first, second] = one(&named(full + 1, 4))[..] else { panic!("it is one too many") };
        assert!(first.abs_diff(second) <= 2, "{first} and {second}");
        assert!(one(&[]).is_empty());
    }

    #[test]
    fn what_is_larger_than_a_leaf_is_one_page() {
        let mut large = named(3, 4);
        for item in &mut large {
            item.state.target = Some(vec![7; 5000]);
        }
        assert_eq!(counts(b"etc", &large, &spread(7, b"etc", &large)), [1, 1, 1]);
        assert_eq!(counts(b"etc", &large, &fill(7, b"etc", &large, &mut Leaf::default())), [1, 1, 1]);
        let (below, items) = ([b'd'; 60_000], named(100, 4));
        let pages = fill(7, &below, &items, &mut Leaf::default());
        assert_eq!(counts(&below, &items, &pages).len(), 2, "each costs a long key");
    }
}
