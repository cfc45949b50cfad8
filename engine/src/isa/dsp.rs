//! ARMv7E-M and ARMv8-M with the DSP extension: two 16-bit products an instruction.

use super::{Isa, Packing};

/// Cortex-M4, M7, M33: SMLAD.
#[derive(Clone, Copy, Debug)]
pub struct Dsp;

impl Isa for Dsp {
    const NAME: &'static str = "Arm DSP";
    const PACKING: Packing = Packing { channels: 2, pixels: 4, depth: 2, interleave: 2, run: 4 };
    const WIDE: Packing = Packing { channels: 4, pixels: 2, depth: 2, interleave: 1, run: 4 };
}
