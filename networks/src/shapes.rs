//! Random layers from a fixed seed, each a network of its own, for the benchmark `cargo xtask bench shapes`.
//!
//! A network is `a` (and `b`), brought to int8 by an element-wise layer, the layer in question, and a mean that reads its
//! int8 result. Nodes that only bring maps into shape begin with `glue`. A kind of layer is one entry of [`KINDS`].

use std::collections::BTreeMap;

use grano_codegen::Result;
use grano_codegen::geometry::Padding;
use grano_codegen::graph::{
    Activation, Add, Builder, Conv2d, Function, GlobalAveragePool, Graph, Parameter, Port, PortKind, X,
};
use grano_codegen::model::DENOISER;

use crate::calibrate::{self, Inputs, Part, random, scattered};

/// A kind of layers: its name, how many there are, and what draws the one of a number, if what it drew is of a size for
/// boards.
pub type Kind = (&'static str, usize, fn(usize, &mut Draw) -> Option<Graph>);

/// The kinds. Layers of one keep their numbers when another is added behind it.
pub const KINDS: [Kind; 4] = [
    ("conv3x3", 60, |_, draw| conv3x3(draw)),
    ("conv", 60, |_, draw| conv(draw)),
    ("linear", 20, |_, draw| linear(draw)),
    ("known", KNOWN.len(), |number, _| known(KNOWN[number])),
];

/// Convolutions as networks have them: kernel, stride, channels in and out, height and width of the input.
const KNOWN: [[usize; 7]; 28] = [
    [3, 3, 1, 16, 16, 28, 28],
    [3, 3, 1, 24, 24, 20, 20],
    [3, 3, 1, 64, 64, 7, 7],
    [3, 3, 1, 72, 72, 14, 14],
    [3, 3, 1, 96, 96, 4, 4],
    [3, 3, 1, 96, 96, 8, 8],
    [3, 3, 1, 128, 64, 8, 8],
    [3, 3, 1, 128, 128, 8, 8],
    [3, 3, 1, 130, 65, 8, 8],
    [3, 3, 1, 256, 128, 4, 4],
    [3, 3, 1, 512, 64, 4, 4],
    [3, 3, 1, 80, 48, 7, 7],
    [3, 3, 1, 48, 40, 10, 10],
    [3, 3, 1, 12, 20, 15, 15],
    [3, 3, 1, 16, 3, 28, 28],
    [3, 3, 1, 3, 32, 32, 32],
    [3, 3, 2, 24, 40, 20, 20],
    [3, 3, 2, 48, 130, 16, 16],
    [5, 5, 1, 16, 16, 14, 14],
    [7, 7, 1, 16, 16, 28, 28],
    [1, 1, 1, 40, 24, 10, 10],
    [1, 1, 1, 128, 128, 8, 8],
    [1, 1, 1, 128, 256, 8, 8],
    [1, 1, 1, 256, 128, 8, 8],
    [1, 3, 1, 64, 64, 1, 64],
    [1, 3, 1, 96, 96, 1, 32],
    [1, 7, 1, 8, 16, 1, 128],
    [1, 1, 1, 512, 256, 1, 1],
];

/// The most multiply–accumulates of a layer, weights, and elements of a map: what boards with 256 KiB of RAM and 2 MiB of
/// flash have room for, some dozens at a time.
const MOST_MACS: usize = 2_500_000;
const MOST_WEIGHTS: usize = 96 << 10;
const MOST_ELEMENTS: usize = 16 << 10;
/// Layers of fewer are not of interest.
const LEAST_MACS: usize = 4_000;

/// Random choices.
pub struct Draw(Box<dyn FnMut() -> f32>);

impl Draw {
    fn new(seed: u32) -> Self {
        Self(Box::new(scattered(seed)))
    }

    /// From `low` to `high`.
    fn within(&mut self, low: usize, high: usize) -> usize {
        low + (((self.0)() + 0.5) * (high - low + 1) as f32) as usize % (high - low + 1)
    }

    /// About as often from 1 to 2 as from `most` / 2 to `most`; often a multiple of 8, or of 4.
    fn size(&mut self, most: usize) -> usize {
        let size = ((most as f32).ln() * ((self.0)() + 0.5)).exp() as usize;
        let unit = [1, 4, 8][self.within(0, 2)];
        if size >= 2 * unit { size / unit * unit } else { size }.clamp(1, most)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.within(1, n) == 1
    }
}

/// A layer's number among all, its network's name and its graph.
#[must_use]
pub fn layers() -> Vec<(String, Graph)> {
    let mut all = Vec::new();
    for (kind, (name, count, draw)) in KINDS.iter().enumerate() {
        let mut seed = 1 + 100_000 * kind as u32;
        for index in 0..*count {
            let graph = loop {
                seed += 1;
                if let Some(graph) = draw(index, &mut Draw::new(seed)) {
                    break graph;
                }
            };
            all.push((format!("{name}_{index}"), graph));
        }
    }
    all
}

/// The layers of one of `parts` parts: every `parts`-th of all.
#[must_use]
pub fn part(part: usize, parts: usize) -> Vec<(String, Graph)> {
    layers().into_iter().skip(part).step_by(parts.max(1)).collect()
}

/// The most layers of a model.
pub const MOST: usize = 7;

/// Up to [`MOST`] layers as a model file's bytes, behind a denoiser that nobody runs.
///
/// # Errors
/// None: they are sound.
pub fn model(layers: &[(String, Graph)]) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut first = Builder::new([1, 1, 1], 0);
    first.node("glue", Conv2d::same(1), &[X]);
    let denoiser = (DENOISER.to_string(), first.finish("glue")?);
    for (seed, (name, graph)) in [&denoiser].into_iter().chain(layers).enumerate() {
        let input = |port: &Port| {
            let PortKind::Map(shape) = port.kind else { return None };
            let mut random = scattered(seed as u32);
            Some((port.name.clone(), (0..shape.iter().product()).map(|_| 3.0 * random()).collect()))
        };
        let values: BTreeMap<_, _> = graph.inputs.iter().filter_map(input).collect();
        let network = calibrate::network(graph.clone(), weights(seed as u32))?;
        let cases = vec![(50, vec![Inputs { values, label: 0 }])];
        all.push(Part { name: name.clone().leak(), network, cases, fine: Vec::new() });
    }
    calibrate::models(all, calibrate::header(100, "ddim-1"))
}

/// Weights that keep every map's variance near 1.
fn weights(seed: u32) -> impl FnMut(&Parameter) -> Vec<f32> {
    let mut random = random(seed);
    move |parameter| {
        let fan_in = parameter.shape[1..].iter().product::<usize>() as f32;
        let spread = if parameter.shape.len() == 1 { 0.2 } else { (12.0 / fan_in).sqrt() };
        (0..parameter.shape.iter().product()).map(|_| spread * random()).collect()
    }
}

/// A network around a layer that reads int8 maps of these shapes.
fn around(inputs: &[[usize; 3]], layer: impl FnOnce(&mut Builder, &[&str]) -> String) -> Option<Graph> {
    let names = &["a", "b"][..inputs.len()];
    let port = |(name, shape): (&&str, &[usize; 3])| Port { name: (*name).into(), kind: PortKind::Map(*shape) };
    let mut b = Builder::with_ports(names.iter().zip(inputs).map(port).collect());
    let glue = |name: &&str| b.node(format!("glue_{name}"), Activation { function: Function::Relu }, &[name]);
    let maps: Vec<String> = names.iter().map(glue).collect();
    let maps: Vec<&str> = maps.iter().map(String::as_str).collect();
    let layer = layer(&mut b, &maps);
    b.node("glue_mean", GlobalAveragePool {}, &[&layer]);
    b.finish("glue_mean").ok()
}

/// A convolution of one map or two, perhaps with a residual or an activation.
fn convolution(draw: &mut Draw, conv: Conv2d, [channels, height, width]: [usize; 3]) -> Option<Graph> {
    let Conv2d { out_channels, kernel, stride, padding, upsample, .. } = conv;
    let out = |axis: usize, len: usize| {
        let padded = len * upsample[axis] + padding.before[axis] + padding.after[axis];
        padded.checked_sub(kernel[axis]).map(|rest| rest / stride[axis] + 1)
    };
    let (out_h, out_w) = (out(0, height)?, out(1, width)?);
    let weights = channels * kernel[0] * kernel[1] * out_channels;
    let (macs, maps) = (weights * out_h * out_w, [channels * height * width, out_channels * out_h * out_w]);
    let fits = (LEAST_MACS..=MOST_MACS).contains(&macs) && weights <= MOST_WEIGHTS;
    if !fits || maps.iter().any(|len| *len > MOST_ELEMENTS) {
        return None;
    }
    let second = if channels > 1 && draw.one_in(6) { draw.within(1, channels - 1) } else { 0 };
    let shape = |channels| [channels, height, width];
    let same = second == 0 && [out_channels, out_h, out_w] == [channels, height, width];
    let (adds, activates) = (same && draw.one_in(2), draw.one_in(3));
    let inputs = if second > 0 { vec![shape(channels - second), shape(second)] } else { vec![shape(channels)] };
    around(&inputs, |b, maps| {
        let mut last = b.node("layer", conv, maps);
        if adds {
            last = b.node("added", Add {}, &[&last, maps[0]]);
        }
        if activates {
            last = b.node("activated", Activation { function: Function::Silu }, &[&last]);
        }
        last
    })
}

/// 3×3, stride 1, padding 1, now and then of an enlarged map.
fn conv3x3(draw: &mut Draw) -> Option<Graph> {
    let upsample = if draw.one_in(6) { [2; 2] } else { [1; 2] };
    let conv = Conv2d { out_channels: draw.size(512), upsample, ..Conv2d::same(3) };
    let shape = [draw.size(512), draw.size(64), draw.size(64)];
    convolution(draw, conv, shape)
}

/// Kernels of 1 to 9 on either axis, strides to 3, any padding, maps of one row too.
fn conv(draw: &mut Draw) -> Option<Graph> {
    let side = [1, 1, 2, 3, 3, 4, 5, 5, 7, 9][draw.within(0, 9)];
    let is_line = draw.one_in(4);
    let kernel = match draw.within(0, 3) {
        _ if is_line => [1, side],
        0 => [side, [1, 3, 5][draw.within(0, 2)]],
        _ => [side; 2],
    };
    let stride = [1, 1, 1, 2, 2, 3][draw.within(0, 5)];
    let stride = if is_line { [1, stride] } else { [stride; 2] };
    let mut padding = Padding::from(kernel.map(|k| k / 2));
    if draw.one_in(4) {
        padding.before = kernel.map(|k| draw.within(0, k - 1));
        padding.after = kernel.map(|k| draw.within(0, k - 1));
    }
    let shape = [draw.size(512), if is_line { 1 } else { draw.size(64) }, draw.size(64)];
    let conv = Conv2d { out_channels: draw.size(512), kernel, stride, padding, upsample: [1; 2], groups: 1 };
    convolution(draw, conv, shape)
}

fn known([k_h, k_w, stride, in_c, out_channels, height, width]: [usize; 7]) -> Option<Graph> {
    let kernel = [k_h, k_w];
    let padding = Padding::from(kernel.map(|k| k / 2));
    let conv =
        Conv2d { out_channels, kernel, stride: [stride.min(height), stride], padding, upsample: [1; 2], groups: 1 };
    around(&[[in_c, height, width]], |b, maps| b.node("layer", conv, maps))
}

/// One pixel.
fn linear(draw: &mut Draw) -> Option<Graph> {
    let conv = Conv2d { out_channels: draw.size(512), ..Conv2d::same(1) };
    let shape = [draw.size(1024), 1, 1];
    convolution(draw, conv, shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_sound_and_the_same_every_time() {
        let all = layers();
        assert_eq!(all.len(), KINDS.iter().map(|(_, count, _)| count).sum::<usize>());
        for ((name, graph), (_, again)) in all.iter().zip(layers()) {
            assert!(graph.shapes().is_ok() && *graph == again, "{name}");
        }
        assert_eq!((0..3).map(|number| part(number, 3).len()).sum::<usize>(), all.len());
    }
}
