//! Training: E‖ε − ε_θ(a_t·x_0 + σ_t·ε, t, y)‖² over uniform t (Ho et al. 2020, eq. 14), or the same of v.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use grano_codegen::forward::{NoiseSchedule, ScheduleKind};
use grano_codegen::graph::Graph;
use grano_codegen::load::load;
use grano_codegen::model::{DENOISER, Data, Defaults, Header, VERSION};
use grano_codegen::schedule::{Prediction, SamplerSpec, Table};
use grano_networks::unet::graph as reference_unet;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::data::{Dataset, Split};
use crate::distributed::Ranks;
use crate::network::Network;
use crate::optimize::{self, Settings, Task, seed_of};
use crate::process::Process;
use crate::state::State;
use crate::{checkpoint, sample};
use grano_networks::compact::{self, Config};

/// Trains a class-conditional ε_θ; a run that was stopped goes on where it was.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Args {
    /// IDX folder, folder with one subfolder of images per class, or .npy file
    #[arg(long)]
    pub data: PathBuf,
    /// Names of the classes, comma-separated, in the order of their labels
    #[arg(long, value_delimiter = ',')]
    pub labels: Option<Vec<String>>,
    /// Share of pictures whose label is hidden
    #[arg(long, default_value_t = 0.1)]
    pub label_dropout: f64,
    /// Noise schedule
    #[arg(long, value_enum, default_value_t = Schedule::Cosine)]
    pub schedule: Schedule,
    /// What the network says of x_t
    #[arg(long, value_enum, default_value_t = Target::Epsilon)]
    pub prediction: Target,
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
    /// How parameters are updated.
    #[command(flatten)]
    #[serde(flatten)]
    pub settings: Settings,
}

/// Networks on the command line.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// Made for integer chips; see [`grano_networks::compact`].
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

/// Predictions on the command line.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The noise (Ho et al. 2020).
    Epsilon,
    /// a_t·ε − σ_t·x_0 (Salimans & Ho 2022): counts errors of x̂0 where there is nearly nothing but noise, too.
    Velocity,
}

impl From<Target> for Prediction {
    fn from(target: Target) -> Self {
        match target {
            Target::Epsilon => Self::Epsilon,
            Target::Velocity => Self::Velocity,
        }
    }
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
        let config = Config { input, classes, channels, blocks, embedding: self.embedding, limit: self.limit };
        Ok(compact::graph(&config)?)
    }
}

/// Runs or resumes a training.
///
/// # Errors
/// Names what is wrong with the data, the arguments or the run's folder.
pub fn train(args: &Args) -> Result<()> {
    let arguments = serde_json::to_value(args)?;
    let ranks = Ranks::join(&arguments)?;
    let device = ranks.device();
    let data = Dataset::load(&args.data, Split::Train, args.labels.as_deref())?.on_device(device);
    let (schedule, prediction) = (args.noise_schedule(), args.prediction.into());
    let process = Process::new(&schedule, device, ranks.shard())?;
    let sampler = format!("ddim-{}", schedule.steps.min(20));
    let table = sampler.parse::<SamplerSpec>()?.table(&schedule, prediction)?;
    let (label_dropout, batch) = (args.label_dropout, args.settings.batch);
    let mut task = Denoise { data, process, table, prediction, label_dropout, batch };
    let data = &task.data;
    let run = &args.settings.run;
    let (header, mut state) = match checkpoint::load(run, &arguments, &ranks)? {
        Some(begun) => begun,
        None => {
            tch::manual_seed(seed_of(args.settings.seed, 0));
            let graph = args
                .graph(data.shape(), data.names.len())
                .with_context(|| format!("no network for {}", args.data.display()))?;
            let network = match &args.from {
                Some(path) => network_like(graph, path, device)
                    .with_context(|| format!("--from {}: a network of another shape", path.display()))?,
                None => Network::new(graph, device)?,
            };
            let header = Header {
                version: VERSION,
                networks: BTreeMap::from([(DENOISER.to_string(), network.graph().clone())]),
                schedule,
                prediction,
                data: Data { labels: data.names.clone(), range: [-1.0, 1.0] },
                ranges: BTreeMap::new(),
                likelihood: None,
                labels: BTreeMap::new(),
                samplers: BTreeMap::new(),
                defaults: Defaults { sampler, guidance: 1.0 },
            };
            (header, State::new(network))
        }
    };
    ensure!(
        state.network.graph().input() == data.shape() && header.data.labels == data.names,
        "{}: pictures of {:?} (channels, height, width) in {} classes, but {} was begun with {:?} in {}",
        args.data.display(),
        data.shape(),
        data.names.len(),
        run.display(),
        state.network.graph().input(),
        header.data.labels.len()
    );
    ranks.say(&format!(
        "{} parameters, {} pictures, {} classes, {device:?}, step {} of {}",
        state.network.flat().size()[0],
        data.len(),
        data.names.len(),
        state.step,
        args.settings.steps
    ));
    optimize::run(&ranks, &args.settings, &arguments, &header, &mut state, &mut task)
}

/// To say what of x_t is noise.
struct Denoise {
    data: Dataset,
    process: Process,
    /// Of sample sheets.
    table: Table,
    prediction: Prediction,
    label_dropout: f64,
    batch: i64,
}

impl Task for Denoise {
    fn loss(&mut self, network: &Network, kind: Kind, _update: u64) -> Result<Tensor> {
        let noisy = self.process.noisy(&self.data, self.batch, self.label_dropout, self.prediction);
        Ok(network.forward(&noisy.x, &noisy.t, &noisy.labels, kind)?.mse_loss(&noisy.target, tch::Reduction::Mean))
    }

    fn data(&self) -> Vec<&Tensor> {
        vec![&self.data.images, &self.data.labels]
    }

    fn sheet(&self, averaged: &Network, path: &Path) -> Result<()> {
        sample::sheet(averaged, &self.table, path)
    }
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
