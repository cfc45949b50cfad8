//! Generates the networks of every file in `models/`, for evaluation, and lets the program find the libtorch it was
//! linked with, wherever that stands.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use grano_codegen::load::load;
use grano_codegen::{Build, Precision, Purpose, Target};
use sha2::{Digest, Sha256};

const MODELS: &str = "../models";

fn main() -> Result<()> {
    find_libtorch();
    println!("cargo::rerun-if-changed={MODELS}");
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    let mut entries = String::new();
    for (index, file) in model_files()?.iter().enumerate() {
        let model = load(file)?;
        let sampling = Precision::of(&model).into_iter().map(|precision| (precision, Purpose::Sampling));
        let likelihood = model.header.likelihood.iter().map(|_| (Precision::Int8, Purpose::Likelihood));
        for (precision, purpose) in sampling.chain(likelihood) {
            entries += &network(file, precision, purpose, &folder, index)?;
        }
    }
    std::fs::write(folder.join("models.rs"), format!("models! {{\n{entries}}}\n"))?;
    Ok(())
}

/// Generates one network into a folder: its entry in the table of models.
///
/// A sampler of T steps gives it a row of biases for every time index, so that whatever sampler is asked for finds its
/// rows; one of three steps remembers the step before, and gives it the memory for that. Nothing else of the network
/// depends on a build's samplers.
fn network(file: &Path, precision: Precision, purpose: Purpose, folder: &Path, index: usize) -> Result<String> {
    let (suffix, name) = match purpose {
        Purpose::Sampling => ("", precision.name().to_string()),
        Purpose::Likelihood => ("_likelihood", format!("{}, for likelihoods", precision.name())),
    };
    let module = format!("network{index}_{}{suffix}", precision.name());
    let model = load(file)?;
    let every = format!("ancestral-{}", model.header.schedule.steps);
    let build =
        Build::new(file).precision(precision).purpose(purpose).target(Target::desktop()).samplers([&every, "dpm-3"]);
    let output = build.write("network", &folder.join(&module))?;
    let mut hash = Sha256::new();
    hash.update(&output.generated.source);
    hash.update(&output.generated.constants);
    let fingerprint: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("    {module}: {:?}, {:?}, {fingerprint:?};\n", model.sha256, name))
}

/// All models, in the order of their names.
fn model_files() -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(MODELS).with_context(|| format!("{MODELS}: cannot be read"))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let is_model = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = [".golden.safetensors", ".classifier.safetensors", ".statistics.safetensors"];
        name.ends_with(".safetensors") && !beside.iter().any(|ending| name.ends_with(ending))
    };
    let mut files: Vec<_> = paths.into_iter().filter(is_model).collect();
    files.sort();
    Ok(files)
}

fn find_libtorch() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    if let Some(libtorch) = std::env::var_os("LIBTORCH") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}/lib", libtorch.display());
        // A CUDA build of libtorch_cpu names symbols that a CPU-only machine need not have.
        println!("cargo::rustc-link-arg=-Wl,--allow-shlib-undefined");
        // Nothing calls the CUDA part by name: it registers itself when loaded, and a linker that keeps only what is
        // needed would leave it out.
        let cuda = Path::new(&libtorch).join("lib/libtorch_cuda.so");
        if cuda.exists() {
            println!("cargo::rustc-link-arg=-Wl,--no-as-needed,{},--as-needed", cuda.display());
        }
    }
}
