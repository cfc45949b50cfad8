//! Generates the reference U-Net in every precision.

use std::path::PathBuf;

use grano_codegen::build::report_error;
use grano_codegen::{Build, Precision, Target};
use grano_networks::unet;

fn main() {
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let model = match grano_networks::write(&folder, "unet", unet::model) {
        Ok(path) => path,
        Err(error) => return report_error(&error),
    };
    for precision in [Precision::Int8, Precision::F16, Precision::F32] {
        let build = Build::new(&model).target(Target::desktop()).precision(precision);
        build.samplers(["ddim-20"]).emit(&format!("unet_{}", precision.name()));
    }
}
