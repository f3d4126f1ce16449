//! How often a compare asks for memory, counted and not timed: what nobody sees in a test and everybody pays on a million items.
#![allow(clippy::unwrap_used)]
// An allocator is unsafe by its signature; this one counts and passes on.
#![allow(unsafe_code)]

mod support;

use serde_json::json;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::{Host, SetClock};
use vedette_engine::Due;

/// Of a small file, all else being equal; what is measured, and a tenth. Who makes it better makes it smaller.
const FIRST_BASELINE: f64 = 5.0;
const UNCHANGED: f64 = 0.6;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Of a first baseline and of a compare that finds nothing, on a host of so many directories with a hundred files each.
fn allocations(directories: u64) -> [u64; 2] {
    let clock = Arc::new(SetClock::now());
    // What changed in the tick of the look would be read once more.
    clock.go_forward(Duration::from_secs(3600));
    let mut host = Host::with_clock(json!([{"name": "all", "path": "/srv"}]), clock);
    for directory in 0..directories {
        for file in 0..100 {
            host.write(&format!("/srv/d{directory}/f{file}"), "1");
        }
    }
    let mut count = || {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        host.engine().compare(&Due::All, &Arc::default(), &mut |_| {}).unwrap();
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    [count(), count()]
}

#[test]
fn a_compare_asks_for_memory_a_few_times_an_item() {
    let (small, large) = (allocations(5), allocations(25));
    let an_item = |which: usize| (large[which] - small[which]) as f64 / (20.0 * 101.0);
    let (first, unchanged) = (an_item(0), an_item(1));
    assert!(first <= FIRST_BASELINE, "{first:.2} an item in a first baseline");
    assert!(unchanged <= UNCHANGED, "{unchanged:.2} an item when nothing has changed");
}
