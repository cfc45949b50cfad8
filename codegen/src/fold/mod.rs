//! *Fold*: rewrites that are equal in real numbers, before any number is rounded.
//!
//! [`time`] turns everything that depends only on the step or only on the class into constant rows,
//! [`linear`] puts per-channel gains and biases into the convolutions before them, [`epilogue`] lets a
//! convolution add a residual and apply an activation before it writes. What is left is [`Folded`].

pub mod epilogue;
pub mod linear;
mod rows;
pub mod time;

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::graph::{Function, X};
use crate::model::Network;
use crate::reference::{self, Geometry, Values};

pub use rows::Rows;

/// A network whose time indices are known: maps in, maps out, one layer after another.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// Shape of `x`, `[channels, height, width]`.
    pub input: [usize; 3],
    /// Number of classes; label `classes` means "no class".
    pub classes: usize,
    /// The time index of each row.
    pub times: Vec<usize>,
    /// In an order in which they can be computed.
    pub layers: Vec<Layer>,
    /// The name of the last layer.
    pub output: String,
}

/// What computes one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The value's name: that of the graph's node with the same value.
    pub name: String,
    /// `[channels, height, width]`.
    pub shape: [usize; 3],
    /// How it is computed.
    pub kind: Kind,
}

/// How a value is computed.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A convolution and what was fused into it.
    Conv2d(Conv2d),
    /// A group normalisation and what was fused into it.
    GroupNorm(GroupNorm),
    /// softmax(qᵀk / √d) · v.
    Attention {
        /// q, k and v.
        inputs: [String; 3],
        /// Number of heads.
        heads: usize,
    },
    /// Before [`linear`] only: a map times a number per channel.
    ChannelGain {
        /// The map.
        input: String,
        /// `[channels]`.
        gain: Vec<f32>,
    },
    /// Before [`linear`] only: a map plus rows.
    ChannelBias {
        /// The map.
        input: String,
        /// What is added.
        rows: Rows,
    },
    /// The sum of two maps.
    Add {
        /// The maps.
        inputs: [String; 2],
    },
    /// An element-wise function.
    Activation {
        /// The map.
        input: String,
        /// The function.
        function: Function,
    },
    /// PyTorch's pixel shuffle.
    DepthToSpace {
        /// The map.
        input: String,
        /// Enlargement per axis.
        block: usize,
    },
}

/// activation(conv(inputs) + bias rows + residual).
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2d {
    /// The graph's node that the weights come from.
    pub node: String,
    /// The maps, and the channels of each.
    pub inputs: Vec<(String, usize)>,
    /// Shapes and strides; the input's channels are those of all maps.
    pub geometry: Geometry,
    /// `[out_channels, in_channels / groups, k_h, k_w]`.
    pub weight: Vec<f32>,
    /// Bias, time and class in one.
    pub bias: Rows,
    /// A map of the output's shape that is added.
    pub residual: Option<String>,
    /// What is applied last.
    pub activation: Option<Activation>,
}

impl Conv2d {
    /// Channels of the one or two maps that a kernel can read; the second's are 0 where there is one.
    ///
    /// # Errors
    /// Names the layer when there are more.
    pub fn channels(&self) -> Result<[usize; 2]> {
        match self.inputs[..] {
            [(_, a)] => Ok([a, 0]),
            [(_, a), (_, b)] if self.geometry.groups == 1 => Ok([a, b]),
            [_, _] => Err(Error::node(&self.node, "a depthwise convolution of two maps; give each its own")),
            _ => Err(Error::node(&self.node, "more than two inputs; add up convolutions of one or two")),
        }
    }
}

/// activation((input − μ) / √(σ² + eps) · weight + bias).
#[derive(Clone, Debug, PartialEq)]
pub struct GroupNorm {
    /// The graph's node that the weights come from.
    pub node: String,
    /// The map.
    pub input: String,
    /// Number of groups.
    pub groups: usize,
    /// What is added to the variance.
    pub eps: f64,
    /// `[channels]`.
    pub weight: Vec<f32>,
    /// `[channels]`.
    pub bias: Vec<f32>,
    /// What is applied last.
    pub activation: Option<Activation>,
}

/// A fused activation.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    /// The function.
    pub function: Function,
    /// The name of the value it is applied to, which is no longer stored.
    pub argument: String,
}

/// Folds a network for a given list of time indices.
///
/// # Errors
/// Names the node that cannot be folded, and why.
pub fn fold(network: &Network, times: &[usize]) -> Result<Folded> {
    epilogue::fold(linear::fold(time::fold(network, times)?)?)
}

impl Layer {
    /// The values that the layer reads.
    #[must_use]
    pub fn inputs(&self) -> Vec<&str> {
        match &self.kind {
            Kind::Conv2d(conv) => {
                conv.inputs.iter().map(|(input, _)| input.as_str()).chain(conv.residual.as_deref()).collect()
            }
            Kind::GroupNorm(norm) => vec![&norm.input],
            Kind::Attention { inputs, .. } => inputs.iter().map(String::as_str).collect(),
            Kind::Add { inputs: [a, b] } => vec![a, b],
            Kind::ChannelGain { input, .. }
            | Kind::ChannelBias { input, .. }
            | Kind::Activation { input, .. }
            | Kind::DepthToSpace { input, .. } => vec![input],
        }
    }

    /// Multiply–accumulates of one evaluation.
    #[must_use]
    pub fn macs(&self) -> usize {
        match &self.kind {
            Kind::Conv2d(conv) => conv.geometry.macs(),
            // Scores and weighted sums: each position meets each.
            Kind::Attention { .. } => 2 * self.shape.iter().product::<usize>() * self.shape[1] * self.shape[2],
            _ => 0,
        }
    }
}

impl Folded {
    /// How often each value is read, the network's output once more than by layers.
    pub(crate) fn uses(&self) -> BTreeMap<String, usize> {
        let mut uses = BTreeMap::from([(self.output.clone(), 1)]);
        for input in self.layers.iter().flat_map(Layer::inputs) {
            *uses.entry(input.to_string()).or_default() += 1;
        }
        uses
    }

    /// Every value for one picture `x` `[channels, height, width]`, row and class; as naive as [`reference::run`].
    #[must_use]
    pub fn run(&self, x: &[f32], step: usize, class: usize) -> Values {
        let mut values = Values::from([(X.to_string(), x.to_vec())]);
        for layer in &self.layers {
            let area = layer.shape[1] * layer.shape[2];
            let per_channel = |map: &[f32], f: &dyn Fn(f32, usize) -> f32| -> Vec<f32> {
                map.iter().enumerate().map(|(i, &v)| f(v, i / area)).collect()
            };
            let value = match &layer.kind {
                Kind::Conv2d(conv) => {
                    let bias: Vec<f32> = conv.bias.at(step, class).iter().map(|&b| b as f32).collect();
                    let maps = conv.inputs.iter().flat_map(|(input, _)| values[input].iter().copied());
                    let joined: Vec<f32> = maps.collect();
                    let mut sum = reference::conv2d(&conv.geometry, &joined, &conv.weight, &bias);
                    if let Some(residual) = &conv.residual {
                        sum.iter_mut().zip(&values[residual]).for_each(|(sum, r)| *sum += r);
                    }
                    activate(sum, conv.activation.as_ref(), &mut values)
                }
                Kind::GroupNorm(norm) => {
                    let GroupNorm { input, groups, eps, weight, bias, activation, .. } = norm;
                    let value = reference::group_norm(&values[input], *groups, *eps, weight, bias);
                    activate(value, activation.as_ref(), &mut values)
                }
                Kind::Attention { inputs: [q, k, v], heads } => {
                    reference::attention([&values[q], &values[k], &values[v]], layer.shape[0], *heads)
                }
                Kind::ChannelGain { input, gain } => per_channel(&values[input], &|v, c| v * gain[c]),
                Kind::ChannelBias { input, rows } => {
                    let bias = rows.at(step, class);
                    per_channel(&values[input], &|v, c| (f64::from(v) + bias[c]) as f32)
                }
                Kind::Add { inputs: [a, b] } => values[a].iter().zip(&values[b]).map(|(a, b)| a + b).collect(),
                Kind::Activation { input, function } => {
                    values[input].iter().map(|&v| function.apply(v.into()) as f32).collect()
                }
                Kind::DepthToSpace { input, block } => {
                    let [c, h, w] = layer.shape;
                    let from = [c * block * block, h / block, w / block];
                    reference::depth_to_space(&values[input], from, *block)
                }
            };
            values.insert(layer.name.clone(), value);
        }
        values
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.layers.iter().position(|layer| layer.name == name)
    }

    /// A layer left over that no kernel computes.
    pub(crate) fn unfolded(name: &str) -> Error {
        Error::node(
            name,
            "it does not follow a convolution whose result only it uses, so it cannot be folded; move it there",
        )
    }
}

/// Applies a fused activation; its argument is kept among the values.
fn activate(value: Vec<f32>, activation: Option<&Activation>, values: &mut Values) -> Vec<f32> {
    let Some(Activation { function, argument }) = activation else { return value };
    let applied = value.iter().map(|&v| function.apply(v.into()) as f32).collect();
    values.insert(argument.clone(), value);
    applied
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::graph::{Builder, Graph, LABEL, Op, T};

    /// A network with every op, a skip, and made-up weights.
    pub(crate) fn network() -> Network {
        let silu = Op::Activation { function: Function::Silu };
        let conv = |out_channels, stride: usize, upsample: usize| Op::Conv2d {
            out_channels,
            kernel: [3; 2],
            stride: [stride; 2],
            padding: [1; 2],
            upsample: [upsample; 2],
            groups: 1,
        };
        let mut b = Builder::new([1, 4, 4], 2);
        b.node("sinusoid", Op::Sinusoid { dim: 4, max_period: 100.0 }, &[T]);
        b.node("time", silu.clone(), &["sinusoid"]);
        b.node("class", Op::Embedding { dim: 4 }, &[LABEL]);
        b.node("both", Op::Add, &["time", "class"]);
        b.node("rows", Op::Linear { out_features: 5 }, &["both"]);
        b.node("stem", conv(5, 2, 1), &[X]);
        b.node("biased", Op::ChannelBias, &["stem", "rows"]);
        b.node("h", silu.clone(), &["biased"]);
        b.node("conv", conv(5, 1, 1), &["h"]);
        b.node("gain", Op::ChannelGain, &["conv"]);
        b.node("sum", Op::Add, &["h", "gain"]);
        b.node("block", silu, &["sum"]);
        b.node("head", conv(4, 1, 1), &["block"]);
        b.node("out", Op::DepthToSpace { block: 2 }, &["head"]);
        with_weights(b.finish("out").unwrap())
    }

    pub(crate) fn with_weights(graph: Graph) -> Network {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (f64::from(state) / f64::from(u32::MAX) - 0.5) as f32
        };
        let parameters = graph
            .parameters()
            .unwrap()
            .into_iter()
            .map(|p| (p.name, (0..p.shape.iter().product()).map(|_| next()).collect()))
            .collect();
        Network { graph, parameters }
    }

    pub(crate) fn picture() -> Vec<f32> {
        (0..16u8).map(|i| f32::from(i * 7 % 11) / 5.0 - 1.0).collect()
    }

    /// That `folded` computes what `network` computes, at every node both have.
    pub(crate) fn assert_equal(network: &Network, folded: &Folded) {
        for (step, &t) in folded.times.iter().enumerate() {
            for class in 0..=network.graph.classes {
                let expected = reference::run(network, &picture(), t, class).unwrap();
                for (name, value) in folded.run(&picture(), step, class) {
                    let error = value.iter().zip(&expected[&name]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(error < 1e-6, "{name} at t = {t}, class {class}: off by {error}");
                }
            }
        }
    }

    #[test]
    fn normalisation_attention_and_pairs_of_maps_keep_their_values() {
        let conv = |out_channels, groups| Op::Conv2d {
            out_channels,
            kernel: [3; 2],
            stride: [1; 2],
            padding: [1; 2],
            upsample: [1; 2],
            groups,
        };
        let mut b = Builder::new([1, 4, 4], 0);
        b.node("stem", conv(4, 1), &[X]);
        b.node("norm", Op::GroupNorm { groups: 2, eps: 1e-5 }, &["stem"]);
        b.node("silu", Op::Activation { function: Function::Silu }, &["norm"]);
        b.node("depthwise", conv(4, 4), &["silu"]);
        b.node("gain", Op::ChannelGain, &["depthwise"]);
        b.node("mix", Op::Attention { heads: 2 }, &["silu", "gain", "stem"]);
        b.node("pair", conv(4, 1), &["mix", "stem"]);
        b.node("sum", Op::Add, &["stem", "pair"]);
        b.node("out", conv(1, 1), &["sum"]);
        let network = with_weights(b.finish("out").unwrap());
        let folded = fold(&network, &[5]).unwrap();
        assert_equal(&network, &folded);
        let names: Vec<_> = folded.layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, ["stem", "silu", "gain", "mix", "sum", "out"]);
        assert_eq!(folded.layers[3].macs(), 2 * 16 * 16 * 4);
    }

    #[test]
    fn folding_keeps_every_value_and_leaves_three_layers() {
        let network = network();
        let folded = fold(&network, &[0, 7, 99]).unwrap();
        assert_equal(&network, &folded);
        let names: Vec<_> = folded.layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, ["h", "block", "head", "out"]);
    }
}
