//! What the build scripts of the boards share.

use std::path::PathBuf;

use grano_codegen::build::report_error;
pub use grano_codegen::{Build, Precision, Target};
use grano_codegen::{Result, one_line};
use grano_networks::{layers, trio as three, unet};

/// The shipped model for a chip, with its own sampler.
#[must_use]
pub fn fashion(target: Target) -> Build {
    Build::new("../../../models/fashion.safetensors").target(target)
}

/// Makes a model file's bytes.
type Model = fn() -> Result<Vec<u8>>;

/// Generates the networks that are there to be measured: `layers` and `unet`.
pub fn benchmarks(target: Target) {
    // The sampler's first step is the time of the evaluation: on the host it is the same.
    let networks: [(&str, &str, Model); 2] = [("layers", "ddim-1", layers::model), ("unet", "ddim-4", unet::model)];
    for (name, sampler, model) in networks {
        emit(name, model, |build| build.target(target).samplers([sampler]));
    }
}

/// Generates the model of three networks as `name`.
pub fn trio(target: Target, precision: Precision, name: &str) {
    emit(name, three::model, |build| build.target(target).precision(precision));
}

/// Generates a model with made-up weights.
fn emit(name: &str, model: Model, settings: impl FnOnce(Build) -> Build) {
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    match grano_networks::write(&folder, name, model) {
        Ok(path) => settings(Build::new(path)).emit(name),
        Err(error) => report_error(&format!("{name}: {error}")),
    }
}

/// Shows the linker the board's memory: `memory.x`, beside the build script.
pub fn link() {
    println!("cargo::rustc-link-search={}", one_line(&std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default()));
    println!("cargo::rustc-link-arg=-Tlink.x");
    println!("cargo::rerun-if-changed=memory.x");
}
