//! Draws a picture on an emulated Cortex-M4F with the f16 network. `cargo xtask qemu qemu-m4f-f16 --label sneaker --seed 0`

#![no_std]
#![no_main]

use cortex_m_rt::entry;
use grano_firmware::{BoardSampler, Model, semihosting, stack};
use panic_never as _;
use qemu_m4f::Mps2;
use static_cell::ConstStaticCell;

mod fashion {
    include!(concat!(env!("OUT_DIR"), "/fashion_f16/model.rs"));
}

static SAMPLER: ConstStaticCell<BoardSampler<fashion::FashionF16>> = ConstStaticCell::new(BoardSampler::new());
const MODEL: Model = Model { labels: fashion::LABELS, table: &fashion::SAMPLERS[0], guidance: fashion::GUIDANCE };

#[entry]
fn main() -> ! {
    stack::paint();
    semihosting::run(Mps2::new(), SAMPLER.try_take(), &MODEL)
}
