//! The emulated board `virt`: a RISC-V without floating point, text through semihosting, `minstret` as counter.

#![no_std]

use grano_firmware::{Board, semihosting};
use portable_atomic as _;
use riscv::register::minstret;

/// The board. QEMU, started with `-icount shift=0`, makes one nanosecond and one instruction the same.
#[derive(Clone, Copy, Debug)]
pub struct Virt;

impl Board for Virt {
    const UNIT: &'static str = "instructions";

    fn name(&self) -> &'static str {
        "virt in QEMU (rv32imc)"
    }

    fn print_line(&mut self, text: &str) {
        semihosting::print_line(text);
    }

    #[inline(always)]
    fn ticks(&self) -> u32 {
        minstret::read() as u32
    }

    fn between(&self, start: u32, end: u32) -> u64 {
        end.wrapping_sub(start).into()
    }
}
