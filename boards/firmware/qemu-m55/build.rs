//! Generates the network and shows the linker the board's memory.

use grano_codegen::Build;

fn main() {
    Build::new("../../../models/fashion.safetensors").samplers(["ddim-20"]).emit("fashion");

    println!("cargo::rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
    println!("cargo::rustc-link-arg=-Tlink.x");
    println!("cargo::rerun-if-changed=memory.x");
}
