//! Training: E‖ε − ε_θ(a_t·x_0 + σ_t·ε, t, y)‖² over uniform t (Ho et al. 2020, eq. 14), Adam, EMA.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use grano_codegen::forward::{NoiseSchedule, ScheduleKind};
use grano_codegen::graph::Graph;
use grano_codegen::load::load;
use grano_networks::unet::graph as reference_unet;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::curve::Metric;
use crate::data::{Dataset, Split};
use crate::network::Network;
use crate::progress::Progress;
use crate::unet::{Config, unet};
use crate::{checkpoint, curve, sample};

/// Trains a class-conditional ε_θ; a run that was stopped goes on where it was.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Args {
    /// IDX folder, folder with one subfolder of images per class, or .npy file
    #[arg(long)]
    pub data: PathBuf,
    /// Folder of the run: checkpoint, metrics, curve, sample sheets
    #[arg(long)]
    pub run: PathBuf,
    /// Names of the classes, comma-separated, in the order of their labels
    #[arg(long, value_delimiter = ',')]
    pub labels: Option<Vec<String>>,
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
    /// Share of pictures whose label is hidden
    #[arg(long, default_value_t = 0.1)]
    pub label_dropout: f64,
    /// Noise schedule
    #[arg(long, value_enum, default_value_t = Schedule::Cosine)]
    pub schedule: Schedule,
    /// T
    #[arg(long, default_value_t = 1000)]
    pub timesteps: usize,
    /// Which network; `reference` is the benchmarks' U-Net, of a fixed size
    #[arg(long, value_enum, default_value_t = Architecture::Compact)]
    #[serde(default)]
    pub network: Architecture,
    /// Channels at half and quarter resolution
    #[arg(long, value_delimiter = ',', default_values_t = [32, 48])]
    pub channels: Vec<usize>,
    /// Residual blocks before, at and after quarter resolution
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 2])]
    pub blocks: Vec<usize>,
    /// Width of the time and class network
    #[arg(long, default_value_t = 128)]
    pub embedding: usize,
    /// Largest value of a map's activation
    #[arg(long, default_value_t = 4.0)]
    pub limit: f64,
    /// Begin with the averaged weights of another run of the same shape, or with a model file's
    #[arg(long)]
    pub from: Option<PathBuf>,
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

/// Networks on the command line.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// Made for integer chips; see [`crate::unet`].
    #[default]
    Compact,
    /// With group normalisation, attention and concatenated skips; see [`grano_networks::unet`].
    Reference,
}

/// Noise schedules on the command line.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// β evenly spaced from 1e-4 to 0.02.
    Linear,
    /// Nichol & Dhariwal 2021.
    Cosine,
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

impl Args {
    /// The forward process.
    pub fn noise_schedule(&self) -> NoiseSchedule {
        let kind = match self.schedule {
            Schedule::Linear => ScheduleKind::DDPM_LINEAR,
            Schedule::Cosine => ScheduleKind::Cosine,
        };
        NoiseSchedule { kind, steps: self.timesteps }
    }

    /// The network for pictures of the given shape.
    ///
    /// # Errors
    /// When a list on the command line has the wrong length, or the pictures' sides do not fit.
    pub fn graph(&self, input: [usize; 3], classes: usize) -> Result<Graph> {
        if self.network == Architecture::Reference {
            return Ok(reference_unet(input, classes)?);
        }
        let channels =
            <[usize; 2]>::try_from(&self.channels[..]).context("--channels takes two numbers, like 32,48")?;
        let blocks = <[usize; 3]>::try_from(&self.blocks[..]).context("--blocks takes three numbers, like 1,2,2")?;
        unet(&Config { input, classes, channels, blocks, embedding: self.embedding, limit: self.limit })
    }

    fn learning_rate_at(&self, step: u64) -> f64 {
        let warm = ((step + 1) as f64 / self.warmup.max(1) as f64).min(1.0);
        let done = step as f64 / self.steps.max(1) as f64;
        self.learning_rate * warm * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
    }
}

/// Everything that changes while training; saved and restored as a whole.
pub struct State {
    /// The network with its current weights.
    pub network: Network,
    /// Moving average of the weights, flat.
    pub ema: Tensor,
    /// Adam's first moment, flat.
    pub first: Tensor,
    /// Adam's second moment, flat.
    pub second: Tensor,
    /// Updates made.
    pub step: u64,
    /// Seconds of training, over all sittings.
    pub seconds: f64,
    /// Names of the classes.
    pub labels: Vec<String>,
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

/// Runs or resumes a training.
///
/// # Errors
/// Names what is wrong with the data, the arguments or the run's folder.
pub fn train(args: &Args) -> Result<()> {
    let device = Device::cuda_if_available();
    let kind = match args.precision {
        Some(Precision::Bf16) => Kind::BFloat16,
        Some(Precision::F32) => Kind::Float,
        None if device.is_cuda() => Kind::BFloat16,
        None => Kind::Float,
    };
    let data = Dataset::load(&args.data, Split::Train, args.labels.as_deref())?.on_device(device);
    let alpha_bars = Tensor::from_slice(&args.noise_schedule().alpha_bars()?).to_device(device);
    let (signal, sigma) =
        (alpha_bars.sqrt().to_kind(Kind::Float), alpha_bars.rsub_scalar(1.0).sqrt().to_kind(Kind::Float));

    let mut state = match checkpoint::load(&args.run, args, device)? {
        Some(state) => state,
        None => {
            tch::manual_seed(seed_of(args.seed, 0));
            let graph = args
                .graph(data.shape(), data.names.len())
                .with_context(|| format!("no network for {}", args.data.display()))?;
            let network = match &args.from {
                Some(path) => network_like(graph, path, device)
                    .with_context(|| format!("--from {}: a network of another shape", path.display()))?,
                None => Network::new(graph, device)?,
            };
            let zeros = || network.flat().zeros_like();
            let (ema, first, second) = (network.flat().copy(), zeros(), zeros());
            State { network, ema, first, second, step: 0, seconds: 0.0, labels: data.names.clone() }
        }
    };
    ensure!(
        state.network.graph().input == data.shape() && state.labels == data.names,
        "{}: pictures of {:?} (channels, height, width) in {} classes, but {} was begun with {:?} in {}",
        args.data.display(),
        data.shape(),
        data.names.len(),
        args.run.display(),
        state.network.graph().input,
        state.labels.len()
    );
    std::fs::create_dir_all(&args.run).with_context(|| format!("{}", args.run.display()))?;
    let mut metrics = curve::read(&args.run, state.step)?;
    println!(
        "{} parameters, {} pictures, {} classes, {device:?}, step {} of {}",
        state.network.flat().size()[0],
        data.len(),
        data.names.len(),
        state.step,
        args.steps
    );

    let mut progress = Progress::new(state.step, args.steps)?;
    let mut window = Window::default();
    while state.step < args.steps {
        let begun = Instant::now();
        let (loss, gradient_norm) = update(args, &mut state, &data, (&signal, &sigma), kind)?;
        let seconds = begun.elapsed().as_secs_f64();
        state.seconds += seconds;
        window = Window {
            updates: window.updates + 1,
            loss: window.loss + loss,
            gradient_norm: window.gradient_norm + gradient_norm,
            seconds: window.seconds + seconds,
        };
        let step = state.step;
        let last = step == args.steps;
        if step.is_multiple_of(METRIC_EVERY) || last {
            let window = std::mem::take(&mut window);
            let count = window.updates as f64;
            let metric = Metric {
                step,
                loss: window.loss / count,
                learning_rate: args.learning_rate_at(step - 1),
                gradient_norm: window.gradient_norm / count,
                samples_per_second: count * args.batch as f64 / window.seconds,
                seconds: state.seconds,
            };
            progress.metric(&metric, args.batch);
            curve::append(&args.run, &metric)?;
            metrics.push(metric);
        }
        if step.is_multiple_of(args.sample_every) || last {
            let averaged = Network::from_flat(state.network.graph().clone(), state.ema.copy())?;
            sample::sheet(&averaged, &args.noise_schedule(), &args.run.join(format!("samples-{step:06}.png")))?;
        }
        if step.is_multiple_of(args.checkpoint_every) || last {
            checkpoint::save(&args.run, args, &state)?;
            curve::draw(&args.run, &metrics)?;
        }
        progress.step(step);
    }
    progress.finish();
    println!(
        "trained for {:.0?}; export it with `grano-train export --run {}`",
        Duration::from_secs_f64(state.seconds),
        args.run.display()
    );
    Ok(())
}

/// The graph with the averaged weights of a run's folder or those of a model file.
fn network_like(graph: Graph, path: &Path, device: Device) -> Result<Network> {
    let begun = if path.extension().is_some_and(|extension| extension == "safetensors") {
        sample::from_model(&load(path)?)?
    } else {
        let state = checkpoint::read(path, Device::Cpu)?.1;
        Network::from_flat(state.network.graph().clone(), state.ema)?
    };
    // By name: the order of nodes is a matter of who sorted them.
    let values: BTreeMap<_, _> = begun.named().map(|(parameter, value)| (parameter.name.clone(), value)).collect();
    let flat = graph.parameters()?.into_iter().map(|parameter| {
        let value = values.get(&parameter.name).with_context(|| format!("no values for `{}`", parameter.name))?;
        let shape: Vec<usize> = value.size().iter().map(|&n| n as usize).collect();
        ensure!(shape == parameter.shape, "`{}` is {shape:?} there, {:?} here", parameter.name, parameter.shape);
        Ok(value.detach().reshape([-1]))
    });
    let flat = Tensor::cat(&flat.collect::<Result<Vec<_>>>()?, 0).to_device(device);
    Network::from_flat(graph, flat)
}

/// The seed of libtorch's generator for the network (0) and for each update (its number). With a seed per update,
/// to resume needs no generator's state. libtorch's generator on the CPU reads 32 bits, so all that differs must be
/// in these: 2³²/φ keeps the updates of small seeds apart.
fn seed_of(seed: u64, update: u64) -> i64 {
    i64::from((seed.wrapping_mul(0x9e37_79b9).wrapping_add(update)) as u32)
}

/// One step of Adam (Kingma & Ba 2015; β2 = 0.99) on one batch, and of the weights' average; returns the loss and
/// the gradient's norm before clipping. `signal` and `sigma` are a_t and σ_t, f32 `[T]`.
///
/// # Errors
/// When the loss or the gradient is not finite; the state is then as before.
fn update(
    args: &Args,
    state: &mut State,
    data: &Dataset,
    (signal, sigma): (&Tensor, &Tensor),
    kind: Kind,
) -> Result<(f64, f64)> {
    tch::manual_seed(seed_of(args.seed, state.step + 1));
    let device = data.images.device();
    let n = args.batch;
    let (x0, labels) = data.batch(&Tensor::randint(data.len(), [n], (Kind::Int64, device)));
    let hidden = Tensor::rand([n], (Kind::Float, device)).lt(args.label_dropout);
    let labels = labels.masked_fill(&hidden, data.names.len() as i64);
    let t = Tensor::randint(args.timesteps as i64, [n], (Kind::Int64, device));
    let noise = x0.randn_like();
    let at_t = |table: &Tensor| table.index_select(0, &t).reshape([-1, 1, 1, 1]);
    let x = &x0 * at_t(signal) + &noise * at_t(sigma);

    let loss = state.network.forward(&x, &t, &labels, kind).mse_loss(&noise, tch::Reduction::Mean);
    loss.backward();
    let mut gradient = state.network.take_gradient();
    tch::no_grad(|| {
        let (loss, norm) = (loss.double_value(&[]), gradient.norm().double_value(&[]));
        ensure!(
            loss.is_finite() && norm.is_finite(),
            "after {} updates the loss is {loss}, its gradient {norm}; begin another run with a lower --learning-rate",
            state.step
        );
        if norm > args.clip {
            gradient *= args.clip / norm;
        }
        let rate = args.learning_rate_at(state.step);
        // Young averages forget the untrained weights faster.
        let ema = args.ema.min((state.step as f64 + 1.0) / (state.step as f64 + 10.0));
        state.step += 1;
        let (beta1, beta2, time) = (0.9, 0.99, state.step as i32);
        let _ = state.first.lerp_(&gradient, 1.0 - beta1);
        let _ = state.second.lerp_(&gradient.square(), 1.0 - beta2);
        let root = (&state.second / (1.0 - f64::powi(beta2, time))).sqrt() + 1e-8;
        let _ = state
            .network
            .flat()
            .shallow_clone()
            .addcdiv_(&(&state.first * (-rate / (1.0 - f64::powi(beta1, time)))), &root);
        let _ = state.ema.lerp_(state.network.flat(), 1.0 - ema);
        Ok((loss, norm))
    })
}
