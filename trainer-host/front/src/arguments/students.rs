//! Trainings that begin with a model: `finetune`, `distill`, `consistency`, `refine`, `classify`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::data::Augment;
use super::settings::Settings;
use crate::data::DataArgs;
use crate::values;

/// Teaches a model guidance in one evaluation, and an int8 network's rounding.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize, PartialEq)]
#[command(mut_arg("learning_rate", |argument| argument.default_value("3e-4")))]
#[command(mut_arg("steps", |argument| argument.default_value("4000")))]
#[command(mut_arg("warmup", |argument| argument.default_value("100")))]
#[command(mut_arg("ema", |argument| argument.default_value("0.999")))]
pub struct Finetune {
    /// The model that learns from itself
    #[arg(long)]
    pub model: PathBuf,
    /// What it was trained on.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// How pictures are varied.
    #[command(flatten)]
    #[serde(flatten)]
    pub augment: Augment,
    /// Weight of the guidance that labelled evaluations learn; 1 for none
    #[arg(long, default_value_t = 1.0, value_parser = values::guidance)]
    pub guidance: f64,
    /// Round all values to the codes that the model's int8 networks have
    #[arg(long)]
    pub int8: bool,
    /// Share of pictures whose label is hidden
    #[arg(long, default_value_t = 0.15, value_parser = values::share)]
    pub label_dropout: f64,
    /// How parameters are updated.
    #[command(flatten)]
    #[serde(flatten)]
    pub settings: Settings,
}

/// Teaches a model to draw in few evaluations what another, or itself, draws in many.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize, PartialEq)]
#[command(mut_arg("learning_rate", |argument| argument.default_value("1e-3")))]
pub struct Distill {
    /// The model that draws
    #[arg(long)]
    pub teacher: PathBuf,
    /// The model that the student begins as; the teacher where none is named
    #[arg(long)]
    pub from: Option<PathBuf>,
    /// Evaluations of a picture by the student: the most, and divisors of it, each its own sampler, fast-N
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [4, 2, 1],
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    pub evaluations: Vec<u16>,
    /// The teacher's steps for one of the student's where it takes the most
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub substeps: u16,
    /// Weight of the teacher's guidance; else its own
    #[arg(long, value_parser = values::guidance32)]
    pub guidance: Option<f32>,
    /// Pictures that the teacher draws
    #[arg(long, default_value_t = 40_000, value_parser = values::pictures_signed)]
    pub pictures: i64,
    /// Share of pictures that are drawn without a label
    #[arg(long, default_value_t = 0.05, value_parser = values::share)]
    pub label_dropout: f64,
    /// Round all values to the codes that int8 networks of the model that the student begins as have
    #[arg(long)]
    pub int8: bool,
    /// How parameters are updated.
    #[command(flatten)]
    #[serde(flatten)]
    pub settings: Settings,
}

/// Makes a consistency model of a v-prediction: it draws in one evaluation or a few, consistency-1, -2, -4.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize, PartialEq)]
#[command(mut_arg("learning_rate", |argument| argument.default_value("4e-4")))]
#[command(mut_arg("steps", |argument| argument.default_value("16000")))]
#[command(mut_arg("ema", |argument| argument.default_value("0.999")))]
pub struct Consistency {
    /// The model that the consistency model begins as; its guidance must be in its weights
    #[arg(long)]
    pub model: PathBuf,
    /// What it was trained on.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// How pictures are varied.
    #[command(flatten)]
    #[serde(flatten)]
    pub augment: Augment,
    /// Stages of equal length; in each the two times of a pair lie twice as near to each other
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=20))]
    pub stages: u64,
    /// Share of pictures whose label is hidden
    #[arg(long, default_value_t = 0.1, value_parser = values::share)]
    pub label_dropout: f64,
    /// How parameters are updated.
    #[command(flatten)]
    #[serde(flatten)]
    pub settings: Settings,
}

/// Refines what a model draws in few steps, against a discriminator.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize, PartialEq)]
#[command(mut_arg("learning_rate", |argument| argument.default_value("1e-4")))]
#[command(mut_arg("steps", |argument| argument.default_value("4000")))]
#[command(mut_arg("warmup", |argument| argument.default_value("100")))]
#[command(mut_arg("ema", |argument| argument.default_value("0.995")))]
pub struct Refine {
    /// The model that is refined; its guidance must be in its weights
    #[arg(long)]
    pub model: PathBuf,
    /// What it was trained on.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// How pictures are varied.
    #[command(flatten)]
    #[serde(flatten)]
    pub augment: Augment,
    /// Samplers to refine, which take turns; else the model's default
    #[arg(long, value_delimiter = ',')]
    pub samplers: Vec<String>,
    /// λ: how much it counts to say what the model said before
    #[arg(long, default_value_t = 3.0, value_parser = values::weight)]
    pub anchor: f64,
    /// Learning rate of the discriminator, constant
    #[arg(long, default_value_t = 2e-4, value_parser = values::rate)]
    pub discriminator_rate: f64,
    /// κ: how much the Fréchet distance from the data counts, in the features of classifiers; 0.02 after a refinement
    /// without it, with --learning-rate 1e-5 --clip 5
    #[arg(long, default_value_t = 0.0, value_parser = values::weight)]
    pub frechet: f64,
    /// Classifiers whose features these are; they are trained first
    #[arg(long, default_value_t = 3, value_parser = values::classifiers)]
    pub classifiers: u64,
    /// Draws from q(x_t | x_0) per picture that is drawn, at which the anchor holds
    #[arg(long, default_value_t = 0.25, value_parser = values::positive)]
    pub diffusion: f64,
    /// Round all values to the codes that the model's int8 networks have
    #[arg(long)]
    pub int8: bool,
    /// Share of pictures whose label is hidden
    #[arg(long, default_value_t = 0.1, value_parser = values::share)]
    pub label_dropout: f64,
    /// How parameters are updated.
    #[command(flatten)]
    #[serde(flatten)]
    pub settings: Settings,
}

/// Trains a classifier of noisy pictures and adds it, with its gradient, to a model file, for classifier guidance.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize, PartialEq)]
#[command(mut_arg("steps", |argument| argument.default_value("6000")))]
#[command(mut_arg("warmup", |argument| argument.default_value("100")))]
#[command(mut_arg("ema", |argument| argument.default_value("0.999")))]
pub struct Classify {
    /// The model that is to be guided: its pictures' shape and its noise are the classifier's
    #[arg(long)]
    pub model: PathBuf,
    /// What it learns from; classes may be others than the model's.
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// Names of the classes, comma-separated, in the order of their numbers; else the model's, where it has as many, or
    /// the data's
    #[arg(long, value_delimiter = ',')]
    pub labels: Option<Vec<String>>,
    /// How pictures are varied.
    #[command(flatten)]
    #[serde(flatten)]
    pub augment: Augment,
    /// Channels at half and quarter resolution
    #[arg(long, value_delimiter = ',', default_values_t = [24, 48], value_parser = values::channels)]
    pub channels: Vec<usize>,
    /// Residual blocks at half and quarter resolution
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2], value_parser = values::blocks)]
    pub blocks: Vec<usize>,
    /// Width of the time network
    #[arg(long, default_value_t = 64, value_parser = values::embedding)]
    pub embedding: usize,
    /// Where to write the model with its classifier
    #[arg(short, long)]
    pub output: PathBuf,
    /// How parameters are updated.
    #[command(flatten)]
    #[serde(flatten)]
    pub settings: Settings,
}
