//! Installs what the tests need beyond Rust, and says so first.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    apt::apt,
    bare_metal::{self, AARCH64_LINKER},
    shell::{Shell, cargo},
};

/// What can be set up.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Part {
    /// PyTorch's C++ library, for the trainer.
    Libtorch,
    /// Rust for the chips.
    BareMetal,
    /// The emulator of the boards.
    Qemu,
    /// Linker and emulator of AArch64.
    Aarch64,
    /// Node, for WebAssembly.
    Node,
    /// The data set Fashion-MNIST, for training.
    Data,
    /// Everything.
    All,
}

/// Sets up `part`, as far as it is not there yet.
pub fn run(part: Part) -> Result<()> {
    let wanted = |one: Part| matches!(part, Part::All) || part as u8 == one as u8;
    if wanted(Part::Libtorch) {
        libtorch()?;
    }
    if wanted(Part::BareMetal) {
        bare_metal::set_up()?;
    }
    if wanted(Part::Qemu) {
        qemu()?;
    }
    if wanted(Part::Aarch64) {
        aarch64()?;
    }
    if wanted(Part::Node) {
        node()?;
    }
    if wanted(Part::Data) {
        data()?;
    }
    Ok(())
}

/// QEMU with the machines that play the boards.
pub fn qemu() -> Result<()> {
    let programs = ["qemu-system-arm", "qemu-system-riscv32"];
    if programs.iter().all(|program| Shell::new(*program).args(["--version"]).works()) {
        return Ok(());
    }
    // Newer releases of Debian have a package for RISC-V alone.
    let riscv = "qemu-system-riscv";
    let riscv = if Shell::new("apt-cache").args(["show", riscv]).works() { riscv } else { "qemu-system-misc" };
    apt("QEMU, which runs the firmware", &["qemu-system-arm", riscv])
}

/// What the emulator takes for the root of an AArch64 Linux.
const AARCH64_ROOT: &str = "/usr/aarch64-linux-gnu";

/// The command that runs AArch64 programs, on one of the emulator's processors.
pub fn aarch64_emulator(processor: &str) -> String {
    format!("qemu-aarch64 -cpu {processor} -L {AARCH64_ROOT}")
}

/// Linker, C library and emulator for AArch64 programs.
pub fn aarch64() -> Result<()> {
    let programs = [AARCH64_LINKER, "qemu-aarch64"];
    let ready = programs.iter().all(|program| Shell::new(*program).args(["--version"]).works());
    if ready && Path::new(AARCH64_ROOT).join("lib/libc.so.6").exists() {
        return Ok(());
    }
    let packages = ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user"];
    apt("the linker, the C library and the emulator for AArch64", &packages)
}

/// Node, which runs WebAssembly.
pub fn node() -> Result<()> {
    match Shell::new("node").args(["--version"]).works() {
        true => Ok(()),
        false => apt("Node, which runs WebAssembly", &["nodejs"]),
    }
}

const FASHION_MNIST: &str = "/usr/share/datasets/fashion-mnist";

/// Fashion-MNIST in IDX files.
pub fn data() -> Result<()> {
    if !Path::new(FASHION_MNIST).is_dir() {
        apt("Fashion-MNIST, 31 MB, which the model is trained on", &["dataset-fashion-mnist"])?;
    }
    println!("data: {FASHION_MNIST}");
    Ok(())
}

/// The release that the crate tch 0.24 fits, and the two CUDA libraries that its CPU part is linked with.
const TORCH: &str = "2.11.0";
const WHEELS: [&str; 3] = ["torch==2.11.0", "nvidia-cuda-runtime==13.5.37", "nvidia-cuda-cupti==13.5.25"];

/// What of the unpacked wheels makes a libtorch for the CPU: from, to.
const LIBTORCH: [(&str, &str); 6] = [
    ("torch/include", "include"),
    ("torch/lib/libtorch_cpu.so", "lib/libtorch_cpu.so"),
    ("torch/lib/libc10.so", "lib/libc10.so"),
    ("torch/lib/libgomp.so.1", "lib/libgomp.so.1"),
    ("nvidia/cu13/lib/libcudart.so.13", "lib/libcudart.so.13"),
    ("nvidia/cu13/lib/libcupti.so.13", "lib/libcupti.so.13"),
];

/// Where what has been set up stays: `$GRANO_CACHE`, by default `~/.cache/grano`.
pub fn cache() -> Result<PathBuf> {
    match env::var_os("GRANO_CACHE") {
        Some(cache) => Ok(PathBuf::from(cache)),
        None => Ok(env::home_dir().context("no home folder: set GRANO_CACHE")?.join(".cache/grano")),
    }
}

/// The environment that lets `trainer-host` find libtorch: the user's own, or one assembled in [`cache`] from the
/// wheels on PyPI.
pub fn libtorch() -> Result<Vec<(String, String)>> {
    // tch and the trainer compile what they take of it.
    if !Shell::new("c++").args(["--version"]).works() {
        apt("the C++ compiler, which the trainer is built with", &["g++"])?;
    }
    if let Ok(value) = env::var("LIBTORCH_USE_PYTORCH") {
        println!("libtorch: LIBTORCH_USE_PYTORCH={value}");
        return Ok(vec![("LIBTORCH_USE_PYTORCH".into(), value)]);
    }
    if let Some(libtorch) = env::var_os("LIBTORCH") {
        // Build scripts run in other folders than this.
        let absolute = std::fs::canonicalize(&libtorch)
            .with_context(|| format!("LIBTORCH={}: no such folder", libtorch.display()))?;
        println!("libtorch: LIBTORCH={}", absolute.display());
        let path = absolute.into_os_string().into_string().ok().context("the path of libtorch is not UTF-8")?;
        return Ok(vec![("LIBTORCH".into(), path)]);
    }
    let by_hand = format!(
        "set LIBTORCH to the folder of a libtorch {TORCH}, or LIBTORCH_USE_PYTORCH=1 after `pip install torch=={TORCH}`"
    );
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("libtorch can be set up by itself on Linux on x86-64 only; here, {by_hand}");
    }
    let cache = cache()?;
    let libtorch = cache.join(format!("libtorch-{TORCH}"));
    if !libtorch.is_dir() {
        assemble_libtorch(&cache, &libtorch).with_context(|| format!("cannot set up libtorch; {by_hand}"))?;
    }
    println!("libtorch: {}", libtorch.display());
    let path = libtorch.into_os_string().into_string().ok().context("the path of libtorch is not UTF-8")?;
    Ok(vec![("LIBTORCH".into(), path)])
}

/// A cargo command on `trainer-host`, in the environment that [`libtorch`] gave.
pub fn trainer(libtorch: &[(String, String)], subcommand: &str) -> Shell {
    let shell = cargo().args([subcommand, "--release", "--package", "grano-trainer"]);
    libtorch.iter().fold(shell, |shell, (name, value)| shell.env(name, value))
}

/// Builds libtorch beside its place and renames it at the end, so that it is there whole or not at all.
fn assemble_libtorch(cache: &Path, libtorch: &Path) -> Result<()> {
    println!("setup: downloads libtorch {TORCH} with pip (540 MB) and keeps 0.5 GB of it in {}", libtorch.display());
    if !Shell::new("python3").args(["-m", "pip", "--version"]).works() {
        apt("Python's pip, which fetches libtorch", &["python3", "python3-pip"])?;
    }
    fs::create_dir_all(cache)?;
    let work = tempfile::Builder::new().prefix("libtorch-").tempdir_in(cache)?;
    let (wheels, unpacked, made) = (work.path().join("wheels"), work.path().join("unpacked"), work.path().join("made"));
    // The platform is named so that any Python will do, also one for which there is no wheel.
    let platform = [
        "--only-binary=:all:",
        "--implementation=cp",
        "--python-version=3.12",
        "--platform=manylinux_2_28_x86_64",
        "--platform=manylinux_2_25_x86_64",
        "--platform=manylinux2014_x86_64",
    ];
    Shell::new("python3")
        .args(["-m", "pip", "download", "--no-deps", "--dest", &wheels.display().to_string()])
        .args(platform)
        .args(WHEELS)
        .run()?;
    for wheel in fs::read_dir(&wheels)? {
        let wheel = wheel?.path().display().to_string();
        Shell::new("python3").args(["-m", "zipfile", "-e", &wheel, &unpacked.display().to_string()]).run()?;
        fs::remove_file(wheel)?;
    }
    fs::create_dir_all(made.join("lib"))?;
    for (from, to) in LIBTORCH {
        fs::rename(unpacked.join(from), made.join(to)).with_context(|| format!("the wheels hold no {from}"))?;
    }
    // torch-sys links `libtorch`, which in the wheel only leads to the CUDA part.
    fs::write(made.join("lib/libtorch.so"), "INPUT(libtorch_cpu.so)\n")?;
    fs::rename(&made, libtorch).with_context(|| format!("cannot move the finished libtorch to {}", libtorch.display()))
}
