//! Checks the RV32 kernels on an emulated RISC-V. `cargo xtask qemu qemu-rv32 --example kernels`

#![no_std]
#![no_main]

use grano_firmware::kernels;
use qemu_rv32::Virt;
use riscv_rt::entry;

kernels!(#[entry] Riscv32 on Virt);
