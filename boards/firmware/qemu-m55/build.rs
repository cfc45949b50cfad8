//! Generates the network and shows the linker the board's memory.

use grano_firmware_build::{Target, fashion, link};

fn main() {
    fashion(Target::CortexM55).emit("fashion");
    link();
}
