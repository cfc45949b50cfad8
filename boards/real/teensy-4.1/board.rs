//! Teensy 4.1: i.MX RT1062, a Cortex-M7. Code runs in RAM next to the core.

use core::task::Poll;

use cortex_m::peripheral::DWT;
use teensy4_bsp::board::{self, ARM_FREQUENCY, Led, Lpuart};
use teensy4_bsp::hal::trng::Trng;
pub use teensy4_bsp::rt::entry;
use teensy4_panic as _;

/// The board's console, counter, LED and random numbers.
pub struct Board {
    uart: Lpuart,
    cycles: u64,
    led: Led,
    trng: Trng,
}

impl Board {
    /// Sets up clocks, console, counter and LED. Call it once, first; another call panics.
    pub fn new() -> Self {
        let mut core = cortex_m::Peripherals::take().unwrap();
        core.SCB.enable_icache();
        core.SCB.enable_dcache(&mut core.CPUID);
        core.DCB.enable_trace();
        DWT::unlock();
        core.DWT.enable_cycle_counter();
        let mut chip = board::t41(board::instances());
        Self {
            uart: board::lpuart(chip.lpuart6, chip.pins.p1, chip.pins.p0, 115_200),
            cycles: 0,
            led: board::led(&mut chip.gpio2, chip.pins.p13),
            trng: chip.trng,
        }
    }

    /// Microseconds since the start, from a counter of 32 bits: call it at least every 7 s.
    pub fn micros(&mut self) -> u64 {
        self.cycles += u64::from(DWT::cycle_count().wrapping_sub(self.cycles as u32));
        self.cycles / u64::from(ARM_FREQUENCY / 1_000_000)
    }

    /// A number from the chip's true random number generator.
    pub fn random(&mut self) -> u64 {
        let mut word = || loop {
            if let Poll::Ready(Ok(word)) = self.trng.next_u32() {
                break u64::from(word);
            }
        };
        word() << 32 | word()
    }

    /// Toggles the LED.
    pub fn toggle_led(&mut self) {
        self.led.toggle();
    }

    /// A byte from the console, if one has come.
    pub fn read(&mut self) -> Option<u8> {
        self.uart.try_read().ok().flatten()
    }
}

impl core::fmt::Write for Board {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                while !self.uart.try_write(b'\r') {}
            }
            while !self.uart.try_write(byte) {}
        }
        Ok(())
    }
}
