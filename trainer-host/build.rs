//! Compiles what the trainer uses of PyTorch's c10d, and lets the program find the libtorch that it was linked with,
//! wherever that stands.

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
    compile_c10d()
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

/// Compiles `src/distributed/c10d.cpp`, with NCCL where libtorch has its CUDA part and the headers of both are there.
fn compile_c10d() -> Result<()> {
    const FOLDER: &str = "src/distributed";
    println!("cargo::rerun-if-changed={FOLDER}/c10d.cpp");
    println!("cargo::rerun-if-changed={FOLDER}/gloo");
    let lib = PathBuf::from(std::env::var_os("DEP_TCH_LIBTORCH_LIB").context("torch-sys says where libtorch is")?);
    let include = lib.join("../include");
    let mut build = cc::Build::new();
    // gloo's own headers come first where there are any.
    build.cpp(true).std("c++17").warnings(false).define("USE_C10D_GLOO", None).define("GLOG_USE_GLOG_EXPORT", None);
    build.include(&include).include(include.join("torch/csrc/api/include")).include(FOLDER);
    if lib.join("libtorch_cuda.so").exists()
        && let Some(folders) = nccl_headers(&lib)
    {
        build.includes(folders).define("USE_C10D_NCCL", None);
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed,{},--as-needed", lib.join("libtorch_cuda.so").display());
    }
    build.file(format!("{FOLDER}/c10d.cpp")).try_compile("grano_c10d")?;
    println!("cargo::rustc-link-search=native={}", lib.display());
    println!("cargo::rustc-link-lib=torch_cpu");
    println!("cargo::rustc-link-lib=c10");
    Ok(())
}

/// The folders of all headers that PyTorch's own header of NCCL takes, in `$CUDA_HOME` or in NVIDIA's packages beside a
/// PyTorch from PyPI; none where one is missing.
fn nccl_headers(lib: &Path) -> Option<Vec<PathBuf>> {
    const HEADERS: [&str; 8] = [
        "nccl.h",
        "cuda_runtime_api.h",
        "crt/host_config.h",
        "nv/target",
        "cusparse.h",
        "cublas_v2.h",
        "cublasLt.h",
        "cusolverDn.h",
    ];
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    let cuda = PathBuf::from(std::env::var_os("CUDA_HOME").unwrap_or_else(|| "/usr/local/cuda".into())).join("include");
    let packages = std::fs::read_dir(lib.join("../../nvidia")).into_iter().flatten().flatten();
    let mut all: Vec<_> = packages.map(|package| package.path().join("include")).collect();
    all.extend([cuda.join("cccl"), cuda, "/usr/include".into()]);
    let folder = |header: &&str| all.iter().find(|folder| folder.join(header).exists()).cloned();
    HEADERS.iter().map(folder).collect()
}
