//! The emulated board mps2-an386: a Cortex-M4F, text through semihosting, SysTick as instruction counter.

#![no_std]

use cortex_m::{
    Peripherals,
    peripheral::{SYST, syst::SystClkSource},
};
use grano_firmware::{Board, Wrapping, semihosting};

/// SysTick runs at 25 MHz; with `-icount shift=0` an instruction takes one nanosecond of that clock's time.
const INSTRUCTIONS_PER_TICK: u64 = 40;

/// The 24 bits of SysTick, 671 million instructions a turn.
const SYSTICK_MAX: u32 = 0x00ff_ffff;

/// The board.
pub struct Mps2 {
    ticks: Wrapping<24>,
}

impl Mps2 {
    /// Starts the counter. None when the peripherals have been taken before.
    #[must_use]
    pub fn new() -> Option<Self> {
        let mut systick = Peripherals::take()?.SYST;
        systick.set_clock_source(SystClkSource::Core);
        systick.set_reload(SYSTICK_MAX);
        systick.clear_current();
        systick.enable_counter();
        Some(Self { ticks: Wrapping::new() })
    }
}

impl Board for Mps2 {
    const NAME: &'static str = "mps2-an386 in QEMU (Cortex-M4F)";
    const UNIT: &'static str = "instructions";

    fn print_line(&mut self, text: &str) {
        semihosting::print_line(text);
    }

    fn count(&mut self) -> u64 {
        // SysTick counts down.
        self.ticks.advance(SYSTICK_MAX - SYST::get_current()) * INSTRUCTIONS_PER_TICK
    }
}
