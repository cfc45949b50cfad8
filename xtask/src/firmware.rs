//! The firmware workspace: which programs there are, how to build, inspect and run them.
//!
//! A board is a folder of `boards/firmware` whose manifest has a table `[package.metadata.board]`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, elf};
use serde::Deserialize;

use crate::{
    bare_metal::BareMetal,
    shell::{Shell, root},
};

/// The example of a board's package that holds its instruction set's kernels to the portable definition.
pub const KERNELS: &str = "kernels";

/// The class of the picture that programs draw when they are checked and measured.
pub const LABEL: &str = "sneaker";
/// The seed of its noise.
pub const SEED: u64 = 0;

/// A picture takes a minute or two in the emulator.
const QEMU_LIMIT: Duration = Duration::from_secs(900);

/// `[package.metadata.board]` of a board's manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Board {
    /// Rust's name of the target.
    pub target: String,
    /// What the compiler must know beyond the target.
    #[serde(default)]
    pub rustflags: Vec<String>,
    /// The emulator's command line with the machine, and with the pace of its clock, which the board's counter relies
    /// on; none for a board that exists.
    #[serde(default)]
    pub qemu: Vec<String>,
    /// What probe-rs calls the chip.
    pub probe_rs_chip: Option<String>,
    /// Whether the program is linked with `panic-never`, so that no panic can be left in it.
    pub panic_never: bool,
    /// The package's binaries, by name.
    programs: BTreeMap<String, Binary>,
}

/// One binary of a board's package.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Binary {
    /// The network, such as `fashion`.
    pub network: String,
    /// The network's numbers, as `grano sample --precision` takes them.
    pub precision: String,
    /// Whether its figures hold a whole picture too: that takes minutes, an evaluation seconds.
    #[serde(default)]
    pub draws: bool,
    /// The most flash that the program may take.
    pub flash_bytes: u64,
    /// The most RAM, statics and stack together.
    pub ram_bytes: u64,
}

/// One binary with the board that it is for.
#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    pub package: String,
    pub board: Board,
    pub binary: Binary,
}

/// What a linked program takes, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Code, constants and the initial values of statics.
    pub flash: u64,
    /// Statics.
    pub ram: u64,
}

pub fn workspace() -> PathBuf {
    root().join("boards/firmware")
}

/// Where cargo puts what it builds of the firmware.
pub fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Every program of every board, in alphabetical order.
pub fn programs() -> Result<Vec<Program>> {
    #[derive(Deserialize)]
    struct Manifest {
        package: Package,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        #[serde(default)]
        metadata: Metadata,
    }
    #[derive(Default, Deserialize)]
    struct Metadata {
        board: Option<Board>,
    }
    let mut programs = Vec::new();
    for folder in fs::read_dir(workspace())? {
        let path = folder?.path().join("Cargo.toml");
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let manifest: Manifest = toml::from_str(&text).with_context(|| path.display().to_string())?;
        let Some(board) = manifest.package.metadata.board else { continue };
        programs.extend(board.programs.iter().map(|(name, binary)| Program {
            name: name.clone(),
            package: manifest.package.name.clone(),
            board: board.clone(),
            binary: binary.clone(),
        }));
    }
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(programs)
}

/// The program of that name.
pub fn program(name: &str) -> Result<Program> {
    let mut programs = programs()?;
    let names: Vec<_> = programs.iter().map(|program| program.name.clone()).collect();
    match programs.iter().position(|program| program.name == name) {
        Some(index) => Ok(programs.swap_remove(index)),
        None => bail!("no firmware is called `{name}`; there are {}", names.join(", ")),
    }
}

impl Program {
    /// Whether its board has a program that checks the kernels; true of the board's first program alone.
    pub fn has_kernel_checks(&self) -> bool {
        let example = workspace().join(&self.package).join("examples").join(KERNELS).with_extension("rs");
        self.name == self.package && example.exists()
    }

    /// Whether it is for a board in the emulator.
    pub fn in_emulator(&self) -> bool {
        !self.board.qemu.is_empty()
    }

    /// Builds the program and gives the path of the ELF file.
    pub fn build(&self, bare_metal: &BareMetal) -> Result<PathBuf> {
        self.cargo(bare_metal, "build").args(["--bin", &self.name]).run()?;
        Ok(self.elf())
    }

    /// Builds an example of the program's package and gives the path of the ELF file.
    pub fn build_example(&self, bare_metal: &BareMetal, example: &str) -> Result<PathBuf> {
        self.cargo(bare_metal, "build").args(["--example", example]).run()?;
        Ok(self.folder().join("examples").join(example))
    }

    /// Where the program is when it has been built.
    pub fn elf(&self) -> PathBuf {
        self.folder().join(&self.name)
    }

    fn folder(&self) -> PathBuf {
        target_folder().join(&self.board.target).join("release")
    }

    /// `cargo SUBCOMMAND --release` for this program's package.
    pub fn cargo(&self, bare_metal: &BareMetal, subcommand: &str) -> Shell {
        cargo(bare_metal, subcommand, &self.board).args(["--package", &self.package])
    }

    /// As [`Self::cargo`], for another package of programs for the same board.
    pub fn cargo_of(&self, bare_metal: &BareMetal, subcommand: &str, package: &str) -> Shell {
        cargo(bare_metal, subcommand, &self.board).args(["--package", package])
    }

    /// Where the other package's program is when it has been built.
    pub fn elf_of(&self, package: &str) -> PathBuf {
        self.folder().join(package)
    }

    /// The emulator's command line for an ELF file with words for it: none, or the label and the seed of a picture.
    pub fn qemu(&self, elf: &Path, words: &[&str]) -> Result<Shell> {
        let [program, machine @ ..] = self.board.qemu.as_slice() else {
            bail!("`{}` is a real board: `cargo xtask flash {}`", self.name, self.name)
        };
        let mut semihosting = format!("enable=on,target=native,arg={}", self.name);
        // QEMU takes a comma for the next option, and two for one.
        words.iter().for_each(|word| semihosting.push_str(&format!(",arg={}", word.replace(',', ",,"))));
        let options = ["-nographic", "-semihosting-config", &semihosting, "-kernel"];
        Ok(Shell::new(program).args(machine).args(options).args([elf.display().to_string()]))
    }

    /// Runs the program, or an example of its package, in the emulator and gives what it printed.
    pub fn print(&self, elf: &Path, words: &[&str]) -> Result<String> {
        let qemu = self.qemu(elf, words)?;
        println!("$ {qemu}");
        let output = qemu.output(Some(QEMU_LIMIT))?;
        let log = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{log}");
        ensure!(output.status.success(), "{}: {}{}", self.name, output.status, String::from_utf8_lossy(&output.stderr));
        Ok(log)
    }
}

/// `cargo SUBCOMMAND --release` for a board's target.
fn cargo(bare_metal: &BareMetal, subcommand: &str, board: &Board) -> Shell {
    bare_metal.cargo(subcommand, &board.target, &board.rustflags).folder(workspace()).args(["--release"])
}

/// One call of cargo for all programs whose boards share target and flags: `cargo SUBCOMMAND --bin … ARGUMENTS`.
pub fn cargo_all(bare_metal: &BareMetal, subcommand: &str, programs: &[Program], arguments: &[&str]) -> Result<()> {
    let key = |program: &Program| (program.board.target.clone(), program.board.rustflags.clone());
    for target in programs.iter().map(key).collect::<BTreeSet<_>>() {
        let alike: Vec<_> = programs.iter().filter(|program| key(program) == target).collect();
        let Some(first) = alike.first() else { continue };
        let packages: BTreeSet<_> = alike.iter().map(|program| &*program.package).collect();
        let packages = packages.into_iter().flat_map(|package| ["--package", package]);
        let binaries = alike.iter().flat_map(|program| ["--bin", &*program.name]);
        let shell = cargo(bare_metal, subcommand, &first.board);
        shell.args(packages).args(binaries).args(arguments.iter().copied()).run()?;
    }
    Ok(())
}

/// Reads the sizes from a linked program's sections.
pub fn size(elf: &Path) -> Result<Size> {
    let mut size = Size { flash: 0, ram: 0 };
    let data = fs::read(elf).with_context(|| elf.display().to_string())?;
    for section in object::File::parse(&*data)?.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
        // riscv-rt describes the room for heap and stack as sections.
        let is_room = [".heap", ".stack"].contains(&section.name()?);
        if !sh_flags.contains(elf::SHF_ALLOC) || is_room {
            continue;
        }
        if !matches!(section.kind(), object::SectionKind::UninitializedData) {
            size.flash += section.size();
        }
        if sh_flags.contains(elf::SHF_WRITE) {
            size.ram += section.size();
        }
    }
    Ok(size)
}

/// Fails when a symbol tells of a panic or of a heap. `panic-never` stops a panic at link time already, and Rust a
/// heap; this looks once more, with other eyes.
pub fn check_symbols(program: &Program) -> Result<()> {
    let data = fs::read(program.elf())?;
    let object = object::File::parse(&*data)?;
    let names: Vec<String> = object
        .symbols()
        .filter_map(|symbol| symbol.name().ok().map(|name| format!("{:#}", rustc_demangle::demangle(name))))
        .collect();
    ensure!(names.iter().any(|name| name == "main"), "{}: the symbols are stripped, nothing to check", program.name);
    let heap = ["__rust_alloc", "__rust_realloc", "__rg_alloc", "malloc", "alloc::"];
    let panics = ["core::panicking::", "rust_begin_unwind", "panic_fmt", "unwrap_failed", "panic-never"];
    let wrong = names.iter().filter(|name| {
        heap.iter().any(|word| name.contains(word))
            || (program.board.panic_never && panics.iter().any(|word| name.contains(word)))
    });
    let wrong: Vec<_> = wrong.map(String::as_str).collect();
    ensure!(wrong.is_empty(), "{}: panic or heap in the linked program: {}", program.name, wrong.join(", "));
    Ok(())
}

/// Shows that the checks bite: a program with a panic must not link, nor one with a heap.
pub fn check_the_checks(program: &Program, bare_metal: &BareMetal) -> Result<()> {
    for (example, complaint) in [("panics", "panic-never"), ("allocates", "no global memory allocator found")] {
        let build = program.cargo(bare_metal, "build").args(["--example", example]);
        println!("$ {build}    # must fail");
        let output = build.output(None)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "the example `{example}` was built: the check for it is blind");
        ensure!(errors.contains(complaint), "the example `{example}` failed for another reason:\n{errors}");
    }
    Ok(())
}
