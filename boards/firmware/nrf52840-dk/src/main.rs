//! Draws a sneaker on Nordic's nRF52840-DK (Cortex-M4F, 64 MHz) and sends it over RTT. `cargo xtask flash nrf52840-dk`

#![no_std]
#![no_main]

use cortex_m::{Peripherals, asm, peripheral::DWT};
use cortex_m_rt::entry;
use defmt_rtt as _;
use grano_firmware::{Board, BoardSampler, Job, Model, Wrapping, draw, stack};
use panic_probe as _;
use static_cell::ConstStaticCell;

mod fashion {
    include!(concat!(env!("OUT_DIR"), "/fashion/model.rs"));
}

static SAMPLER: ConstStaticCell<BoardSampler<fashion::Fashion>> = ConstStaticCell::new(BoardSampler::new());
const MODEL: Model = Model { labels: fashion::LABELS, table: &fashion::SAMPLERS[0], guidance: fashion::GUIDANCE };

/// The board; its processor counts cycles, 67 s a turn.
struct Nrf52840Dk {
    cycles: Wrapping<32>,
}

impl Board for Nrf52840Dk {
    const NAME: &'static str = "nRF52840-DK (Cortex-M4F, 64 MHz)";
    const UNIT: &'static str = "cycles";

    fn print_line(&mut self, text: &str) {
        defmt::println!("{=str}", text);
    }

    fn count(&mut self) -> u64 {
        self.cycles.advance(DWT::cycle_count())
    }
}

#[entry]
fn main() -> ! {
    stack::paint();
    if let (Some(mut peripherals), Some(sampler)) = (Peripherals::take(), SAMPLER.try_take()) {
        peripherals.DCB.enable_trace();
        peripherals.DWT.enable_cycle_counter();
        let mut board = Nrf52840Dk { cycles: Wrapping::new() };
        // What went wrong is printed already.
        let _ = draw(&mut board, sampler, &MODEL, Job::default());
    }
    loop {
        asm::wfi();
    }
}
