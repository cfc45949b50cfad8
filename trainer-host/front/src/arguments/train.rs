//! `train`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::data::Augment;
use super::settings::Settings;
use crate::data::DataArgs;
use crate::values;

/// Trains a denoiser, class-conditional where the data have classes; a run that was stopped goes on where it was.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Args {
    /// What is learnt from.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// Names of the classes, comma-separated, in the order of their numbers
    #[arg(long, value_delimiter = ',')]
    pub labels: Option<Vec<String>>,
    /// How pictures are varied.
    #[command(flatten)]
    #[serde(flatten)]
    pub augment: Augment,
    /// Share of pictures whose label is hidden
    #[arg(long, default_value_t = 0.1, value_parser = values::share)]
    pub label_dropout: f64,
    /// Noise schedule
    #[arg(long, value_enum, default_value_t = Schedule::Cosine)]
    pub schedule: Schedule,
    /// What the network says of x_t
    #[arg(long, value_enum, default_value_t = Target::Epsilon)]
    pub prediction: Target,
    /// T
    #[arg(long, default_value_t = 1000, value_parser = values::times)]
    pub timesteps: usize,
    /// Which network; `reference` is the benchmarks' U-Net, of a fixed size
    #[arg(long, value_enum, default_value_t = Architecture::Compact)]
    #[serde(default)]
    pub network: Architecture,
    /// Channels at half and quarter resolution
    #[arg(long, value_delimiter = ',', default_values_t = [32, 48], value_parser = values::channels)]
    pub channels: Vec<usize>,
    /// Residual blocks before, at and after quarter resolution
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 2], value_parser = values::blocks)]
    pub blocks: Vec<usize>,
    /// Width of the time and class network
    #[arg(long, default_value_t = 128, value_parser = values::embedding)]
    pub embedding: usize,
    /// Largest value of a map's activation
    #[arg(long, default_value_t = 4.0, value_parser = values::positive)]
    pub limit: f64,
    /// Begin with the averaged weights of another run of the same shape, or with a model file's
    #[arg(long)]
    pub from: Option<PathBuf>,
    /// How parameters are updated.
    #[command(flatten)]
    #[serde(flatten)]
    pub settings: Settings,
}

/// Networks on the command line.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// Made for integer chips.
    #[default]
    Compact,
    /// With group normalisation, attention and concatenated skips.
    Reference,
}

/// Noise schedules on the command line.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// β evenly spaced from 1e-4 to 0.02 for T = 1000, and as many times that as T is smaller.
    Linear,
    /// Nichol & Dhariwal 2021.
    Cosine,
}

/// Predictions on the command line.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The noise (Ho et al. 2020).
    Epsilon,
    /// a_t·ε − σ_t·x_0 (Salimans & Ho 2022): counts errors of x̂0 where there is nearly nothing but noise, too.
    Velocity,
}
