//! The command line.

use std::ffi::OsStr;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};

/// Draws pictures with a diffusion model, as a chip would; without words, a sheet of all classes
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    /// What to do; without it, the sheet.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does.
#[derive(Subcommand)]
pub enum Command {
    /// Draw pictures
    #[command(after_help = MODELS)]
    Sample(SampleArgs),
    /// Change a picture: noise it, and draw on from there
    #[command(after_help = SAMPLERS)]
    Edit(EditArgs),
    /// Draw what a mask hides of a picture
    #[command(after_help = SAMPLERS)]
    Inpaint(InpaintArgs),
    /// Draw the colours of a grey picture
    #[command(after_help = SAMPLERS)]
    Colourise(GivenArgs),
    /// Draw a picture from a smaller one, whose pixels are the means of its boxes
    #[command(after_help = SAMPLERS)]
    Upscale(GivenArgs),
    /// Turn a picture into the noise that `decode` makes it of
    Encode(EncodeArgs),
    /// Draw the picture of a noise that `encode` wrote
    Decode(DecodeArgs),
    /// Draw pictures between two, along an arc of their noise
    Interpolate(InterpolateArgs),
    /// Say how likely pictures are: bits per dimension, and errors of denoising
    Score(ScoreArgs),
    /// Run one network once, on arrays: float32 in, float32 out
    #[command(after_help = ARRAYS)]
    Evaluate(EvaluateArgs),
    /// Write a firmware project for a board, with a model inside
    #[command(after_help = SAMPLERS)]
    New(NewArgs),
    /// Ask a board over a serial line for a picture
    View(ViewArgs),
    /// Tell what a model holds: labels, samplers, precisions, networks layer by layer
    Inspect {
        /// A model in the program, or a file
        model: String,
    },
}

/// What the models in the program offer. The tests hold it to them.
const MODELS: &str = "\
Models in the program (`grano inspect MODEL` tells all that one holds):
  fashion
    labels: t-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle-boot
    sampler: dpm-8-searched
    precisions: int8, mixed, f16, f32
  fashion-fast
    labels: the same
    samplers: fast-4, fast-2, fast-1
    precisions: int8, f16, f32

Samplers of any model, for STEPS from 1 to its T, which is mostly 1000:
  ddim-STEPS, ddim-STEPS-etaETA (0 ≤ ETA ≤ 1), dpm-STEPS, ancestral-STEPS, ancestral-STEPS-large, and, for
  consistency models, consistency-STEPS; such as ddim-37 or ancestral-1000
  langevin-STEPS-eachE-stepA: annealed Langevin dynamics, E steps a level of A times its variance, such as langevin-500
  pc-STEPS-snrR: predictor and corrector in turn, with signal-to-noise ratio R, such as pc-100-snr0.16
  any but dpm, then -travelLxN: stretches of L steps, each N times, such as ancestral-50-travel10x2";

/// As [`MODELS`], in short.
const SAMPLERS: &str = "`grano sample --help` lists models and samplers.";

/// What `evaluate` reads and writes.
const ARRAYS: &str = "\
Axes are [C, H, W], as the axes of the weights are, or [C] of a vector. With an axis in front, [N, C, H, W], each of N is
evaluated; all inputs then need the same N. Outputs have the axes of the inputs.

  grano evaluate --model fashion --precision f32 --x x.npy --t 500 --label sneaker -o out.npy";

/// The model, and how it is built.
#[derive(Args, Clone)]
pub struct ModelArgs {
    /// A model in the program, fashion or fashion-fast, or a file
    #[arg(long, value_name = "NAME|FILE", default_value = "fashion")]
    pub model: String,
    /// The numbers to compute in: int8, mixed (int8 with some maps in int16), f16 or f32
    #[arg(long, default_value = "int8")]
    pub precision: String,
    /// The chip whose weights and methods to use, such as cortex-m4; else this machine's. In integers the result is the
    /// same, bit by bit
    #[arg(long)]
    pub target: Option<String>,
}

/// What `sample` is told.
#[derive(Parser, Clone)]
pub struct SampleArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// The class of every picture; else all classes in turn, each count/classes times
    #[arg(long)]
    pub label: Option<String>,
    /// How many pictures; else 16, or one of a picture that is given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: Option<u32>,
    /// Picture i depends on the seed, its label and i alone
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The sampler, one of the model's own or any of those below; else the model's first
    #[arg(long)]
    pub sampler: Option<String>,
    /// The weight of classifier-free guidance, 1 for none; else the model's own
    #[arg(long, allow_negative_numbers = true, value_parser = finite)]
    pub guidance: Option<f32>,
    /// Guide where the noise σ/a is within LOW,HIGH alone, such as 0.3,3
    #[arg(long, value_name = "LOW,HIGH", value_parser = interval)]
    pub guidance_interval: Option<[f32; 2]>,
    /// Bring the guided output's deviation back to the labelled one's, 0 (not at all) to 1
    #[arg(long, value_name = "PHI", value_parser = share)]
    pub guidance_rescale: Option<f32>,
    /// Guide by the gradient of the model's network `classifier`, so strongly; the denoiser then is told no class, unless
    /// --guidance is given
    #[arg(long, value_name = "S", allow_negative_numbers = true, value_parser = finite)]
    pub classifier_scale: Option<f32>,
    /// Where to write the labels: int64 [N], .npy
    #[arg(long, value_name = "FILE", value_parser = npy)]
    pub labels_out: Option<PathBuf>,
    /// Where to write: a sheet as .png, or uint8 [N, H, W] or [N, H, W, C] as .npy; else samples.png. One picture of a
    /// picture that is given is written as it is
    #[arg(short, long, value_name = "FILE", value_parser = png_or_npy)]
    pub output: Option<PathBuf>,
    /// Print each picture's index, label and CRC-32 (IEEE) of its bytes, and nothing else; write only what -o names
    #[arg(long)]
    pub crc: bool,
    /// Pictures to draw at once; else one a core
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
}

impl SampleArgs {
    /// A row of eight a class of the first model, as models/fashion.png has it.
    pub fn sheet() -> Self {
        Self { count: Some(80), ..Self::parse_from(["grano"]) }
    }
}

/// What `edit` is told.
#[derive(Args)]
pub struct EditArgs {
    /// The picture: .png, .jpg, or uint8 .npy, of the model's size.
    #[arg(long, value_name = "FILE")]
    pub picture: PathBuf,
    /// How much of it to draw anew, above 0 (nothing) to 1 (nearly all)
    #[arg(long, value_name = "S", value_parser = strength)]
    pub strength: f64,
    /// What all drawing is told.
    #[command(flatten)]
    pub sample: SampleArgs,
}

/// What `inpaint` is told.
#[derive(Args)]
pub struct InpaintArgs {
    /// The picture: .png, .jpg, or uint8 .npy, of the model's size.
    #[arg(long, value_name = "FILE")]
    pub picture: PathBuf,
    /// White where to draw, black where to keep: grey .png, or uint8 .npy [H, W], of the picture's size
    #[arg(long, value_name = "FILE")]
    pub mask: PathBuf,
    /// ddnm, which puts what is known into each estimate of the picture, or replace, which puts it into each noisy picture
    #[arg(long, default_value = "ddnm")]
    pub method: String,
    /// What all drawing is told.
    #[command(flatten)]
    pub sample: SampleArgs,
}

/// What verbs are told that draw from one picture.
#[derive(Args)]
pub struct GivenArgs {
    /// The picture: .png, .jpg, or uint8 .npy.
    #[arg(long, value_name = "FILE")]
    pub picture: PathBuf,
    /// What all drawing is told.
    #[command(flatten)]
    pub sample: SampleArgs,
}

/// What `encode` is told.
#[derive(Args)]
pub struct EncodeArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// The picture: .png, .jpg, or uint8 .npy, of the model's size.
    #[arg(long, value_name = "FILE")]
    pub picture: PathBuf,
    /// The class; else none
    #[arg(long)]
    pub label: Option<String>,
    /// ddim-STEPS: the more steps, the closer `decode` comes
    #[arg(long, default_value = "ddim-100")]
    pub sampler: String,
    /// Where to write: float32 [C, H, W], .npy
    #[arg(short, long, value_name = "OUT.npy", value_parser = npy)]
    pub output: PathBuf,
}

/// What `decode` is told.
#[derive(Args)]
pub struct DecodeArgs {
    /// The noise: float32 [C, H, W] or [N, C, H, W], .npy
    #[arg(long, value_name = "FILE")]
    pub x: PathBuf,
    /// What all drawing is told; the sampler is else ddim-100, without a clip.
    #[command(flatten)]
    pub sample: SampleArgs,
}

/// What `interpolate` is told.
#[derive(Args)]
pub struct InterpolateArgs {
    /// The first picture.
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// The last picture.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// What all drawing is told; the sampler is else ddim-100, without a clip, and the count 8.
    #[command(flatten)]
    pub sample: SampleArgs,
}

/// What `score` is told.
#[derive(Args)]
pub struct ScoreArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Pictures: .png, .jpg, or uint8 .npy [H, W], [H, W, C] or [N, …] of them; can be given several times
    #[arg(long, value_name = "FILE", required = true)]
    pub picture: Vec<PathBuf>,
    /// The class of all; else none
    #[arg(long)]
    pub label: Option<String>,
    /// Evaluations a picture, from 2 to T
    #[arg(long, default_value_t = 40)]
    pub budget: usize,
    /// Where to write: .json or .csv
    #[arg(short, long, value_name = "FILE", value_parser = json_or_csv)]
    pub output: Option<PathBuf>,
}

/// What `new` is told.
#[derive(Args)]
pub struct NewArgs {
    /// The folder to make, whose name becomes the program's
    pub folder: PathBuf,
    /// The board, such as pico2; an unknown one lists them all
    #[arg(long)]
    pub board: String,
    /// A model in the program, fashion or fashion-fast, or a file
    #[arg(long, value_name = "NAME|FILE", default_value = "fashion")]
    pub model: String,
    /// The numbers to compute in: int8, mixed (int8 with some maps in int16), f16 or f32
    #[arg(long, default_value = "int8")]
    pub precision: String,
    /// The sampler; else the model's first
    #[arg(long)]
    pub sampler: Option<String>,
    /// The class that the program draws; else the model's first
    #[arg(long)]
    pub label: Option<String>,
    /// draw: pictures of one class, the first of seed 0; serve: what `grano view` asks for
    #[arg(long, default_value = "draw")]
    pub program: String,
}

/// What `view` is told.
#[derive(Args)]
pub struct ViewArgs {
    /// The serial port, such as /dev/ttyACM0 or COM3
    #[arg(long)]
    pub port: String,
    /// The port's speed
    #[arg(long, default_value_t = 115_200)]
    pub baud: u32,
    /// The model that the board draws with, for the names of its classes
    #[arg(long, value_name = "NAME|FILE", default_value = "fashion")]
    pub model: String,
    /// The class; else none
    #[arg(long)]
    pub label: Option<String>,
    /// Where the noise begins
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The weight of classifier-free guidance, 1 for none; else the model's own
    #[arg(long, allow_negative_numbers = true, value_parser = finite)]
    pub guidance: Option<f32>,
    /// Seconds to wait while the board is silent
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub wait: u64,
    /// Where to write the picture: .png
    #[arg(short, long, value_name = "FILE", default_value = "view.png", value_parser = png)]
    pub output: PathBuf,
}

/// What `evaluate` is told.
#[derive(Args)]
pub struct EvaluateArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// The network of the model; else the denoiser, or the only one
    #[arg(long)]
    pub network: Option<String>,
    /// The input `x`: float32, .npy
    #[arg(long, value_name = "FILE")]
    pub x: Option<PathBuf>,
    /// Another input
    #[arg(long, value_name = "NAME=FILE", value_parser = named)]
    pub input: Vec<(String, PathBuf)>,
    /// The time index, from 0 to T - 1; needed where the network reads it
    #[arg(long)]
    pub t: Option<usize>,
    /// The class; else none
    #[arg(long)]
    pub label: Option<String>,
    /// Where to write: float32, .npy; of several outputs each goes to OUT.NAME.npy
    #[arg(short, long, value_name = "OUT.npy", value_parser = npy)]
    pub output: PathBuf,
}

fn finite(text: &str) -> Result<f32> {
    let guidance = text.parse()?;
    ensure!(f32::is_finite(guidance), "give a finite number");
    Ok(guidance)
}

fn share(text: &str) -> Result<f32> {
    let value = text.parse()?;
    ensure!((0.0..=1.0).contains(&value), "give 0 to 1");
    Ok(value)
}

fn strength(text: &str) -> Result<f64> {
    let value = text.parse()?;
    ensure!(value > 0.0 && value <= 1.0, "give a number above 0, up to 1");
    Ok(value)
}

fn interval(text: &str) -> Result<[f32; 2]> {
    let (low, high) = text.split_once(',').context("give LOW,HIGH")?;
    let interval: [f32; 2] = [low.parse()?, high.parse()?];
    ensure!(interval[0] >= 0.0 && interval[0] < interval[1], "give LOW,HIGH with 0 ≤ LOW < HIGH");
    Ok(interval)
}

fn json_or_csv(text: &str) -> Result<PathBuf> {
    ending(text, &["json", "csv"])
}

fn named(text: &str) -> Result<(String, PathBuf)> {
    let (name, path) = text.split_once('=').context("give NAME=FILE")?;
    Ok((name.into(), path.into()))
}

fn npy(text: &str) -> Result<PathBuf> {
    ending(text, &["npy"])
}

fn png(text: &str) -> Result<PathBuf> {
    ending(text, &["png"])
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
