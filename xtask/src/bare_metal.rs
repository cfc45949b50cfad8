//! The compiler for the chips: the one in use, with the chips' targets added by rustup; where rustup cannot fetch
//! these, Debian's compiler, which comes with the sources of `core` and builds that too.

use std::path::Path;

use anyhow::Result;

use crate::{
    apt::apt,
    shell::{Shell, cargo},
};

/// A computer with std, in the emulator.
pub const AARCH64: &str = "aarch64-unknown-linux-gnu";

/// Links AArch64 programs.
pub const AARCH64_LINKER: &str = "aarch64-linux-gnu-gcc";

/// WebAssembly.
pub const WASM32: &str = "wasm32-unknown-unknown";

/// Every target that a board or a check of ours is built for.
pub const TARGETS: [&str; 7] = [
    "thumbv6m-none-eabi",
    "thumbv7em-none-eabihf",
    "thumbv8m.main-none-eabihf",
    "riscv32imc-unknown-none-elf",
    "riscv32imac-unknown-none-elf",
    AARCH64,
    WASM32,
];

/// How to call cargo for a chip.
#[derive(Clone, Debug)]
pub struct BareMetal {
    debian: bool,
    /// What `rustc --version` says.
    pub compiler: String,
}

impl BareMetal {
    /// `cargo SUBCOMMAND --target TARGET …`; the flags go to the compiler for that target alone, not to build scripts'.
    pub fn cargo(&self, subcommand: &str, target: &str, rustflags: &[String]) -> Shell {
        let shell = if self.debian { debian_cargo(subcommand, target) } else { cargo().args([subcommand]) };
        // The host's linker, which it would be, knows no other processor.
        let shell = if target == AARCH64 {
            shell.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", AARCH64_LINKER)
        } else {
            shell
        };
        let shell = shell.args(["--target", target]);
        match rustflags {
            [] => shell,
            flags => shell.env("RUSTFLAGS", flags.join(" ")),
        }
    }
}

/// Debian's cargo with what it needs to build `core`, or all of std, for a target.
fn debian_cargo(subcommand: &str, target: &str) -> Shell {
    // `/usr/bin/cargo clippy` would take rustup's clippy, which cannot read what Debian's compiler builds.
    let program = if subcommand == "clippy" { "/usr/bin/cargo-clippy" } else { "/usr/bin/cargo" };
    // `-Zbuild-std` is not stable yet, hence RUSTC_BOOTSTRAP; our own code uses nothing unstable. rustup's
    // toolchains bring a linker, Debian's does not.
    let (library, linker) = match target {
        AARCH64 => ("-Zbuild-std", AARCH64_LINKER),
        WASM32 => ("-Zbuild-std=core", "wasm-ld"),
        _ => ("-Zbuild-std=core", "ld.lld"),
    };
    let linker = format!("target.{target}.linker=\"{linker}\"");
    Shell::new(program)
        .args([subcommand, library, "--config", "build.rustc=\"/usr/bin/rustc\"", "--config", &linker])
        .env("CARGO", "/usr/bin/cargo")
        .env("RUSTC_BOOTSTRAP", "1")
}

/// Finds a compiler for every target, and installs what is missing.
pub fn set_up() -> Result<BareMetal> {
    let missing = || TARGETS.into_iter().filter(|target| !has_library(target)).collect::<Vec<_>>();
    if !missing().is_empty() && Shell::new("rustup").args(["--version"]).works() {
        println!("setup: adds to the Rust in use, with rustup: {}", missing().join(" "));
        if let Err(error) = Shell::new("rustup").args(["target", "add"]).args(missing()).run() {
            println!("{error:#}\nsetup: rustup could not; takes Debian's Rust");
        }
    }
    match missing().as_slice() {
        [] => rustup(),
        _ => debian(),
    }
}

fn rustup() -> Result<BareMetal> {
    Ok(BareMetal { debian: false, compiler: Shell::new("rustc").args(["--version"]).text()? })
}

/// Whether the compiler in use has `core` for this target.
fn has_library(target: &str) -> bool {
    let folder = Shell::new("rustc").args(["--print", "target-libdir", "--target", target]).text();
    folder.is_ok_and(|folder| Path::new(&folder).is_dir())
}

fn debian() -> Result<BareMetal> {
    let rustc = || Shell::new("/usr/bin/rustc");
    let has_sources = |sysroot: String| Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").is_dir();
    let ready = ["/usr/bin/cargo", "/usr/bin/cargo-clippy"].iter().all(|program| Path::new(program).exists())
        && rustc().args(["--print", "sysroot"]).text().is_ok_and(has_sources)
        && Shell::new("ld.lld").args(["--version"]).works();
    if !ready {
        apt(
            "Debian's Rust with the sources of its libraries, to build for the chips",
            &["rustc-web", "cargo-web", "rust-web-clippy", "rust-web-src", "lld"],
        )?;
    }
    Ok(BareMetal { debian: true, compiler: rustc().args(["--version"]).text()? })
}
