//! A classifier of noisy pictures for guidance: −log p(y | x_t) of x_t ~ q(x_t | x_0), t uniform (Dhariwal & Nichol 2021,
//! section 4). It becomes one more network of a model file, together with the gradient of log p(y | x_t) with respect to x_t as
//! ordinary operations ([`grano_codegen::backward`]), so that a chip computes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use grano_codegen::backward::log_probability;
use grano_codegen::graph::{Graph, Shape, X};
use grano_codegen::load::{load, serialize};
use grano_codegen::model::{self, CLASSIFIER, Header, Model, Ranges};
use grano_codegen::schedule::Prediction;
use grano_networks::classifier::{self, Config, LOGITS};
use grano_trainer_front::arguments::students::Classify as Args;
use tch::{Device, Kind, Tensor};

use crate::data::{self, Dataset, Parts};
use crate::distributed::Ranks;
use crate::export::bulk;
use crate::network::Network;
use crate::optimize::{self, Task, seed_of};
use crate::process::Process;
use crate::state::State;
use crate::{checkpoint, files};

/// Runs or resumes a training, and writes the model.
///
/// # Errors
/// Names what is wrong with the model, the data, the arguments or the run's folder.
pub fn classify(args: &Args) -> Result<()> {
    let arguments = serde_json::to_value(args)?;
    let ranks = Ranks::join(&arguments)?;
    let device = ranks.device();
    let model = load(&args.model)?;
    let Parts { train, test, .. } = pictures(args, &model)?;
    let (data, test) = (train.on_device(device).varied(args.augment), test.on_device(device));
    let (header, mut state) = match checkpoint::load(&args.settings.run, &arguments, &ranks)? {
        Some(begun) => begun,
        None => {
            tch::manual_seed(seed_of(args.settings.seed, 0));
            let graph = graph(args, data.shape(), data.names.len())?;
            let header = Header {
                networks: BTreeMap::from([(CLASSIFIER.to_string(), graph.clone())]),
                ranges: BTreeMap::new(),
                likelihood: None,
                data: model::Data { labels: data.names.clone(), ..model.header.data.clone() },
                labels: BTreeMap::new(),
                ..model.header.clone()
            };
            (header, State::new(Network::new(graph, device)?))
        }
    };
    let mut task = Classify {
        process: Process::new(&model.header.schedule, device, ranks.shard())?,
        batch: args.settings.batch,
        data,
        test,
    };
    optimize::announce(&ranks, &args.settings, &state);
    optimize::run(&ranks, &args.settings, &arguments, &header, &mut state, &mut task)?;
    if ranks.is_first() {
        let bytes = with_classifier(&model, &state.averaged()?, &task)?;
        files::make_parent(&args.output)?;
        files::write(&args.output, &bytes)?;
        println!("{}: {} bytes", args.output.display(), bytes.len());
    }
    Ok(())
}

fn graph(args: &Args, input: [usize; 3], classes: usize) -> Result<Graph> {
    let channels = <[usize; 2]>::try_from(&args.channels[..]).context("--channels takes two numbers, like 24,48")?;
    let blocks = <[usize; 2]>::try_from(&args.blocks[..]).context("--blocks takes two numbers, like 1,2")?;
    Ok(classifier::graph(&Config { input, classes, channels, blocks, embedding: args.embedding })?)
}

/// The pictures, with the model's names of classes where it has as many.
fn pictures(args: &Args, model: &Model) -> Result<Parts> {
    let data = args.data.data.display();
    let mut parts = data::load(&args.data, args.labels.as_deref())?;
    let known = &model.header.data.labels;
    let (input, found) = (model.denoiser()?.graph.input(), parts.train.shape());
    ensure!(
        input == found,
        "{data}: pictures of {found:?} (channels, height, width), the model's are {input:?}; give --size {}x{}",
        input[1],
        input[2]
    );
    let classes = parts.train.names.len();
    ensure!(classes >= 2, "{data}: pictures of {classes} classes; a classifier tells two or more apart");
    if args.labels.is_none() && known.len() == classes {
        for part in [&mut parts.train, &mut parts.test] {
            part.names.clone_from(known);
        }
    }
    Ok(parts)
}

/// To tell classes apart through noise.
struct Classify {
    data: Dataset,
    /// Pictures held back.
    test: Dataset,
    process: Process,
    batch: i64,
}

impl Task for Classify {
    fn loss(&mut self, network: &Network, kind: Kind, _update: u64) -> Result<Tensor> {
        let noisy = self.process.noisy(&self.data, self.batch, 0.0, Prediction::Epsilon);
        let logits = network.forward(&noisy.x, &noisy.t, &noisy.labels, kind)?;
        Ok(logits.cross_entropy_for_logits(&noisy.labels))
    }

    fn data(&self) -> Vec<&Tensor> {
        vec![&self.data.images, &self.data.labels]
    }

    fn next(&self, _: &Path) -> String {
        "the model gets its classifier".into()
    }

    /// No picture: what is right, at five times.
    fn sheet(&self, averaged: &Network, _: &Path) -> Result<()> {
        let end = self.process.len();
        let (pictures, what) = match self.test.len() {
            0 => (&self.data, "pictures of the training set"),
            _ => (&self.test, "pictures held back"),
        };
        let right = |part: i64| -> Result<String> {
            let t = (end - 1) * part / 4;
            let noisy = self.process.noisy_at(t, pictures, 500);
            let logits = tch::no_grad(|| averaged.forward(&noisy.x, &noisy.t, &noisy.labels, Kind::Float))?;
            let right = logits.argmax(1, false).eq_tensor(&noisy.labels).to_kind(Kind::Double).mean(Kind::Double);
            Ok(format!("{:.1} % at t = {t}", 100.0 * right.double_value(&[])))
        };
        println!("right of {what}: {}", (0..5).map(right).collect::<Result<Vec<_>>>()?.join(", "));
        Ok(())
    }
}

/// Noisy pictures whose values become the ranges, at each time.
const CALIBRATION: i64 = 200;
/// Times at which ranges are measured.
const TIMES: usize = 25;
/// Share of values that may lie outside either end of a range.
const OUTLIERS: f64 = 1e-5;

/// The model's file with one more network: the classifier and its gradient, with the ranges of their values on noisy pictures.
fn with_classifier(model: &Model, network: &Network, task: &Classify) -> Result<Vec<u8>> {
    let parameters = network.named().map(|(parameter, values)| {
        Ok((parameter.name.clone(), Vec::<f32>::try_from(values.detach().to_device(Device::Cpu).reshape([-1]))?))
    });
    let plain = model::Network { graph: network.graph().clone(), parameters: parameters.collect::<Result<_>>()? };
    let both = log_probability(&plain, LOGITS)?;
    let mut header = model.header.clone();
    header.networks.insert(CLASSIFIER.into(), both.graph.clone());
    header.ranges.insert(CLASSIFIER.into(), calibrate(&both, task)?);
    if header.data.labels != task.data.names {
        header.labels.insert(CLASSIFIER.into(), task.data.names.clone());
    }
    let mut tensors = BTreeMap::new();
    let others =
        model.networks.iter().filter(|(name, _)| *name != CLASSIFIER).map(|(name, network)| (name.as_str(), network));
    for (name, network) in others.chain([(CLASSIFIER, &both)]) {
        for parameter in network.graph.parameters()? {
            let values = network.parameters[&parameter.name].clone();
            tensors.insert(format!("{name}.{}", parameter.name), (parameter.shape, values));
        }
    }
    Ok(serialize(&header, &tensors)?)
}

/// The ranges of all values, on pictures with noise: half of them with their own label, half with any.
fn calibrate(network: &model::Network, task: &Classify) -> Result<Ranges> {
    let graph = &network.graph;
    let flat: Vec<f32> =
        graph.parameters()?.iter().flat_map(|parameter| network.parameters[&parameter.name].iter().copied()).collect();
    let device = task.data.images.device();
    let traced = Network::from_flat(graph.clone(), Tensor::from_slice(&flat).to_device(device))?;
    let shapes = graph.shapes()?;
    let is_map = |name: &str| matches!(shapes.get(name), Some(Shape::Map(_) | Shape::Vector(_)));
    let last = task.process.len() as usize - 1;
    let times: BTreeSet<usize> = (0..TIMES).map(|i| i * last / (TIMES - 1)).collect();
    let mut values: BTreeMap<String, Vec<[f32; 2]>> = BTreeMap::new();
    tch::manual_seed(0);
    for &t in &times {
        let noisy = task.process.noisy_at(t as i64, &task.data, CALIBRATION);
        let any = Tensor::randint(task.data.names.len() as i64 + 1, [CALIBRATION], (Kind::Int64, device));
        let own = Tensor::arange(CALIBRATION, (Kind::Int64, device)).remainder(2).eq(0);
        let labels = noisy.labels.where_self(&own, &any);
        let mut record = |name: &str, value: &Tensor| {
            if is_map(name) {
                values.entry(name.into()).or_default().push(bulk(value, OUTLIERS));
            }
        };
        record(X, &noisy.x);
        let _ = tch::no_grad(|| traced.trace(&noisy.x, &noisy.t, &labels, Kind::Float, &mut record))?;
    }
    Ok(Ranges { times: times.into_iter().collect(), values, fine: Vec::new() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing;
    use grano::conditioning::Condition;
    use grano_codegen::backward::GRADIENT;
    use grano_codegen::load::parse;
    use grano_codegen::{Build, Precision};
    use grano_networks::calibrate;

    /// Three classes of stripes of 12×8, some of them moved.
    fn task() -> Classify {
        let [rows, columns] = [[12, 1], [1, 8]].map(|shape| {
            Tensor::arange(shape[0] * shape[1], (Kind::Int64, Device::Cpu)).reshape([1, 1, shape[0], shape[1]])
        });
        let patterns = [&rows.remainder(4) * 60, &columns.remainder(4) * 60, (&rows + &columns).remainder(4) * 60];
        let pattern = |i: i64| patterns[(i % 3) as usize].expand([1, 1, 12, 8], true).roll([i / 3], [2 + i % 2]);
        let images = Tensor::cat(&(0..96).map(pattern).collect::<Vec<_>>(), 0).to_kind(Kind::Uint8);
        let labels = Tensor::arange(96, (Kind::Int64, Device::Cpu)).remainder(3);
        let names = ["rows", "columns", "diagonals"].map(String::from).to_vec();
        let set = || Dataset {
            images: images.shallow_clone(),
            labels: labels.shallow_clone(),
            names: names.clone(),
            augment: Default::default(),
        };
        let schedule = calibrate::header(100, "ddim-4").schedule;
        let process = Process::new(&schedule, Device::Cpu, Ranks::alone().shard()).unwrap();
        Classify { data: set(), test: set(), process, batch: 32 }
    }

    fn cosine(a: &[f32], b: &[f32]) -> f64 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    /// The gradient that a chip computes against libtorch's automatic differentiation.
    #[test]
    fn learns_and_its_gradient_is_libtorchs() {
        let _alone = testing::seed(0);
        let mut task = task();
        let config = Config { input: task.data.shape(), classes: 3, channels: [8, 12], blocks: [1, 1], embedding: 16 };
        let mut state = State::new(Network::new(classifier::graph(&config).unwrap(), Device::Cpu).unwrap());
        for step in 1..=250 {
            let loss = task.loss(&state.network, Kind::Float, step).unwrap();
            loss.backward();
            let gradient = state.network.take_gradient();
            tch::no_grad(|| state.adam.step(state.network.flat(), &gradient, 5e-3, step));
        }
        let network = state.network;
        let clear = task.process.noisy_at(5, &task.data, 64);
        let logits = tch::no_grad(|| network.forward(&clear.x, &clear.t, &clear.labels, Kind::Float)).unwrap();
        let right = logits.argmax(1, false).eq_tensor(&clear.labels).to_kind(Kind::Double).mean(Kind::Double);
        assert!(right.double_value(&[]) > 0.9, "{right:?} right");

        let empty =
            Model { header: calibrate::header(100, "ddim-4"), networks: BTreeMap::new(), sha256: String::new() };
        let bytes = with_classifier(&empty, &network, &task).unwrap();
        let model = Arc::new(parse(&bytes, Path::new("classifier")).unwrap());
        assert_eq!(model.header.labels_of(CLASSIFIER), task.data.names);
        let times = [0, 20, 50, 80, 99];
        let [float, int8] = [Precision::F32, Precision::Int8]
            .map(|precision| Build::of(Arc::clone(&model)).precision(precision).times(times).runtime().unwrap());
        let (mut exact, mut rounded) = (Vec::new(), Vec::new());
        for t in times {
            let noisy = task.process.noisy_at(t as i64, &task.data, 12);
            let labels = (&noisy.labels + 1).remainder(3);
            let x = noisy.x.set_requires_grad(true);
            let logits = network.forward(&x, &noisy.t, &labels, Kind::Float).unwrap();
            let log_p = logits.log_softmax(1, Kind::Float).gather(1, &labels.unsqueeze(1), false).sum(Kind::Float);
            log_p.backward();
            for i in 0..12 {
                let [x, gradient] =
                    [x.detach(), x.grad()].map(|map| Vec::<f32>::try_from(map.get(i).reshape([-1])).unwrap());
                let class = labels.int64_value(&[i]) as usize;
                let [ours, integers] = [&float, &int8].map(|runtime| {
                    let network = runtime.network(CLASSIFIER).unwrap();
                    let condition = Condition { step: network.row(t).unwrap(), class };
                    let outputs = network.evaluate(condition, &[&x]).unwrap();
                    let place = network.compiled().outputs.iter().position(|(name, _)| name == GRADIENT).unwrap();
                    outputs[place].clone()
                });
                let size = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
                let error = ours.iter().zip(&gradient).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
                assert!(error <= 1e-4 * size + 1e-7, "t = {t}: off by {error} of {size}");
                exact.extend(gradient);
                rounded.extend(integers);
            }
        }
        let cosine = cosine(&exact, &rounded);
        assert!(cosine > 0.98, "int8: cosine {cosine}");
    }
}
