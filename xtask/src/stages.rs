//! `cargo xtask test`: everything CI does, in order, up to the first failure.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use toml::Table;

use crate::{
    bare_metal::{self, BareMetal},
    elsewhere,
    firmware::{self, Binary, KERNELS, LABEL, Program, SEED},
    host, mcu, real, setup,
    shell::cargo,
};

/// Runs every stage. Those that need the least come first.
pub fn run() -> Result<()> {
    stage("format", || {
        cargo().args(["fmt", "--all", "--check"]).run()?;
        cargo().args(["fmt", "--all", "--check"]).folder(firmware::workspace()).run()?;
        cargo().args(["fmt", "--all", "--check"]).folder(host::folder()).run()
    })?;
    stage("lock files", || {
        cargo().args(["fetch", "--locked"]).run()?;
        cargo().args(["fetch", "--locked"]).folder(firmware::workspace()).run()
    })?;
    // What users of the crates would get: all files that they are built from, and versions of all dependencies.
    stage("crates as packages", || {
        cargo().args(["package", "--no-verify", "--allow-dirty", "-p", "grano", "-p", "grano-codegen"]).run()
    })?;
    stage("lints", || cargo().args(["clippy", "--release", "--all-targets", "--", "-D", "warnings"]).run())?;
    // Optimised: the tests run whole networks, and the program of the first minute is built on the way.
    stage("tests", || cargo().args(["test", "--release"]).run())?;
    let bare_metal = stage("set up bare-metal Rust and QEMU", || {
        setup::qemu()?;
        bare_metal::set_up()
    })?;
    stage("engine alone, without std", || {
        let engine = bare_metal.cargo("build", "thumbv6m-none-eabi", &[]);
        engine.args(["--release", "--package", "grano"]).run()
    })?;
    // Each compiles other instructions, which the host's lints do not see.
    stage("lints of the engine for every target", || {
        let lint = |target| bare_metal.cargo("clippy", target, &[]).args(["--release", "--package", "grano"]);
        bare_metal::TARGETS.into_iter().try_for_each(|target| lint(target).args(["--", "-D", "warnings"]).run())
    })?;
    stage("code generator and runtime for WebAssembly", || {
        let codegen = bare_metal.cargo("check", "wasm32-unknown-unknown", &[]);
        codegen.args(["--release", "--package", "grano-codegen", "--features", "runtime"]).run()
    })?;
    let programs = firmware::programs()?;
    stage("lints of the firmware", || {
        firmware::cargo_all(&bare_metal, "clippy", &programs, &["--", "-D", "warnings"])
    })?;
    stage("build of the firmware", || firmware::cargo_all(&bare_metal, "build", &programs, &[]))?;
    let host = stage("evaluations on the host", host_evaluations)?;
    for program in programs.iter().filter(|program| program.has_kernel_checks()) {
        stage(&format!("kernels on {}", program.package), || {
            let elf = program.build_example(&bare_metal, KERNELS)?;
            program.print(&elf, &[]).map(drop)
        })?;
    }
    for program in &programs {
        stage(&format!("firmware {}", program.name), || check_firmware(program, &bare_metal, &host))?;
    }
    let picture = host_crc32("int8")?;
    stage("boards", || real::run(&bare_metal, None, false, &picture))?;
    stage("AArch64 in the emulator", || {
        elsewhere::aarch64(&bare_metal)?.iter().try_for_each(|crc32| same("AArch64", crc32, &picture))
    })?;
    stage("WebAssembly in Node", || same("WebAssembly", &elsewhere::wasm(&bare_metal)?, &picture))?;
    stage("a panic or a heap in the firmware is found", || {
        firmware::check_the_checks(&firmware::program("qemu-m4f")?, &bare_metal)
    })?;
    let libtorch = stage("set up libtorch", setup::libtorch)?;
    stage("trainer", || {
        let trainer = |subcommand| setup::trainer(&libtorch, subcommand);
        trainer("clippy").args(["--all-targets", "--", "-D", "warnings"]).run()?;
        trainer("test").run()
    })
}

/// Prints a heading, runs the stage, and says how it went.
fn stage<T>(name: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("\n=== {name}");
    let start = Instant::now();
    let result = run();
    let verdict = if result.is_ok() { "ok" } else { "FAILED" };
    println!("stage {verdict}: {name} ({:.0} s)", start.elapsed().as_secs_f64());
    result.with_context(|| format!("stage `{name}`"))
}

fn check_firmware(program: &Program, bare_metal: &BareMetal, host: &Table) -> Result<()> {
    firmware::check_symbols(program)?;
    if !program.in_emulator() {
        return Ok(());
    }
    let figures = mcu::measure(program, bare_metal)?;
    figures.check_budget(program)?;
    figures.check()?;
    let Binary { network, precision, draws, .. } = &program.binary;
    let key = format!("{network}-{precision}");
    let evaluation = host.get(&key).and_then(|report| report.get("evaluation_crc32")?.as_str());
    let evaluation = evaluation.with_context(|| format!("the host knows no {key}"))?;
    equal(program, "evaluation", figures.text("evaluation_crc32")?, evaluation)?;
    if *draws {
        equal(program, "picture", figures.text("crc32")?, &host_crc32(precision)?)?;
    }
    Ok(())
}

fn same(machine: &str, picture: &str, host: &str) -> Result<()> {
    ensure!(picture == host, "{machine}: the picture's CRC-32 is {picture}, the host's {host}");
    Ok(())
}

fn equal(program: &Program, what: &str, board: &str, host: &str) -> Result<()> {
    ensure!(board == host, "{}: the {what}'s CRC-32 is {board}, the host's {host}", program.name);
    Ok(())
}

/// What the host reports of one evaluation of each network, by `{network}-{precision}`.
fn host_evaluations() -> Result<Table> {
    let text = cargo().args(["run", "--quiet", "--release", "--package", "grano-tests", "--bin", "evaluate"]).text()?;
    println!("{text}");
    Ok(toml::from_str(&text)?)
}

/// The CRC-32 that the host's network gives for the same request, by the model's own sampler.
pub fn host_crc32(precision: &str) -> Result<String> {
    let host = cargo().args(["run", "--quiet", "--release", "--package", "grano-host", "--", "sample", "--crc"]);
    let request = ["--precision", precision, "--label", LABEL, "--seed", &SEED.to_string()];
    let text = host.args(request).args(["--count", "1"]).text()?;
    text.split_whitespace().last().map(str::to_owned).context("`grano sample --crc` printed nothing")
}
