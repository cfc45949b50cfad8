//! The int8 network in the instructions of a Cortex-M0. `cargo xtask qemu qemu-m0`
//!
//! The emulator's only machine with a Cortex-M0 has 16 KiB of RAM, too little. The program is built for ARMv6-M and
//! runs on a Cortex-M3, which executes the same instructions, so that their number is a Cortex-M0's.

#![no_std]
#![no_main]

use cortex_m as _;
use cortex_m_rt::entry;
use grano_firmware::{mps, program};
use panic_never as _;
use portable_atomic as _;

program!(#[entry] fashion::Fashion on mps::AN385);
