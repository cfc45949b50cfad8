//! Generates what the tests compile: the shipped model and networks with made-up weights, in every precision.

use std::path::{Path, PathBuf};

use grano_codegen::build::report_error;
use grano_codegen::load::load;
use grano_codegen::{Build, Precision, Result, Target};
use grano_networks::{blocks, layers, mixer, toy, trio, unet, write};

/// Makes a model file's bytes.
type Model = fn() -> Result<Vec<u8>>;

fn main() {
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let made_up: [(&str, Model, &[&str]); 6] = [
        ("blocks", blocks::model, &["ddim-2"]),
        ("toy", toy::model, &["ddim-4", "ancestral-4", "dpm-4"]),
        ("mixer", mixer::model, &["ddim-2"]),
        ("unet", unet::model, &["ddim-4"]),
        ("layers", layers::model, &["ddim-1"]),
        ("trio", trio::model, &["ddim-4"]),
    ];
    let fashion = Path::new("../models/fashion.safetensors");
    match own_samplers(fashion) {
        Ok(samplers) => {
            emit(fashion, "fashion", &samplers.each_ref().map(String::as_str));
            emit_algorithms(Build::new(fashion).samplers(&samplers).guided(true), "fashion", 209_000);
            Build::new(fashion).samplers(samplers).guided(true).ram_budget(21_100).emit("fashion-strips");
        }
        Err(error) => report_error(&error),
    }
    for (name, model, samplers) in made_up {
        match write(&folder, name, model) {
            Ok(path) => {
                emit(&path, name, samplers);
                let build = Build::new(&path).samplers(samplers.iter().copied());
                match name {
                    "toy" => emit_algorithms(build, name, 7_200),
                    "blocks" => emit_strips(&build, name),
                    _ => {}
                }
            }
            Err(error) => report_error(&error),
        }
    }
}

/// The sampler that a model is meant for, and that of its golden trajectory.
fn own_samplers(model: &Path) -> Result<[String; 2]> {
    let header = load(model)?.header;
    let own = header.defaults.sampler.clone();
    let noisy = format!("ddim-{}-eta0.5", header.sampler(&own)?.steps);
    Ok([own, noisy])
}

fn emit(model: &Path, name: &str, samplers: &[&str]) {
    let precisions = match load(model) {
        Ok(model) => Precision::of(&model),
        Err(error) => return report_error(&error),
    };
    for precision in precisions {
        let samplers = samplers.iter().copied();
        Build::new(model)
            .precision(precision)
            .samplers(samplers)
            .guided(true)
            .emit(&format!("{name}-{}", precision.name()));
    }
    if name == "unet" {
        Build::new(model).target(Target::X86).samplers(samplers.iter().copied()).emit(&format!("{name}-x86"));
    }
}

/// Other algorithms than those of the portable network: weights transformed into RAM, where flash is short; and direct
/// convolutions.
fn emit_algorithms(build: Build, name: &str, flash_budget: usize) {
    build.clone().target(Target::CortexM0).flash_budget(flash_budget).emit(&format!("{name}-in-ram"));
    build.target(Target::X86).emit(&format!("{name}-x86"));
}

/// Less RAM than whole maps take: strips of several rows, of as few as there can be, and those of a desktop.
fn emit_strips(build: &Build, name: &str) {
    for (kind, target, ram_budget) in
        [("strips", Target::Portable, 4_300), ("rows", Target::CortexM0, 4_200), ("x86", Target::X86, 28_500)]
    {
        build.clone().target(target).ram_budget(ram_budget).emit(&format!("{name}-{kind}"));
    }
}
