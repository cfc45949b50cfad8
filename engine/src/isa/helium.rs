//! Helium, the vector extension of ARMv8.1-M (MVE): sixteen 8-bit products an instruction.

use super::{Isa, Packing};

/// Cortex-M55, M85.
#[derive(Clone, Copy, Debug)]
pub struct Helium;

impl Isa for Helium {
    const NAME: &'static str = "Arm Helium";
    const PACKING: Packing = Packing { channels: 4, pixels: 2, depth: 16, interleave: 1, run: 1 };
}
