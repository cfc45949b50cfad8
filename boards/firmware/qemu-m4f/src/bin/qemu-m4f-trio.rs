//! A denoiser, a classifier with its gradient and a decoder, in int8, on an emulated Cortex-M4F. `cargo xtask qemu qemu-m4f-trio`

#![no_std]
#![no_main]

use cortex_m as _;
use cortex_m_rt::entry;
use grano_firmware::{mps, networks};
use panic_never as _;

networks!(#[entry] trio::{denoiser, classifier, decoder} on mps::AN386);
