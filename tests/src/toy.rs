//! A small network of awkward shapes, with made-up weights: odd channels, sides that are not even, kernels
//! and strides that differ per axis, a sum and an activation that cannot be fused, no class in one block.

use std::collections::BTreeMap;

use grano_codegen::Result;
use grano_codegen::forward::{NoiseSchedule, ScheduleKind};
use grano_codegen::graph::{Builder, Function, Graph, LABEL, Op, Shape, T, X};
use grano_codegen::load::serialize;
use grano_codegen::model::{DENOISER, Data, Defaults, Header, Network, Ranges, VERSION};
use grano_codegen::reference;

/// Height of the toy's picture.
pub const HEIGHT: usize = 6;
/// Width of the toy's picture.
pub const WIDTH: usize = 10;

/// The graph.
///
/// # Errors
/// None: it is sound.
pub fn graph() -> Result<Graph> {
    let silu = || Op::Activation { function: Function::Silu };
    let conv = |out_channels, kernel, stride, padding, upsample| Op::Conv2d {
        out_channels,
        kernel,
        stride,
        padding,
        upsample,
    };
    let same = |out_channels| conv(out_channels, [3, 3], [1, 1], [1, 1], [1, 1]);
    let mut b = Builder::new([1, HEIGHT, WIDTH], 3);
    b.node("sinusoid", Op::Sinusoid { dim: 6, max_period: 1000.0 }, &[T]);
    b.node("time", silu(), &["sinusoid"]);
    b.node("class", Op::Embedding { dim: 6 }, &[LABEL]);
    b.node("both", Op::Add, &["time", "class"]);
    b.node("rows", Op::Linear { out_features: 5 }, &["both"]);
    b.node("time_rows", Op::Linear { out_features: 7 }, &["time"]);
    // 6×10 to 3×5, five channels.
    b.node("stem", conv(5, [4, 2], [2, 2], [1, 0], [1, 1]), &[X]);
    b.node("stem.biased", Op::ChannelBias, &["stem", "rows"]);
    b.node("a", silu(), &["stem.biased"]);
    // 3×5 to 2×5, a kernel that is not square.
    b.node("down", conv(7, [3, 1], [2, 1], [1, 0], [1, 1]), &["a"]);
    b.node("down.biased", Op::ChannelBias, &["down", "time_rows"]);
    b.node("b", silu(), &["down.biased"]);
    b.node("block", same(7), &["b"]);
    b.node("block.gain", Op::ChannelGain, &["block"]);
    b.node("block.add", Op::Add, &["b", "block.gain"]);
    b.node("c", silu(), &["block.add"]);
    // Linear, and read three times: its sum and its activation stand alone.
    b.node("plain", same(7), &["c"]);
    b.node("alone", silu(), &["plain"]);
    b.node("sum", Op::Add, &["plain", "alone"]);
    b.node("mixed", same(7), &["sum"]);
    b.node("joined", Op::Add, &["mixed", "plain"]);
    // 2×5 to 3×5: enlarged in height alone, then cut.
    b.node("up", conv(5, [2, 1], [1, 1], [0, 0], [2, 1]), &["joined"]);
    b.node("up.add", Op::Add, &["up", "a"]);
    b.node("d", silu(), &["up.add"]);
    b.node("head", same(4), &["d"]);
    b.node("out", Op::DepthToSpace { block: 2 }, &["head"]);
    b.finish("out")
}

/// A picture of the toy's shape, in about [−1.5, 1.5].
#[must_use]
pub fn picture(seed: u32) -> Vec<f32> {
    let mut random = random(seed);
    (0..HEIGHT * WIDTH).map(|_| 3.0 * random()).collect()
}

/// The toy as a model file's bytes, with ranges that the reference interpreter found.
///
/// # Errors
/// None: it is sound.
pub fn model() -> Result<Vec<u8>> {
    let graph = graph()?;
    let mut random = random(1);
    let mut tensors = BTreeMap::new();
    let mut parameters = BTreeMap::new();
    for parameter in graph.parameters()? {
        let values: Vec<f32> = (0..parameter.shape.iter().product::<usize>()).map(|_| random()).collect();
        parameters.insert(parameter.name.clone(), values.clone());
        tensors.insert(format!("{DENOISER}.{}", parameter.name), (parameter.shape, values));
    }
    let network = Network { graph, parameters };
    let shapes = network.graph.shapes()?;
    let times = vec![12, 37, 62, 87];
    let mut values: BTreeMap<String, Vec<[f32; 2]>> = BTreeMap::new();
    for &t in &times {
        let mut ends: BTreeMap<String, [f32; 2]> = BTreeMap::new();
        for seed in 0..24 {
            for (name, value) in reference::run(&network, &picture(seed), t, seed as usize % 4)? {
                if matches!(shapes[&name], Shape::Map(_)) {
                    let end = ends.entry(name).or_default();
                    value.iter().for_each(|&v| *end = [end[0].min(v), end[1].max(v)]);
                }
            }
        }
        ends.into_iter().for_each(|(name, end)| values.entry(name).or_default().push(end));
    }
    let header = Header {
        version: VERSION,
        networks: BTreeMap::from([(DENOISER.to_string(), network.graph)]),
        schedule: NoiseSchedule { kind: ScheduleKind::Cosine, steps: 100 },
        data: Data { labels: ["one", "two", "three"].map(String::from).to_vec(), range: [-1.0, 1.0] },
        ranges: BTreeMap::from([(DENOISER.to_string(), Ranges { times, values })]),
        defaults: Defaults { sampler: "ddim-4".into(), guidance: 1.0 },
    };
    serialize(&header, &tensors)
}

/// Uniform in [−0.5, 0.5), from a linear congruential generator (Numerical Recipes).
fn random(seed: u32) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(state) / f64::from(u32::MAX) - 0.5) as f32
    }
}
