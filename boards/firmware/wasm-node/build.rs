//! Generates the network.

use grano_firmware_build::{Target, fashion};

fn main() {
    fashion(Target::Wasm32).emit("fashion");
}
