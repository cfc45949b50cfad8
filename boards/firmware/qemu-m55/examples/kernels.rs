//! Checks the Helium kernels on an emulated Cortex-M55. `cargo xtask qemu qemu-m55 --example kernels`

#![no_std]
#![no_main]

use cortex_m as _;
use cortex_m_rt::entry;
use grano_firmware::{kernels, mps};

kernels!(#[entry] Helium on mps::AN547);
