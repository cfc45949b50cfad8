//! Lets the program find the libtorch that it was linked with, wherever that stands.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-env-changed=LIBTORCH_USE_PYTORCH");
    let folders = libraries()?;
    for folder in &folders {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
    if !folders.is_empty() {
        // A CUDA build of libtorch_cpu names symbols that a CPU-only machine need not have.
        println!("cargo::rustc-link-arg=-Wl,--allow-shlib-undefined");
    }
    // Nothing calls the CUDA part by name: it registers itself when loaded, and a linker that keeps only what is needed
    // would leave it out.
    if let Some(cuda) = folders.iter().map(|folder| folder.join("libtorch_cuda.so")).find(|cuda| cuda.exists()) {
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed,{},--as-needed", cuda.display());
    }
    Ok(())
}

/// Folders of libtorch's libraries, chosen as `torch-sys` chooses; none where the system's own is taken.
fn libraries() -> Result<Vec<PathBuf>> {
    if std::env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        return libraries_of_pytorch();
    }
    let Some(libtorch) = std::env::var_os("LIBTORCH") else { return Ok(Vec::new()) };
    // The program does not start where cargo did, in the workspace's folder, nor does this.
    let folder = Path::new("..").join(&libtorch).join("lib");
    let absolute = std::fs::canonicalize(&folder)
        .with_context(|| format!("LIBTORCH={}: no folder {}", libtorch.display(), folder.display()))?;
    Ok(vec![absolute])
}

/// Those of the PyTorch that `python3` has.
fn libraries_of_pytorch() -> Result<Vec<PathBuf>> {
    const ASK: &str = "from torch.utils import cpp_extension\nfor path in cpp_extension.library_paths(): print(path)";
    // As `torch-sys`: the name within a virtual environment differs.
    let name = if std::env::var_os("VIRTUAL_ENV").is_some() { "python" } else { "python3" };
    let output = Command::new(name).args(["-c", ASK]).output().with_context(|| format!("{name}: cannot be run"))?;
    ensure!(
        output.status.success(),
        "LIBTORCH_USE_PYTORCH: {name} has no PyTorch: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let folders: Vec<PathBuf> = String::from_utf8(output.stdout)?.lines().map(PathBuf::from).collect();
    ensure!(!folders.is_empty(), "LIBTORCH_USE_PYTORCH: {name} names no folder of libraries");
    Ok(folders)
}
