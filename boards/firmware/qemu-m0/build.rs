//! Generates the networks and shows the linker the board's memory.

use grano_firmware_build::{Target, benchmarks, fashion, link};

fn main() {
    // The rest of 320 KiB of flash and 48 KiB of RAM is for code and stack.
    fashion(Target::CortexM0).flash_budget(232 << 10).ram_budget(42_880).emit("fashion");
    benchmarks(Target::CortexM0);
    link();
}
