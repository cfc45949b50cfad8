//! WebAssembly.

use super::{Isa, Packing};

/// Pairs of 16-bit products: i32x4.dot_i16x8_s.
#[derive(Clone, Copy, Debug)]
pub struct Simd128;

impl Isa for Simd128 {
    const NAME: &'static str = "WebAssembly simd128";
    const PACKING: Packing = Packing { channels: 4, pixels: 4, depth: 2, interleave: 1, run: 1 };
}
