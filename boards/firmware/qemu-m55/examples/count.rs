//! Counts the instructions of a function: put yours in. `cargo xtask qemu qemu-m55 --example count`

#![no_std]
#![no_main]

use core::hint::black_box;

use cortex_m as _;
use cortex_m_rt::entry;
use grano::noise::{Gaussian, Noise, Philox};
use grano_firmware::{count, mps, semihosting};
use panic_never as _;

#[entry]
fn main() -> ! {
    let mut board = mps::AN547;
    count(&mut board, "nothing", || ());
    let mut noise = Gaussian(Philox::new(0, 0));
    count(&mut board, "noise_64", || noise.fill(black_box(&mut [0.0; 64])));
    semihosting::end(true)
}
