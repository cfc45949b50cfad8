//! Generates what the tests compile: the shipped model and a toy of awkward shapes, in every precision.

#[path = "src/toy.rs"]
mod toy;

use std::path::PathBuf;

use grano_codegen::{Build, Precision, Target};

fn main() {
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let toy = folder.join("toy.safetensors");
    if let Err(error) = toy::model().and_then(|bytes| {
        std::fs::write(&toy, bytes).map_err(|error| grano_codegen::Error::Io { path: toy.clone(), source: error })
    }) {
        println!("cargo::error={error}");
    }
    for precision in Precision::ALL {
        let name = precision.name();
        Build::new("../models/fashion.safetensors")
            .precision(precision)
            .samplers(["ddim-20", "ddim-20-eta0.5"])
            .emit(&format!("fashion-{name}"));
        Build::new(&toy).precision(precision).samplers(["ddim-4", "ancestral-4"]).emit(&format!("toy-{name}"));
    }
    // Every algorithm at least once. Flash that the chip's slowest network fills leaves none for transformed weights.
    let dsp = Build::new("../models/fashion.safetensors").target(Target::CortexM4).samplers(["ddim-20"]);
    dsp.clone().flash_budget(209_000).emit("fashion-in-ram");
    dsp.target(Target::X86).emit("fashion-x86");
    let toy = Build::new(&toy).samplers(["ddim-4", "ancestral-4"]);
    toy.clone().target(Target::CortexM0).flash_budget(7_200).emit("toy-in-ram");
    toy.target(Target::X86).emit("toy-x86");
    println!("cargo::rerun-if-changed=src/toy.rs");
}
