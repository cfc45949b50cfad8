//! A denoiser, a classifier with its gradient and a decoder, in f32, on an emulated Cortex-M4F. `cargo xtask qemu qemu-m4f-trio-f32`

#![no_std]
#![no_main]

use cortex_m as _;
use cortex_m_rt::entry;
use grano_firmware::{mps, networks};
use panic_never as _;

networks!(#[entry] trio_f32::{denoiser, classifier, decoder} on mps::AN386);
