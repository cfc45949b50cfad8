//! Generates what the tests compile: the shipped model and a toy of awkward shapes, in every precision.

use std::path::PathBuf;

use grano_codegen::{Build, Precision};
use grano_networks::toy;

fn main() {
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let toy = match grano_networks::write(&folder, "toy", toy::model) {
        Ok(path) => path,
        Err(error) => return println!("cargo::error={error}"),
    };
    for precision in Precision::ALL {
        let name = precision.name();
        Build::new("../models/fashion.safetensors")
            .precision(precision)
            .samplers(["ddim-20", "ddim-20-eta0.5"])
            .emit(&format!("fashion-{name}"));
        Build::new(&toy).precision(precision).samplers(["ddim-4", "ancestral-4"]).emit(&format!("toy-{name}"));
    }
}
