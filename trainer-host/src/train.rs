//! Training: E‖ε − ε_θ(a_t·x_0 + σ_t·ε, t, y)‖² over uniform t (Ho et al. 2020, eq. 14), or the same of v.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use grano_codegen::forward::{NoiseSchedule, ScheduleKind};
use grano_codegen::graph::Graph;
use grano_codegen::load::load;
use grano_codegen::model::{DENOISER, Data, Defaults, Header, VERSION};
use grano_codegen::schedule::{Prediction, Table};
use grano_networks::compact::{self, Config};
use grano_networks::unet::graph as reference_unet;
use grano_trainer_front::arguments::train::{Architecture, Args, Schedule, Target};
use tch::{Device, Kind, Tensor};

use crate::data::{self, Dataset};
use crate::distributed::Ranks;
use crate::network::Network;
use crate::optimize::{self, Task, seed_of};
use crate::process::Process;
use crate::state::State;
use crate::{checkpoint, sample};

/// The forward process.
fn noise_schedule(args: &Args) -> NoiseSchedule {
    let kind = match args.schedule {
        Schedule::Cosine => ScheduleKind::Cosine,
        // As much noise at the end as 1000 times of DDPM's own have.
        Schedule::Linear => {
            let scale = 1000.0 / args.timesteps as f64;
            ScheduleKind::Linear { beta_start: 1e-4 * scale, beta_end: 0.02 * scale }
        }
    };
    NoiseSchedule { kind, steps: args.timesteps }
}

/// The network for pictures of the given shape.
///
/// # Errors
/// When a list on the command line has the wrong length, or the pictures' sides do not fit.
fn graph(args: &Args, input: [usize; 3], classes: usize) -> Result<Graph> {
    if args.network == Architecture::Reference {
        return Ok(reference_unet(input, classes)?);
    }
    let [_, h, w] = input;
    ensure!(
        h % 4 == 0 && w % 4 == 0,
        "pictures are {h}×{w}; the network's sides are multiples of 4: give --size {}x{} --resize pad",
        h.next_multiple_of(4),
        w.next_multiple_of(4)
    );
    let channels = <[usize; 2]>::try_from(&args.channels[..]).context("--channels takes two numbers, like 32,48")?;
    let blocks = <[usize; 3]>::try_from(&args.blocks[..]).context("--blocks takes three numbers, like 1,2,2")?;
    let config = Config { input, classes, channels, blocks, embedding: args.embedding, limit: args.limit };
    Ok(compact::graph(&config)?)
}

fn prediction(target: Target) -> Prediction {
    match target {
        Target::Epsilon => Prediction::Epsilon,
        Target::Velocity => Prediction::Velocity,
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
    let data::Parts { train, summary, .. } = data::load(&args.data, args.labels.as_deref())?;
    let data = train.on_device(device).varied(args.augment);
    let (schedule, prediction) = (noise_schedule(args), prediction(args.prediction));
    let place = args.data.data.display();
    let run = &args.settings.run;
    let (header, mut state) = match checkpoint::load(run, &arguments, &ranks)? {
        Some(begun) => begun,
        None => {
            check_noise(&schedule)?;
            let sampler = format!("ddim-{}", schedule.steps.min(20));
            tch::manual_seed(seed_of(args.settings.seed, 0));
            let graph =
                graph(args, data.shape(), data.names.len()).with_context(|| format!("no network for {place}"))?;
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
        place,
        data.shape(),
        data.names.len(),
        run.display(),
        state.network.graph().input(),
        header.data.labels.len()
    );
    let table = header.sampler(&header.defaults.sampler)?.table(&header.schedule, header.prediction)?;
    ranks.say(summary.trim_end());
    ranks.say(&format!(
        "{} parameters, {} pictures, {} classes, {device:?}, step {} of {}",
        state.network.flat().size()[0],
        data.len(),
        data.names.len(),
        state.step,
        args.settings.steps
    ));
    let mut task = Denoise {
        process: Process::new(&header.schedule, device, ranks.shard())?,
        table,
        prediction: header.prediction,
        label_dropout: args.label_dropout,
        batch: args.settings.batch,
        data,
    };
    optimize::run(&ranks, &args.settings, &arguments, &header, &mut state, &mut task)
}

/// Checks that a forward process ends in noise: samplers begin there.
///
/// # Errors
/// Says which would do.
fn check_noise(schedule: &NoiseSchedule) -> Result<()> {
    const MOST_LEFT: f64 = 0.1;
    let advice = "give --schedule cosine, or more --timesteps";
    let alpha_bars = schedule.alpha_bars().with_context(|| format!("--timesteps {}: {advice}", schedule.steps))?;
    let left = alpha_bars.last().map_or(1.0, |alpha_bar| alpha_bar.sqrt());
    ensure!(left <= MOST_LEFT, "--timesteps {}: {left:.2} of the picture is left at the end; {advice}", schedule.steps);
    Ok(())
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
