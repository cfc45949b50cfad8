//! A model learns from itself: to do without the second evaluation of guidance, and with an int8 network's codes.
//!
//! E‖(ε_θ(x_t, t) + w·(ε_θ(x_t, t, y) − ε_θ(x_t, t))) − ε_φ(x_t, t, y)‖² over real pictures and uniform t: the teacher
//! θ is the model as it is, the student φ begins as the teacher (Meng et al. 2023, section 3.1, for one w). Without a
//! label the student learns what the teacher says without one, so that likelihoods stay what they were.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use grano_codegen::load::load;
use grano_codegen::model::{DENOISER, Header, Model, Ranges};
use grano_codegen::schedule::{Prediction, Table};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::data::{Dataset, Split};
use crate::network::{Network, Rounding};
use crate::optimize::{self, Settings, State, Task};
use crate::process::Process;
use crate::{checkpoint, sample};

/// Teaches a model guidance in one evaluation, and an int8 network's rounding.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize, PartialEq)]
#[command(mut_arg("learning_rate", |argument| argument.default_value("3e-4")))]
#[command(mut_arg("steps", |argument| argument.default_value("4000")))]
#[command(mut_arg("warmup", |argument| argument.default_value("100")))]
#[command(mut_arg("ema", |argument| argument.default_value("0.999")))]
pub struct Args {
    /// The model that learns from itself
    #[arg(long)]
    pub model: PathBuf,
    /// IDX folder, folder with one subfolder of images per class, or .npy file
    #[arg(long)]
    pub data: PathBuf,
    /// Weight of the guidance that labelled evaluations learn; 1 for none
    #[arg(long, default_value_t = 1.0)]
    pub guidance: f64,
    /// Round all values to the codes that the model's int8 networks have
    #[arg(long)]
    pub int8: bool,
    /// Share of pictures whose label is hidden
    #[arg(long, default_value_t = 0.15)]
    pub label_dropout: f64,
    /// How parameters are updated.
    #[command(flatten)]
    #[serde(flatten)]
    pub settings: Settings,
}

/// Runs or resumes a fine-tuning.
///
/// # Errors
/// Names what is wrong with the model, the data, the arguments or the run's folder.
pub fn finetune(args: &Args) -> Result<()> {
    let device = Device::cuda_if_available();
    let model = load(&args.model)?;
    let data = pictures_for(&model, &args.data, device)?;
    let teacher = sample::from_model(&model)?.on_device(device)?;
    let arguments = serde_json::to_value(args)?;
    let (header, mut state) = match checkpoint::load(&args.settings.run, &arguments, device)? {
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
        process: Process::new(&header.schedule, device)?,
        guidance: args.guidance,
        label_dropout: args.label_dropout,
        batch: args.settings.batch,
        prediction: header.prediction,
        table: header.sampler(&header.defaults.sampler)?.table(&header.schedule, header.prediction)?,
        data,
        teacher,
    };
    println!("{} parameters, {device:?}, step {} of {}", state.ema.size()[0], state.step, args.settings.steps);
    optimize::run(&args.settings, &arguments, &header, &mut state, &mut task)
}

/// The training set at `path`, from which a model is to learn further.
///
/// # Errors
/// As [`Dataset::load`]; when the pictures have not the model's shape.
pub fn pictures_for(model: &Model, path: &Path, device: Device) -> Result<Dataset> {
    let data = Dataset::load(path, Split::Train, Some(&model.header.data.labels))?.on_device(device);
    let input = model.denoiser()?.graph.input;
    ensure!(
        input == data.shape(),
        "{}: pictures of {:?} (channels, height, width), the model's are {input:?}",
        path.display(),
        data.shape()
    );
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
    let ranges: &Ranges = header.ranges.get(DENOISER).context("--int8: the model has no ranges; export it first")?;
    Ok(network.with_fake_quantization(Rounding::new(model.denoiser()?, ranges, &[])?))
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
    fn loss(&mut self, network: &Network, kind: Kind, _update: u64) -> Tensor {
        let noisy = self.process.noisy(&self.data, self.batch, self.label_dropout, self.prediction);
        let teacher = |labels: &Tensor| self.teacher.forward(&noisy.x, &noisy.t, labels, kind);
        let target = tch::no_grad(|| {
            let labelled = teacher(&noisy.labels);
            if self.guidance == 1.0 {
                return labelled;
            }
            let none = Tensor::full_like(&noisy.labels, self.teacher.graph().classes as i64);
            let unlabelled = teacher(&none);
            &unlabelled + (labelled - &unlabelled) * self.guidance
        });
        network.forward(&noisy.x, &noisy.t, &noisy.labels, kind).mse_loss(&target, tch::Reduction::Mean)
    }

    fn sheet(&self, averaged: &Network, path: &Path) -> Result<()> {
        sample::sheet(averaged, &self.table, path)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use grano::noise::{Gaussian, Philox};

    use super::*;
    use crate::eval::device::Generated;

    /// Fake quantisation against the generated int8 and mixed networks, all maps that they store.
    #[test]
    fn all_values_are_those_of_the_generated_networks() {
        let model = load(Path::new("../models/fashion.safetensors")).unwrap();
        let ranges = &model.header.ranges[DENOISER];
        for (precision, fine) in [("int8", &[][..]), ("mixed", &ranges.fine)] {
            let rounding = Rounding::new(model.denoiser().unwrap(), ranges, fine).unwrap();
            let codes = rounding.codes.clone();
            let network = sample::from_model(&model).unwrap().with_fake_quantization(rounding);
            let mut runner = (Generated::of(&model, precision).unwrap().runner)();
            let [channels, height, width] = network.graph().input.map(|n| n as i64);
            let mut maps = 0;
            for (t, class) in [(20, 3), (400, 7), (950, 10)] {
                let mut streams = [Gaussian(Philox::new(9, t as u64))];
                let x = sample::noise(&mut streams, [1, channels, height, width]);
                let mut traced = BTreeMap::new();
                let mut keep = |name: &str, value: &Tensor| drop(traced.insert(name.to_string(), value.copy()));
                let [time, label] = [t as i64, class as i64].map(|value| Tensor::from_slice(&[value]));
                let output = tch::no_grad(|| network.trace(&x, &time, &label, Kind::Float, &mut keep));
                let input = Vec::<f32>::try_from(x.permute([0, 2, 3, 1]).contiguous().reshape([-1])).unwrap();
                let expected = runner.evaluate(&input, t, class, &mut |tap, memory| {
                    let Some(value) = traced.get(tap.name) else { return };
                    maps += 1;
                    let unit = codes[tap.name].affine.scale;
                    let float = value.permute([0, 2, 3, 1]).contiguous().reshape([-1]);
                    for (i, float) in Vec::<f32>::try_from(float).unwrap().into_iter().enumerate() {
                        let off = f64::from(float - tap.value(memory, i).unwrap()) / unit;
                        assert!(off.abs() < 1e-3, "{precision}, {}: {off} codes apart", tap.name);
                    }
                });
                let output = output.permute([0, 2, 3, 1]).contiguous().reshape([-1]);
                let off = (output - Tensor::from_slice(&expected)).abs().max().double_value(&[]);
                assert!(off < 1e-5, "{precision}: the output is {off} off");
            }
            assert_eq!(maps, 3 * 13, "all maps are compared");
        }
    }
}
