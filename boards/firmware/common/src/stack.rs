//! How deep the stack has been: paint what is free, run, see how far the paint is gone.
#![allow(unsafe_code)]

use core::ptr;

use crate::{Board, print};

/// Unlikely to be what a program leaves on its stack.
const PAINT: u32 = 0x6772_6e6f;

/// Words below the frame of [`paint`] that are left alone, as calls made while painting use them.
const MARGIN_WORDS: usize = 64;

unsafe extern "C" {
    /// End of the static data, where the free part of the RAM begins (cortex-m-rt and riscv-rt name it alike).
    static mut __sheap: u32;
    /// Top of the stack, which grows towards [`__sheap`].
    static mut _stack_start: u32;
}

/// Paints the free part of the stack. Call it first in `main`.
#[inline(never)]
pub fn paint() {
    let here = 0u32;
    let end = (&raw const here).wrapping_sub(MARGIN_WORDS);
    let mut word = &raw mut __sheap;
    while word.cast_const() < end {
        // SAFETY: the word lies between the end of all statics and the live part of the stack, both aligned to 4
        // bytes: memory that nothing else uses, as there is no heap and no second stack.
        unsafe { ptr::write_volatile(word, PAINT) };
        word = word.wrapping_add(1);
    }
}

/// Prints the bytes of stack used at the deepest since [`paint`].
pub fn report<B: Board>(board: &mut B) {
    print(board, format_args!("stack_bytes = {}", high_water_bytes()));
}

/// Bytes of stack used at the deepest since [`paint`], rounded up to a word.
#[inline(never)]
fn high_water_bytes() -> usize {
    let top = &raw const _stack_start;
    let mut word = &raw const __sheap;
    // SAFETY: as in `paint`; between `__sheap` and the top of the stack there is RAM to read.
    while word < top && unsafe { ptr::read_volatile(word) } == PAINT {
        word = word.wrapping_add(1);
    }
    top.addr() - word.addr()
}
