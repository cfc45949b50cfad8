//! What every training does: updates, the weights' average, checkpoints, metrics, sheets; resumable to the bit.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use grano_codegen::model::Header;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::checkpoint;
use crate::curve::{self, Metric};
use crate::distributed::{self, Ranks, Reducer};
use crate::network::Network;
use crate::progress::Progress;
use crate::state::State;

/// How parameters are updated.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Settings {
    /// Folder of the run: checkpoint, metrics, curve, sample sheets
    #[arg(long)]
    pub run: PathBuf,
    /// Parameter updates in all
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: u64,
    /// Pictures per update
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(i64).range(1..))]
    pub batch: i64,
    /// Peak learning rate, after warm-up and before the cosine's descent to zero
    #[arg(long, default_value_t = 2e-3)]
    pub learning_rate: f64,
    /// Updates of linear warm-up
    #[arg(long, default_value_t = 500)]
    pub warmup: u64,
    /// Largest norm of the gradient
    #[arg(long, default_value_t = 1.0)]
    pub clip: f64,
    /// Decay of the weights' moving average
    #[arg(long, default_value_t = 0.9995)]
    pub ema: f64,
    /// Number type of the forward and backward pass; bf16 by default on a GPU, f32 on a CPU
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// Seed of weights, batches and noise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Updates between checkpoints
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    pub checkpoint_every: u64,
    /// Updates between sample sheets
    #[arg(long, default_value_t = 2_500, value_parser = clap::value_parser!(u64).range(1..))]
    pub sample_every: u64,
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

impl Settings {
    /// The number type of passes on `device`.
    pub fn kind(&self, device: Device) -> Kind {
        match self.precision {
            Some(Precision::Bf16) => Kind::BFloat16,
            Some(Precision::F32) => Kind::Float,
            None if device.is_cuda() => Kind::BFloat16,
            None => Kind::Float,
        }
    }

    fn learning_rate_at(&self, step: u64) -> f64 {
        let warm = ((step + 1) as f64 / self.warmup.max(1) as f64).min(1.0);
        let done = step as f64 / self.steps.max(1) as f64;
        self.learning_rate * warm * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
    }
}

/// What is learnt.
pub trait Task {
    /// The loss of this rank's part of a batch, a scalar with its graph of gradients, for the `update`-th update, counted
    /// from 1; the mean over the ranks is the batch's. Draws for the whole batch from libtorch's generator, and from
    /// nothing else that changes but what lies in [`State::tensors`].
    ///
    /// # Errors
    /// When the weights make no int8 network, where they are to, or another rank is lost.
    fn loss(&mut self, network: &Network, kind: Kind, update: u64) -> Result<Tensor>;
    /// What is learnt from, which every rank must have.
    fn data(&self) -> Vec<&Tensor>;
    /// Draws what the network can do so far.
    ///
    /// # Errors
    /// When the picture cannot be written.
    fn sheet(&self, averaged: &Network, path: &Path) -> Result<()>;
}

/// Says how large the network is and how far its training, on rank 0.
pub fn announce(ranks: &Ranks, settings: &Settings, state: &State) {
    let device = ranks.device();
    ranks.say(&format!("{} parameters, {device:?}, step {} of {}", state.ema.size()[0], state.step, settings.steps));
}

/// The seed of libtorch's generator for the network (0) and for each update (its number). With a seed per update,
/// to resume needs no generator's state. libtorch's generator on the CPU reads 32 bits, so all that differs must be
/// in these: 2³²/φ keeps the updates of small seeds apart.
pub fn seed_of(seed: u64, update: u64) -> i64 {
    i64::from((seed.wrapping_mul(0x9e37_79b9).wrapping_add(update)) as u32)
}

/// Updates between two lines of metrics.
const METRIC_EVERY: u64 = 50;

/// Sums since the last line of metrics.
#[derive(Default)]
struct Window {
    updates: u64,
    loss: f64,
    gradient_norm: f64,
    seconds: f64,
}

/// Runs the updates that are left of a training that is described by `arguments` and makes a model of `header`.
///
/// # Errors
/// When the loss diverges, the run's folder cannot be written, or another rank has other data or is lost.
pub fn run(
    ranks: &Ranks,
    settings: &Settings,
    arguments: &serde_json::Value,
    header: &Header,
    state: &mut State,
    task: &mut dyn Task,
) -> Result<()> {
    ranks.check_parts("--batch", settings.batch)?;
    ranks.agree("data", &task.data())?;
    ranks.agree("weights or model", &[state.network.flat()])?;
    let kind = settings.kind(state.ema.device());
    let mut metrics = Vec::new();
    if ranks.is_first() {
        std::fs::create_dir_all(&settings.run).with_context(|| format!("{}", settings.run.display()))?;
        metrics = curve::read(&settings.run, state.step)?;
    }
    let mut progress = Progress::new(state.step, settings.steps, ranks.is_first())?;
    let mut reducer = ranks.reducer(&state.network.leaves())?;
    let mut window = Window::default();
    while state.step < settings.steps {
        let begun = Instant::now();
        let (loss, gradient_norm) = update(ranks, &mut reducer, settings, state, task, kind)?;
        let seconds = begun.elapsed().as_secs_f64();
        state.seconds += seconds;
        window = Window {
            updates: window.updates + 1,
            loss: window.loss + loss,
            gradient_norm: window.gradient_norm + gradient_norm,
            seconds: window.seconds + seconds,
        };
        let step = state.step;
        let last = step == settings.steps;
        if step.is_multiple_of(METRIC_EVERY) || last {
            let window = std::mem::take(&mut window);
            let count = window.updates as f64;
            let metric = Metric {
                step,
                loss: ranks.mean_of(window.loss / count)?,
                learning_rate: settings.learning_rate_at(step - 1),
                gradient_norm: window.gradient_norm / count,
                samples_per_second: count * settings.batch as f64 / window.seconds,
                seconds: state.seconds,
            };
            if ranks.is_first() {
                progress.metric(&metric, settings.batch);
                curve::append(&settings.run, &metric)?;
                metrics.push(metric);
            }
        }
        if !ranks.is_first() {
            continue;
        }
        if step.is_multiple_of(settings.sample_every) || last {
            task.sheet(&state.averaged()?, &settings.run.join(format!("samples-{step:06}.png")))?;
        }
        if step.is_multiple_of(settings.checkpoint_every) || last {
            checkpoint::save(&settings.run, arguments, header, state)?;
            curve::draw(&settings.run, &metrics)?;
        }
        progress.step(step);
    }
    progress.finish();
    ranks.say(&format!(
        "trained for {:.0?}; export it with `grano-train export --run {}`",
        Duration::from_secs_f64(state.seconds),
        settings.run.display()
    ));
    Ok(())
}

/// One step of Adam on one batch, and of the weights' average; returns the loss of this rank's part and the gradient's
/// norm before clipping.
///
/// # Errors
/// When the loss or the gradient is not finite, or there is no loss; the state is then as before. When another rank is
/// lost.
fn update(
    ranks: &Ranks,
    reducer: &mut Option<Reducer>,
    settings: &Settings,
    state: &mut State,
    task: &mut dyn Task,
    kind: Kind,
) -> Result<(f64, f64)> {
    tch::manual_seed(seed_of(settings.seed, state.step + 1));
    let loss = task.loss(&state.network, kind, state.step + 1).map_err(|error| {
        let advice = format!("after {} updates; begin another run with a lower --learning-rate", state.step);
        if distributed::is_lost(&error) { error } else { error.context(advice) }
    })?;
    ranks.backward(&loss, reducer)?;
    let mut gradient = state.network.take_gradient();
    tch::no_grad(|| {
        let (loss, norm) = (loss.double_value(&[]), gradient.norm().double_value(&[]));
        ensure!(
            loss.is_finite() && norm.is_finite(),
            "after {} updates the loss is {loss}, its gradient {norm}; begin another run with a lower --learning-rate",
            state.step
        );
        if norm > settings.clip {
            gradient *= settings.clip / norm;
        }
        let rate = settings.learning_rate_at(state.step);
        // Young averages forget the untrained weights faster.
        let ema = settings.ema.min((state.step as f64 + 1.0) / (state.step as f64 + 10.0));
        state.step += 1;
        state.adam.step(state.network.flat(), &gradient, rate, state.step);
        let _ = state.ema.lerp_(state.network.flat(), 1.0 - ema);
        Ok((loss, norm))
    })
}
