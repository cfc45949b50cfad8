//! BBC micro:bit v2: nRF52833, a Cortex-M4F.

use core::fmt::Write;

pub use cortex_m_rt::entry;
use embedded_hal::digital::{OutputPin, StatefulOutputPin};
use embedded_io::{Read, ReadReady};
use microbit::hal::gpio::{Output, Pin, PushPull};
use microbit::hal::pac::{DWT, UARTE0};
use microbit::hal::uarte::{Baudrate, Parity, Uarte, UarteRx, UarteTx};
use microbit::hal::{Clocks, Rng};
use panic_probe as _;
use static_cell::ConstStaticCell;

static TX: ConstStaticCell<[u8; 1]> = ConstStaticCell::new([0]);
static RX: ConstStaticCell<[u8; 1]> = ConstStaticCell::new([0]);

/// The board's console, counter, LED and random numbers.
pub struct Board {
    tx: UarteTx<UARTE0>,
    rx: UarteRx<UARTE0>,
    cycles: u64,
    led: Pin<Output<PushPull>>,
    rng: Rng,
}

impl Board {
    /// Sets up clocks, console, counter and LED. Call it once, first; another call panics.
    pub fn new() -> Self {
        let mut chip = microbit::Board::take().unwrap();
        chip.DCB.enable_trace();
        chip.DWT.enable_cycle_counter();
        Clocks::new(chip.CLOCK).enable_ext_hfosc();
        let uarte = Uarte::new(chip.UARTE0, chip.uart.into(), Parity::EXCLUDED, Baudrate::BAUD115200);
        let (tx, rx) = uarte.split(TX.take(), RX.take()).unwrap();
        let Ok(()) = chip.display_pins.col1.set_low();
        Self { tx, rx, cycles: 0, led: chip.display_pins.row1.degrade(), rng: Rng::new(chip.RNG) }
    }

    /// Microseconds since the start, from a counter of 32 bits: call it at least every 60 s.
    pub fn micros(&mut self) -> u64 {
        self.cycles += u64::from(DWT::cycle_count().wrapping_sub(self.cycles as u32));
        self.cycles / 64
    }

    /// A number from the chip's random number generator.
    pub fn random(&mut self) -> u64 {
        self.rng.random_u64()
    }

    /// Toggles the LED at the top left.
    pub fn toggle_led(&mut self) {
        let Ok(()) = self.led.toggle();
    }

    /// A byte from the console, if one has come.
    pub fn read(&mut self) -> Option<u8> {
        let mut byte = [0];
        let ready = self.rx.read_ready().unwrap_or_default();
        (ready && self.rx.read(&mut byte).is_ok()).then_some(byte[0])
    }
}

impl Write for Board {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for line in text.split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(line) => write!(self.tx, "{line}\r\n")?,
                None => self.tx.write_str(line)?,
            }
        }
        Ok(())
    }
}
