//! Generates what the tests compile: the shipped model and networks with made-up weights, in every precision.

use std::path::{Path, PathBuf};

use grano_codegen::{Build, Precision, Result, Target};
use grano_networks::{layers, toy, unet, write};

/// Makes a model file's bytes.
type Model = fn() -> Result<Vec<u8>>;

fn main() {
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let made_up: [(&str, Model, &[&str]); 3] = [
        ("toy", toy::model, &["ddim-4", "ancestral-4"]),
        ("unet", unet::model, &["ddim-4"]),
        ("layers", layers::model, &["ddim-1"]),
    ];
    emit(Path::new("../models/fashion.safetensors"), "fashion", &["ddim-20", "ddim-20-eta0.5"]);
    for (name, model, samplers) in made_up {
        match write(&folder, name, model) {
            Ok(path) => emit(&path, name, samplers),
            Err(error) => println!("cargo::error={error}"),
        }
    }
}

fn emit(model: &Path, name: &str, samplers: &[&str]) {
    for precision in Precision::ALL {
        let samplers = samplers.iter().copied();
        Build::new(model).precision(precision).samplers(samplers).emit(&format!("{name}-{}", precision.name()));
    }
    if ["fashion", "unet"].contains(&name) {
        Build::new(model).target(Target::X86).samplers(samplers.iter().copied()).emit(&format!("{name}-x86"));
    }
}
