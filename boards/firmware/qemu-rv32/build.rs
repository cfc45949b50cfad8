//! Generates the networks and shows the linker the board's memory.

use grano_firmware_build::{Target, benchmarks, fashion, link};

fn main() {
    // The rest of 256 KiB of flash and 64 KiB of RAM is for code and stack.
    fashion(Target::Riscv32).flash_budget(216 << 10).ram_budget(60 << 10).emit("fashion");
    benchmarks(Target::Riscv32);
    link();
}
