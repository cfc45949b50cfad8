//! Checks a Cortex-M0's kernels in its instructions. `cargo xtask qemu qemu-m0 --example kernels`

#![no_std]
#![no_main]

use cortex_m as _;
use cortex_m_rt::entry;
use grano_firmware::{kernels, mps};
use portable_atomic as _;

kernels!(#[entry] Armv6m on mps::AN385);
