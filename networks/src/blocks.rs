//! A network of pairs of convolutions that can run strip by strip, of awkward shapes and with made-up weights: residual
//! blocks that overwrite their input and some that cannot, kernels of one to five rows, strides, a map that is read again
//! later.

use grano_codegen::Result;
use grano_codegen::graph::{Activation, Add, Builder, Conv2d, Function, Graph, Parameter, X};

use crate::calibrate::{self, random};

/// Height of the picture.
pub const HEIGHT: usize = 17;
/// Width of the picture.
pub const WIDTH: usize = 11;
/// The time indices of the sampler, ascending.
const TIMES: [usize; 2] = [25, 75];

/// The graph.
///
/// # Errors
/// None: it is sound.
pub fn graph() -> Result<Graph> {
    let conv = |out_channels, kernel: [usize; 2], stride: usize| Conv2d {
        out_channels,
        kernel,
        stride: [stride; 2],
        padding: kernel.map(|taps| taps / 2).into(),
        upsample: [1; 2],
        groups: 1,
    };
    let mut b = Builder::new([1, HEIGHT, WIDTH], 0);
    b.node("stem", conv(8, [3; 2], 1), &[X]);
    b.node("a", Activation { function: Function::Silu }, &["stem"]);
    let mut before = "a";
    let blocks = [
        // The result takes the input's place.
        ("same", 8, [[3; 2]; 2]),
        ("wide", 12, [[1; 2], [3; 2]]),
        ("line", 5, [[1, 5], [1, 5]]),
        ("tall", 6, [[3; 2], [5, 3]]),
        // The second reads too few rows below its own, so that it does not.
        ("narrow", 12, [[3; 2], [1; 2]]),
        ("skip", 8, [[5, 5], [3; 2]]),
    ];
    for (name, channels, [first, second]) in blocks {
        b.node(format!("{name}.conv1"), conv(channels, first, 1), &[before]);
        b.node(format!("{name}.silu"), Activation { function: Function::Silu }, &[&format!("{name}.conv1")]);
        b.node(format!("{name}.conv2"), conv(8, second, 1), &[&format!("{name}.silu")]);
        b.node(name, Add {}, &[before, &format!("{name}.conv2")]);
        before = name;
    }
    // 17×11 to 9×6 and 5×3.
    b.node("plain", conv(8, [3; 2], 1), &["skip"]);
    b.node("down", conv(10, [3; 2], 2), &["plain"]);
    b.node("deep", conv(10, [3; 2], 2), &["down"]);
    b.node("deeper", conv(12, [3; 2], 1), &["deep"]);
    // And back, cut to size.
    let up = |kernel, out_channels| Conv2d {
        out_channels,
        kernel: [kernel; 2],
        stride: [1; 2],
        padding: [0; 2].into(),
        upsample: [2; 2],
        groups: 1,
    };
    b.node("up1", up(2, 10), &["deeper"]);
    b.node("up1.wide", conv(10, [1, 2], 1), &["up1"]);
    b.node("up2", up(2, 8), &["up1.wide"]);
    b.node("up2.add", Add {}, &["up2", "skip"]);
    b.node("head", conv(1, [3; 2], 1), &["up2.add"]);
    b.finish("head")
}

/// A picture of the network's shape, in about [−1.5, 1.5].
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
    let mut random = random(4);
    let values = |parameter: &Parameter| (0..parameter.shape.iter().product()).map(|_| 0.5 * random()).collect();
    let network = calibrate::network(graph()?, values)?;
    let header = calibrate::header(100, "ddim-2");
    let pictures: Vec<_> = (0..12).map(|seed| (picture(seed), 0)).collect();
    calibrate::model(network, header, &TIMES.map(|t| (t, pictures.clone())), &[])
}
