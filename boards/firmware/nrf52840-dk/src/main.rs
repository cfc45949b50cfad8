//! Draws a sneaker on Nordic's nRF52840-DK (Cortex-M4F, 64 MHz) and sends it over RTT. `cargo xtask flash nrf52840-dk`

#![no_std]
#![no_main]

use cortex_m::{Peripherals, asm, peripheral::DWT};
use cortex_m_rt::entry;
use defmt_rtt as _;
use grano_firmware::{
    Board, BoardSampler,
    draw::{Job, draw},
    evaluate::evaluate,
    stack,
};
use panic_probe as _;
use static_cell::ConstStaticCell;

mod fashion {
    include!(concat!(env!("OUT_DIR"), "/fashion/model.rs"));
}

static SAMPLER: ConstStaticCell<BoardSampler<fashion::Fashion>> = ConstStaticCell::new(BoardSampler::new());

/// The board; its processor counts cycles, 67 s a turn.
struct Nrf52840Dk;

impl Board for Nrf52840Dk {
    const UNIT: &'static str = "cycles";

    fn name(&self) -> &'static str {
        "nRF52840-DK (Cortex-M4F, 64 MHz)"
    }

    fn print_line(&mut self, text: &str) {
        defmt::println!("{=str}", text);
    }

    #[inline(always)]
    fn ticks(&self) -> u32 {
        DWT::cycle_count()
    }

    fn between(&self, start: u32, end: u32) -> u64 {
        end.wrapping_sub(start).into()
    }
}

#[entry]
fn main() -> ! {
    stack::paint();
    if let (Some(mut peripherals), Some(sampler)) = (Peripherals::take(), SAMPLER.try_take()) {
        peripherals.DCB.enable_trace();
        peripherals.DWT.enable_cycle_counter();
        evaluate(&mut Nrf52840Dk, sampler);
        if draw(&mut Nrf52840Dk, sampler, Job { label: "sneaker", seed: 0 }).is_err() {
            defmt::println!("that failed");
        }
        stack::report(&mut Nrf52840Dk);
    }
    loop {
        asm::wfi();
    }
}
