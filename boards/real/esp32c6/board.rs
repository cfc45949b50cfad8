//! Espressif's ESP32-C6-DevKitC-1. Its LED is an addressable one, WS2812, on GPIO8.

use core::fmt::{self, Write};

use esp_backtrace as _;
use esp_hal::{
    Blocking, Config,
    clock::CpuClock,
    rng::Rng,
    spi::master::{self as spi, Spi},
    time::{Instant, Rate},
    uart::{self, Uart},
    usb::usb_serial_jtag::UsbSerialJtag,
};
use esp_println::Printer;

pub use esp_hal::main as entry;

// What the bootloader wants to know of a program.
esp_bootloader_esp_idf::esp_app_desc!();

/// The board's console, clock, random numbers and LED.
pub struct Board {
    uart: Uart<'static, Blocking>,
    usb: UsbSerialJtag<'static, Blocking>,
    led: Spi<'static, Blocking>,
    on: bool,
}

impl Board {
    /// Sets up clocks, console, counter and LED. Call once, first.
    pub fn new() -> Self {
        let chip = esp_hal::init(Config::default().with_cpu_clock(CpuClock::max()));
        // Three of the bus's bits are one of the LED's.
        let spi = spi::Config::default().with_frequency(Rate::from_khz(2500));
        let uart = Uart::new(chip.UART0, uart::Config::default()).expect("115200 baud can be had");
        let led = Spi::new(chip.SPI2, spi).expect("2.5 MHz can be had");
        Self {
            uart: uart.with_rx(chip.GPIO17).with_tx(chip.GPIO16),
            usb: UsbSerialJtag::new(chip.USB_DEVICE),
            led: led.with_mosi(chip.GPIO8),
            on: false,
        }
    }

    /// Microseconds since the start.
    pub fn micros(&mut self) -> u64 {
        Instant::now().duration_since_epoch().as_micros()
    }

    /// A number from the chip's random number generator, which is a pseudo-random one while the radio is off.
    pub fn random(&mut self) -> u64 {
        let rng = Rng::new();
        u64::from(rng.random()) << 32 | u64::from(rng.random())
    }

    /// Toggles the LED.
    pub fn toggle_led(&mut self) {
        self.on = !self.on;
        // Green, red and blue are eight bits each; 0 is sent as 100, 1 as 110. Here they are 0 or 16.
        let [a, b, c] = [0x92, if self.on { 0x69 } else { 0x49 }, 0x24];
        // A dark LED does no harm.
        let _ = self.led.write(&[0, a, b, c, a, b, c, a, b, c, 0]);
    }

    /// A byte from the console, if one has come.
    pub fn read(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.uart.read_buffered(&mut byte) {
            Ok(1) => Some(byte[0]),
            _ => self.usb.read_byte().ok(),
        }
    }
}

impl Write for Board {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        Printer.write_str(text)
    }
}
