//! What the build scripts of the boards share.

pub use grano_codegen::{Build, Precision, Target};

/// The shipped model for a chip, with the sampler that draws its pictures.
#[must_use]
pub fn fashion(target: Target) -> Build {
    Build::new("../../../models/fashion.safetensors").target(target).samplers(["ddim-20"])
}

/// Shows the linker the board's memory: `memory.x`, beside the build script.
pub fn link() {
    println!("cargo::rustc-link-search={}", std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default());
    println!("cargo::rustc-link-arg=-Tlink.x");
    println!("cargo::rerun-if-changed=memory.x");
}
