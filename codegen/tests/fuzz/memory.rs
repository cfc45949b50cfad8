//! An allocator that counts what is live, and the most that was.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

fn grow(bytes: usize) {
    PEAK_BYTES.fetch_max(LIVE_BYTES.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: every method hands its arguments to `System`, whose contract is this trait's, and returns what that gives;
// counting touches two atomics alone, and neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller gives a layout of more than 0 bytes.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller gives a layout of more than 0 bytes.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller gives a block of this allocator, hence of `System`, with its layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size);
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller gives a block of this allocator, hence of `System`, with its layout, and a size above 0 that
        // does not overflow when it is rounded up to the alignment.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// Forgets the peak so far, and gives what is live.
pub fn reset() -> usize {
    let live_bytes = LIVE_BYTES.load(Relaxed);
    PEAK_BYTES.store(live_bytes, Relaxed);
    live_bytes
}

/// The most that was live since.
pub fn peak_bytes() -> usize {
    PEAK_BYTES.load(Relaxed)
}
