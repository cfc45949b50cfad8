//! Chips without vector instructions: tiles that fit their registers.

use super::{Isa, Packing};

/// Cortex-M0, M0+: eight registers that arithmetic reaches.
#[derive(Clone, Copy, Debug)]
pub struct Armv6m;

impl Isa for Armv6m {
    const NAME: &'static str = "ARMv6-M";
    const PACKING: Packing = Packing { channels: 2, pixels: 2, depth: 1, interleave: 1, run: 1 };
}

/// RV32IM, RV32IMC: thirty-one registers.
#[derive(Clone, Copy, Debug)]
pub struct Riscv32;

impl Isa for Riscv32 {
    const NAME: &'static str = "RV32IM";
    const PACKING: Packing = Packing { channels: 4, pixels: 2, depth: 1, interleave: 1, run: 1 };
}
