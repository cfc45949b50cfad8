//! The same checks and the same picture on processors that are neither this machine's nor a board's: AArch64 in the
//! emulator, with dot products and without, and WebAssembly in Node.

use anyhow::{Context, Result};

use crate::{
    bare_metal::{AARCH64, BareMetal, WASM32},
    firmware::{self, LABEL, SEED},
    setup,
    shell::Shell,
};

/// Processors of the emulator, and which kernels they have the instructions for.
const PROCESSORS: [(&str, &[&str]); 2] =
    [("cortex-a53", &["tests::neon"]), ("max", &["tests::neon", "tests::neon_dot"])];

/// Holds the Neon kernels to the portable definition, and gives the CRC-32 of the picture of either processor.
pub fn aarch64(bare_metal: &BareMetal) -> Result<Vec<String>> {
    setup::aarch64()?;
    let cargo = |subcommand: &str, package: &str| {
        bare_metal.cargo(subcommand, AARCH64, &[]).args(["--release", "--package", package])
    };
    let host = || cargo("run", "grano-host").args(["--", "sample", "--crc"]);
    let seed = SEED.to_string();
    let request = ["--precision", "int8", "--label", LABEL, "--seed", &seed, "--count", "1"];
    let mut pictures = Vec::new();
    for (processor, tests) in PROCESSORS {
        let emulator = setup::aarch64_emulator(processor);
        cargo("test", "grano-kernel-checks")
            .args(["--lib", "--", "--exact"])
            .args(tests.iter().copied())
            .env(RUNNER, &emulator)
            .run()?;
        let run = host().args(request).env(RUNNER, &emulator);
        println!("$ {run}");
        let text = run.text()?;
        println!("{text}");
        pictures
            .push(text.split_whitespace().last().map(str::to_owned).context("`grano sample --crc` printed nothing")?);
    }
    Ok(pictures)
}

/// The variable that tells cargo how to run an AArch64 program.
const RUNNER: &str = "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER";

/// Holds the simd128 kernels to the portable definition, draws, and gives the picture's CRC-32.
pub fn wasm(bare_metal: &BareMetal) -> Result<String> {
    setup::node()?;
    let folder = firmware::workspace();
    let flags = ["-C".to_owned(), "target-feature=+simd128".to_owned()];
    let build = bare_metal.cargo("build", WASM32, &flags).folder(&folder);
    build.args(["--release", "--package", "wasm-node"]).run()?;
    let module = firmware::target_folder().join(WASM32).join("release/wasm_node.wasm");
    let paths = [folder.join("wasm-node/run.mjs"), module].map(|path| path.display().to_string());
    let run = Shell::new("node").args(paths);
    println!("$ {run}");
    let log = run.text()?;
    println!("{log}");
    let picture = log.lines().find_map(|line| line.strip_prefix("crc32 = ")).context("no picture was drawn")?;
    Ok(picture.trim_matches('"').to_owned())
}
