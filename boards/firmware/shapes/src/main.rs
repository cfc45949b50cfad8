//! Random layers, each a network of its own, counted on an emulated board. `cargo xtask bench shapes`

#![no_std]
#![no_main]

#[cfg(target_arch = "arm")]
use cortex_m as _;
#[cfg(target_arch = "arm")]
use cortex_m_rt::entry;
use panic_never as _;
use portable_atomic as _;
#[cfg(target_arch = "riscv32")]
use riscv_rt::entry;

// The networks' names and the board, as the build script was told.
include!(concat!(env!("OUT_DIR"), "/main.rs"));
