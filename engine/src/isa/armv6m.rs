//! ARMv6-M: eight registers for most instructions, six more for sums.

use super::{Isa, Packing};

/// Cortex-M0, M0+, M1.
#[derive(Clone, Copy, Debug)]
pub struct Armv6m;

impl Isa for Armv6m {
    const NAME: &'static str = "ARMv6-M";
    const PACKING: Packing = Packing { channels: 2, pixels: 2, depth: 1, interleave: 1, run: 1 };
}
