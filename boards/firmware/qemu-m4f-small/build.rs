//! Generates the network and shows the linker the board's memory.

use grano_firmware_build::{Target, fashion, link};

fn main() {
    // The rest of 256 KiB of flash and 48 KiB of RAM is for code and stack: no weights are transformed in flash.
    fashion(Target::CortexM4).flash_budget(196 << 10).ram_budget(45_800).emit("fashion");
    link();
}
