//! *Fold*: rewrites that are equal in real numbers, before any number is rounded.
//!
//! [`time`] turns everything that depends only on the step or only on the class into constant rows, [`fuse`] puts
//! gains and biases a channel, residuals and activations into the layers before them, [`join`] lays maps side by side for
//! layers that cannot read as many. What is left is [`Folded`].

mod fuse;
mod join;
mod rows;
mod time;

use std::collections::BTreeMap;

use crate::error::Result;
use crate::model::Network;
use crate::op::{Evaluation, Function, Kind};
use crate::reference::Values;

pub use rows::Rows;
pub use time::Node;

/// A network whose time indices are known: maps in, maps out, one layer after another. A vector is a map of one pixel.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// The maps that it reads, `[channels, height, width]` by name, in the order of the graph's ports.
    pub inputs: Vec<(String, [usize; 3])>,
    /// Number of classes; label `classes` means "no class".
    pub classes: usize,
    /// The time index of each row.
    pub times: Vec<usize>,
    /// In an order in which they can be computed.
    pub layers: Vec<Layer>,
    /// The values that it gives, each a layer's.
    pub outputs: Vec<String>,
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

/// A fused activation.
#[derive(Clone, Debug, PartialEq)]
pub struct FusedActivation {
    /// The function.
    pub function: Function,
    /// The name of the value it is applied to, which is no longer stored.
    pub argument: String,
}

/// Folds a network for a given list of time indices; one without a time port takes no notice of them.
///
/// # Errors
/// Names the node that cannot be folded, and why.
pub fn fold(network: &Network, times: &[usize]) -> Result<Folded> {
    Ok(join::join(fuse::fuse(time::fold(network, times)?)))
}

impl Layer {
    /// The values that the layer reads.
    #[must_use]
    pub fn inputs(&self) -> Vec<&str> {
        let layer = self.kind.layer();
        layer.maps().into_iter().chain(layer.second()).collect()
    }

    /// For people: the graph's node, or else the value.
    #[must_use]
    pub fn node(&self) -> &str {
        self.kind.layer().node().unwrap_or(&self.name)
    }

    /// Multiply–accumulates of one evaluation.
    #[must_use]
    pub fn macs(&self) -> usize {
        self.kind.layer().macs(self.shape)
    }
}

impl Folded {
    /// How often each value is read, the network's outputs once more than by layers.
    pub(crate) fn uses(&self) -> BTreeMap<String, usize> {
        let mut uses = BTreeMap::new();
        let outputs = self.outputs.iter().map(String::as_str);
        for value in self.layers.iter().flat_map(Layer::inputs).chain(outputs) {
            *uses.entry(value.to_string()).or_default() += 1;
        }
        uses
    }

    /// Every value for the maps `inputs` by name, row and class; as naive as [`crate::reference::evaluate`].
    #[must_use]
    pub fn evaluate(&self, inputs: Values, step: usize, class: usize) -> Values {
        let mut values = inputs;
        for layer in &self.layers {
            let value = layer.kind.layer().evaluate(layer, &Evaluation { values: &values, step, class });
            let value = match layer.kind.layer().activation() {
                Some(FusedActivation { function, argument }) => {
                    let applied = value.iter().map(|&v| function.apply(v.into()) as f32).collect();
                    values.insert(argument.clone(), value);
                    applied
                }
                None => value,
            };
            values.insert(layer.name.clone(), value);
        }
        values
    }

    /// The place of the layer that computes a value.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.layers.iter().position(|layer| layer.name == name)
    }

    /// The layers that read a value.
    pub(crate) fn readers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Layer> + 'a {
        self.layers.iter().filter(move |layer| layer.inputs().contains(&name))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::graph::{
        Activation, Add, Attention, Builder, ChannelBias, ChannelGain, Conv2d, DepthToSpace, Embedding, Graph,
        GroupNorm, LABEL, Linear, Sinusoid, T, X,
    };
    use crate::reference;

    pub(crate) fn silu() -> Activation {
        Activation { function: Function::Silu }
    }

    /// A network with every op, a skip, and made-up weights.
    pub(crate) fn network() -> Network {
        let conv = |out_channels, stride: usize| Conv2d { out_channels, stride: [stride; 2], ..Conv2d::same(3) };
        let mut b = Builder::new([1, 4, 4], 2);
        b.node("sinusoid", Sinusoid { dim: 4, max_period: 100.0 }, &[T]);
        b.node("time", silu(), &["sinusoid"]);
        b.node("class", Embedding { dim: 4 }, &[LABEL]);
        b.node("both", Add {}, &["time", "class"]);
        b.node("rows", Linear { out_features: 5 }, &["both"]);
        b.node("stem", conv(5, 2), &[X]);
        b.node("biased", ChannelBias {}, &["stem", "rows"]);
        b.node("h", silu(), &["biased"]);
        b.node("conv", conv(5, 1), &["h"]);
        b.node("gain", ChannelGain {}, &["conv"]);
        b.node("sum", Add {}, &["h", "gain"]);
        b.node("block", silu(), &["sum"]);
        b.node("head", conv(4, 1), &["block"]);
        b.node("out", DepthToSpace { block: 2 }, &["head"]);
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
            for class in 0..=network.graph.classes() {
                let expected = reference::run(network, &picture(), t, class).unwrap();
                let values = folded.evaluate(Values::from([(X.to_string(), picture())]), step, class);
                for (name, value) in values {
                    let error = value.iter().zip(&expected[&name]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(error < 1e-6, "{name} at t = {t}, class {class}: off by {error}");
                }
            }
        }
    }

    #[test]
    fn normalisation_attention_and_pairs_of_maps_keep_their_values() {
        let conv = |out_channels, groups| Conv2d { out_channels, groups, ..Conv2d::same(3) };
        let mut b = Builder::new([1, 4, 4], 0);
        b.node("stem", conv(4, 1), &[X]);
        b.node("norm", GroupNorm { groups: 2, eps: 1e-5 }, &["stem"]);
        b.node("silu", silu(), &["norm"]);
        b.node("depthwise", conv(4, 4), &["silu"]);
        b.node("gain", ChannelGain {}, &["depthwise"]);
        b.node("mix", Attention { heads: 2 }, &["silu", "gain", "stem"]);
        b.node("pair", conv(4, 1), &["mix", "stem"]);
        b.node("sum", Add {}, &["stem", "pair"]);
        b.node("out", conv(1, 1), &["sum"]);
        let network = with_weights(b.finish("out").unwrap());
        let folded = fold(&network, &[5]).unwrap();
        assert_equal(&network, &folded);
        let names: Vec<_> = folded.layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, ["stem", "silu", "gain", "mix", "sum", "out"]);
        assert_eq!(folded.layers[3].macs(), 2 * 16 * 16 * 4);
    }

    #[test]
    fn folding_keeps_every_value_and_leaves_four_layers() {
        let network = network();
        let folded = fold(&network, &[0, 7, 99]).unwrap();
        assert_equal(&network, &folded);
        let names: Vec<_> = folded.layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, ["h", "block", "head", "out"]);
    }
}
