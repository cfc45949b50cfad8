//! A Cortex-M4F that QEMU emulates, Arm's MPS2 board with image AN386: for a first look, without a board.

use cortex_m as _;
pub use cortex_m_rt::entry;
use semihosting::io::{Stdout, Write as _, stdout};
use semihosting::sys::arm_compat::{sys_clock, sys_readc};

/// The terminal that QEMU runs in.
pub struct Board {
    stdout: Stdout,
    numbers: u64,
}

impl Board {
    /// Opens the terminal.
    pub fn new() -> Self {
        let Ok(stdout) = stdout() else { panic!("run this in QEMU, with semihosting") };
        Self { stdout, numbers: 0 }
    }

    /// Microseconds since the start, of the computer that QEMU runs on, in steps of a hundredth of a second.
    pub fn micros(&mut self) -> u64 {
        sys_clock().map_or(0, |hundredths| hundredths as u64 * 10_000)
    }

    /// A number, from 1 on: the machine has no source of random numbers.
    pub fn random(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Does nothing: the machine has no LED.
    pub fn toggle_led(&mut self) {}

    /// A byte from the terminal; waits for it.
    pub fn read(&mut self) -> Option<u8> {
        Some(sys_readc())
    }
}

impl core::fmt::Write for Board {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.stdout.write_all(text.as_bytes()).map_err(|_| core::fmt::Error)
    }
}
