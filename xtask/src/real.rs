//! `cargo xtask boards`: for every folder of `boards/real`, the firmware that `grano new` writes for it, built as a user
//! would build it; where the emulator plays the board, the picture that it draws there.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::{
    bare_metal::BareMetal,
    firmware::{self, LABEL},
    python,
    shell::{Shell, cargo, root},
};

/// What this needs of a `board.toml`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Facts {
    target: String,
    flash_bytes: u64,
    ram_bytes: u64,
    runner: toml::Value,
}

/// How the runner of an emulated board begins.
const QEMU: &str = "qemu-system-";
/// A picture takes seconds.
const QEMU_LIMIT: Duration = Duration::from_secs(300);
/// How the line with the picture's checksum begins.
const CRC32: &str = "crc32 = ";

/// The folder of the boards.
fn boards() -> PathBuf {
    root().join("boards/real")
}

/// The folder that everything is built in.
fn folder() -> PathBuf {
    root().join("target/boards")
}

/// Checks every board, or one. With `update`, the versions of dependencies are the newest, and become the board's.
/// `picture` is the CRC-32 of the picture that the host draws.
pub fn run(bare_metal: &BareMetal, only: Option<&str>, update: bool, picture: &str) -> Result<()> {
    let names: Vec<_> = names()?.into_iter().filter(|name| only.is_none_or(|only| only == name)).collect();
    ensure!(!names.is_empty(), "no board `{}`: the boards are the folders of boards/real", only.unwrap_or_default());
    let emulator = Emulator::set_up()?;
    let columns = ["flash", "of", "statics", "of"].map(|column| format!("{column:>9}")).join(" ");
    let mut lines = vec![format!("{:16} {columns} {:>5}  picture", "board", "s")];
    for name in names {
        lines.push(check(bare_metal, &emulator, &name, update, picture).with_context(|| format!("board `{name}`"))?);
    }
    println!("\n{}", lines.join("\n"));
    Ok(())
}

/// The boards' names, which are their folders'.
fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(boards())? {
        let entry = entry?;
        if entry.path().join("board.toml").is_file() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
}

/// Writes a board's project, builds it, holds it to the board's memory and to the host's picture, and gives its line of
/// the table.
fn check(bare_metal: &BareMetal, emulator: &Emulator, name: &str, update: bool, picture: &str) -> Result<String> {
    let start = Instant::now();
    let facts: Facts = toml::from_str(&fs::read_to_string(boards().join(name).join("board.toml"))?)?;
    let elf = build(bare_metal, name, update, &facts.target)?;
    let size = firmware::size(&elf)?;
    let Facts { flash_bytes, ram_bytes, .. } = facts;
    ensure!(size.flash <= flash_bytes, "{} bytes of flash, the board has {flash_bytes}", size.flash);
    ensure!(size.ram <= ram_bytes, "{} bytes of static RAM, the board has {ram_bytes}", size.ram);
    let crc32 = match facts.runner.as_str() {
        Some(runner) if runner.starts_with(QEMU) => Some(in_qemu(runner, &elf)?),
        _ => emulator.crc32(name, &elf)?,
    };
    if let Some(crc32) = &crc32 {
        ensure!(crc32 == picture, "the picture's CRC-32 is {crc32}, the host's {picture}");
    }
    let [crc32, seconds] = [crc32.unwrap_or("built only".into()), start.elapsed().as_secs().to_string()];
    Ok(format!("{name:16} {:>9} {flash_bytes:>9} {:>9} {ram_bytes:>9} {seconds:>5}  {crc32}", size.flash, size.ram))
}

/// The program that `grano new` writes for a board.
fn build(bare_metal: &BareMetal, name: &str, update: bool, target: &str) -> Result<PathBuf> {
    // The program's name has no dots.
    let program = name.replace('.', "-");
    let project = folder().join(&program);
    if project.exists() {
        fs::remove_dir_all(&project)?;
    }
    let grano = cargo().args(["run", "--quiet", "--release", "--package", "grano-host", "--", "new"]);
    let model = root().join("models/fashion.safetensors");
    let paths = [&project, &model].map(|path| path.display().to_string());
    grano.args([&paths[0], "--board", name, "--model", &paths[1], "--label", LABEL]).run()?;
    let shared = folder().join("target");
    if update {
        cargo().args(["update"]).folder(project.clone()).run()?;
    }
    let build = bare_metal.cargo("build", target, &[]).folder(project.clone()).args(["--release"]);
    build.env("CARGO_TARGET_DIR", shared.display().to_string()).run()?;
    if update {
        fs::copy(project.join("Cargo.lock"), boards().join(name).join("Cargo.lock"))?;
    }
    Ok(shared.join(target).join("release").join(program))
}

/// The checksum that the program prints in QEMU, which is stopped then: the program goes on drawing.
fn in_qemu(runner: &str, elf: &Path) -> Result<String> {
    let mut words = runner.split(' ');
    let qemu = Shell::new(words.next().unwrap_or_default()).args(words).args([elf.display().to_string()]);
    qemu.until(QEMU_LIMIT, |line| line.strip_prefix(CRC32).map(str::to_owned))
}

/// `boards/real/emulate`, with a Python that has what it needs.
struct Emulator {
    python: String,
    boards: Vec<String>,
}

impl Emulator {
    fn set_up() -> Result<Self> {
        let requirements = boards().join("emulate/requirements.txt");
        let python = python::environment(&folder().join("python"), &requirements, "Unicorn, which plays boards,")?;
        let python = python.display().to_string();
        let list = Shell::new(&*python).args(["boards/real/emulate", "--list"]).text()?;
        Ok(Self { python, boards: list.lines().map(str::to_owned).collect() })
    }

    /// The checksum that a board's program prints; none where the emulator does not play the board.
    fn crc32(&self, board: &str, elf: &Path) -> Result<Option<String>> {
        if !self.boards.iter().any(|name| name == board) {
            return Ok(None);
        }
        let elf = elf.display().to_string();
        let text = Shell::new(&*self.python).args(["boards/real/emulate", board, &elf, "--until", CRC32]).text()?;
        println!("{text}");
        let crc32 = text.lines().find_map(|line| line.strip_prefix(CRC32)).context("no checksum was printed")?;
        Ok(Some(crc32.to_owned()))
    }
}
