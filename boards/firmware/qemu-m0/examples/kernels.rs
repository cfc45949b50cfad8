//! Checks the ARMv6-M kernels on an emulated chip that has those instructions. `cargo xtask qemu qemu-m0 --example kernels`

#![no_std]
#![no_main]

use cortex_m as _;
use cortex_m_rt::entry;
use grano_firmware::{kernels, mps};
use panic_never as _;
use portable_atomic as _;

kernels!(#[entry] Armv6m on mps::AN385);
