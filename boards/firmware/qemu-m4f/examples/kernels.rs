//! Checks the DSP kernels on an emulated Cortex-M4F. `cargo xtask qemu qemu-m4f --example kernels`

#![no_std]
#![no_main]

use cortex_m as _;
use cortex_m_rt::entry;
use grano_firmware::{kernels, mps};

kernels!(#[entry] Dsp on mps::AN386);
