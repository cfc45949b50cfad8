//! Sampling by libtorch in f32: the reference of the device. Tables and noise are the device's own, so
//! that picture i of a seed is the same picture here and there, to rounding.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use grano::noise::{Gaussian, Noise, Philox};
use grano_codegen::load::load;
use grano_codegen::model::Model;
use grano_codegen::schedule::{Method, SamplerSpec, Table};
use grano_trainer_front::arguments::models::Sample as Args;
use indicatif::ProgressBar;
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::data::denormalize;
use crate::distributed::Ranks;
use crate::files;
use crate::network::Network;

/// Pictures that libtorch computes at once.
const BATCH: u64 = 100;

/// Runs the command.
///
/// # Errors
/// Names the file, label or sampler that is wrong.
pub fn sample(args: &Args) -> Result<()> {
    let npy = args.output.extension().is_some_and(|extension| extension == "npy");
    ensure!(
        npy || args.output.extension().is_some_and(|extension| extension == "png"),
        "--output {}: name a .png or .npy",
        args.output.display()
    );
    let ranks = Ranks::join(&json!({ "sample": format!("{:?}", Args { model: PathBuf::new(), ..args.clone() }) }))?;
    let model = load(&args.model)?;
    let header = &model.header;
    let network = from_model(&model)?;
    ranks.agree("weights", &[network.flat()])?;
    let classes = header.data.labels.len();
    let chosen = args.label.as_ref().map(|name| {
        let known = header.data.labels.iter().position(|label| label == name);
        known.with_context(|| match classes {
            0 => format!("--label {name}: the model has no classes"),
            _ => format!("--label {name}: the model knows {}", header.data.labels.join(", ")),
        })
    });
    let chosen = chosen.transpose()?;
    let sampler = args.sampler.as_ref().unwrap_or(&header.defaults.sampler);
    let spec = header.sampler(sampler)?;
    check_made_for(&model, &spec)?;
    let table = spec.table(&header.schedule, header.prediction)?;
    let guidance = args.guidance.unwrap_or(header.defaults.guidance);
    // As on the host: a row of the sheet a class.
    let label = |i: u64| chosen.unwrap_or(if classes == 0 { 0 } else { (i * classes as u64 / args.count) as usize });
    let bar = if ranks.is_first() { ProgressBar::new(args.count) } else { ProgressBar::hidden() };
    let [c, h, w] = network.graph().input().map(|n| n as i64);
    let mut pictures = Vec::new();
    for (i, start) in (0..args.count).step_by(BATCH as usize).enumerate() {
        let indices = start..(start + BATCH).min(args.count);
        if !ranks.owns(i) {
            let count = (indices.end - indices.start) as i64;
            pictures.push(Tensor::zeros([count, c, h, w], (Kind::Float, Device::Cpu)));
            continue;
        }
        let labels: Vec<i64> = indices.clone().map(|i| label(i) as i64).collect();
        let mut streams: Vec<_> = indices.clone().map(|i| Gaussian(Philox::new(args.seed, i))).collect();
        let trajectory =
            Trajectory { table: &table, labels: &Tensor::from_slice(&labels), guidance, kind: Kind::Float };
        pictures.push(trajectory.run(&network, &mut |shape| noise(&mut streams, shape), &mut |_, _| ())?);
        bar.set_position(indices.end);
    }
    bar.finish();
    for (i, pictures) in pictures.iter().enumerate() {
        ranks.broadcast(pictures, ranks.owner(i))?;
    }
    if !ranks.is_first() {
        return Ok(());
    }
    let pictures = Tensor::cat(&pictures, 0);
    if let Some(path) = &args.labels_out {
        let labels: Vec<i64> = (0..args.count).map(|i| label(i) as i64).collect();
        files::write_npy::<i64>(path, &Tensor::from_slice(&labels))?;
    }
    if npy {
        let bytes = denormalize(&pictures).permute([0, 2, 3, 1]);
        let grey = network.graph().input()[0] == 1;
        files::write_npy::<u8>(&args.output, &if grey { bytes.squeeze_dim(3) } else { bytes })?;
    } else {
        write_sheet(&pictures, (args.count as i64).min(8), &args.output)?;
    }
    println!("{}", args.output.display());
    Ok(())
}

/// Checks that a model was made for a sampler: the pictures of consistency models alone are those of one evaluation.
///
/// # Errors
/// Names the samplers that do.
pub fn check_made_for(model: &Model, spec: &SamplerSpec) -> Result<()> {
    let header = &model.header;
    let is_consistency = |spec: &SamplerSpec| matches!(spec.method, Method::Consistency);
    let own = header.own_samplers().iter().any(|name| header.sampler(name).is_ok_and(|own| is_consistency(&own)));
    ensure!(
        own || !is_consistency(spec),
        "{}: this model was not made for it (grano-train consistency does that); its own: {}",
        spec.name,
        header.own_samplers().join(", ")
    );
    Ok(())
}

/// The denoiser of a model file, on the CPU.
///
/// # Errors
/// When the file has no denoiser.
pub fn from_model(model: &Model) -> Result<Network> {
    let network = model.denoiser()?;
    let parameters = network.graph.parameters()?;
    let flat: Vec<f32> =
        parameters.iter().flat_map(|parameter| network.parameters[&parameter.name].iter().copied()).collect();
    Network::from_flat(network.graph.clone(), Tensor::from_slice(&flat))
}

/// f32 noise of a shape `[N, C, H, W]`, from one stream a picture; elements in the device's order `[H, W, C]`.
pub fn noise(streams: &mut [Gaussian<Philox>], shape: [i64; 4]) -> Tensor {
    let [n, c, h, w] = shape;
    let len = (c * h * w) as usize;
    let mut values = vec![0.0f32; n as usize * len];
    values.chunks_exact_mut(len).zip(streams).for_each(|(chunk, stream)| stream.fill(chunk));
    Tensor::from_slice(&values).reshape([n, h, w, c]).permute([0, 3, 1, 2]).contiguous()
}

/// A batch of pictures on the way from noise.
pub struct Trajectory<'a> {
    /// The sampler.
    pub table: &'a Table,
    /// i64 `[N]`.
    pub labels: &'a Tensor,
    /// Weight of classifier-free guidance; 1 takes one evaluation a step.
    pub guidance: f32,
    /// Number type of the passes through the network.
    pub kind: Kind,
}

impl Trajectory<'_> {
    /// Draws f32 `[N, C, H, W]`. `noise` gives x_T and then each step's z; `watch` sees the network's input
    /// at each step and x after it.
    ///
    /// # Errors
    /// Those of [`Network::forward`].
    pub fn run(
        &self,
        network: &Network,
        noise: &mut dyn FnMut([i64; 4]) -> Tensor,
        watch: &mut dyn FnMut(&Tensor, &Tensor),
    ) -> Result<Tensor> {
        tch::no_grad(|| self.run_with_gradients(network, noise, watch))
    }

    /// As [`Self::run`]; gradients reach the network through all steps.
    ///
    /// # Errors
    /// Those of [`Network::forward`].
    pub fn run_with_gradients(
        &self,
        network: &Network,
        noise: &mut dyn FnMut([i64; 4]) -> Tensor,
        watch: &mut dyn FnMut(&Tensor, &Tensor),
    ) -> Result<Tensor> {
        let device = network.flat().device();
        let graph = network.graph();
        let [c, h, w] = graph.input().map(|n| n as i64);
        let n = self.labels.size()[0];
        let labels = self.labels.to_device(device);
        let none = Tensor::full_like(&labels, graph.classes() as i64);
        let mut x = noise([n, c, h, w]).to_device(device);
        let mut previous: Option<Tensor> = None;
        for row in &self.table.rows {
            let t = Tensor::full([n], row.t as i64, (Kind::Int64, device));
            let input = &x * row.c_in;
            let mut out = network.forward(&input, &t, &labels, self.kind)?;
            if self.guidance != 1.0 && graph.classes() > 0 {
                let unlabelled = network.forward(&input, &t, &none, self.kind)?;
                out = &unlabelled + (out - &unlabelled) * f64::from(self.guidance);
            }
            let x0 = &x * row.k0 - &out * row.k1;
            let x0 = self.table.clip.map_or_else(|| x0.shallow_clone(), |clip| x0.clamp(-clip, clip));
            x = &x0 * row.a + &x * row.b + &out * row.e;
            if let Some(previous) = previous.replace(x0).filter(|_| row.d != 0.0) {
                x += previous * row.d;
            }
            if row.c != 0.0 {
                x += noise([n, c, h, w]).to_device(device) * row.c;
            }
            watch(&input, &x);
        }
        Ok(x)
    }
}

/// Classes on a sheet, at most.
const SHEET_CLASSES: usize = 32;

/// Draws one row of eight pictures per class, of many classes some that lie evenly among them, without guidance.
///
/// # Errors
/// When the picture cannot be written.
pub fn sheet(network: &Network, table: &Table, path: &Path) -> Result<()> {
    let classes = network.graph().classes().max(1);
    let shown = classes.min(SHEET_CLASSES);
    let labels: Vec<i64> = (0..shown).flat_map(|i| [(i * classes / shown) as i64; 8]).collect();
    let mut drawn = Vec::new();
    for (start, labels) in (0..).step_by(BATCH as usize).zip(labels.chunks(BATCH as usize)) {
        let mut streams: Vec<_> = (0..labels.len() as u64).map(|i| Gaussian(Philox::new(0, start + i))).collect();
        let trajectory = Trajectory { table, labels: &Tensor::from_slice(labels), guidance: 1.0, kind: Kind::Float };
        drawn.push(trajectory.run(network, &mut |shape| noise(&mut streams, shape), &mut |_, _| ())?);
    }
    write_sheet(&Tensor::cat(&drawn, 0), 8, path)
}

/// Pictures f32 `[N, C, H, W]` in [−1, 1], `columns` a row, as one PNG.
///
/// # Errors
/// When the picture cannot be written.
pub fn write_sheet(pictures: &Tensor, columns: i64, path: &Path) -> Result<()> {
    let [n, c, h, w] = pictures.size()[..] else { anyhow::bail!("pictures have four axes") };
    ensure!(columns > 0 && (c == 1 || c == 3), "{n} pictures of {c} channels make no sheet");
    let rows = (n + columns - 1) / columns;
    let missing = Tensor::zeros([rows * columns - n, c, h, w], (Kind::Uint8, pictures.device()));
    let all = Tensor::cat(&[denormalize(pictures), missing], 0);
    let sheet = all.reshape([rows, columns, c, h, w]).permute([0, 3, 1, 4, 2]);
    let bytes = Vec::<u8>::try_from(sheet.contiguous().reshape([-1]).to_device(Device::Cpu))?;
    let colour = if c == 1 { image::ExtendedColorType::L8 } else { image::ExtendedColorType::Rgb8 };
    files::write_png(path, &bytes, [(columns * w) as u32, (rows * h) as u32], colour)
}

#[cfg(test)]
mod tests {
    use grano_codegen::forward::{NoiseSchedule, ScheduleKind};
    use grano_codegen::schedule::{Prediction, SamplerSpec};

    use super::*;
    use crate::testing;
    use grano_networks::compact::{self, Config};

    /// Of the biases, whose values nothing rounds.
    #[test]
    fn gradients_through_all_steps_are_the_slopes() {
        let _alone = testing::seed(0);
        let config =
            Config { input: [1, 4, 4], classes: 2, channels: [4, 4], blocks: [1, 1, 1], embedding: 8, limit: 4.0 };
        let fresh = Network::new(compact::graph(&config).unwrap(), Device::Cpu).unwrap();
        let network = fresh.with_flat(fresh.flat() + fresh.flat().randn_like() * 0.1).unwrap();
        let biases = network.named().map(|(parameter, value)| match parameter.name.ends_with(".bias") {
            true => value.randn_like().reshape([-1]),
            false => value.zeros_like().reshape([-1]),
        });
        let direction = Tensor::cat(&biases.collect::<Vec<_>>(), 0).detach();
        let schedule = NoiseSchedule { kind: ScheduleKind::Cosine, steps: 100 };
        for sampler in ["dpm-3", "ancestral-2"] {
            let spec = sampler.parse::<SamplerSpec>().unwrap();
            let table = spec.table(&schedule, Prediction::Velocity).unwrap();
            let labels = Tensor::from_slice(&[0i64, 1, 2]);
            let trajectory = Trajectory { table: &table, labels: &labels, guidance: 1.0, kind: Kind::Float };
            let sum = |network: &Network| {
                let mut streams: Vec<_> = (0..3).map(|i| Gaussian(Philox::new(0, i))).collect();
                let mut noise = |shape: [i64; 4]| super::noise(&mut streams, shape);
                trajectory.run_with_gradients(network, &mut noise, &mut |_, _| ()).unwrap().sum(Kind::Double)
            };
            sum(&network).backward();
            let slope = (network.take_gradient() * &direction).sum(Kind::Double).double_value(&[]);
            const STEP: f64 = 1e-3;
            let [above, below] = [STEP, -STEP].map(|step| {
                let moved = network.with_flat(network.flat() + &direction * step).unwrap();
                tch::no_grad(|| sum(&moved)).double_value(&[])
            });
            let expected = (above - below) / (2.0 * STEP);
            assert!(
                (slope - expected).abs() < 0.02 * expected.abs() && expected.abs() > 0.1,
                "{slope}, not {expected}"
            );
        }
    }
}
