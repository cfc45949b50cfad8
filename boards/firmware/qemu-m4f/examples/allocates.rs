//! Must not build: it puts something on a heap. `cargo xtask test` builds this to see that a heap is found.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use cortex_m::peripheral::SYST;
use cortex_m_rt::entry;
use panic_never as _;

#[entry]
fn main() -> ! {
    let boxed = Box::new(SYST::get_current());
    loop {
        core::hint::black_box(&boxed);
    }
}
