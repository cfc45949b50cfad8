//! `grano new`: a firmware project for a board, with a model inside.
//!
//! A board is a folder of `boards/real`: `board.toml` with its facts, `board.rs` with what the program needs of it,
//! `Cargo.lock` with versions that are known to build, and `memory.x` where its crates bring none. `boards/real/program` is
//! what all boards' projects share.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use grano_codegen::emit::label_names;
use grano_codegen::{Build, Precision, Resources, Target, one_line};
use serde::Deserialize;

use crate::args::NewArgs;
use crate::models::{self, choose};

/// A folder of `boards/real`.
struct Board {
    /// By which users choose it: the folder.
    name: &'static str,
    facts: &'static str,
    module: &'static str,
    memory: Option<&'static str>,
    /// Versions that are known to build.
    lock: &'static str,
}

macro_rules! board {
    ($name:literal $(, $memory:literal)?) => {
        Board {
            name: $name,
            facts: include_str!(concat!("../../real/", $name, "/board.toml")),
            module: include_str!(concat!("../../real/", $name, "/board.rs")),
            lock: include_str!(concat!("../../real/", $name, "/Cargo.lock")),
            memory: board!(@memory $name $(, $memory)?),
        }
    };
    (@memory $name:literal) => { None };
    (@memory $name:literal, $memory:literal) => {
        Some(include_str!(concat!("../../real/", $name, "/", $memory)))
    };
}

/// All of them.
const BOARDS: &[Board] = &[
    board!("b-l475e-iot01a"),
    board!("esp32c3"),
    board!("esp32c6"),
    board!("microbit-v2"),
    board!("nrf52840-dk"),
    board!("nucleo-f446re"),
    board!("nucleo-h743zi"),
    board!("pico", "memory.x"),
    board!("pico2", "memory.x"),
    board!("pico2-riscv", "memory.x"),
    board!("qemu-m4f", "memory.x"),
    board!("teensy-4.1"),
];

/// The programs, the default first.
const PROGRAMS: [(&str, &str); 2] =
    [("draw", include_str!("../../real/program/draw.rs")), ("serve", include_str!("../../real/program/serve.rs"))];
const BUILD: &str = include_str!("../../real/program/build.rs");

/// Flash that is left for code.
const CODE_BYTES: usize = 128 << 10;
/// RAM that is left for the stack and what the board's crates keep.
const STACK_BYTES: usize = 16 << 10;

/// `board.toml`, but for its dependencies, which go into the project as they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Facts {
    /// What people call it.
    name: String,
    /// Its core and clock.
    processor: String,
    /// The compiler's target.
    target: String,
    #[serde(default)]
    rustflags: Vec<String>,
    link_args: Vec<String>,
    /// The code generator's target.
    chip: String,
    hertz: u64,
    flash_bytes: usize,
    ram_bytes: usize,
    /// Where text comes out.
    console: String,
    /// What `cargo run` calls: words in one string, or a string each.
    runner: toml::Value,
    /// How to get the runner.
    install: String,
}

/// Writes the project, and says what the model takes of the board.
///
/// # Errors
/// When the folder exists, the board or the model is unknown, or the model does not fit: before anything is written.
pub fn run(args: &NewArgs) -> Result<String> {
    let NewArgs { folder, .. } = args;
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        name.chars().all(plain) && name.starts_with(|c: char| c.is_ascii_alphabetic()),
        "{}: the folder's name becomes the program's; give letters, digits, - and _, a letter first",
        folder.display()
    );
    ensure!(!folder.exists(), "{} exists; give a folder that does not, or delete it first", folder.display());
    let board = choose("--board", &args.board, BOARDS, |board| board.name)?;
    let (facts, dependencies) = board.facts()?;
    let project = Project::new(args, &facts)?;
    project.check()?;

    let files = [
        ("Cargo.toml", manifest(name, &facts, dependencies)?),
        ("Cargo.lock", board.lock.into()),
        (".cargo/config.toml", facts.config()),
        (".gitignore", "/target\n".into()),
        ("build.rs", project.build_script()),
        ("src/main.rs", project.main()),
        ("src/board.rs", board.module.into()),
    ];
    let files = files.into_iter().chain(board.memory.map(|memory| ("memory.x", memory.into())));
    // Complete, or not there.
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot = || format!("cannot write {}", folder.display());
    let partial = tempfile::Builder::new().prefix(name).tempdir_in(parent).with_context(cannot)?;
    for (file, text) in files {
        let path = partial.path().join(file);
        fs::create_dir_all(path.parent().unwrap_or(partial.path())).with_context(cannot)?;
        fs::write(path, text).with_context(cannot)?;
    }
    fs::write(partial.path().join("model.safetensors"), &project.bytes).with_context(cannot)?;
    let partial = partial.keep();
    if let Err(error) = set_permissions(&partial).and_then(|()| fs::rename(&partial, folder)) {
        // Nothing is left behind; that it could not be deleted either is not the first thing to say.
        let _ = fs::remove_dir_all(&partial);
        return Err(error).with_context(cannot);
    }
    Ok(project.summary(folder))
}

/// A temporary folder is its owner's alone; a project is as readable as other folders.
fn set_permissions(folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(())
}

impl Board {
    /// The facts, and the dependencies as they are written.
    fn facts(&self) -> Result<(Facts, &'static str)> {
        let (facts, dependencies) = self.facts.split_once("[dependencies]\n").context("board.toml has dependencies")?;
        Ok((toml::from_str(facts).with_context(|| format!("boards/real/{}/board.toml", self.name))?, dependencies))
    }
}

impl Facts {
    /// `.cargo/config.toml`.
    fn config(&self) -> String {
        let links = self.link_args.iter().flat_map(|argument| ["-C".into(), format!("link-arg={argument}")]);
        let flags = self.rustflags.iter().cloned().chain(links).collect::<Vec<String>>();
        // By a condition: cargo finds no table of a target whose name holds a dot, such as thumbv8m.main-none-eabihf.
        format!(
            "[build]\ntarget = {}\n\n[target.'cfg(target_os = \"none\")']\nrunner = {}\nrustflags = {}\n",
            toml::Value::from(&*self.target),
            self.runner,
            toml::Value::from(flags),
        )
    }
}

/// `Cargo.toml`.
fn manifest(name: &str, facts: &Facts, dependencies: &str) -> Result<String> {
    // Where the repository that this program was built from still is, its crates; else the published ones.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let source = |folder: &str| -> Result<String> {
        let path = root.join(folder);
        if !path.join("Cargo.toml").is_file() {
            return Ok(format!("version = {}", toml::Value::from(env!("CARGO_PKG_VERSION"))));
        }
        let path: PathBuf = path.canonicalize()?;
        Ok(format!("path = {}", toml::Value::from(path.to_string_lossy().as_ref())))
    };
    let (engine, codegen) = (source("engine")?, source("codegen")?);
    // Cores that cannot swap a word in one instruction do it with interrupts off.
    let cores = ["thumbv6m-", "riscv32i-", "riscv32im-", "riscv32imc-"];
    // esp-hal chooses another way for portable-atomic, and there can be but one.
    let swaps = dependencies.contains("esp-hal") || !cores.iter().any(|core| facts.target.starts_with(core));
    let atomic = if swaps { "" } else { "portable-atomic = { version = \"1\", features = [\"critical-section\"] }\n" };
    Ok(format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"

[dependencies]
grano = {{ {engine}, features = ["static-cell"] }}
{dependencies}{atomic}
[build-dependencies]
grano-codegen = {{ {codegen}, default-features = false }}

[profile.release]
codegen-units = 1
debug = 2
lto = "fat"
panic = "abort"

# In the build script, planning and quantising a model deserve an optimiser.
[profile.release.package.grano]
opt-level = 3
[profile.release.package.grano-codegen]
opt-level = 3

# A project of its own, wherever it stands.
[workspace]
"#
    ))
}

/// A model on a board.
struct Project<'a> {
    facts: &'a Facts,
    /// The model file.
    bytes: Vec<u8>,
    model: String,
    /// `main.rs`.
    program: &'static str,
    precision: Precision,
    sampler: Option<&'a str>,
    target: Target,
    build: Build,
    resources: Resources,
    /// A picture's evaluations of the network.
    evaluations: usize,
    sampler_name: String,
    /// The class's name in code.
    label: Option<String>,
}

impl<'a> Project<'a> {
    fn new(args: &'a NewArgs, facts: &'a Facts) -> Result<Self> {
        let model = models::open("--model", &args.model)?;
        let precision = *choose("--precision", &args.precision, &Precision::of(&model), |precision| precision.name())?;
        let target: Target = facts.chip.parse()?;
        let (flash, ram) = (facts.flash_bytes.saturating_sub(CODE_BYTES), facts.ram_bytes.saturating_sub(STACK_BYTES));
        let build = Build::of(Arc::clone(&model)).precision(precision).target(target);
        let build = build.samplers(args.sampler.iter()).flash_budget(flash).ram_budget(ram);
        let header = &model.header;
        let labels = &header.data.labels;
        let class = args.label.as_ref().map_or(Ok(0), |name| models::class("--label", name, labels))?;
        let name = args.sampler.as_ref().unwrap_or(&header.defaults.sampler);
        let guided = header.defaults.guidance != 1.0 && !labels.is_empty();
        Ok(Self {
            facts,
            bytes: models::bytes(&args.model)?,
            model: args.model.clone(),
            program: choose("--program", &args.program, &PROGRAMS, |(name, _)| name)?.1,
            precision,
            sampler: args.sampler.as_deref(),
            target,
            resources: build.measure()?,
            build,
            evaluations: header.sampler(name)?.evaluations() * if guided { 2 } else { 1 },
            sampler_name: name.clone(),
            label: label_names(labels).get(class).map(ToString::to_string),
        })
    }

    /// That the model fits the board.
    fn check(&self) -> Result<()> {
        let Facts { name, flash_bytes, ram_bytes, .. } = self.facts;
        let fits = self.build.generate("model").map(drop);
        fits.with_context(|| {
            format!(
                "--model {}: it does not fit the {name}, which has {flash_bytes} bytes of flash, {CODE_BYTES} of them for code, and {ram_bytes} bytes of RAM, {STACK_BYTES} of them for the stack",
                self.model
            )
        })
    }

    fn build_script(&self) -> String {
        let Facts { flash_bytes, ram_bytes, .. } = self.facts;
        let sampler = self.sampler.map_or(String::new(), |name| format!(".samplers([{name:?}])"));
        let numbers = [flash_bytes - CODE_BYTES, ram_bytes - STACK_BYTES].map(|bytes| bytes.to_string());
        fill(
            BUILD,
            &[
                ("{target}", &format!("{:?}", self.target)),
                ("{precision}", &format!("{:?}", self.precision)),
                ("{sampler}", &sampler),
                ("{flash}", &numbers[0]),
                ("{ram}", &numbers[1]),
            ],
        )
    }

    fn main(&self) -> String {
        let label = self.label.as_ref().map_or("None".into(), |label| format!("model::Label::{label}"));
        let model = Path::new(&self.model).file_name().unwrap_or_default().to_string_lossy();
        fill(self.program, &[("{model}", &one_line(&model)), ("{board}", &self.facts.name), ("{label}", &label)])
    }

    /// What the model takes of the board, and how to go on.
    fn summary(&self, folder: &Path) -> String {
        let Facts { name, processor, console, install, flash_bytes, ram_bytes, hertz, .. } = self.facts;
        let Resources { flash_bytes: flash, ram_bytes: ram, networks, .. } = &self.resources;
        let instructions = networks.first().and_then(|network| network.instructions);
        let time = instructions.map_or(String::from("unknown in floating point"), |instructions| {
            let all = instructions * self.evaluations as u64;
            let seconds = all as f64 / *hertz as f64;
            format!(
                "about {:.0} million instructions, {seconds:.1} s at {} MHz were each a cycle ({} evaluations, {})",
                all as f64 / 1e6,
                hertz / 1_000_000,
                self.evaluations,
                self.sampler_name
            )
        });
        format!(
            "{} on the {name} ({processor}):
  constants  {flash} of {flash_bytes} bytes of flash, beside the code
  memory     {ram} of {ram_bytes} bytes of RAM, beside the stack
  a picture  {time}
Wrote {}. Go on:
  rustup target add {}
  cd {} && cargo run --release     # builds, writes to the board, runs
`cargo run` needs {install}. Console: {console}.
",
            self.model,
            folder.display(),
            self.facts.target,
            folder.display(),
        )
    }
}

/// The text with its places filled.
fn fill(text: &str, places: &[(&str, &str)]) -> String {
    places.iter().fold(text.to_string(), |text, (place, with)| text.replace(place, with))
}
