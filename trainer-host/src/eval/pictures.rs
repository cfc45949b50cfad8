//! Sets of pictures: drawn by the engine or by libtorch, real ones with noise, or anybody's from a file.

use anyhow::{Result, ensure};
use grano::noise::{Gaussian, Noise, Philox};
use grano::request::Request;
use grano_codegen::model::Model;
use grano_trainer_front::arguments::measure::Foreign;
use indicatif::ProgressBar;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::device::{Engine, Engines, rows};
use super::store::Store;
use crate::data::{Dataset, denormalize, normalize, read_npy};
use crate::distributed::device;
use crate::network::Network;
use crate::sample::{Trajectory, from_model, noise};

/// Pictures that are drawn between two savings.
const SAVED: u64 = 100;

/// What is drawn, and in which numbers.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// `int8`, `mixed`, `f16`, `f32`, or `torch` for f32 by libtorch.
    pub precision: String,
    /// A sampler's name.
    pub sampler: String,
    /// Weight of classifier-free guidance.
    pub guidance: f32,
    /// Picture i depends on the seed, its label and i alone.
    pub seed: u64,
    /// Pictures. Labels are as those of `grano sample`: each class in turn, count/classes times.
    pub count: u64,
}

impl Drawing {
    /// For people and files.
    pub fn name(&self) -> String {
        format!("{} {} w{}", self.precision, self.sampler, self.guidance)
    }

    /// The class of picture i.
    pub fn label(&self, i: u64, classes: usize) -> usize {
        (i * classes as u64 / self.count) as usize
    }

    /// The classes of all pictures, i64 `[count]`.
    pub fn labels(&self, classes: usize) -> Tensor {
        Tensor::from_slice(&(0..self.count).map(|i| self.label(i, classes) as i64).collect::<Vec<_>>())
    }

    /// All that the pictures depend on.
    ///
    /// # Errors
    /// When no such network was built or the sampler is wrong.
    pub fn settings(&self, engines: &Engines<'_>) -> Result<String> {
        let network = engines.fingerprint(&self.precision)?;
        Ok(format!("{network} {self:?} {:?}", rows(&engines.model.header, &self.sampler)?))
    }

    /// Draws the pictures, or finds them: u8 `[count, C, H, W]`.
    ///
    /// # Errors
    /// When the network, the sampler or the store fails.
    pub fn draw(&self, engines: &Engines<'_>, store: &Store) -> Result<Tensor> {
        let (settings, model) = (self.settings(engines)?, engines.model);
        let range = |from: i64| from as u64..(from as u64 + SAVED).min(self.count);
        match self.precision.as_str() {
            "torch" => {
                let network = on_best_device(model)?;
                store.tensor::<u8>(&self.name(), &[&settings], self.count as i64, SAVED as i64, |from, _| {
                    self.by_libtorch(model, &network, range(from))
                })
            }
            precision => {
                let engine = engines.get(precision)?;
                store.tensor::<u8>(&self.name(), &[&settings], self.count as i64, SAVED as i64, |from, bar| {
                    self.by_engine(model, engine, range(from), bar)
                })
            }
        }
    }

    fn by_engine(
        &self,
        model: &Model,
        engine: &Engine,
        range: std::ops::Range<u64>,
        bar: &ProgressBar,
    ) -> Result<Tensor> {
        let table = engine.table(&self.sampler)?;
        let classes = model.header.data.labels.len();
        let [c, h, w] = model.denoiser()?.graph.input().map(|n| n as i64);
        let pictures = range.into_par_iter().map(|i| {
            let request = Request { label: (classes > 0).then(|| self.label(i, classes)), guidance: self.guidance };
            let picture = engine.runner()?.draw(&table, Gaussian(Philox::new(self.seed, i)), request);
            bar.inc(1);
            picture
        });
        let bytes = pictures.collect::<Result<Vec<_>>>()?.concat();
        Ok(Tensor::from_slice(&bytes).reshape([-1, h, w, c]).permute([0, 3, 1, 2]).contiguous())
    }

    fn by_libtorch(&self, model: &Model, network: &Network, range: std::ops::Range<u64>) -> Result<Tensor> {
        let classes = model.header.data.labels.len();
        let labels: Vec<i64> = range.clone().map(|i| self.label(i, classes) as i64).collect();
        let mut streams: Vec<_> = range.map(|i| Gaussian(Philox::new(self.seed, i))).collect();
        let trajectory = Trajectory {
            table: &rows(&model.header, &self.sampler)?,
            labels: &Tensor::from_slice(&labels),
            guidance: self.guidance,
            kind: Kind::Float,
        };
        let pictures = trajectory.run(network, &mut |shape| noise(&mut streams, shape), &mut |_, _| ())?;
        Ok(denormalize(&pictures).to_device(Device::Cpu).contiguous())
    }
}

/// The denoiser in f32, on this rank's GPU if libtorch has one.
///
/// # Errors
/// When the file has no denoiser.
pub fn on_best_device(model: &Model) -> Result<Network> {
    from_model(model)?.on_device(device())
}

/// `count` of `0..of`, each at most once, i64 `[count]`; the same for a seed.
pub fn choose(of: i64, count: i64, seed: u64) -> Tensor {
    let mut keys = vec![0.0; of as usize];
    Gaussian(Philox::new(seed, u64::MAX)).fill(&mut keys);
    Tensor::from_slice(&keys).argsort(0, false).narrow(0, 0, count.min(of))
}

/// Chosen pictures of a set, f32 `[count, C, H, W]`, with noise of standard deviation `sigma` added to pixels in
/// [−1, 1], clipped to that, not rounded to bytes; and their labels.
pub fn noisy(data: &Dataset, count: i64, sigma: f64, seed: u64) -> (Tensor, Tensor) {
    let chosen = choose(data.len(), count, seed);
    let images = normalize(&data.images.index_select(0, &chosen));
    let [n, c, h, w] = images.size()[..] else { unreachable!("pictures have four axes") };
    let mut streams: Vec<_> = (0..n as u64).map(|i| Gaussian(Philox::new(seed, i))).collect();
    let noisy = images + noise(&mut streams, [n, c, h, w]) * sigma;
    (noisy.clamp(-1.0, 1.0), data.labels.index_select(0, &chosen))
}

/// Pictures of a file, u8 `[N, C, H, W]`, and their labels.
///
/// # Errors
/// Names the file that is missing or does not fit.
pub fn read_foreign(foreign: &Foreign, [c, h, w]: [usize; 3]) -> Result<(Tensor, Option<Tensor>)> {
    let images = read_npy::<u8>(&foreign.pictures)?;
    let images = if images.dim() == 3 { images.unsqueeze(-1) } else { images };
    ensure!(
        images.dim() == 4 && images.size()[1..] == [h as i64, w as i64, c as i64],
        "{}: shape {:?}; real pictures are {h}×{w}×{c}",
        foreign.pictures.display(),
        images.size()
    );
    let images = images.permute([0, 3, 1, 2]).contiguous();
    let labels = foreign.labels.as_ref().map(|path| {
        let labels = read_npy::<i64>(path)?;
        ensure!(labels.size() == [images.size()[0]], "{}: a label a picture is needed", path.display());
        Ok(labels)
    });
    Ok((images, labels.transpose()?))
}
