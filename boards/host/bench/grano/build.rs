//! Generates the reference U-Net in every precision.

use std::path::PathBuf;

use grano_codegen::{Build, Precision, Target};
use grano_networks::unet;

fn main() {
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let model = match grano_networks::write(&folder, "unet", unet::model) {
        Ok(path) => path,
        Err(error) => return println!("cargo::error={error}"),
    };
    let target = match std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64") => Target::X86,
        Ok("aarch64") => Target::Aarch64,
        _ => Target::Portable,
    };
    for precision in Precision::ALL {
        let build = Build::new(&model).target(target).precision(precision);
        build.samplers(["ddim-20"]).emit(&format!("unet_{}", precision.name()));
    }
}
