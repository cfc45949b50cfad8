//! Generates the networks and shows the linker the board's memory.

use grano_firmware_build::{Target, benchmarks, fashion, link};

fn main() {
    fashion(Target::CortexM55).emit("fashion");
    benchmarks(Target::CortexM55);
    link();
}
