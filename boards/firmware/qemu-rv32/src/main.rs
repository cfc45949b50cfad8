//! Draws a picture on an emulated RISC-V without floating point. `cargo xtask qemu qemu-rv32 --label sneaker --seed 0`

#![no_std]
#![no_main]

use grano_firmware::{Board, BoardSampler, Model, semihosting, stack};
use panic_never as _;
use portable_atomic as _;
use riscv::register::minstret;
use riscv_rt::entry;
use static_cell::ConstStaticCell;

mod fashion {
    include!(concat!(env!("OUT_DIR"), "/fashion/model.rs"));
}

static SAMPLER: ConstStaticCell<BoardSampler<fashion::Fashion>> = ConstStaticCell::new(BoardSampler::new());
const MODEL: Model = Model { labels: fashion::LABELS, table: &fashion::SAMPLERS[0], guidance: fashion::GUIDANCE };

/// QEMU's machine `virt`.
struct Virt;

impl Board for Virt {
    const NAME: &'static str = "virt in QEMU (rv32imc)";
    const UNIT: &'static str = "instructions";

    fn print_line(&mut self, text: &str) {
        semihosting::print_line(text);
    }

    fn count(&mut self) -> u64 {
        minstret::read64()
    }
}

#[entry]
fn main() -> ! {
    stack::paint();
    semihosting::run(Some(Virt), SAMPLER.try_take(), &MODEL)
}
