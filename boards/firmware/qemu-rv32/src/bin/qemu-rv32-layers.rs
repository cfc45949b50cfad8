//! The layers of the kernels' table on an emulated RISC-V without floating point. `cargo xtask qemu qemu-rv32-layers`

#![no_std]
#![no_main]

use grano_firmware::program;
use panic_never as _;
use qemu_rv32::Virt;
use riscv_rt::entry;

program!(#[entry] layers::Layers on Virt);
