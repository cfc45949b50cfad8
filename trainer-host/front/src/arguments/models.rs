//! What writes, draws and searches: `export`, `sample`, `steps`, `sensitivity`.

use std::path::PathBuf;

use crate::data::DataArgs;
use crate::values;

/// Writes a run's model, with activation ranges, and golden vectors made by libtorch.
#[derive(clap::Args, Clone, Debug)]
pub struct Export {
    /// Folder of the run
    #[arg(long)]
    pub run: PathBuf,
    /// Where to write the model; the golden vectors go to NAME.golden.safetensors beside it
    #[arg(short, long)]
    pub output: PathBuf,
    /// The sampler that the model is meant for; else that of the file that is written anew, or the run's
    #[arg(long)]
    pub sampler: Option<String>,
    /// The guidance weight that the model is meant for; else the run's
    #[arg(long, value_parser = values::guidance32)]
    pub guidance: Option<f32>,
    /// Trajectories that calibration follows
    #[arg(long, default_value_t = 200, value_parser = values::pictures)]
    pub trajectories: u64,
    /// Share of values that may lie outside either end of a range
    #[arg(long, default_value_t = 1e-5, value_parser = values::outliers)]
    pub outliers: f64,
}

/// Draws pictures as `grano sample` does, in f32 by libtorch.
#[derive(clap::Args, Clone, Debug)]
pub struct Sample {
    /// The model
    #[arg(long, default_value = "models/fashion.safetensors")]
    pub model: PathBuf,
    /// Name of the class; else all classes in turn
    #[arg(long)]
    pub label: Option<String>,
    /// Number of pictures
    #[arg(long, default_value_t = 80, value_parser = values::pictures)]
    pub count: u64,
    /// Picture i depends on the seed and i alone
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// ddim-20, ancestral-100, …; else the model's own
    #[arg(long)]
    pub sampler: Option<String>,
    /// Weight of classifier-free guidance; else the model's own
    #[arg(long, value_parser = values::guidance32)]
    pub guidance: Option<f32>,
    /// Where to write the labels, int64 [N], as .npy
    #[arg(long)]
    pub labels_out: Option<PathBuf>,
    /// Where to write: a sheet as .png, or uint8 [N, H, W] or [N, H, W, C] as .npy
    #[arg(short, long, default_value = "reference.png")]
    pub output: PathBuf,
}

/// Searches a sampler's time indices so that its pictures come near those of 100 steps, and makes it the model's default.
#[derive(clap::Args, Clone, Debug)]
pub struct Steps {
    /// The model, which gains a sampler named RULE-STEPS-searched
    #[arg(long)]
    pub model: PathBuf,
    /// The update rule
    #[arg(long, default_value = "dpm", value_parser = ["dpm", "ddim"])]
    pub rule: String,
    /// Evaluations of the network a picture
    #[arg(long, default_value_t = 8, value_parser = values::evaluations)]
    pub steps: usize,
    /// Pictures that are compared
    #[arg(long, default_value_t = 64, value_parser = values::pictures)]
    pub pictures: u64,
    /// Weight of classifier-free guidance; else the model's own
    #[arg(long, value_parser = values::guidance32)]
    pub guidance: Option<f32>,
    /// Add the sampler, and leave the model's default as it is
    #[arg(long)]
    pub keep_default: bool,
}

/// Finds the maps that mixed precision keeps in int16, and codes for likelihoods; both go to the model file.
#[derive(clap::Args, Clone, Debug)]
pub struct Sensitivity {
    /// The model
    #[arg(long)]
    pub model: PathBuf,
    /// The real data, whose training pictures are taken.
    #[command(flatten)]
    pub data: DataArgs,
    /// Bits per dimension above the float network's that are near enough
    #[arg(long, default_value_t = 0.008, allow_negative_numbers = true, value_parser = values::difference)]
    pub above: f64,
    /// Pictures whose bound is computed
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(i64).range(2..=1_000_000))]
    pub pictures: i64,
    /// Parts of time, of each of which every picture takes one index
    #[arg(long, default_value_t = 30, value_parser = values::times)]
    pub strata: usize,
    /// Of pictures, t and ε
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}
