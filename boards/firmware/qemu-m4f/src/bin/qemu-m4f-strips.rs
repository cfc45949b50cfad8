//! The int8 network in little RAM, its blocks in strips, on an emulated Cortex-M4F. `cargo xtask qemu qemu-m4f-strips
//! --label sneaker --seed 0`

#![no_std]
#![no_main]

use cortex_m as _;
use cortex_m_rt::entry;
use grano_firmware::{mps, program};
use panic_never as _;

program!(#[entry] fashion_strips::FashionStrips on mps::AN386);
