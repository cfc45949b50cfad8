//! STM32 Nucleo-H743ZI and H743ZI2: STM32H743ZI, a Cortex-M7.

use cortex_m::peripheral::DWT;
pub use cortex_m_rt::entry;
use embassy_stm32::gpio::{Level, Output, Speed};
use embassy_stm32::rcc::{AHBPrescaler, APBPrescaler, Hse, HseMode, Sysclk, VoltageScale};
use embassy_stm32::rcc::{Pll, PllDiv, PllMul, PllPreDiv, PllSource};
use embassy_stm32::usart::{Config, Uart};
use embassy_stm32::{bind_interrupts, mode::Blocking, peripherals::RNG, rng, time::mhz};
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
        core.SCB.enable_icache();
        core.SCB.enable_dcache(&mut core.CPUID);
        core.DCB.enable_trace();
        DWT::unlock();
        core.DWT.enable_cycle_counter();
        let mut config = embassy_stm32::Config::default();
        // The ST-LINK's 8 MHz: 8 / 2 · 200 / 2 = 400 MHz, the most for all revisions of the chip.
        config.rcc.hse = Some(Hse { freq: mhz(8), mode: HseMode::Bypass });
        let (source, prediv, mul, divp) = (PllSource::HSE, PllPreDiv::DIV2, PllMul::MUL200, Some(PllDiv::DIV2));
        config.rcc.pll1 = Some(Pll { source, prediv, mul, fracn: None, divp, divq: None, divr: None });
        config.rcc.sys = Sysclk::PLL1_P;
        config.rcc.voltage_scale = VoltageScale::Scale1;
        config.rcc.ahb_pre = AHBPrescaler::DIV2;
        config.rcc.apb1_pre = APBPrescaler::DIV2;
        config.rcc.apb2_pre = APBPrescaler::DIV2;
        config.rcc.apb3_pre = APBPrescaler::DIV2;
        config.rcc.apb4_pre = APBPrescaler::DIV2;
        let chip = embassy_stm32::init(config);
        Self {
            uart: Uart::new_blocking(chip.USART3, chip.PD9, chip.PD8, Config::default()).unwrap(),
            cycles: 0,
            led: Output::new(chip.PB0, Level::Low, Speed::Low),
            rng: rng::Rng::new(chip.RNG, Interrupts),
        }
    }

    /// Microseconds since the start, from a counter of 32 bits: call it at least every 10 s.
    pub fn micros(&mut self) -> u64 {
        self.cycles += u64::from(DWT::cycle_count().wrapping_sub(self.cycles as u32));
        self.cycles / 400
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
