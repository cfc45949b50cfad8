//! What the build scripts of the boards share.

use std::path::PathBuf;

use grano_codegen::build::report_error;
pub use grano_codegen::{Build, Precision, Target};
use grano_codegen::{Result, one_line};
use grano_networks::{layers, shapes as random, trio as three, unet};

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

/// The boards that [`shapes`] knows: their names, chips, and how programs call them.
const BOARDS: [(&str, Target, &str); 5] = [
    ("qemu-m0", Target::CortexM0, "grano_firmware::mps::AN385"),
    ("qemu-m4f", Target::CortexM4, "grano_firmware::mps::AN386"),
    ("qemu-m33", Target::CortexM33, "grano_firmware::mps::AN505"),
    ("qemu-m55", Target::CortexM55, "grano_firmware::mps::AN547"),
    ("qemu-rv32", Target::Riscv32, "qemu_rv32::Virt"),
];

/// Generates one part of the random layers as `shapes`, and `main.rs`, which evaluates them. `GRANO_SHAPES` says the board,
/// the part and how many parts there are: `qemu-m4f 0 4`.
pub fn shapes() {
    const SETTINGS: &str = "GRANO_SHAPES";
    println!("cargo::rerun-if-env-changed={SETTINGS}");
    let settings = std::env::var(SETTINGS).unwrap_or_default();
    let words: Vec<&str> = settings.split(' ').collect();
    let known = |board: &str| BOARDS.into_iter().find(|(name, ..)| *name == board);
    let (Some((name, target, machine)), Some(part), Some(parts)) = (
        words.first().and_then(|board| known(board)),
        words.get(1).and_then(|part| part.parse().ok()),
        words.get(2).and_then(|parts| parts.parse().ok()),
    ) else {
        let complaint =
            format!("{SETTINGS} is `{settings}`: `cargo xtask bench shapes` sets it to a board, a part and parts");
        return report_error(&complaint);
    };
    let mut modules = Vec::new();
    for (number, layers) in random::part(part, parts).chunks(random::MOST).enumerate() {
        let module = format!("shapes{number}");
        emit(
            &module,
            || random::model(layers),
            |build| build.target(target).samplers(["ddim-1"]).flash_budget(1_300_000).ram_budget(170_000),
        );
        let names: Vec<&str> = layers.iter().map(|(name, _)| name.as_str()).collect();
        modules.push(format!("{module}::{{{}}}", names.join(", ")));
    }
    let main = format!("grano_firmware::networks!(#[entry] {} on {machine});\n", modules.join(", "));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    if let Err(error) = std::fs::write(out.join("main.rs"), main) {
        report_error(&error);
    }
    // The board's memory.
    let folder = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..").join(name);
    println!("cargo::rustc-link-search={}", one_line(&folder.display().to_string()));
    println!("cargo::rustc-link-arg=-Tlink.x");
}

/// Generates a model with made-up weights.
fn emit(name: &str, model: impl FnOnce() -> Result<Vec<u8>>, settings: impl FnOnce(Build) -> Build) {
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
