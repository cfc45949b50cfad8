//! Turns the model into static Rust for the chip.

use grano_codegen::{Build, Precision, Target};

fn main() {
    let build = Build::new("model.safetensors").target(Target::{target}).precision(Precision::{precision});
    build{sampler}.flash_budget({flash}).ram_budget({ram}).emit("model");
}
