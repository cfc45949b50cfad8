//! Arm's MPS2 and MPS3 boards as QEMU plays them: text by semihosting, and an exact counter of instructions.
//!
//! All of them have the same FPGA beside the processor, with a 32-bit counter at a fixed rate of the machine's time.
//! QEMU, started with `-icount shift=7`, lets 128 ns of that time pass with every instruction. A tick is shorter than
//! half of that, so the difference of two readings, rounded, is the number of instructions between them, exactly.
//! A turn of the counter is more than a billion instructions.
#![allow(unsafe_code)]

use core::ptr;

use crate::{Board, semihosting};

/// As `-icount shift=7` sets it.
const NANOSECONDS_PER_INSTRUCTION: u64 = 128;

/// One of the machines.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    name: &'static str,
    /// Address of the FPGA's registers.
    fpgaio: usize,
    nanoseconds_per_tick: u64,
}

impl Machine {
    const fn new(name: &'static str, fpgaio: usize, nanoseconds_per_tick: u64) -> Self {
        Self { name, fpgaio, nanoseconds_per_tick }
    }
}

/// A Cortex-M3, for programs that keep to a Cortex-M0's instructions, ARMv6-M.
pub const AN385: Machine = Machine::new("mps2-an385 in QEMU (ARMv6-M code on a Cortex-M3)", 0x4002_8000, 40);
/// A Cortex-M4F.
pub const AN386: Machine = Machine::new("mps2-an386 in QEMU (Cortex-M4F)", 0x4002_8000, 40);
/// A Cortex-M7.
pub const AN500: Machine = Machine::new("mps2-an500 in QEMU (Cortex-M7)", 0x4002_8000, 40);
/// A Cortex-M33, in the secure state.
pub const AN505: Machine = Machine::new("mps2-an505 in QEMU (Cortex-M33)", 0x5030_2000, 50);
/// A Cortex-M55 with Helium, in the secure state.
pub const AN547: Machine = Machine::new("mps3-an547 in QEMU (Cortex-M55)", 0x5930_2000, 50);

/// Where the counter is among the FPGA's registers.
const COUNTER_OFFSET: usize = 0x18;

impl Board for Machine {
    const UNIT: &'static str = "instructions";

    fn name(&self) -> &'static str {
        self.name
    }

    fn print_line(&mut self, text: &str) {
        semihosting::print_line(text);
    }

    #[inline(always)]
    fn ticks(&self) -> u32 {
        let counter = ptr::with_exposed_provenance::<u32>(self.fpgaio + COUNTER_OFFSET);
        // SAFETY: the address is one of this file's machines', where the register can be read at any time; nothing
        // else of the program is there.
        unsafe { counter.read_volatile() }
    }

    fn between(&self, start: u32, end: u32) -> u64 {
        let nanoseconds = u64::from(end.wrapping_sub(start)) * self.nanoseconds_per_tick;
        (nanoseconds + NANOSECONDS_PER_INSTRUCTION / 2) / NANOSECONDS_PER_INSTRUCTION
    }
}
