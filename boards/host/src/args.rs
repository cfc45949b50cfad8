//! The command line, and the job that it stands for.

use std::ffi::OsStr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Result, bail, ensure};
use clap::{Parser, Subcommand};
use grano::schedule::StepTable;

use crate::models::{MODELS, Model};
use crate::{output, sheet};

/// Draws pictures with a diffusion model, as a chip would; without words, a sheet of all classes
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Draw pictures
    #[command(after_help = known())]
    Sample(Args),
}

/// What `sample` is told.
#[derive(Parser, Clone)]
pub struct Args {
    /// The network
    #[arg(long, default_value = MODELS[0].name)]
    model: String,
    /// The class of every picture; else all classes in turn, each count/classes times
    #[arg(long)]
    label: Option<String>,
    /// How many pictures
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Picture i depends on the seed, its label and i alone
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The sampler; else the network's own, the first below
    #[arg(long)]
    sampler: Option<String>,
    /// The numbers to compute in, of those below
    #[arg(long, default_value = MODELS[0].precision)]
    precision: String,
    /// The weight of classifier-free guidance, 1 for none; else the network's own
    #[arg(long, allow_negative_numbers = true, value_parser = finite)]
    guidance: Option<f32>,
    /// Where to write the labels: int64 [N], .npy
    #[arg(long, value_name = "FILE", value_parser = npy)]
    labels_out: Option<PathBuf>,
    /// Where to write: a sheet as .png, or uint8 [N, H, W] or [N, H, W, C] as .npy; else samples.png
    #[arg(short, long, value_name = "FILE", value_parser = png_or_npy)]
    output: Option<PathBuf>,
    /// Print each picture's index, label and CRC-32 (IEEE) of its bytes, and nothing else; write only what -o names
    #[arg(long)]
    crc: bool,
    /// Pictures to draw at once; else one a core
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
}

impl Cli {
    /// Whether there were no words.
    pub fn is_empty(&self) -> bool {
        self.command.is_none()
    }

    /// What `sample` is told; without words, a row of the sheet a class.
    pub fn args(&self) -> Args {
        match &self.command {
            Some(Command::Sample(args)) => args.clone(),
            None => {
                let count = (sheet::COLUMNS * MODELS[0].labels.len().max(1)) as u32;
                Args { count, ..Args::parse_from(["grano"]) }
            }
        }
    }
}

/// A sound request: what to draw, how, and where to.
pub struct Job {
    /// The network.
    pub model: &'static Model,
    /// The sampler.
    pub table: &'static StepTable,
    /// The class of every picture; none for all in turn.
    pub label: Option<usize>,
    /// Pictures.
    pub count: usize,
    /// Of the noise.
    pub seed: u64,
    /// Weight of classifier-free guidance.
    pub guidance: f32,
    /// Where pictures go.
    pub output: Option<PathBuf>,
    /// Where labels go.
    pub labels_out: Option<PathBuf>,
    /// Whether checksums are wanted.
    pub crc: bool,
    /// At once.
    pub threads: usize,
}

impl Job {
    /// Checks all that can be checked before the work.
    ///
    /// # Errors
    /// Names the flag that is wrong and what there is.
    pub fn new(args: Args) -> Result<Self> {
        let named: Vec<_> = MODELS.iter().filter(|model| model.name == args.model).collect();
        choose("--model", &args.model, MODELS, |model| model.name)?;
        let model = choose("--precision", &args.precision, &named, |model| model.precision)?;
        let table = match &args.sampler {
            Some(name) => choose("--sampler", name, model.samplers, |table| table.name)?,
            None => &model.samplers[0],
        };
        let index = |name: &String| {
            let label = choose("--label", name, model.labels, |label| label)?;
            Ok::<_, anyhow::Error>(model.labels.iter().position(|known| known == label).unwrap_or(0))
        };
        let job = Self {
            model,
            table,
            label: args.label.as_ref().map(index).transpose()?,
            count: args.count as usize,
            seed: args.seed,
            guidance: args.guidance.unwrap_or(model.guidance),
            output: args.output.or_else(|| (!args.crc).then(|| "samples.png".into())),
            labels_out: args.labels_out,
            crc: args.crc,
            threads: args.threads.map_or_else(|| available_parallelism().map_or(1, NonZero::get), |n| n as usize),
        };
        ensure!(job.output.is_none() || job.output != job.labels_out, "-o and --labels-out name the same file");
        let sheet = job.output.as_ref().is_some_and(|path| path.extension() == Some(OsStr::new("png")));
        ensure!(!sheet || job.count <= sheet::MOST, "--count {}: a .png holds {}; write .npy", job.count, sheet::MOST);
        job.files().try_for_each(output::check)?;
        Ok(job)
    }

    /// The class of picture i: a row of the sheet a class, where the count is 8 · classes.
    pub fn label_of(&self, i: usize) -> usize {
        self.label.unwrap_or(i * self.model.labels.len() / self.count)
    }

    /// A class's name.
    pub fn label_name(&self, label: usize) -> &'static str {
        self.model.labels.get(label).copied().unwrap_or("unlabelled")
    }

    /// All that is written.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.output.iter().chain(&self.labels_out).map(PathBuf::as_path)
    }
}

/// The one of that name.
fn choose<'a, T>(flag: &str, name: &str, known: &'a [T], name_of: impl Fn(&T) -> &str) -> Result<&'a T> {
    if let Some(chosen) = known.iter().find(|item| name_of(item) == name) {
        return Ok(chosen);
    }
    let mut names: Vec<&str> = known.iter().map(name_of).collect();
    names.dedup();
    bail!("{flag} {name}: unknown; give one of {}", names.join(", "))
}

/// What can be chosen, for `--help`.
fn known() -> String {
    // A network's precisions stand one behind another.
    let lines = MODELS.chunk_by(|a, b| a.name == b.name).map(|models| {
        let samplers: Vec<_> = models[0].samplers.iter().map(|table| table.name).collect();
        let precisions: Vec<_> = models.iter().map(|model| model.precision).collect();
        format!(
            "{}\n  labels: {}\n  samplers: {}\n  precisions: {}\n",
            models[0].name,
            models[0].labels.join(", "),
            samplers.join(", "),
            precisions.join(", ")
        )
    });
    lines.collect()
}

fn finite(text: &str) -> Result<f32> {
    let guidance = text.parse()?;
    ensure!(f32::is_finite(guidance), "give a finite number");
    Ok(guidance)
}

fn npy(text: &str) -> Result<PathBuf> {
    ending(text, &["npy"])
}

fn png_or_npy(text: &str) -> Result<PathBuf> {
    ending(text, &["png", "npy"])
}

fn ending(text: &str, endings: &[&str]) -> Result<PathBuf> {
    let path = PathBuf::from(text);
    let known = endings.iter().any(|ending| path.extension() == Some(OsStr::new(ending)));
    ensure!(known, "the name has to end in .{}", endings.join(" or ."));
    Ok(path)
}
