//! The layers of the kernels' table in a Cortex-M0's instructions. `cargo xtask qemu qemu-m0-layers`

#![no_std]
#![no_main]

use cortex_m as _;
use cortex_m_rt::entry;
use grano_firmware::{mps, program};
use panic_never as _;
use portable_atomic as _;

program!(#[entry] layers::Layers on mps::AN385);
