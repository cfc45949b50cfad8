//! The reference U-Net for benchmarks: 370,513 parameters, 40.1 million multiply–accumulates on 1×28×28.
//!
//! A plain DDPM network, made without a thought for small chips: group normalisation, attention, skips that are
//! concatenated. `ResBlock c`: GN 8, SiLU, 3×3, + linear(SiLU(embedding)), GN 8, SiLU, 3×3, + input (through a 1×1 where
//! channels change).
//!
//! Where a block reads a skip beside its input, no concatenation is made: its convolutions read both maps, and its first
//! normalisation is one a map with half of the groups, which is the same, because the maps have as many channels.

use grano_codegen::graph::{
    Activation, Add, Attention, Builder, ChannelBias, Conv2d, Embedding, Function, Graph, GroupNorm, LABEL, Linear, Op,
    Parameter, Sinusoid, T, X,
};
use grano_codegen::{Error, Result};

use crate::calibrate::{self, random};

/// Side of the benchmark's picture.
pub const SIDE: usize = 28;
/// Width of the time and class vectors.
const EMBEDDING: usize = 64;
/// Time indices of the forward process.
const STEPS: usize = 1000;

/// The graph for pictures `[channels, height, width]`, sides multiples of 4, without classes or with `classes`.
///
/// # Errors
/// When the picture's shape does not fit.
pub fn graph(input: [usize; 3], classes: usize) -> Result<Graph> {
    let [_, height, width] = input;
    if height % 4 > 0 || width % 4 > 0 {
        return Err(Error::Model(format!("pictures are {height}×{width}; pad or crop them to multiples of 4")));
    }
    let mut net = Net { builder: Builder::new(input, classes), sources: vec!["time"] };
    net.conditioning(classes > 0);
    net.conv("stem", &[X], 16, 3, 1, 1);
    let fine = net.block("down0", &["stem"], 16, 16);
    net.conv("half", &[&fine], 32, 3, 2, 1);
    let middle = net.block("down1", &["half"], 32, 32);
    net.conv("quarter", &[&middle], 64, 3, 2, 1);
    let mut x = net.block("down2", &["quarter"], 64, 64);
    x = net.block("mid0", &[&x], 64, 64);
    x = net.attention("attention", &x, 64);
    x = net.block("mid1", &[&x], 64, 64);
    net.conv("up1.enlarge", &[&x], 32, 3, 1, 2);
    x = net.block("up1", &["up1.enlarge", &middle], 64, 32);
    net.conv("up0.enlarge", &[&x], 16, 3, 1, 2);
    x = net.block("up0", &["up0.enlarge", &fine], 32, 16);
    let h = net.norm_silu("head.norm", &x, 8);
    net.conv("head", &[&h], input[0], 3, 1, 1);
    net.builder.finish("head")
}

struct Net {
    builder: Builder,
    /// Vectors that every block draws on.
    sources: Vec<&'static str>,
}

impl Net {
    fn conditioning(&mut self, classes: bool) {
        let silu = Activation { function: Function::Silu };
        let linear = || Linear { out_features: EMBEDDING };
        let b = &mut self.builder;
        b.node("time.sinusoid", Sinusoid { dim: 16, max_period: 10_000.0 }, &[T]);
        b.node("time.linear0", linear(), &["time.sinusoid"]);
        b.node("time.silu0", silu.clone(), &["time.linear0"]);
        b.node("time.linear1", linear(), &["time.silu0"]);
        b.node("time", silu, &["time.linear1"]);
        if classes {
            b.node("class", Embedding { dim: EMBEDDING }, &[LABEL]);
            self.sources.push("class");
        }
    }

    fn conv(
        &mut self,
        name: &str,
        inputs: &[&str],
        out_channels: usize,
        kernel: usize,
        stride: usize,
        upsample: usize,
    ) {
        let op = Conv2d {
            out_channels,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [kernel / 2; 2].into(),
            upsample: [upsample; 2],
            groups: 1,
        };
        self.builder.node(name, op, inputs);
    }

    fn norm_silu(&mut self, name: &str, x: &str, groups: usize) -> String {
        let norm = self.builder.node(name, GroupNorm { groups, eps: 1e-5 }, &[x]);
        self.builder.node(format!("{name}.silu"), Activation { function: Function::Silu }, &[&norm])
    }

    /// A ResBlock from one map, or two of equal shape, of `in_channels` in all.
    fn block(&mut self, name: &str, inputs: &[&str], in_channels: usize, channels: usize) -> String {
        let at = |part: &str| format!("{name}.{part}");
        // First, so that the normalisations can overwrite what they read.
        let shortcut = if in_channels == channels {
            inputs[0].to_string()
        } else {
            self.conv(&at("shortcut"), inputs, channels, 1, 1, 1);
            at("shortcut")
        };
        let normed: Vec<String> = match inputs {
            [x] => vec![self.norm_silu(&at("norm1"), x, 8)],
            _ => (0..).zip(inputs).map(|(i, x)| self.norm_silu(&format!("{name}.norm1.{i}"), x, 4)).collect(),
        };
        let normed: Vec<&str> = normed.iter().map(String::as_str).collect();
        self.conv(&at("conv1"), &normed, channels, 3, 1, 1);
        let mut h = at("conv1");
        for source in self.sources.clone() {
            let linear = Linear { out_features: channels };
            let vector = self.builder.node(at(source), linear, &[source]);
            h = self.builder.node(format!("{name}.add_{source}"), ChannelBias {}, &[&h, &vector]);
        }
        let h = self.norm_silu(&at("norm2"), &h, 8);
        self.conv(&at("conv2"), &[&h], channels, 3, 1, 1);
        self.builder.node(name, Add {}, &[&at("conv2"), &shortcut])
    }

    /// x + projection(attention of GN 8(x)), one head.
    fn attention(&mut self, name: &str, x: &str, channels: usize) -> String {
        let at = |part: &str| format!("{name}.{part}");
        let norm = self.builder.node(at("norm"), GroupNorm { groups: 8, eps: 1e-5 }, &[x]);
        for part in ["q", "k", "v"] {
            self.conv(&at(part), &[&norm], channels, 1, 1, 1);
        }
        let mixed = self.builder.node(at("mix"), Attention { heads: 1 }, &[&at("q"), &at("k"), &at("v")]);
        self.conv(&at("projection"), &[&mixed], channels, 1, 1, 1);
        self.builder.node(name, Add {}, &[&at("projection"), x])
    }
}

/// A made-up x_t of the benchmark's shape: a soft blob in noise of `t`'s strength.
#[must_use]
pub fn picture(seed: u32, t: usize) -> Vec<f32> {
    let mut random = random(seed);
    // Of variance 1, as good as normal: the sum of twelve (Irwin–Hall).
    let mut normal = move || (0..12).map(|_| random()).sum::<f32>();
    let angle = std::f32::consts::FRAC_PI_2 * t as f32 / STEPS as f32;
    let [y0, x0] = [normal(), normal()].map(|shift| 13.5 + 2.0 * shift);
    let pixel = |i: usize| {
        let [dy, dx] = [(i / SIDE) as f32 - y0, (i % SIDE) as f32 - x0];
        let value: f32 = if dy * dy + 2.0 * dx * dx < 90.0 { 0.6 } else { -1.0 };
        value * angle.cos() + normal() * angle.sin()
    };
    (0..SIDE * SIDE).map(pixel).collect()
}

/// He et al. 2015 for convolutions and linear layers, less where a block adds its result; about 1 for normalisations.
fn weights(graph: &Graph) -> impl FnMut(&Parameter) -> Vec<f32> + use<> {
    let mut random = random(7);
    let norms: Vec<String> = graph
        .nodes
        .iter()
        .filter(|node| matches!(node.op, Op::GroupNorm(_)))
        .map(|node| format!("{}.weight", node.name))
        .collect();
    move |parameter| {
        let fan_in = parameter.shape[1..].iter().product::<usize>() as f32;
        // A uniform number's variance is 1/12.
        let (center, spread) = match (norms.contains(&parameter.name), parameter.shape.len()) {
            (true, _) => (1.0, 0.5),
            (_, 1) => (0.0, 0.3),
            _ if parameter.name.contains("conv2") => (0.0, (12.0 / fan_in).sqrt()),
            _ => (0.0, (24.0 / fan_in).sqrt()),
        };
        (0..parameter.shape.iter().product()).map(|_| center + spread * random()).collect()
    }
}

/// The unconditional network on 1×28×28 as a model file's bytes, calibrated on a few pictures.
///
/// # Errors
/// None: it is sound.
pub fn model() -> Result<Vec<u8>> {
    let graph = graph([1, SIDE, SIDE], 0)?;
    let values = weights(&graph);
    let header = calibrate::header(STEPS, "ddim-20");
    let cases = [125, 375, 625, 875].map(|t| (t, vec![(picture(t as u32, t), 0), (picture(t as u32 + 1, t), 0)]));
    calibrate::model(calibrate::network(graph, values)?, header, &cases, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use grano_codegen::fold::{Layer, fold};

    #[test]
    fn it_is_the_reference() {
        let graph = graph([1, SIDE, SIDE], 0).unwrap();
        let count: usize = graph.parameters().unwrap().iter().map(|p| p.shape.iter().product::<usize>()).sum();
        assert_eq!(count, 370_513);
        let values = weights(&graph);
        let folded = fold(&calibrate::network(graph, values).unwrap(), &[500]).unwrap();
        assert_eq!(folded.layers.iter().map(Layer::macs).sum::<usize>(), 40_071_808);
    }

    #[test]
    fn it_may_have_classes() {
        let graph = graph([3, 32, 16], 10).unwrap();
        let values = weights(&graph);
        assert!(fold(&calibrate::network(graph, values).unwrap(), &[0, 500]).is_ok());
    }
}
