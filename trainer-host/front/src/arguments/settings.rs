//! How parameters are updated, in every training.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::values;

/// How parameters are updated.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Settings {
    /// Folder of the run: checkpoint, metrics, curve, sample sheets
    #[arg(long)]
    pub run: PathBuf,
    /// Parameter updates in all
    #[arg(long, default_value_t = 30_000, value_parser = values::updates)]
    pub steps: u64,
    /// Pictures per update
    #[arg(long, default_value_t = 128, value_parser = values::batch)]
    pub batch: i64,
    /// Peak learning rate, after warm-up and before the cosine's descent to zero
    #[arg(long, default_value_t = 2e-3, value_parser = values::rate)]
    pub learning_rate: f64,
    /// Updates of linear warm-up; else 500, or a tenth of all where that is less
    #[arg(long, value_parser = values::updates_or_none)]
    pub warmup: Option<u64>,
    /// Largest norm of the gradient
    #[arg(long, default_value_t = 1.0, value_parser = values::positive)]
    pub clip: f64,
    /// Decay of the weights' moving average
    #[arg(long, default_value_t = 0.9995, value_parser = values::decay)]
    pub ema: f64,
    /// Number type of the forward and backward pass; bf16 by default on a GPU, f32 on a CPU
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// Seed of weights, batches and noise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Updates between checkpoints
    #[arg(long, default_value_t = 500, value_parser = values::updates)]
    pub checkpoint_every: u64,
    /// Updates between sample sheets
    #[arg(long, default_value_t = 2_500, value_parser = values::updates)]
    pub sample_every: u64,
}

impl Settings {
    /// Updates of warm-up.
    pub fn warmup(&self) -> u64 {
        self.warmup.unwrap_or((self.steps / 10).min(500)).max(1)
    }

    /// The learning rate after `step` updates, were all made in one go.
    pub fn learning_rate_at(&self, step: u64) -> f64 {
        let warm = ((step + 1) as f64 / self.warmup() as f64).min(1.0);
        let done = step as f64 / self.steps.max(1) as f64;
        self.learning_rate * warm * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
    }
}

/// Number types of the passes through the network.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// bfloat16 with f32 parameters.
    Bf16,
}
