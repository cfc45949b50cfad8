//! A small network of what time and class modulate, and of maps side by side, in awkward shapes and with made-up weights:
//! adaptive group normalisation, a scale and shift that nothing can take, a convolution of three maps, a depthwise one of
//! two, a group that straddles two maps, padding on two sides alone.

use grano_codegen::Result;
use grano_codegen::geometry::Padding;
use grano_codegen::graph::{
    Activation, Add, Builder, ChannelGain, Conv2d, Embedding, Function, Graph, GroupNorm, LABEL, Linear, Parameter,
    ScaleShift, Sinusoid, T, X,
};

use crate::calibrate::{self, random};

/// Height of the picture.
pub const HEIGHT: usize = 5;
/// Width of the picture.
pub const WIDTH: usize = 7;
/// Number of classes.
pub const CLASSES: usize = 2;
/// The sampler's time indices, ascending.
pub const TIMES: [usize; 2] = [25, 75];

/// The graph.
///
/// # Errors
/// None: it is sound.
pub fn graph() -> Result<Graph> {
    let silu = || Activation { function: Function::Silu };
    let conv = |out_channels, kernel| Conv2d { out_channels, ..Conv2d::same(kernel) };
    let linear = |out_features| Linear { out_features };
    let mut b = Builder::new([1, HEIGHT, WIDTH], CLASSES);
    b.node("sinusoid", Sinusoid { dim: 6, max_period: 1000.0 }, &[T]);
    b.node("time", silu(), &["sinusoid"]);
    b.node("class", Embedding { dim: 6 }, &[LABEL]);
    b.node("both", Add {}, &["time", "class"]);
    for (name, channels) in [("scale", 6), ("shift", 6), ("wide.scale", 10), ("wide.shift", 10)] {
        b.node(name, linear(channels), &["both"]);
    }
    b.node("time.scale", linear(4), &["time"]);
    b.node("class.shift", linear(4), &["class"]);
    b.node("stem", conv(6, 3), &[X]);
    // Adaptive group normalisation is one layer.
    b.node("norm", GroupNorm { groups: 3, eps: 1e-5 }, &["stem"]);
    b.node("norm.film", ScaleShift {}, &["norm", "scale", "shift"]);
    b.node("a", silu(), &["norm.film"]);
    // The map is read again, and gains differ from step to step: no convolution can take them.
    b.node("film", ScaleShift {}, &["stem", "shift", "scale"]);
    b.node("film.a", silu(), &["film"]);
    b.node("three", conv(4, 3), &["a", "film.a", "stem"]);
    b.node("short", conv(4, 1), &["a", "film.a", "stem"]);
    b.node("short.gain", ChannelGain {}, &["short"]);
    b.node("block", Add {}, &["short.gain", "three"]);
    // Scale of the step, shift of the class, then a gain: one layer.
    b.node("apart", ScaleShift {}, &["block", "time.scale", "class.shift"]);
    b.node("apart.gain", ChannelGain {}, &["apart"]);
    // Two groups of five: four channels of one map, six of the other.
    b.node("straddling", GroupNorm { groups: 2, eps: 0.01 }, &["apart.gain", "a"]);
    b.node("straddling.film", ScaleShift {}, &["straddling", "wide.scale", "wide.shift"]);
    b.node("s", silu(), &["straddling.film"]);
    // 5×7 to 2×3.
    let padding = Padding { before: [0, 0], after: [1, 1] };
    let down = Conv2d { out_channels: 10, stride: [2; 2], padding, groups: 10, ..Conv2d::same(3) };
    b.node("down", down, &["block", "a"]);
    // And back.
    let up = Conv2d { out_channels: 10, kernel: [2, 3], padding: [0; 2].into(), upsample: [3; 2], ..Conv2d::same(1) };
    b.node("up", up, &["down"]);
    b.node("sum", Add {}, &["up", "s"]);
    b.node("out", conv(1, 3), &["sum"]);
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
    let mut random = random(6);
    let values = |parameter: &Parameter| (0..parameter.shape.iter().product()).map(|_| random()).collect();
    let network = calibrate::network(graph()?, values)?;
    let mut header = calibrate::header(100, "ddim-2");
    header.data.labels = ["one", "two"].map(String::from).to_vec();
    let pictures: Vec<_> = (0..24).map(|seed| (picture(seed), seed as usize % (CLASSES + 1))).collect();
    calibrate::model(network, header, &TIMES.map(|t| (t, pictures.clone())), &[])
}
