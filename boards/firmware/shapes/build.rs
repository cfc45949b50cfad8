//! Generates the layers of one part of the benchmark for the board that `cargo xtask bench shapes` names.

fn main() {
    grano_firmware_build::shapes();
}
