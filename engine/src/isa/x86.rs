//! x86-64: one packing for both, so that a program can choose when it runs.

use super::{Isa, Packing};

/// Pairs of 16-bit products: VPMADDWD.
#[derive(Clone, Copy, Debug)]
pub struct Avx2;

impl Isa for Avx2 {
    const NAME: &'static str = "AVX2";
    const PACKING: Packing = Packing { channels: 16, pixels: 4, depth: 4, interleave: 1, run: 1 };
}

/// Quadruples of 8-bit products: VPDPBUSD.
#[derive(Clone, Copy, Debug)]
pub struct Avx512Vnni;

impl Isa for Avx512Vnni {
    const NAME: &'static str = "AVX-512 VNNI";
    const PACKING: Packing = Packing { channels: 16, pixels: 4, depth: 4, interleave: 1, run: 1 };
}
