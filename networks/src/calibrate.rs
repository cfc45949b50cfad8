//! From a graph to a model file: weights from a generator, ranges from the reference interpreter.

use std::collections::BTreeMap;

use grano_codegen::Result;
use grano_codegen::forward::{NoiseSchedule, ScheduleKind};
use grano_codegen::graph::{Graph, Parameter, Shape, X};
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
        labels: BTreeMap::new(),
        defaults: Defaults { sampler: sampler.into(), guidance: 1.0 },
    }
}

/// The model file's bytes of a denoiser. `cases` are time indices, ascending, with pictures of each, whose values' ends
/// become the ranges, of which those of `fine` are for int16 in mixed precision; the header's own networks and ranges are
/// replaced.
///
/// # Errors
/// When the network is not sound.
pub fn model(network: Network, header: Header, cases: &[(usize, Vec<Picture>)], fine: &[&str]) -> Result<Vec<u8>> {
    let inputs = |(x, label): &Picture| Inputs { values: BTreeMap::from([(X.to_string(), x.clone())]), label: *label };
    let cases = cases.iter().map(|(t, pictures)| (*t, pictures.iter().map(inputs).collect())).collect();
    let denoiser = Part { name: DENOISER, network, cases, fine: fine.iter().map(ToString::to_string).collect() };
    models(vec![denoiser], header)
}

/// What a network is calibrated on.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Maps `[channels, height, width]` and vectors by port.
    pub values: BTreeMap<String, Vec<f32>>,
    /// The label; 0 where the network reads none.
    pub label: usize,
}

/// A network of a model, with what its ranges come from.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its name in the model.
    pub name: &'static str,
    /// Graph and parameters.
    pub network: Network,
    /// Time indices, ascending, with inputs of each.
    pub cases: Vec<(usize, Vec<Inputs>)>,
    /// Names of values that are for int16 in mixed precision.
    pub fine: Vec<String>,
}

/// As [`model`] for several networks.
///
/// # Errors
/// When a network is not sound.
pub fn models(parts: Vec<Part>, header: Header) -> Result<Vec<u8>> {
    let mut header = Header { networks: BTreeMap::new(), ranges: BTreeMap::new(), ..header };
    let mut tensors = BTreeMap::new();
    for Part { name, network, cases, fine } in parts {
        let times = cases.iter().map(|(t, _)| *t).collect();
        let ranges = Ranges { times, values: ends(&network, &cases)?, fine };
        header.ranges.insert(name.into(), ranges);
        for parameter in network.graph.parameters()? {
            let values = network.parameters[&parameter.name].clone();
            tensors.insert(format!("{name}.{}", parameter.name), (parameter.shape, values));
        }
        header.networks.insert(name.into(), network.graph);
    }
    serialize(&header, &tensors)
}

/// The least and the greatest that every value takes, by time index.
fn ends(network: &Network, cases: &[(usize, Vec<Inputs>)]) -> Result<BTreeMap<String, Vec<[f32; 2]>>> {
    let shapes = network.graph.shapes()?;
    let mut values: BTreeMap<String, Vec<[f32; 2]>> = BTreeMap::new();
    for (t, inputs) in cases {
        let mut ends: BTreeMap<String, [f32; 2]> = BTreeMap::new();
        for Inputs { values, label } in inputs {
            let values = values.iter().map(|(port, value)| (port.as_str(), &value[..])).collect();
            for (name, value) in reference::evaluate(network, &values, *t, *label)? {
                if matches!(shapes[&name], Shape::Map(_) | Shape::Vector(_)) {
                    let end = ends.entry(name).or_default();
                    value.iter().for_each(|&v| *end = [end[0].min(v), end[1].max(v)]);
                }
            }
        }
        ends.into_iter().for_each(|(name, end)| values.entry(name).or_default().push(end));
    }
    Ok(values)
}

/// As [`random`], with neighbouring seeds far apart in the generator's period.
pub fn scattered(seed: u32) -> impl FnMut() -> f32 {
    random(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9))
}

/// Uniform in [−0.5, 0.5), from a linear congruential generator (Numerical Recipes).
pub fn random(seed: u32) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(state) / f64::from(u32::MAX) - 0.5) as f32
    }
}
