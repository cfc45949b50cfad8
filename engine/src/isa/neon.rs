//! AArch64: one packing for both.

use super::{Isa, Packing};

/// Widening products: SMLAL.
#[derive(Clone, Copy, Debug)]
pub struct Neon;

impl Isa for Neon {
    const NAME: &'static str = "Neon";
    const PACKING: Packing = Packing { channels: 8, pixels: 4, depth: 4, interleave: 1, run: 1 };
}

/// Quadruples of 8-bit products: SDOT.
#[derive(Clone, Copy, Debug)]
pub struct NeonDot;

impl Isa for NeonDot {
    const NAME: &'static str = "Neon with dot products";
    const PACKING: Packing = Packing { channels: 8, pixels: 4, depth: 4, interleave: 1, run: 1 };
}
