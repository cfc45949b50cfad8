//! STM32 B-L475E-IOT01A: STM32L475VG, a Cortex-M4F.

use cortex_m::peripheral::DWT;
pub use cortex_m_rt::entry;
use embassy_stm32::gpio::{Level, Output, Speed};
use embassy_stm32::rcc::{Pll, PllMul, PllPreDiv, PllQDiv, PllRDiv, PllSource, Sysclk, mux};
use embassy_stm32::usart::{Config, Uart};
use embassy_stm32::{bind_interrupts, mode::Blocking, peripherals::RNG, rng};
use panic_probe as _;

bind_interrupts!(struct Interrupts { RNG => rng::InterruptHandler<RNG>; });

/// The board's console, counter, LED and random numbers.
pub struct Board {
    uart: Uart<'static, Blocking>,
    cycles: u64,
    led: Output<'static>,
    rng: rng::Rng<'static, RNG>,
}

impl Board {
    /// Sets up clocks, console, counter and LED. Call it once, first; another call panics.
    pub fn new() -> Self {
        let mut core = cortex_m::Peripherals::take().unwrap();
        core.DCB.enable_trace();
        core.DWT.enable_cycle_counter();
        let mut config = embassy_stm32::Config::default();
        // The internal 16 MHz: 16 · 10 / 2 = 80 MHz, and 16 · 12 / 4 = 48 MHz for the random numbers.
        config.rcc.hsi = true;
        let (source, prediv, divp) = (PllSource::HSI, PllPreDiv::DIV1, None);
        let (divq, divr) = (Some(PllQDiv::DIV4), Some(PllRDiv::DIV2));
        config.rcc.pll = Some(Pll { source, prediv, mul: PllMul::MUL10, divp, divq: None, divr });
        config.rcc.pllsai1 = Some(Pll { source, prediv, mul: PllMul::MUL12, divp, divq, divr: None });
        config.rcc.mux.clk48sel = mux::Clk48sel::PLLSAI1_Q;
        config.rcc.sys = Sysclk::PLL1_R;
        let chip = embassy_stm32::init(config);
        Self {
            uart: Uart::new_blocking(chip.USART1, chip.PB7, chip.PB6, Config::default()).unwrap(),
            cycles: 0,
            led: Output::new(chip.PB14, Level::Low, Speed::Low),
            rng: rng::Rng::new(chip.RNG, Interrupts),
        }
    }

    /// Microseconds since the start, from a counter of 32 bits: call it at least every 50 s.
    pub fn micros(&mut self) -> u64 {
        self.cycles += u64::from(DWT::cycle_count().wrapping_sub(self.cycles as u32));
        self.cycles / 80
    }

    /// A number from the chip's random number generator.
    pub fn random(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// Toggles the LED.
    pub fn toggle_led(&mut self) {
        self.led.toggle();
    }

    /// A byte from the console, if one has come.
    pub fn read(&mut self) -> Option<u8> {
        embedded_hal_nb::serial::Read::read(&mut self.uart).ok()
    }
}

impl core::fmt::Write for Board {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            let bytes = if byte == b'\n' { b"\r\n" } else { core::slice::from_ref(&byte) };
            self.uart.blocking_write(bytes).map_err(|_| core::fmt::Error)?;
        }
        Ok(())
    }
}
