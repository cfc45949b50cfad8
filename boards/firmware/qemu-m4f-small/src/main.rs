//! The int8 network on an emulated Cortex-M4F with 256 KiB of flash and 48 KiB of RAM.
//! `cargo xtask qemu qemu-m4f-small --label sneaker --seed 0`

#![no_std]
#![no_main]

use cortex_m as _;
use cortex_m_rt::entry;
use grano_firmware::{mps, program};
use panic_never as _;

program!(#[entry] fashion::Fashion on mps::AN386);
