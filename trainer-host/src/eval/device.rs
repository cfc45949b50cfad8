//! Networks as devices run them: a model file in whatever precision, compiled and run in process.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use grano::conditioning::Condition;
use grano::memory::Line;
use grano::noise::{Gaussian, Philox};
use grano::picture::Picture;
use grano::request::Request;
use grano::tap::Tap;
use grano_codegen::model::{DENOISER, Header, Model};
use grano_codegen::runtime::{OwnedTable, RunningNetwork, Runtime};
use grano_codegen::schedule::Table;
use grano_codegen::{Build, Precision, Purpose, Target};
use sha2::{Digest, Sha256};

/// The name of int8 with the model's codes for likelihoods.
pub const LIKELIHOOD: &str = "int8, for likelihoods";

/// A model in one precision, ready to run, with rows for every time index.
pub struct Engine {
    runtime: Runtime,
    /// SHA-256 of the constants and the program (kernels, their parameters, buffers): what was measured of another network is
    /// not this one's.
    pub fingerprint: String,
}

/// Memory to run an [`Engine`] in, for one picture at a time. Maps are `[H, W, C]`.
pub struct Runner<'a> {
    runtime: &'a Runtime,
    network: RunningNetwork<'a>,
    arena: Vec<Line>,
}

impl Engine {
    /// Of a model in `int8`, `mixed`, `f16` or `f32`, or for [`LIKELIHOOD`].
    ///
    /// # Errors
    /// When the model has no denoiser, or cannot be built so.
    pub fn of(model: &Model, precision: &str) -> Result<Self> {
        Self::of_shared(&Arc::new(model.clone()), precision)
    }

    fn of_shared(model: &Arc<Model>, precision: &str) -> Result<Self> {
        let (numbers, purpose) = match precision {
            LIKELIHOOD => (Precision::Int8, Purpose::Likelihood),
            name => (name.parse()?, Purpose::Sampling),
        };
        model.denoiser()?;
        let build = Build::of(Arc::clone(model)).precision(numbers).purpose(purpose).target(Target::here());
        let runtime = build.times(0..model.header.schedule.steps).runtime().with_context(|| precision.to_string())?;
        let compiled = runtime.compiled();
        let mut hash = Sha256::new();
        hash.update(compiled.constants.bytes());
        for network in &compiled.networks {
            let (name, times, classes) = (&network.name, &network.times, network.classes);
            hash.update(format!("{name} {times:?} {classes} {:?}", network.program));
        }
        let fingerprint = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { runtime, fingerprint })
    }

    /// The table of a sampler, whichever it is.
    ///
    /// # Errors
    /// Says what is wrong about the name or its number of steps.
    pub fn table(&self, name: &str) -> Result<OwnedTable> {
        Ok(self.runtime.table(name)?)
    }

    /// The time index of each step of a table.
    ///
    /// # Errors
    /// When the model has no denoiser.
    pub fn times(&self, table: &OwnedTable) -> Result<Vec<usize>> {
        let times = &self.runtime.network(DENOISER)?.compiled().times;
        Ok(table.view().rows.iter().map(|row| times[usize::from(row.network_row)]).collect())
    }

    /// Memory for one picture at a time.
    ///
    /// # Errors
    /// When the model has no denoiser.
    pub fn runner(&self) -> Result<Runner<'_>> {
        let network = self.runtime.network(DENOISER)?;
        Ok(Runner { runtime: &self.runtime, network, arena: network.arena() })
    }
}

impl Runner<'_> {
    /// Draws a picture, bytes.
    ///
    /// # Errors
    /// When the label is unknown or the guidance is not finite.
    pub fn draw(&mut self, table: &OwnedTable, noise: Gaussian<Philox>, request: Request) -> Result<Vec<u8>> {
        let mut painter = self.runtime.painter()?;
        let shape = painter.shape();
        let x = painter.draw(table, noise, request, &mut |_| ())?;
        Ok(Picture::new(shape, x).bytes().collect())
    }

    /// The network's input at every step of a picture.
    ///
    /// # Errors
    /// As [`Self::draw`].
    pub fn inputs(&mut self, table: &OwnedTable, noise: Gaussian<Philox>, request: Request) -> Result<Vec<Vec<f32>>> {
        let mut inputs = Vec::new();
        let mut rows = table.view().rows.iter();
        let mut keep = |x: &[f32]| {
            // There is no step after the last.
            inputs.extend(rows.next().map(|row| x.iter().map(|x| row.c_in * x).collect::<Vec<f32>>()));
        };
        self.runtime.painter()?.draw(table, noise, request, &mut keep)?;
        Ok(inputs)
    }

    /// One evaluation: the network's output for an input at a time index and a class, which is the number of classes for
    /// none. `watch` sees every value that the network stores, by name, and the memory that it lies in.
    ///
    /// # Errors
    /// When the input has not the network's shape, or there is no such time or class.
    pub fn evaluate(
        &mut self,
        x: &[f32],
        t: usize,
        class: usize,
        watch: &mut dyn FnMut(&str, &Tap, &[u8]),
    ) -> Result<Vec<f32>> {
        let condition = Condition { step: self.network.row(t)?, class };
        self.network.check(condition, &[x])?;
        let outputs = self.network.watch(condition, &[x], &mut self.arena, watch);
        outputs.into_iter().next().context("the denoiser has no output")
    }
}

/// A model in the precisions that are asked for.
pub struct Engines<'a> {
    /// The model.
    pub model: &'a Model,
    engines: BTreeMap<String, Engine>,
}

impl<'a> Engines<'a> {
    /// Of a model in each of the precisions but `torch`, which is no engine's.
    ///
    /// # Errors
    /// As [`Engine::of`].
    pub fn of<'p>(model: &'a Model, precisions: impl IntoIterator<Item = &'p str>) -> Result<Self> {
        let shared = Arc::new(model.clone());
        let mut engines = BTreeMap::new();
        for precision in precisions.into_iter().filter(|&precision| precision != "torch") {
            if !engines.contains_key(precision) {
                engines.insert(precision.to_string(), Engine::of_shared(&shared, precision)?);
            }
        }
        Ok(Self { model, engines })
    }

    /// The engine of one of them.
    ///
    /// # Errors
    /// When it was not among them.
    pub fn get(&self, precision: &str) -> Result<&Engine> {
        self.engines.get(precision).with_context(|| format!("{precision}: not built"))
    }

    /// What tells the network of a precision from others: an engine's fingerprint, of `torch` the file's.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn fingerprint(&self, precision: &str) -> Result<&str> {
        match precision {
            "torch" => Ok(&self.model.sha256),
            precision => Ok(&self.get(precision)?.fingerprint),
        }
    }
}

/// The steps of a sampler, in f64.
///
/// # Errors
/// Says what is wrong about the name or its number of steps.
pub fn rows(header: &Header, name: &str) -> Result<Table> {
    Ok(header.sampler(name)?.table(&header.schedule, header.prediction)?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use grano_codegen::load::load;

    use super::*;

    /// `grano sample --label sneaker --count 1 -o sneaker.npy`, CRC-32 2aac822c: the picture that every chip draws.
    #[test]
    fn pictures_are_the_devices() {
        let model = load(Path::new("../models/fashion.safetensors")).unwrap();
        let label = model.header.data.labels.iter().position(|label| label == "sneaker");
        let engine = Engine::of(&model, "int8").unwrap();
        let table = engine.table(&model.header.defaults.sampler).unwrap();
        let request = Request { label, guidance: model.header.defaults.guidance };
        let picture = engine.runner().unwrap().draw(&table, Gaussian(Philox::new(0, 0)), request);
        assert_eq!(crc32fast::hash(&picture.unwrap()), 0x2aac_822c);
    }

    #[test]
    fn a_fingerprint_is_one_networks() {
        let mut model = load(Path::new("../models/fashion.safetensors")).unwrap();
        let fingerprint = |model: &Model, precision: &str| Engine::of(model, precision).unwrap().fingerprint;
        let int8 = fingerprint(&model, "int8");
        assert_eq!(int8, fingerprint(&model, "int8"));
        assert_ne!(int8, fingerprint(&model, "f16"));
        let ranges = model.header.ranges.get_mut(DENOISER).unwrap();
        ranges.values.get_mut("down0").unwrap().iter_mut().for_each(|ends| ends[1] *= 2.0);
        assert_ne!(int8, fingerprint(&model, "int8"), "other codes");
    }
}
