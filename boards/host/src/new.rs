//! `grano new`: a firmware project for a board, with a model inside.
//!
//! A board is a folder of `boards/real`: `board.toml` with its facts, `board.rs` with what the program needs of it,
//! `Cargo.lock` with versions that are known to build, and `memory.x` where its crates bring none. `boards/real/program` is
//! what all boards' projects share.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use grano_codegen::emit::label_names;
use grano_codegen::model::DENOISER;
use grano_codegen::{Resources, Target, one_line};
use serde::Deserialize;

use crate::args::{ModelArgs, NewArgs};
use crate::models::{self, Chosen, choose};

/// A folder of `boards/real`.
struct Board {
    /// By which users choose it: the folder.
    name: &'static str,
    /// Names and texts.
    files: &'static [(&'static str, &'static str)],
}

/// A board with the files that it has beside `board.toml` and `Cargo.lock`.
macro_rules! board {
    ($name:literal $(, $file:literal)*) => {
        Board { name: $name, files: board!(@files $name, "board.toml", "Cargo.lock" $(, $file)*) }
    };
    (@files $name:literal $(, $file:literal)*) => {
        &[$(($file, include_str!(concat!("../../real/", $name, "/", $file)))),*]
    };
}

/// All of them.
const BOARDS: &[Board] = &[
    board!("b-l475e-iot01a", "board.rs"),
    board!("esp32c3", "board.rs"),
    board!("esp32c6"),
    board!("microbit-v2", "board.rs"),
    board!("nrf52840-dk", "board.rs"),
    board!("nucleo-f446re", "board.rs"),
    board!("nucleo-h743zi", "board.rs"),
    board!("pico", "board.rs", "memory.x"),
    board!("pico2", "board.rs", "memory.x"),
    board!("pico2-riscv", "memory.x"),
    board!("qemu-m4f", "board.rs", "memory.x"),
    board!("teensy-4.1", "board.rs"),
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
    /// The board whose `board.rs` this one takes, if it has none of its own.
    module: Option<String>,
    /// What stands in place of what in there.
    #[serde(default)]
    replace: Vec<[String; 2]>,
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

    let summary = project.summary()?;
    let files = [
        ("Cargo.toml", manifest(name, &facts, dependencies)?),
        ("Cargo.lock", board.file("Cargo.lock")?.into()),
        (".cargo/config.toml", facts.config()),
        (".gitignore", "/target\n".into()),
        ("build.rs", project.build_script()?),
        ("src/main.rs", project.main()),
        ("src/board.rs", board.module(&facts)?),
    ];
    let files = files.into_iter().chain(board.file("memory.x").ok().map(|memory| ("memory.x", memory.into())));
    // Complete, or not there.
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot = || format!("cannot write {}", folder.display());
    let partial = tempfile::Builder::new().prefix(name).tempdir_in(parent).with_context(cannot)?;
    for (file, text) in files {
        let path = partial.path().join(file);
        fs::create_dir_all(path.parent().unwrap_or(partial.path())).with_context(cannot)?;
        fs::write(path, text).with_context(cannot)?;
    }
    fs::write(partial.path().join("model.safetensors"), models::bytes(&args.model)?).with_context(cannot)?;
    let partial = partial.keep();
    if let Err(error) = set_permissions(&partial).and_then(|()| fs::rename(&partial, folder)) {
        // Nothing is left behind; that it could not be deleted either is not the first thing to say.
        let _ = fs::remove_dir_all(&partial);
        return Err(error).with_context(cannot);
    }
    Ok(summary)
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
        let path = || format!("boards/real/{}/board.toml", self.name);
        let (facts, dependencies) = self.file("board.toml")?.split_once("[dependencies]\n").with_context(path)?;
        Ok((toml::from_str(facts).with_context(path)?, dependencies))
    }

    /// The text of a file.
    fn file(&self, name: &str) -> Result<&'static str> {
        let found = self.files.iter().find(|(file, _)| *file == name);
        found.map(|(_, text)| *text).with_context(|| format!("boards/real/{} has no {name}", self.name))
    }

    /// `board.rs`, its own or another board's.
    fn module(&self, facts: &Facts) -> Result<String> {
        let board =
            facts.module.as_ref().map_or(Ok(self), |name| choose("module", name, BOARDS, |board| board.name))?;
        facts.replace.iter().try_fold(board.file("board.rs")?.to_owned(), |text, [from, to]| {
            ensure!(text.contains(from), "boards/real/{}/board.toml: `{from}` is not in its module", self.name);
            Ok(text.replace(from, to))
        })
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
    args: &'a NewArgs,
    facts: &'a Facts,
    chosen: Chosen,
    /// Most bytes of constants and of a sampler's memory.
    budgets: [usize; 2],
    resources: Resources,
    /// `main.rs`.
    program: &'static str,
    /// The class's name in code.
    label: Option<String>,
}

impl<'a> Project<'a> {
    /// Of a model that fits the board.
    fn new(args: &'a NewArgs, facts: &'a Facts) -> Result<Self> {
        let NewArgs { model, precision, sampler, .. } = args;
        let target = Some(facts.chip.clone());
        let chosen = Chosen::new(&ModelArgs { model: model.clone(), precision: precision.clone(), target })?;
        ensure!(chosen.model.denoiser().is_ok(), "--model {model}: it has no network `{DENOISER}`, which draws");
        let (_, program) = choose("--program", &args.program, &PROGRAMS, |(name, _)| name)?;
        let labels = &chosen.model.header.data.labels;
        let class = args.label.as_ref().map_or(Ok(0), |name| chosen.label(name))?;
        let label = label_names(labels).get(class).map(ToString::to_string);
        let Facts { name, flash_bytes, ram_bytes, .. } = facts;
        let budgets = [flash_bytes.saturating_sub(CODE_BYTES), ram_bytes.saturating_sub(STACK_BYTES)];
        let build = chosen.build.clone().samplers(sampler).flash_budget(budgets[0]).ram_budget(budgets[1]);
        let resources = build.measure()?;
        resources.check("model", budgets[0], budgets[1]).with_context(|| {
            format!(
                "--model {model}: it does not fit the {name}, which has {flash_bytes} bytes of flash, {CODE_BYTES} of them for code, and {ram_bytes} bytes of RAM, {STACK_BYTES} of them for the stack"
            )
        })?;
        Ok(Self { args, facts, chosen, budgets, resources, program, label })
    }

    fn build_script(&self) -> Result<String> {
        let target: Target = self.facts.chip.parse()?;
        let sampler = self.args.sampler.as_ref().map_or(String::new(), |name| format!(".samplers([{name:?}])"));
        let [flash, ram] = self.budgets.map(|bytes| bytes.to_string());
        Ok(fill(
            BUILD,
            &[
                ("{target}", &format!("{target:?}")),
                ("{precision}", &format!("{:?}", self.chosen.precision)),
                ("{sampler}", &sampler),
                ("{flash}", &flash),
                ("{ram}", &ram),
            ],
        ))
    }

    fn main(&self) -> String {
        let label = self.label.as_ref().map_or("None".into(), |label| format!("model::Label::{label}"));
        let model = Path::new(&self.args.model).file_name().unwrap_or_default().to_string_lossy();
        fill(self.program, &[("{model}", &one_line(&model)), ("{board}", &self.facts.name), ("{label}", &label)])
    }

    /// What the model takes of the board, and how to go on.
    fn summary(&self) -> Result<String> {
        let Facts { name, processor, target, console, install, flash_bytes, ram_bytes, hertz, .. } = self.facts;
        let Resources { flash_bytes: flash, ram_bytes: ram, networks, .. } = &self.resources;
        let header = &self.chosen.model.header;
        let sampler = self.args.sampler.as_ref().unwrap_or(&header.defaults.sampler);
        let guided = header.defaults.guidance != 1.0 && !header.data.labels.is_empty();
        let evaluations = header.sampler(sampler)?.evaluations() * if guided { 2 } else { 1 };
        let instructions = networks.first().and_then(|network| network.instructions);
        let time = instructions.map_or(String::from("unknown in floating point"), |instructions| {
            let all = (instructions * evaluations as u64) as f64;
            let (millions, seconds, megahertz) = (all / 1e6, all / *hertz as f64, hertz / 1_000_000);
            format!(
                "about {millions:.0} million instructions, {seconds:.1} s at {megahertz} MHz were each a cycle ({evaluations} evaluations, {sampler})"
            )
        });
        let (model, folder) = (&self.args.model, self.args.folder.display());
        Ok(format!(
            "{model} on the {name} ({processor}):
  constants  {flash} of {flash_bytes} bytes of flash, beside the code
  memory     {ram} of {ram_bytes} bytes of RAM, beside the stack
  a picture  {time}
Wrote {folder}. Go on:
  rustup target add {target}
  cd {folder} && cargo run --release     # builds, writes to the board, runs
`cargo run` needs {install}. Console: {console}.
"
        ))
    }
}

/// The text with its places filled.
fn fill(text: &str, places: &[(&str, &str)]) -> String {
    places.iter().fold(text.to_string(), |text, (place, with)| text.replace(place, with))
}
