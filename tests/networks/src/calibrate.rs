//! From a graph to a model file: weights from a generator, ranges from the reference interpreter.

use std::collections::BTreeMap;

use grano_codegen::Result;
use grano_codegen::forward::{NoiseSchedule, ScheduleKind};
use grano_codegen::graph::{Graph, Parameter, Shape};
use grano_codegen::load::serialize;
use grano_codegen::model::{DENOISER, Data, Defaults, Header, Network, Ranges, VERSION};
use grano_codegen::reference;
use grano_codegen::schedule::Prediction;

/// Random parameters: `values` gives those of each, in the graph's order.
///
/// # Errors
/// When the graph is not sound.
pub fn network(graph: Graph, mut values: impl FnMut(&Parameter) -> Vec<f32>) -> Result<Network> {
    let parameters = graph.parameters()?.into_iter().map(|parameter| (parameter.name.clone(), values(&parameter)));
    Ok(Network { parameters: parameters.collect(), graph })
}

/// A picture `[channels, height, width]` and its label.
pub type Picture = (Vec<f32>, usize);

/// The header of an unconditional ε-network over `steps` time indices of the cosine schedule, with a default sampler; what
/// [`model`] replaces is empty.
#[must_use]
pub fn header(steps: usize, sampler: &str) -> Header {
    Header {
        version: VERSION,
        networks: BTreeMap::new(),
        schedule: NoiseSchedule { kind: ScheduleKind::Cosine, steps },
        prediction: Prediction::Epsilon,
        samplers: BTreeMap::new(),
        data: Data { labels: Vec::new(), range: [-1.0, 1.0] },
        ranges: BTreeMap::new(),
        likelihood: None,
        defaults: Defaults { sampler: sampler.into(), guidance: 1.0 },
    }
}

/// The model file's bytes. `cases` are time indices, ascending, with pictures of each, whose values' ends become the
/// ranges, of which those of `fine` are for int16 in mixed precision; the header's own networks and ranges are replaced.
///
/// # Errors
/// When the network is not sound.
pub fn model(network: Network, header: Header, cases: &[(usize, Vec<Picture>)], fine: &[&str]) -> Result<Vec<u8>> {
    let shapes = network.graph.shapes()?;
    let mut values: BTreeMap<String, Vec<[f32; 2]>> = BTreeMap::new();
    for (t, pictures) in cases {
        let mut ends: BTreeMap<String, [f32; 2]> = BTreeMap::new();
        for (x, label) in pictures {
            for (name, value) in reference::run(&network, x, *t, *label)? {
                if matches!(shapes[&name], Shape::Map(_)) {
                    let end = ends.entry(name).or_default();
                    value.iter().for_each(|&v| *end = [end[0].min(v), end[1].max(v)]);
                }
            }
        }
        ends.into_iter().for_each(|(name, end)| values.entry(name).or_default().push(end));
    }
    let parameters = network.graph.parameters()?.into_iter();
    let tensors = parameters.map(|parameter| {
        let values = network.parameters[&parameter.name].clone();
        (format!("{DENOISER}.{}", parameter.name), (parameter.shape, values))
    });
    let tensors: BTreeMap<_, _> = tensors.collect();
    let header = Header {
        networks: BTreeMap::from([(DENOISER.to_string(), network.graph)]),
        ranges: BTreeMap::from([(
            DENOISER.to_string(),
            Ranges {
                times: cases.iter().map(|(t, _)| *t).collect(),
                values,
                fine: fine.iter().map(ToString::to_string).collect(),
            },
        )]),
        ..header
    };
    serialize(&header, &tensors)
}

/// Uniform in [−0.5, 0.5), from a linear congruential generator (Numerical Recipes).
pub fn random(seed: u32) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(state) / f64::from(u32::MAX) - 0.5) as f32
    }
}
