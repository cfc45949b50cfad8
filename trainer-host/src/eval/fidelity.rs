//! What int8 and f16 lose against f32 with the same noise: in finished pictures, and in every value of the network at
//! every step of the same way from noise to picture.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use grano::noise::{Gaussian, Philox};
use grano::request::Request;
use grano::schedule::StepRow;
use grano_codegen::graph::{Graph, X};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::device::Engines;
use super::interval::quantile;
use super::pictures::Drawing;

/// PSNR in dB, peak 255, of pictures of bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Psnr {
    /// Half of the pictures are better.
    pub median: f64,
    /// The least.
    pub worst: f64,
    /// Of every picture; [`EQUAL`] for one that is the same to the bit.
    pub pictures: Vec<f64>,
}

/// Stands for an infinite PSNR.
pub const EQUAL: f64 = 99.0;

/// What the network's values lose, over the steps of some pictures of the f32 network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Losses {
    /// The stored values, in the order in which they are computed; the output is the last.
    pub layers: Vec<Layer>,
    /// Time indices of the steps, as they are run.
    pub times: Vec<usize>,
    /// By how much each step's error of the output moves the picture in that step (a multistep sampler draws on it once
    /// more): root mean square, pixels in [−1, 1].
    pub moved: Vec<f64>,
}

/// A stored value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Layer {
    /// Its name in the graph.
    pub name: String,
    /// Signal over noise, over all steps, in dB.
    pub snr_db: f64,
    /// The same of each step.
    pub by_step_db: Vec<f64>,
    /// Noise over signal, less that of the noisiest stored value that it is computed from: what is lost here.
    pub added: f64,
}

/// Squares, summed over pictures and evaluations.
#[derive(Clone, Copy, Default)]
struct Power {
    signal: f64,
    noise: f64,
}

impl Power {
    fn add(&mut self, exact: &[f32], got: &[f32]) {
        self.signal += exact.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        self.noise += exact.iter().zip(got).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum::<f64>();
    }

    fn sum(all: &[Self]) -> Self {
        let sum = |of: fn(&Self) -> f64| all.iter().map(of).sum();
        Self { signal: sum(|power| power.signal), noise: sum(|power| power.noise) }
    }

    fn db(self) -> f64 {
        10.0 * (self.signal / self.noise).log10().clamp(-EQUAL, EQUAL)
    }
}

impl Psnr {
    /// Of two sets, u8 `[N, …]`.
    ///
    /// # Errors
    /// None in practice: the sets are of one shape.
    pub fn of(pictures: &Tensor, reference: &Tensor) -> Result<Self> {
        let difference = (pictures.to_kind(Kind::Double) - reference.to_kind(Kind::Double)).flatten(1, -1);
        let errors = Vec::<f64>::try_from(difference.square().mean_dim(&[1i64][..], false, Kind::Double))?;
        let db = |error: f64| if error == 0.0 { EQUAL } else { 10.0 * (255.0 * 255.0 / error).log10() };
        let pictures: Vec<f64> = errors.into_iter().map(db).collect();
        let [median, worst] = [0.5, 0.0].map(|part| quantile(&pictures, part));
        Ok(Self { median, worst, pictures })
    }
}

/// Runs `pictures` pictures of a drawing in f32, and every evaluation of them, on the same input, in the drawing's
/// precision too. Pictures are spread over all of the drawing's, so over its classes.
///
/// # Errors
/// When a network was not built or the sampler is wrong.
pub fn losses(engines: &Engines<'_>, drawing: &Drawing, pictures: u64) -> Result<Losses> {
    let classes = engines.model.header.data.labels.len();
    let engine = engines.get("f32")?;
    let table = engine.table(&drawing.sampler)?;
    let times = engine.times(&table)?;
    let mut exact = engine.runner()?;
    let mut measured = engines.get(&drawing.precision)?.runner()?;
    let mut powers: BTreeMap<String, Vec<Power>> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    let mut output = vec![Power::default(); table.steps()];
    let mut guided = output.clone();
    for i in (0..pictures).map(|i| i * drawing.count / pictures) {
        let label = (classes > 0).then(|| drawing.label(i, classes));
        let request = Request { label, guidance: drawing.guidance };
        let asked = if label.is_some() && drawing.guidance != 1.0 { vec![label, None] } else { vec![label] };
        let inputs = exact.inputs(&table, Gaussian(Philox::new(drawing.seed, i)), request)?;
        for (step, (input, &t)) in inputs.iter().zip(&times).enumerate() {
            let mut outputs = Vec::new();
            for class in asked.iter().map(|label| label.unwrap_or(classes)) {
                let mut values = BTreeMap::new();
                let expected = exact.evaluate(input, t, class, &mut |name, tap, memory| {
                    values.insert(name.to_string(), tap.values(memory).collect());
                })?;
                let got = measured.evaluate(input, t, class, &mut |name, tap, memory| {
                    let Some(expected) = values.get(name) else { return };
                    let expected: &Vec<f32> = expected;
                    let got: Vec<f32> = tap.values(memory).collect();
                    let powers = powers.entry(name.to_string()).or_insert_with(|| {
                        order.push(name.to_string());
                        vec![Power::default(); times.len()]
                    });
                    powers[step].add(expected, &got);
                })?;
                output[step].add(&expected, &got);
                outputs.push([expected, got]);
            }
            let [expected, got] = [0, 1].map(|which| guide(&outputs, which, drawing.guidance));
            guided[step].add(&expected, &got);
        }
    }
    let graph = &engines.model.denoiser()?.graph;
    if !powers.contains_key(graph.output()) {
        order.push(graph.output().to_string());
        powers.insert(graph.output().to_string(), output.clone());
    }
    let noise = |name: &str| powers.get(name).map(|powers| Power::sum(powers)).map(|sum| sum.noise / sum.signal);
    let layer = |name: &String| {
        let sum = Power::sum(&powers[name]);
        let before = sources(graph, name, &powers.keys().map(String::as_str).collect()).into_iter().filter_map(noise);
        Layer {
            name: name.clone(),
            snr_db: sum.db(),
            by_step_db: powers[name].iter().map(|power| power.db()).collect(),
            added: (sum.noise / sum.signal - before.fold(0.0, f64::max)).max(0.0),
        }
    };
    let elements = (pictures as usize * graph.input().iter().product::<usize>()) as f64;
    let moved =
        |(power, row): (&Power, &StepRow)| f64::from(row.a * row.k1 - row.e).abs() * (power.noise / elements).sqrt();
    Ok(Losses {
        layers: order.iter().map(layer).collect(),
        moved: guided.iter().zip(table.view().rows).map(moved).collect(),
        times,
    })
}

/// The output that the sampler takes, of a labelled evaluation and an unlabelled one, or of a single one.
fn guide(outputs: &[[Vec<f32>; 2]], which: usize, guidance: f32) -> Vec<f32> {
    match outputs {
        [labelled, unlabelled] => {
            let pairs = labelled[which].iter().zip(&unlabelled[which]);
            pairs.map(|(labelled, unlabelled)| unlabelled + guidance * (labelled - unlabelled)).collect()
        }
        _ => outputs.iter().flat_map(|output| output[which].iter().copied()).collect(),
    }
}

/// The nearest stored values that a value is computed from.
fn sources<'a>(graph: &'a Graph, name: &str, stored: &BTreeSet<&str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut open: Vec<&str> =
        graph.node(name).map(|node| node.inputs.iter().map(String::as_str).collect()).unwrap_or_default();
    while let Some(input) = open.pop() {
        if stored.contains(input) {
            found.push(input);
        } else if let Some(node) = graph.node(input)
            && input != X
        {
            open.extend(node.inputs.iter().map(String::as_str));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use grano_codegen::load::load;

    #[test]
    fn psnr_is_of_bytes() {
        let a = Tensor::from_slice(&[0u8, 0, 10, 10]).reshape([2, 2]);
        let b = Tensor::from_slice(&[0u8, 0, 20, 10]).reshape([2, 2]);
        let psnr = Psnr::of(&a, &b).unwrap();
        assert!((psnr.worst - 10.0 * (255.0f64 * 255.0 / 50.0).log10()).abs() < 1e-12);
        assert_eq!(psnr.pictures.iter().filter(|db| **db == EQUAL).count(), 1);
    }

    #[test]
    fn int8_loses_more_than_f16_in_every_layer() {
        let model = load(std::path::Path::new("../models/fashion.safetensors")).unwrap();
        let engines = Engines::of(&model, ["int8", "f16", "f32"]).unwrap();
        let losses = |precision: &str| {
            let (precision, sampler) = (precision.to_string(), "ddim-4".to_string());
            losses(&engines, &Drawing { precision, sampler, guidance: 2.0, seed: 0, count: 10 }, 2).unwrap()
        };
        let [int8, f16, f32] = ["int8", "f16", "f32"].map(losses);
        assert_eq!(int8.times, [875, 625, 375, 125]);
        assert_eq!(int8.layers.last().unwrap().name, model.denoiser().unwrap().graph.output());
        for layer in &int8.layers {
            let half = f16.layers.iter().find(|half| half.name == layer.name).unwrap();
            assert!(layer.snr_db > 15.0 && layer.snr_db < half.snr_db - 10.0, "{layer:?} {half:?}");
        }
        assert!(f32.layers.iter().all(|layer| layer.added == 0.0));
        assert!(int8.moved.iter().zip(&f16.moved).all(|(int8, f16)| int8 > f16 && *f16 > 0.0));
    }
}
