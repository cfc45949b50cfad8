//! Generates the networks and shows the linker the board's memory.

use grano_codegen::{Build, Precision};

fn main() {
    let build = Build::new("../../../models/fashion.safetensors").samplers(["ddim-20"]);
    // The rest of 256 KiB of flash and 64 KiB of RAM is for code and stack.
    build.clone().flash_budget(216 << 10).ram_budget(60 << 10).emit("fashion");
    build.precision(Precision::F16).emit("fashion_f16");

    println!("cargo::rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
    println!("cargo::rustc-link-arg=-Tlink.x");
    println!("cargo::rerun-if-changed=memory.x");
}
