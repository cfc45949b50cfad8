//! STM32 Nucleo-F446RE: STM32F446RE, a Cortex-M4F.

pub use cortex_m_rt::entry;
use embassy_stm32::adc::{Adc, SampleTime};
use embassy_stm32::gpio::{Level, Output, Speed};
use embassy_stm32::rcc::{APBPrescaler, Hse, HseMode, Pll, PllMul, PllPDiv, PllPreDiv, PllSource, Sysclk};
use embassy_stm32::usart::{Config, Uart};
use embassy_stm32::{mode::Blocking, pac::FLASH, peripherals::ADC1, time::mhz};
use panic_probe as _;

/// The board's console, counter, LED and random numbers.
pub struct Board {
    uart: Uart<'static, Blocking>,
    cycles: u64,
    led: Output<'static>,
    adc: Adc<'static, ADC1>,
}

impl Board {
    /// Sets up clocks, console, counter and LED. Call it once, first; another call panics.
    pub fn new() -> Self {
        let mut core = cortex_m::Peripherals::take().unwrap();
        core.DCB.enable_trace();
        core.DWT.enable_cycle_counter();
        let mut config = embassy_stm32::Config::default();
        // The ST-LINK's 8 MHz: 8 / 4 · 180 / 2 = 180 MHz.
        config.rcc.hse = Some(Hse { freq: mhz(8), mode: HseMode::Bypass });
        config.rcc.pll_src = PllSource::HSE;
        let (prediv, mul, divp) = (PllPreDiv::DIV4, PllMul::MUL180, Some(PllPDiv::DIV2));
        config.rcc.pll = Some(Pll { prediv, mul, divp, divq: None, divr: None });
        config.rcc.sys = Sysclk::PLL1_P;
        config.rcc.apb1_pre = APBPrescaler::DIV4;
        config.rcc.apb2_pre = APBPrescaler::DIV2;
        let chip = embassy_stm32::init(config);
        // The HAL leaves the flash's caches off.
        FLASH.acr().modify(|acr| {
            acr.set_icen(true);
            acr.set_dcen(true);
            acr.set_prften(true);
        });
        Self {
            uart: Uart::new_blocking(chip.USART2, chip.PA3, chip.PA2, Config::default()).unwrap(),
            cycles: 0,
            led: Output::new(chip.PA5, Level::Low, Speed::Low),
            adc: Adc::new(chip.ADC1),
        }
    }

    /// Microseconds since the start, from a counter of 32 bits: call it at least every 20 s.
    pub fn micros(&mut self) -> u64 {
        self.cycles += u64::from(cortex_m::peripheral::DWT::cycle_count().wrapping_sub(self.cycles as u32));
        self.cycles / 180
    }

    /// A number from the noise of the temperature sensor, as the chip has no generator.
    pub fn random(&mut self) -> u64 {
        let mut sensor = self.adc.enable_temperature();
        let mut read = || u64::from(self.adc.blocking_read(&mut sensor, SampleTime::CYCLES3));
        (0..64 * 4).fold(0, |bits: u64, _| bits.rotate_left(1) ^ read())
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
