//! The bound of [`super::likelihood`] for each network, over test pictures.

use anyhow::Result;
use grano_codegen::model::Model;
use rayon::prelude::*;
use serde::Serialize;
use tch::{Kind, Tensor};

use super::device::{Engine, Engines, rows};
use super::interval::Mean;
use super::likelihood::{Bound, Process, Query, Terms};
use super::pictures::{choose, on_best_device};
use super::quality::hash;
use super::store::Store;
use crate::data::Dataset;
use crate::network::Network;

/// Pictures between two savings.
const SAVED: i64 = 50;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Test pictures.
    pub count: i64,
    /// Parts of time, of each of which every picture takes one index.
    pub strata: usize,
    /// Whether the network is told the class.
    pub labelled: bool,
    /// Of t and ε.
    pub seed: u64,
}

/// A network's bound.
#[derive(Clone, Debug, Serialize)]
pub struct Likelihood {
    /// Of the network.
    pub precision: String,
    /// Bits per dimension.
    pub bound: Bound,
    /// How much more than f32 on the same pictures, t and ε.
    pub above_f32: Option<Mean>,
}

/// The bounds of some precisions, and the first time indices of the parts of time.
///
/// # Errors
/// When a network was not built or the store fails.
pub fn bounds(
    engines: &Engines<'_>,
    precisions: &[String],
    test: &Dataset,
    question: Question,
    store: &Store,
) -> Result<(Vec<Likelihood>, Vec<usize>)> {
    let process = process(engines.model, question.strata, question.seed)?;
    let chosen = choose(test.len(), question.count, question.seed);
    let len = test.shape().iter().product();
    let pictures = Pictures {
        bytes: bytes(test, &chosen)?,
        labels: Vec::<i64>::try_from(test.labels.index_select(0, &chosen))?,
        data: hash(&test.images)?,
    };
    let bound = |precision: &String| {
        let terms = terms(engines, precision, &process, &pictures, question, store)?;
        Ok(Likelihood { precision: precision.clone(), bound: process.bound(&terms, len), above_f32: None })
    };
    let mut bounds = precisions.iter().map(bound).collect::<Result<Vec<_>>>()?;
    if let Some(exact) = bounds.iter().find(|known| known.precision == "f32").map(|known| known.bound.clone()) {
        for other in bounds.iter_mut().filter(|other| other.precision != "f32") {
            other.above_f32 = Some(other.bound.above(&exact));
        }
    }
    Ok((bounds, process.bounds()))
}

/// The bound of networks on some pictures without their labels.
pub struct Probe {
    process: Process,
    /// `[N, H, W, C]`.
    bytes: Vec<u8>,
    /// Bytes of a picture.
    len: usize,
    /// Their number stands for no class.
    classes: usize,
}

impl Probe {
    /// Takes `count` pictures of `data`, with `strata` parts of time; both and the noise are chosen by `seed`.
    ///
    /// # Errors
    /// When there are no such parts of the model's time.
    pub fn new(model: &Model, data: &Dataset, count: i64, strata: usize, seed: u64) -> Result<Self> {
        let process = process(model, strata, seed)?;
        let bytes = bytes(data, &choose(data.len(), count, seed))?;
        let classes = model.header.data.labels.len();
        Ok(Self { process, bytes, len: data.shape().iter().product(), classes })
    }

    /// The bound.
    ///
    /// # Errors
    /// When the engine is of a network on other pictures.
    pub fn bound(&self, engine: &Engine) -> Result<Bound> {
        let pictures = self.bytes.par_chunks_exact(self.len).enumerate();
        let terms = pictures.map(|(i, picture)| terms_by_engine(engine, &self.process, i, picture, self.classes));
        Ok(self.process.bound(&terms.collect::<Result<Vec<_>>>()?, self.len))
    }
}

/// Pictures `chosen` of a set, `[N, H, W, C]`.
fn bytes(data: &Dataset, chosen: &Tensor) -> Result<Vec<u8>> {
    let images = data.images.index_select(0, chosen).permute([0, 2, 3, 1]).contiguous();
    Ok(Vec::try_from(images.reshape([-1]))?)
}

/// The model's own process, cut into `strata` parts of time.
fn process(model: &Model, strata: usize, seed: u64) -> Result<Process> {
    let steps = model.header.schedule.steps;
    anyhow::ensure!(
        (1..steps).contains(&strata),
        "{strata} parts of time: the model has {steps} steps, give 1 to {}",
        steps.saturating_sub(1)
    );
    let table = rows(&model.header, &format!("ancestral-{steps}"))?;
    Ok(Process::new(model.header.schedule.alpha_bars()?, table, strata, seed))
}

/// Test pictures, in the order in which they are taken.
struct Pictures {
    /// `[N, H, W, C]`.
    bytes: Vec<u8>,
    labels: Vec<i64>,
    /// Says of which set they are.
    data: String,
}

/// The parts of the bound for picture number `i`, whose class the network is told.
fn terms_by_engine(engine: &Engine, process: &Process, i: usize, picture: &[u8], class: usize) -> Result<Terms> {
    let mut runner = engine.runner()?;
    let mut ask = |queries: &[Query]| {
        queries.iter().map(|query| runner.evaluate(&query.x, query.t, class, &mut |_, _, _| ())).collect()
    };
    process.terms(i as u64, picture, &mut ask)
}

fn terms(
    engines: &Engines<'_>,
    precision: &str,
    process: &Process,
    pictures: &Pictures,
    question: Question,
    store: &Store,
) -> Result<Vec<Terms>> {
    let model = engines.model;
    let classes = model.header.data.labels.len();
    let Pictures { bytes, labels, data } = pictures;
    let (count, len) = (labels.len(), bytes.len() / labels.len());
    let picture = |i: usize| &bytes[i * len..][..len];
    let class = |i: usize| if question.labelled { labels[i] as usize } else { classes };
    let network = engines.fingerprint(precision)?;
    let Question { strata, labelled, seed, .. } = question;
    let settings = format!("{network} {strata} {labelled} {seed} {data}");
    let range = |from: i64| from as usize..(from + SAVED).min(count as i64) as usize;
    let tensor = |rows: Vec<Vec<f64>>| Tensor::from_slice(&rows.concat()).reshape([rows.len() as i64, -1]);
    let name = format!("likelihood by {precision}");
    let rows = if precision == "torch" {
        let network = on_best_device(model)?;
        store.tensor::<f64>(&name, &[&settings], count as i64, SAVED, |from, _| {
            let rows = range(from).map(|i| {
                let mut ask = |queries: &[Query]| ask_libtorch(&network, queries, class(i));
                Ok(process.terms(i as u64, picture(i), &mut ask)?.to_row())
            });
            Ok(tensor(rows.collect::<Result<_>>()?))
        })?
    } else {
        let engine = engines.get(precision)?;
        store.tensor::<f64>(&name, &[&settings], count as i64, SAVED, |from, bar| {
            let rows = range(from).into_par_iter().map(|i| {
                let terms = terms_by_engine(engine, process, i, picture(i), class(i))?;
                bar.inc(1);
                Ok(terms.to_row())
            });
            Ok(tensor(rows.collect::<Result<_>>()?))
        })?
    };
    let width = rows.size()[1] as usize;
    Ok(Vec::<f64>::try_from(rows.reshape([-1]))?.chunks(width).map(Terms::from_row).collect())
}

/// The outputs `[H, W, C]` for inputs `[H, W, C]`.
fn ask_libtorch(network: &Network, queries: &[Query], class: usize) -> Result<Vec<Vec<f32>>> {
    let device = network.flat().device();
    let [c, h, w] = network.graph().input().map(|n| n as i64);
    let n = queries.len() as i64;
    let inputs: Vec<f32> = queries.iter().flat_map(|query| query.x.iter().copied()).collect();
    let times: Vec<i64> = queries.iter().map(|query| query.t as i64).collect();
    let x = Tensor::from_slice(&inputs).reshape([n, h, w, c]).permute([0, 3, 1, 2]).to_device(device);
    let labels = Tensor::full([n], class as i64, (Kind::Int64, device));
    let times = Tensor::from_slice(&times).to_device(device);
    let out = tch::no_grad(|| network.forward(&x, &times, &labels, Kind::Float))?;
    let values = Vec::<f32>::try_from(out.permute([0, 2, 3, 1]).contiguous().reshape([-1]))?;
    Ok(values.chunks((c * h * w) as usize).map(<[f32]>::to_vec).collect())
}
