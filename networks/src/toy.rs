//! A small network of awkward shapes, with made-up weights: odd channels, sides that are not even, kernels
//! and strides that differ per axis, a sum and an activation that cannot be fused, no class in one block.

use grano_codegen::Result;
use grano_codegen::graph::{
    Activation, Add, Builder, ChannelBias, ChannelGain, Conv2d, DepthToSpace, Embedding, Function, Graph, LABEL,
    Linear, Parameter, Sinusoid, T, X,
};

use crate::calibrate::{self, random};

/// Height of the toy's picture.
pub const HEIGHT: usize = 6;
/// Width of the toy's picture.
pub const WIDTH: usize = 10;

/// Maps that mixed precision keeps in int16: results of convolutions of either type, with a residual of either or none.
pub const FINE: [&str; 3] = ["a", "c", "d"];

/// The graph.
///
/// # Errors
/// None: it is sound.
pub fn graph() -> Result<Graph> {
    let silu = || Activation { function: Function::Silu };
    let conv = |out_channels, kernel, stride, padding: [usize; 2], upsample| Conv2d {
        out_channels,
        kernel,
        stride,
        padding: padding.into(),
        upsample,
        groups: 1,
    };
    let same = |out_channels| conv(out_channels, [3, 3], [1, 1], [1, 1], [1, 1]);
    let mut b = Builder::new([1, HEIGHT, WIDTH], 3);
    b.node("sinusoid", Sinusoid { dim: 6, max_period: 1000.0 }, &[T]);
    b.node("time", silu(), &["sinusoid"]);
    b.node("class", Embedding { dim: 6 }, &[LABEL]);
    b.node("both", Add {}, &["time", "class"]);
    b.node("rows", Linear { out_features: 5 }, &["both"]);
    b.node("time_rows", Linear { out_features: 7 }, &["time"]);
    // 6×10 to 3×5, five channels.
    b.node("stem", conv(5, [4, 2], [2, 2], [1, 0], [1, 1]), &[X]);
    b.node("stem.biased", ChannelBias {}, &["stem", "rows"]);
    b.node("a", silu(), &["stem.biased"]);
    // 3×5 to 2×5, a kernel that is not square.
    b.node("down", conv(7, [3, 1], [2, 1], [1, 0], [1, 1]), &["a"]);
    b.node("down.biased", ChannelBias {}, &["down", "time_rows"]);
    b.node("b", silu(), &["down.biased"]);
    b.node("block", same(7), &["b"]);
    b.node("block.gain", ChannelGain {}, &["block"]);
    b.node("block.add", Add {}, &["b", "block.gain"]);
    b.node("c", silu(), &["block.add"]);
    // Linear, and read three times: its sum and its activation stand alone.
    b.node("plain", same(7), &["c"]);
    b.node("alone", silu(), &["plain"]);
    b.node("sum", Add {}, &["plain", "alone"]);
    b.node("mixed", same(7), &["sum"]);
    b.node("joined", Add {}, &["mixed", "plain"]);
    // 2×5 to 3×5: enlarged in height alone, then cut.
    b.node("up", conv(5, [2, 1], [1, 1], [0, 0], [2, 1]), &["joined"]);
    b.node("up.add", Add {}, &["up", "a"]);
    b.node("d", silu(), &["up.add"]);
    b.node("head", same(4), &["d"]);
    b.node("out", DepthToSpace { block: 2 }, &["head"]);
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
    let mut random = random(1);
    let values = |parameter: &Parameter| (0..parameter.shape.iter().product()).map(|_| random()).collect();
    let network = calibrate::network(graph()?, values)?;
    let mut header = calibrate::header(100, "ddim-4");
    header.data.labels = ["one", "two", "three"].map(String::from).to_vec();
    let pictures: Vec<_> = (0..24).map(|seed| (picture(seed), seed as usize % 4)).collect();
    calibrate::model(network, header, &[12, 37, 62, 87].map(|t| (t, pictures.clone())), &FINE)
}
