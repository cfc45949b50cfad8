//! What is measured: grano's programs, the Rust peers, the Python peers and the network in their formats.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{
    apt::apt,
    python,
    setup::cache,
    shell::{Shell, cargo, root},
};

/// Everything that has been built.
pub struct Bench {
    /// Runs grano's networks.
    pub grano: PathBuf,
    /// Runs those of other Rust crates.
    pub peers: PathBuf,
    /// Python with its peers.
    pub python: PathBuf,
    /// The network in the peers' formats.
    pub networks: PathBuf,
    /// The desktop's program.
    pub program: PathBuf,
    /// A program with nothing but the int8 network.
    pub embedded: PathBuf,
    /// GNU time, which says how much memory a program took.
    pub time: PathBuf,
}

/// The folder of the programs that run networks.
pub fn folder() -> PathBuf {
    root().join("boards/host/bench")
}

/// Builds, installs and converts what is not there yet. The first time takes a quarter of an hour.
pub fn set_up() -> Result<Bench> {
    let time = PathBuf::from("/usr/bin/time");
    if !time.exists() {
        apt("GNU time, which measures memory", &["time"])?;
    }
    cargo().args(["build", "--release", "--package", "grano-host"]).run()?;
    cargo()
        .args(["build", "--release", "--package", "grano-bench", "--package", "grano-bench-embedded"])
        .folder(folder())
        .run()?;
    // From their own folder, whose configuration is for them alone.
    cargo().args(["build", "--release", "--package", "grano-bench-peers"]).folder(folder().join("peers")).run()?;
    let release = folder().join("target/release");
    let bench = Bench {
        grano: release.join("grano-bench"),
        peers: folder().join("target/peers/release/grano-bench-peers"),
        python: python::environment(
            &cache()?.join("bench-python"),
            &folder().join("python/requirements.txt"),
            "PyTorch, ONNX Runtime and LiteRT (6 GB)",
        )?,
        networks: cache()?.join("bench"),
        program: root().join("target/release/grano"),
        embedded: release.join("grano-bench-embedded"),
        time,
    };
    let networks = bench.networks.display().to_string();
    Shell::new(bench.grano.display().to_string()).args(["export", &networks]).run()?;
    Shell::new(bench.python.display().to_string())
        .args(["convert.py", &networks])
        .folder(folder().join("python"))
        .run()?;
    Ok(bench)
}

/// The processor and the compiler, in a line each.
pub fn machine() -> Result<[(&'static str, String); 2]> {
    let information = fs::read_to_string("/proc/cpuinfo").context("the measurements need Linux")?;
    let of = |key: &str| {
        let line = information.lines().find(|line| line.starts_with(key))?;
        line.split_once(':').map(|(_, value)| value.trim())
    };
    let (family, model) = (of("cpu family").unwrap_or("?"), of("model\t").unwrap_or("?"));
    let cpu = format!("{}, family {family}, model {model}", of("model name").unwrap_or("unknown"));
    Ok([("cpu", cpu), ("compiler", Shell::new("rustc").args(["--version"]).text()?)])
}

/// The processors that this program may use, by number.
pub fn processors() -> Result<Vec<usize>> {
    let status = fs::read_to_string("/proc/self/status").context("the measurements need Linux")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).context("no processors?")?;
    let mut processors = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        processors.extend(first.parse::<usize>()?..=last.parse()?);
    }
    ensure!(!processors.is_empty(), "no processors?");
    Ok(processors)
}
