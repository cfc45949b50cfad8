//! The layers of the kernels' table on an emulated Cortex-M7. `cargo xtask qemu qemu-m7-layers`

#![no_std]
#![no_main]

use cortex_m as _;
use cortex_m_rt::entry;
use grano_firmware::{mps, program};
use panic_never as _;

program!(#[entry] layers::Layers on mps::AN500);
