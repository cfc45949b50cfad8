//! Raspberry Pi Pico 2: RP2350, one of its two RISC-V cores, Hazard3.

use panic_halt as _;
pub use rp235x_hal::entry;
use rp235x_hal::gpio::{FunctionSioOutput, FunctionUart, Pin, Pins, PullDown, bank0};
use rp235x_hal::pac::{Peripherals, TRNG, UART0};
use rp235x_hal::uart::{Enabled, UartConfig, UartPeripheral};
use rp235x_hal::{Clock, Sio, Watchdog, block::ImageDef, clocks::init_clocks_and_plls, timer};

/// Tells the boot ROM, which looks in the first 4 KiB, that this flash holds a program for the RISC-V cores.
// SAFETY: the section is that of the start-up code, which the flash begins with; a constant does no harm behind it.
#[unsafe(link_section = ".init.rust")]
#[used]
static IMAGE_DEF: ImageDef = ImageDef::secure_exe();

type UartPin<Id> = Pin<Id, FunctionUart, PullDown>;

/// The board's console, counter, LED and random numbers.
pub struct Board {
    uart: UartPeripheral<Enabled, UART0, (UartPin<bank0::Gpio0>, UartPin<bank0::Gpio1>)>,
    timer: timer::Timer<timer::CopyableTimer0>,
    led: Pin<bank0::Gpio25, FunctionSioOutput, PullDown>,
    trng: TRNG,
}

impl Board {
    /// Sets up clocks, console, counter and LED. Call it once, first; another call panics.
    pub fn new() -> Self {
        let mut chip = Peripherals::take().unwrap();
        let (xosc, sys, usb, resets) = (chip.XOSC, chip.PLL_SYS, chip.PLL_USB, &mut chip.RESETS);
        let mut watchdog = Watchdog::new(chip.WATCHDOG);
        let clocks = init_clocks_and_plls(12_000_000, xosc, chip.CLOCKS, sys, usb, resets, &mut watchdog).ok().unwrap();
        let pins = Pins::new(chip.IO_BANK0, chip.PADS_BANK0, Sio::new(chip.SIO).gpio_bank0, resets);
        let uart = UartPeripheral::new(chip.UART0, (pins.gpio0.into_function(), pins.gpio1.into_function()), resets);
        chip.TRNG.trng_sw_reset().write(|w| w.trng_sw_reset().set_bit());
        Self {
            uart: uart.enable(UartConfig::default(), clocks.peripheral_clock.freq()).unwrap(),
            timer: timer::Timer::new_timer0(chip.TIMER0, resets, &clocks),
            led: pins.gpio25.into_push_pull_output(),
            trng: chip.TRNG,
        }
    }

    /// Microseconds since the start.
    pub fn micros(&mut self) -> u64 {
        self.timer.get_counter().ticks()
    }

    /// A number from the chip's true random number generator, in some 0.3 s.
    pub fn random(&mut self) -> u64 {
        self.trng.rnd_source_enable().write(|w| w.rnd_src_en().set_bit());
        while self.trng.trng_valid().read().ehr_valid().bit_is_clear() {}
        u64::from(self.trng.ehr_data0().read().bits()) << 32 | u64::from(self.trng.ehr_data5().read().bits())
    }

    /// Toggles the LED.
    pub fn toggle_led(&mut self) {
        let Ok(()) = embedded_hal::digital::StatefulOutputPin::toggle(&mut self.led);
    }

    /// A byte from the console, if one has come.
    pub fn read(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.uart.read_raw(&mut byte).is_ok().then_some(byte[0])
    }
}

impl core::fmt::Write for Board {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            self.uart.write_full_blocking(if byte == b'\n' { b"\r\n" } else { core::slice::from_ref(&byte) });
        }
        Ok(())
    }
}
