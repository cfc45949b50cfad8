//! A small network of normalisation, attention and depthwise convolutions in awkward shapes, with made-up weights: runs
//! of two channels and of nine, three heads, one map as query, key and value, two maps of unequal channels, strides and
//! rows of time on a depthwise convolution.

use grano_codegen::Result;
use grano_codegen::graph::{
    Activation, Add, Attention, Builder, ChannelBias, Conv2d, Function, Graph, GroupNorm, Linear, Parameter, Sinusoid,
    T, X,
};

use crate::calibrate::{self, random};

/// Height of the picture.
pub const HEIGHT: usize = 5;
/// Width of the picture.
pub const WIDTH: usize = 6;
/// The sampler's time indices, ascending.
pub const TIMES: [usize; 2] = [25, 75];

/// The graph.
///
/// # Errors
/// None: it is sound.
pub fn graph() -> Result<Graph> {
    let conv = |out_channels, kernel: usize, groups| Conv2d {
        out_channels,
        kernel: [kernel; 2],
        stride: [1; 2],
        padding: [kernel / 2; 2].into(),
        upsample: [1; 2],
        groups,
    };
    let clipped = || Activation { function: Function::ClippedSilu { limit: 2.0 } };
    let mut b = Builder::new([1, HEIGHT, WIDTH], 0);
    b.node("sinusoid", Sinusoid { dim: 6, max_period: 1000.0 }, &[T]);
    b.node("rows", Linear { out_features: 9 }, &["sinusoid"]);
    b.node("stem", conv(10, 3, 1), &[X]);
    b.node("norm", GroupNorm { groups: 5, eps: 1e-5 }, &["stem"]);
    b.node("q", conv(6, 1, 1), &["norm"]);
    b.node("k", conv(6, 1, 1), &["norm"]);
    b.node("v", conv(6, 1, 1), &["norm"]);
    b.node("mix", Attention { heads: 3 }, &["q", "k", "v"]);
    b.node("self", Attention { heads: 1 }, &["v", "v", "v"]);
    b.node("both", Add {}, &["mix", "self"]);
    b.node("pair", conv(9, 3, 1), &["both", "stem"]);
    b.node("pair.norm", GroupNorm { groups: 1, eps: 0.01 }, &["pair"]);
    b.node("a", clipped(), &["pair.norm"]);
    // 5×6 to 3×7.
    let strided =
        Conv2d { out_channels: 9, kernel: [3, 2], stride: [2, 1], padding: [1, 1].into(), upsample: [1; 2], groups: 9 };
    b.node("down", strided, &["a"]);
    b.node("down.biased", ChannelBias {}, &["down", "rows"]);
    b.node("b", clipped(), &["down.biased"]);
    b.node("depthwise", conv(9, 3, 9), &["b"]);
    b.node("c", Add {}, &["depthwise", "b"]);
    // 3×7 to 5×6.
    let up =
        Conv2d { out_channels: 1, kernel: [2, 2], stride: [1; 2], padding: [0; 2].into(), upsample: [2, 1], groups: 1 };
    b.node("out", up, &["c"]);
    b.finish("out")
}

/// A picture, in about [−1.5, 1.5].
#[must_use]
pub fn picture(seed: u32) -> Vec<f32> {
    let mut random = random(seed);
    (0..HEIGHT * WIDTH).map(|_| 3.0 * random()).collect()
}

/// The network as a model file's bytes, with ranges that the reference interpreter found.
///
/// # Errors
/// None: it is sound.
pub fn model() -> Result<Vec<u8>> {
    let mut random = random(5);
    let values = |parameter: &Parameter| (0..parameter.shape.iter().product()).map(|_| 2.0 * random()).collect();
    let network = calibrate::network(graph()?, values)?;
    let header = calibrate::header(100, "ddim-2");
    let pictures: Vec<_> = (0..24).map(|seed| (picture(seed), 0)).collect();
    calibrate::model(network, header, &TIMES.map(|t| (t, pictures.clone())), &[])
}
