//! Generates the network and shows the linker the board's memory.

use grano_codegen::{Build, Target};

fn main() {
    // The rest of 256 KiB of flash and 64 KiB of RAM is for code and stack.
    Build::new("../../../models/fashion.safetensors")
        .target(Target::Riscv32)
        .samplers(["ddim-20"])
        .flash_budget(216 << 10)
        .ram_budget(60 << 10)
        .emit("fashion");

    println!("cargo::rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
    println!("cargo::rustc-link-arg=-Tlink.x");
    println!("cargo::rerun-if-changed=memory.x");
}
