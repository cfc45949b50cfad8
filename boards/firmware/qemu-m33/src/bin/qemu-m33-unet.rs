//! The reference U-Net on an emulated Cortex-M33. `cargo xtask qemu qemu-m33-unet`

#![no_std]
#![no_main]

use cortex_m as _;
use cortex_m_rt::entry;
use grano_firmware::{mps, program};
use panic_never as _;

program!(#[entry] unet::Unet on mps::AN505);
