//! A model learns from itself: to do without the second evaluation of guidance, and with an int8 network's codes.
//!
//! E‖(ε_θ(x_t, t) + w·(ε_θ(x_t, t, y) − ε_θ(x_t, t))) − ε_φ(x_t, t, y)‖² over real pictures and uniform t: the teacher
//! θ is the model as it is, the student φ begins as the teacher (Meng et al. 2023, section 3.1, for one w). Without a
//! label the student learns what the teacher says without one, so that likelihoods stay what they were.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use grano_codegen::load::load;
use grano_codegen::model::{DENOISER, Header, Model};
use grano_codegen::schedule::{Prediction, Table};
use grano_trainer_front::arguments::data::Augment;
use grano_trainer_front::arguments::students::Finetune as Args;
use grano_trainer_front::data::DataArgs;
use tch::{Device, Kind, Tensor};

use crate::data::{self, Dataset};
use crate::distributed::Ranks;
use crate::network::Network;
use crate::optimize::{self, Task};
use crate::process::Process;
use crate::rounding::Rounding;
use crate::state::State;
use crate::{checkpoint, sample};

/// Runs or resumes a fine-tuning.
///
/// # Errors
/// Names what is wrong with the model, the data, the arguments or the run's folder.
pub fn finetune(args: &Args) -> Result<()> {
    ensure!(
        args.guidance != 1.0 || args.int8,
        "nothing to learn: give the guidance that evaluations are to learn, such as --guidance 2, or --int8, or both"
    );
    let arguments = serde_json::to_value(args)?;
    let ranks = Ranks::join(&arguments)?;
    let device = ranks.device();
    let model = load(&args.model)?;
    let data = pictures_for(&model, &args.data, args.augment, device)?;
    let teacher = sample::from_model(&model)?.on_device(device)?;
    let (header, mut state) = match checkpoint::load(&args.settings.run, &arguments, &ranks)? {
        Some(begun) => begun,
        None => {
            let mut header = model.header.clone();
            if args.guidance != 1.0 {
                header.defaults.guidance = 1.0;
            }
            header.likelihood = None;
            // Codes that a network has learnt to live with are the ones that it keeps.
            if !args.int8 {
                header.ranges.clear();
            }
            let student = teacher.with_flat(teacher.flat().copy())?;
            (header, State::new(student))
        }
    };
    if args.int8 {
        state.network = fake_quantized(state.network, &model, &header)?;
    }
    let mut task = SelfDistillation {
        process: Process::new(&header.schedule, device, ranks.shard())?,
        guidance: args.guidance,
        label_dropout: args.label_dropout,
        batch: args.settings.batch,
        prediction: header.prediction,
        table: header.sampler(&header.defaults.sampler)?.table(&header.schedule, header.prediction)?,
        data,
        teacher,
    };
    optimize::announce(&ranks, &args.settings, &state);
    optimize::run(&ranks, &args.settings, &arguments, &header, &mut state, &mut task)
}

/// The training pictures of data from which a model is to learn further.
///
/// # Errors
/// As [`data::load_for`]; when the model knows classes, but not the data's.
pub fn pictures_for(model: &Model, args: &DataArgs, augment: Augment, device: Device) -> Result<Dataset> {
    let mut data = data::load_for(model, args)?.train.on_device(device).varied(augment);
    if model.header.data.labels.is_empty() {
        // The classes of the data are none of the model's.
        data.names.clear();
        let _ = data.labels.zero_();
    }
    Ok(data)
}

/// Whether a model draws in one evaluation a step, as learning to draw in few steps asks.
///
/// # Errors
/// Names the file at `path` and its guidance otherwise.
pub fn check_unguided(model: &Model, path: &Path) -> Result<()> {
    let guidance = model.header.defaults.guidance;
    ensure!(
        guidance == 1.0,
        "{}: draws with guidance {guidance}; put that into its weights first (finetune --guidance)",
        path.display()
    );
    Ok(())
}

/// A network that rounds as int8 networks of `model` do, with the ranges that `header` holds.
///
/// # Errors
/// When there are no ranges, or int8 has no kernel for a node.
pub fn fake_quantized(network: Network, model: &Model, header: &Header) -> Result<Network> {
    let ranges = header.ranges.get(DENOISER).context("--int8: the model has no ranges; export it first")?;
    Ok(network.with_fake_quantization(Rounding::new(model, ranges)?))
}

/// What is learnt.
struct SelfDistillation {
    data: Dataset,
    process: Process,
    teacher: Network,
    guidance: f64,
    label_dropout: f64,
    batch: i64,
    prediction: Prediction,
    table: Table,
}

impl Task for SelfDistillation {
    fn loss(&mut self, network: &Network, kind: Kind, _update: u64) -> Result<Tensor> {
        let noisy = self.process.noisy(&self.data, self.batch, self.label_dropout, self.prediction);
        let teacher = |labels: &Tensor| self.teacher.forward(&noisy.x, &noisy.t, labels, kind);
        let target = tch::no_grad(|| {
            let labelled = teacher(&noisy.labels)?;
            if self.guidance == 1.0 {
                return Ok(labelled);
            }
            let none = Tensor::full_like(&noisy.labels, self.teacher.graph().classes() as i64);
            let unlabelled = teacher(&none)?;
            anyhow::Ok(&unlabelled + (labelled - &unlabelled) * self.guidance)
        })?;
        Ok(network.forward(&noisy.x, &noisy.t, &noisy.labels, kind)?.mse_loss(&target, tch::Reduction::Mean))
    }

    fn data(&self) -> Vec<&Tensor> {
        vec![&self.data.images, &self.data.labels, self.teacher.flat()]
    }

    fn sheet(&self, averaged: &Network, path: &Path) -> Result<()> {
        sample::sheet(averaged, &self.table, path)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use grano::noise::{Gaussian, Philox};
    use grano_codegen::model;
    use grano_networks::unet;

    use super::*;
    use crate::eval::device::Engine;

    /// What training sees of every stored value, and of the output, is what the engine stores, to the bit: of a trained
    /// network, and of one with group normalisation and attention.
    #[test]
    fn values_that_training_sees_are_the_engines() {
        let reference = grano_codegen::load::parse(&unet::model().unwrap(), Path::new("unet")).unwrap();
        for model in [load(Path::new("../models/fashion.safetensors")).unwrap(), reference] {
            let ranges = &model.header.ranges[DENOISER];
            let network = sample::from_model(&model).unwrap();
            let network = network.with_fake_quantization(Rounding::new(&model, ranges).unwrap());
            // The weights that training has are on the grid of int8, and so are those that it exports.
            let values = |value: &Tensor| Vec::<f32>::try_from(value.detach().reshape([-1])).unwrap();
            let parameters =
                network.named().map(|(parameter, value)| (parameter.name.clone(), values(&value))).collect();
            let exported = Model {
                networks: BTreeMap::from([(
                    DENOISER.to_string(),
                    model::Network { graph: network.graph().clone(), parameters },
                )]),
                ..model.clone()
            };
            let engine = Engine::of(&exported, "int8").unwrap();
            let mut runner = engine.runner().unwrap();
            let [channels, height, width] = network.graph().input().map(|n| n as i64);
            let classes = network.graph().classes();
            let (times, labels) = ([20, 400, 950], [0, classes / 2, classes]);
            let mut streams = [0, 1, 2].map(|i| Gaussian(Philox::new(9, i)));
            let x = sample::noise(&mut streams, [3, channels, height, width]);
            let mut traced = BTreeMap::new();
            let mut keep = |name: &str, value: &Tensor| drop(traced.insert(name.to_string(), value.copy()));
            let whole = |values: [usize; 3]| Tensor::from_slice(&values.map(|value| value as i64));
            let output = tch::no_grad(|| network.trace(&x, &whole(times), &whole(labels), Kind::Float, &mut keep));
            let output = output.unwrap();
            let row = |maps: &Tensor, i: i64| {
                Vec::<f32>::try_from(maps.get(i).permute([1, 2, 0]).contiguous().reshape([-1])).unwrap()
            };
            for i in 0..3 {
                let mut compared = 0;
                let expected = runner.evaluate(&row(&x, i as i64), times[i], labels[i], &mut |name, tap, memory| {
                    // What training reads is the picture itself.
                    let Some(value) = traced.get(name) else { return assert_eq!(name, "x") };
                    assert!(tap.values(memory).eq(row(value, i as i64)), "{name}, picture {i}");
                    compared += 1;
                });
                assert_eq!(row(&output, i as i64), expected.unwrap(), "picture {i}");
                assert!(compared >= 13, "{compared} maps are compared");
            }
        }
    }

    /// Weights that make no int8 network end a training; they are not trained on in f32.
    #[test]
    fn weights_that_int8_cannot_hold_are_an_error() {
        let model = load(Path::new("../models/fashion.safetensors")).unwrap();
        let rounding = Rounding::new(&model, &model.header.ranges[DENOISER]).unwrap();
        let network = sample::from_model(&model).unwrap();
        let huge = network.with_flat(network.flat() * 1e6).unwrap().with_fake_quantization(rounding);
        let [x, t, label] = [
            Tensor::zeros([1, 1, 28, 28], (Kind::Float, Device::Cpu)),
            Tensor::from_slice(&[5i64]),
            Tensor::from_slice(&[0i64]),
        ];
        let error = format!("{:#}", huge.forward(&x, &t, &label, Kind::Float).unwrap_err());
        assert!(error.contains("no int8 network") && error.contains("do not fit into int32"), "{error}");
    }
}
