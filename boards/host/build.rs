//! Generates the networks. Four samplers beside ddim-20 add 0.65 MB to three networks: a row of biases a time index.

use grano_codegen::{Build, Precision, Target};

const SAMPLERS: [&str; 5] = ["ddim-20", "ddim-10", "ddim-50", "ancestral-100", "ancestral-250"];

fn main() {
    let precisions = if cfg!(feature = "floats") { &Precision::ALL[..] } else { &[Precision::Int8] };
    let target = match std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64") => Target::X86,
        Ok("aarch64") => Target::Aarch64,
        _ => Target::Portable,
    };
    for &precision in precisions {
        Build::new("../../models/fashion.safetensors")
            .precision(precision)
            .target(target)
            .samplers(SAMPLERS)
            .emit(&format!("fashion_{}", precision.name()));
    }
}
