//! Raspberry Pi Pico: RP2040, one of its two Cortex-M0+ cores.

use panic_probe as _;
pub use rp2040_hal::entry;
use rp2040_hal::gpio::{FunctionSioOutput, FunctionUart, Pin, Pins, PullDown, bank0};
use rp2040_hal::pac::{Peripherals, UART0};
use rp2040_hal::uart::{Enabled, UartConfig, UartPeripheral};
use rp2040_hal::{Clock, Sio, Timer, Watchdog, clocks::init_clocks_and_plls, rosc};

/// Sets up the flash, a W25Q16JV, before all else.
// SAFETY: memory.x puts the section where the boot ROM starts it, into the first 256 bytes.
#[unsafe(link_section = ".boot2")]
#[used]
static BOOT2: [u8; 256] = rp2040_boot2::BOOT_LOADER_W25Q080;

type UartPin<Id> = Pin<Id, FunctionUart, PullDown>;

/// The board's console, counter, LED and random numbers.
pub struct Board {
    uart: UartPeripheral<Enabled, UART0, (UartPin<bank0::Gpio0>, UartPin<bank0::Gpio1>)>,
    timer: Timer,
    led: Pin<bank0::Gpio25, FunctionSioOutput, PullDown>,
    rosc: rosc::RingOscillator<rosc::Enabled>,
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
        Self {
            uart: uart.enable(UartConfig::default(), clocks.peripheral_clock.freq()).unwrap(),
            timer: Timer::new(chip.TIMER, resets, &clocks),
            led: pins.gpio25.into_push_pull_output(),
            rosc: rosc::RingOscillator::new(chip.ROSC).initialize(),
        }
    }

    /// Microseconds since the start.
    pub fn micros(&mut self) -> u64 {
        self.timer.get_counter().ticks()
    }

    /// A number from the ring oscillator's phase, each bit of 64 readings, as the chip has no true generator.
    pub fn random(&mut self) -> u64 {
        (0..64 * 64).fold(0, |bits: u64, _| bits.rotate_left(1) ^ u64::from(self.rosc.get_random_bit()))
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
