//! Models in the program and in files, and what is chosen of them.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use grano_codegen::load::{load, parse};
use grano_codegen::model::{DENOISER, Model};
use grano_codegen::run::Machine;
use grano_codegen::{Build, Precision, Target};

use crate::args::ModelArgs;

/// A model in the program.
pub struct Shipped {
    /// By which users choose it.
    pub name: &'static str,
    /// Its file.
    bytes: &'static [u8],
}

/// All of them, the default first.
pub const SHIPPED: [Shipped; 2] = [
    Shipped { name: "fashion", bytes: include_bytes!("../../../models/fashion.safetensors") },
    Shipped { name: "fashion-fast", bytes: include_bytes!("../../../models/fashion-fast.safetensors") },
];

/// The model of a name, or of a file where there is none of that name. `flag` is for messages.
///
/// # Errors
/// When there is no such model or file, or the file is no sound model.
pub fn open(flag: &str, name: &str) -> Result<Arc<Model>> {
    let path = Path::new(name);
    if let Some(shipped) = SHIPPED.iter().find(|shipped| shipped.name == name) {
        return Ok(Arc::new(parse(shipped.bytes, path)?));
    }
    if !path.exists() {
        let names = SHIPPED.map(|shipped| shipped.name).join(", ");
        bail!("{flag} {name}: unknown, and no such file; give one of {names}, or a file FILE.safetensors");
    }
    match load(path) {
        Ok(model) => Ok(Arc::new(model)),
        // The error may begin with the path already.
        Err(error) => {
            let error = error.to_string();
            let reason = error.strip_prefix(name).and_then(|reason| reason.strip_prefix(": ")).unwrap_or(&error);
            bail!("{flag} {name}: {reason}")
        }
    }
}

/// The bytes of a model's file, of one in the program or of a file's.
///
/// # Errors
/// When the file cannot be read.
pub fn bytes(name: &str) -> Result<Vec<u8>> {
    match SHIPPED.iter().find(|shipped| shipped.name == name) {
        Some(shipped) => Ok(shipped.bytes.to_vec()),
        None => std::fs::read(name).with_context(|| format!("--model {name}")),
    }
}

/// A model and how to build it.
pub struct Chosen {
    /// The model.
    pub model: Arc<Model>,
    /// The numbers.
    pub precision: Precision,
    /// With precision and target.
    pub build: Build,
}

impl Chosen {
    /// What the flags choose.
    ///
    /// # Errors
    /// Names the flag that is wrong and what there is.
    pub fn new(args: &ModelArgs) -> Result<Self> {
        let model = open("--model", &args.model)?;
        let precision = *choose("--precision", &args.precision, &Precision::of(&model), |precision| precision.name())?;
        let target = args.target.as_deref().map_or(Ok(Target::here()), target)?;
        let build = Build::of(Arc::clone(&model)).precision(precision).target(target);
        Ok(Self { model, precision, build })
    }

    /// The place of a class by its name, among those of the denoiser.
    ///
    /// # Errors
    /// When there is no such class.
    pub fn label(&self, name: &str) -> Result<usize> {
        self.label_of(DENOISER, name)
    }

    /// The place of a class by its name, among those of a network.
    ///
    /// # Errors
    /// When there is no such class.
    pub fn label_of(&self, network: &str, name: &str) -> Result<usize> {
        let labels = self.model.header.labels_of(network);
        class("--label", name, labels)
    }
}

/// The place of a class by its name.
///
/// # Errors
/// Names the flag and all that there are.
pub fn class(flag: &str, name: &str, labels: &[String]) -> Result<usize> {
    if labels.is_empty() {
        bail!("{flag} {name}: the model has no labels; leave the flag out");
    }
    choose(flag, name, labels, |label| label)?;
    labels.iter().position(|label| label == name).context("a label that was found")
}

/// A chip, or a kind of desktop, whose networks run here.
fn target(name: &str) -> Result<Target> {
    let run: Vec<Target> = Target::ALL.into_iter().filter(|&target| Machine::of(target).is_ok()).collect();
    let known = name.parse::<Target>();
    if known.is_ok_and(|target| !run.contains(&target)) {
        let names: Vec<&str> = run.iter().map(|target| target.name()).collect();
        bail!("--target {name}: its networks do not run on this machine; give one of {}", names.join(", "));
    }
    choose("--target", name, &run, |target| target.name()).copied()
}

/// The one of that name.
///
/// # Errors
/// Names the flag and all that there are.
pub fn choose<'a, T>(flag: &str, name: &str, known: &'a [T], name_of: impl Fn(&T) -> &str) -> Result<&'a T> {
    if let Some(chosen) = known.iter().find(|item| name_of(item) == name) {
        return Ok(chosen);
    }
    let names: Vec<&str> = known.iter().map(name_of).collect();
    bail!("{flag} {name}: unknown; give one of {}", names.join(", "))
}
