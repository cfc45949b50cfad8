//! The graph IR: one enum of ops, the single list that trainer, reference, passes and emitter share.
//!
//! A graph maps a noisy picture `x`, a time index `t` and a class `label` to the network's output.
//! Nodes name their inputs; parameters are tensors named `{node}.weight` and `{node}.bias`. Maps are
//! `[channels, height, width]` here and in the weights' axes (PyTorch's order); the engine's buffers
//! are `[height, width, channels]`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The name by which nodes refer to the noisy picture.
pub const X: &str = "x";
/// The name by which nodes refer to the time index.
pub const T: &str = "t";
/// The name by which nodes refer to the class label.
pub const LABEL: &str = "label";

/// A network: its input, its nodes and which of them is the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Shape of `x`, `[channels, height, width]`.
    pub input: [usize; 3],
    /// Number of classes; labels run over `0..classes`, and label `classes` means "no class".
    pub classes: usize,
    /// Nodes in any order; [`Graph::shapes`] finds theirs.
    pub nodes: Vec<Node>,
    /// The name of the node whose value is the network's output.
    pub output: String,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique; also the prefix of its tensors.
    pub name: String,
    /// What it computes.
    #[serde(flatten)]
    pub op: Op,
    /// Names of nodes, or [`X`], [`T`], [`LABEL`].
    pub inputs: Vec<String>,
}

/// What a node computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// Cross-correlation of the (nearest-neighbour upsampled) map with `weight`
    /// `[out_channels, in_channels / groups, k_h, k_w]`, zero padding, plus `bias` `[out_channels]`.
    /// Geometry is `[vertical, horizontal]`; 1-D data has height 1. Several inputs, of equal height and
    /// width, count as one whose channels follow each other: what a concatenation would be for.
    Conv2d {
        /// Channels of the output.
        out_channels: usize,
        /// Taps.
        kernel: [usize; 2],
        /// Distance between the centres of neighbouring outputs.
        stride: [usize; 2],
        /// Zeros on either side.
        padding: [usize; 2],
        /// Factor by which the input is first enlarged.
        upsample: [usize; 2],
        /// 1, or as many as there are channels in and out: then each channel has a kernel of its own (depthwise).
        #[serde(default = "one", skip_serializing_if = "is_one")]
        groups: usize,
    },
    /// `weight` `[out_features, in_features]` times a vector, plus `bias` `[out_features]`.
    Linear {
        /// Length of the output.
        out_features: usize,
    },
    /// The channels in `groups` runs of equal length, each run shifted and scaled to mean 0 and variance 1 over all its
    /// values of one picture, then times `weight` `[channels]` plus `bias` `[channels]` (Wu & He 2018):
    /// (x − μ) / √(σ² + eps) · weight + bias, σ² being the mean of (x − μ)².
    GroupNorm {
        /// Number of runs.
        groups: usize,
        /// Above 0.
        eps: f64,
    },
    /// Scaled dot-product attention over all positions (Vaswani et al. 2017, section 3.2), of three maps of equal
    /// shape, `q`, `k` and `v`. The channels in `heads` runs of d each, head by head and position i:
    /// out_i = Σ_j softmax_j(q_i · k_j / √d) · v_j.
    Attention {
        /// Number of runs.
        heads: usize,
    },
    /// An element-wise function.
    Activation {
        /// Which one.
        function: Function,
    },
    /// The sum of two values of equal shape.
    Add,
    /// A map times `weight` `[channels]`.
    ChannelGain,
    /// A map plus a vector `[channels]`, its second input.
    ChannelBias,
    /// The time index as `[sin(t·ω_0), …, cos(t·ω_0), …]`, ω_i = max_period^(−i/(dim/2))
    /// (Vaswani et al. 2017, section 3.5, as laid out by DDPM).
    Sinusoid {
        /// Length of the output, even.
        dim: usize,
        /// The longest wavelength is 2π times this.
        max_period: f64,
    },
    /// Row `label` of `weight` `[classes + 1, dim]`.
    Embedding {
        /// Length of the output.
        dim: usize,
    },
    /// `[block²·c, h, w]` to `[c, block·h, block·w]`; input channel `c·block² + y·block + x` holds
    /// the pixel at offset `(y, x)` (PyTorch's pixel shuffle).
    DepthToSpace {
        /// Enlargement per axis.
        block: usize,
    },
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_one(groups: &usize) -> bool {
    *groups == 1
}

/// An element-wise function.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// x / (1 + e^−x).
    Silu,
    /// SiLU, but at most `limit`: bounded, so that eight bits are enough for it.
    ClippedSilu {
        /// The largest value, above 0.
        limit: f64,
    },
}

impl Function {
    /// The function's value, in f64 with `libm`, so that every build machine agrees.
    #[must_use]
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Silu => x / (1.0 + libm::exp(-x)),
            Self::ClippedSilu { limit } => Self::Silu.apply(x).min(limit),
        }
    }
}

/// The shape of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `[channels, height, width]`.
    Map([usize; 3]),
    /// A vector's length.
    Vector(usize),
    /// The time index.
    Time,
    /// The class label.
    Label,
}

/// A tensor that a node needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// `{node}.weight` or `{node}.bias`.
    pub name: String,
    /// In PyTorch's axis order.
    pub shape: Vec<usize>,
}

/// No map, vector or kernel of a model for small chips comes near this; it keeps hostile headers small.
const LARGEST_DIMENSION: usize = 1 << 16;

impl Graph {
    /// The node of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Checks the whole graph and puts its nodes into an order in which they can be computed: their own where it serves.
    ///
    /// # Errors
    /// Names the node that is on a cycle, misses an input, shares its name or does not fit its inputs.
    pub fn sort(&mut self) -> Result<()> {
        let mut names = BTreeSet::from([X, T, LABEL]);
        for node in &self.nodes {
            if !names.insert(&node.name) {
                return Err(Error::node(&node.name, "two nodes or inputs have this name; rename one"));
            }
        }
        for node in &self.nodes {
            if let Some(input) = node.inputs.iter().find(|input| !names.contains(input.as_str())) {
                return Err(Error::node(&node.name, format!("its input `{input}` does not exist")));
            }
        }
        if self.node(&self.output).is_none() {
            return Err(Error::Model(format!("the graph's output `{}` is not one of its nodes", self.output)));
        }
        let mut ready: BTreeSet<String> = [X, T, LABEL].map(String::from).into();
        let mut sorted = Vec::with_capacity(self.nodes.len());
        let mut waiting = std::mem::take(&mut self.nodes);
        while !waiting.is_empty() {
            let before = sorted.len();
            for node in std::mem::take(&mut waiting) {
                if node.inputs.iter().all(|input| ready.contains(input)) {
                    ready.insert(node.name.clone());
                    sorted.push(node);
                } else {
                    waiting.push(node);
                }
            }
            if let Some(Node { name, .. }) = waiting.first().filter(|_| sorted.len() == before) {
                return Err(Error::node(name, "it is part of, or waits for, a cycle; a network must be acyclic"));
            }
        }
        self.nodes = sorted;
        self.shapes().map(drop)
    }

    /// The shape of every value, by name. The nodes must be sorted.
    ///
    /// # Errors
    /// Names the node that does not fit its inputs.
    pub fn shapes(&self) -> Result<BTreeMap<String, Shape>> {
        if self.input.iter().any(|&n| n == 0 || n > LARGEST_DIMENSION) {
            return Err(Error::Model(format!(
                "input shape {:?}: each axis must be 1 to {LARGEST_DIMENSION}",
                self.input
            )));
        }
        if self.classes >= LARGEST_DIMENSION {
            return Err(Error::Model(format!("{} classes; at most {LARGEST_DIMENSION}", self.classes)));
        }
        let mut shapes = BTreeMap::from([
            (X.to_string(), Shape::Map(self.input)),
            (T.to_string(), Shape::Time),
            (LABEL.to_string(), Shape::Label),
        ]);
        for node in &self.nodes {
            let inputs: Vec<Shape> =
                node.inputs
                    .iter()
                    .map(|input| {
                        shapes.get(input).copied().ok_or_else(|| {
                            Error::node(&node.name, format!("its input `{input}` does not come before it"))
                        })
                    })
                    .collect::<Result<_>>()?;
            shapes.insert(node.name.clone(), node.shape(&inputs)?);
        }
        Ok(shapes)
    }

    /// The tensors that the graph needs, in the order of its nodes.
    ///
    /// # Errors
    /// As [`Self::shapes`].
    pub fn parameters(&self) -> Result<Vec<Parameter>> {
        let shapes = self.shapes()?;
        let parameters = |node: &Node| {
            let inputs: Vec<Shape> = node.inputs.iter().map(|input| shapes[input]).collect();
            node.parameters(&inputs, self.classes)
        };
        Ok(self.nodes.iter().flat_map(parameters).collect())
    }
}

impl Node {
    /// The shape of the node's value, given those of its inputs.
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let wrong = |wanted: &str| Error::node(&self.name, format!("it takes {wanted}, and is given {inputs:?}"));
        let small = |n: usize| {
            if (1..=LARGEST_DIMENSION).contains(&n) {
                Ok(n)
            } else {
                Err(Error::node(&self.name, format!("a dimension of {n}; give 1 to {LARGEST_DIMENSION}")))
            }
        };
        match (&self.op, inputs) {
            (Op::Conv2d { out_channels, kernel, stride, padding, upsample, groups }, [Shape::Map([_, h, w]), ..]) => {
                let in_channels = joined_channels(inputs).ok_or_else(|| wrong("maps of equal height and width"))?;
                if *groups != 1 && !(*groups == in_channels && *groups == *out_channels) {
                    return Err(Error::node(
                        &self.name,
                        format!(
                            "{groups} groups from {in_channels} channels to {out_channels}; give 1 group, or as many as there are channels in and out"
                        ),
                    ));
                }
                let extent = |axis: usize, size: usize| {
                    let (k, s) = (small(kernel[axis])?, small(stride[axis])?);
                    let padded =
                        small(size * small(upsample[axis])?)? + 2 * small(padding[axis].saturating_add(1))? - 2;
                    if padded < k {
                        return Err(Error::node(&self.name, format!("a kernel of {k} does not fit into {padded}")));
                    }
                    Ok((padded - k) / s + 1)
                };
                Ok(Shape::Map([small(*out_channels)?, extent(0, *h)?, extent(1, *w)?]))
            }
            (Op::Conv2d { .. }, _) => Err(wrong("maps of equal height and width")),
            (Op::GroupNorm { groups, eps }, [map @ Shape::Map([c, ..])])
                if *groups > 0 && c % groups == 0 && eps.is_finite() && *eps > 0.0 =>
            {
                Ok(*map)
            }
            (Op::GroupNorm { .. }, _) => {
                Err(wrong("one map, with channels a multiple of `groups` and an `eps` above 0"))
            }
            (Op::Attention { heads }, [q @ Shape::Map([c, ..]), k, v]) if q == k && q == v => {
                if *heads == 0 || c % heads != 0 {
                    return Err(Error::node(&self.name, format!("{heads} heads of {c} channels; give a divisor")));
                }
                Ok(*q)
            }
            (Op::Attention { .. }, _) => Err(wrong("three maps of equal shape: q, k and v")),
            (Op::Linear { out_features }, [Shape::Vector(_)]) => Ok(Shape::Vector(small(*out_features)?)),
            (Op::Linear { .. }, _) => Err(wrong("one vector")),
            (Op::Activation { function: Function::ClippedSilu { limit } }, _)
                if !(limit.is_finite() && *limit > 0.0) =>
            {
                Err(Error::node(&self.name, format!("a limit of {limit}; give a number above 0")))
            }
            (Op::Activation { .. }, [shape @ (Shape::Map(_) | Shape::Vector(_))]) => Ok(*shape),
            (Op::Activation { .. }, _) => Err(wrong("one map or vector")),
            (Op::Add, [a @ (Shape::Map(_) | Shape::Vector(_)), b]) if a == b => Ok(*a),
            (Op::Add, _) => Err(wrong("two maps or two vectors of equal shape")),
            (Op::ChannelGain, [map @ Shape::Map(_)]) => Ok(*map),
            (Op::ChannelGain, _) => Err(wrong("one map")),
            (Op::ChannelBias, [map @ Shape::Map([c, ..]), Shape::Vector(n)]) if c == n => Ok(*map),
            (Op::ChannelBias, _) => Err(wrong("a map and a vector with an element per channel")),
            (Op::Sinusoid { dim, max_period }, [Shape::Time]) if dim % 2 == 0 && *max_period > 1.0 => {
                Ok(Shape::Vector(small(*dim)?))
            }
            (Op::Sinusoid { .. }, _) => Err(wrong("`t`, with an even `dim` and a `max_period` above 1")),
            (Op::Embedding { dim }, [Shape::Label]) => Ok(Shape::Vector(small(*dim)?)),
            (Op::Embedding { .. }, _) => Err(wrong("`label`")),
            (Op::DepthToSpace { block }, [Shape::Map([c, h, w])])
                if (1..=16).contains(block) && c % (block * block) == 0 =>
            {
                Ok(Shape::Map([c / (block * block), small(h * block)?, small(w * block)?]))
            }
            (Op::DepthToSpace { .. }, _) => Err(wrong("one map whose channels are a multiple of block²")),
        }
    }

    /// The tensors that the node needs, given the shapes of its inputs.
    #[must_use]
    pub fn parameters(&self, inputs: &[Shape], classes: usize) -> Vec<Parameter> {
        let parameter = |kind: &str, shape: Vec<usize>| Parameter { name: format!("{}.{kind}", self.name), shape };
        match (&self.op, inputs) {
            (Op::Conv2d { out_channels, kernel: [k_h, k_w], groups, .. }, _) => {
                let in_channels = joined_channels(inputs).unwrap_or_default() / groups;
                vec![
                    parameter("weight", vec![*out_channels, in_channels, *k_h, *k_w]),
                    parameter("bias", vec![*out_channels]),
                ]
            }
            (Op::Linear { out_features }, [Shape::Vector(in_features)]) => {
                vec![parameter("weight", vec![*out_features, *in_features]), parameter("bias", vec![*out_features])]
            }
            (Op::GroupNorm { .. }, [Shape::Map([channels, ..])]) => {
                vec![parameter("weight", vec![*channels]), parameter("bias", vec![*channels])]
            }
            (Op::ChannelGain, [Shape::Map([channels, ..])]) => vec![parameter("weight", vec![*channels])],
            (Op::Embedding { dim }, _) => vec![parameter("weight", vec![classes + 1, *dim])],
            _ => Vec::new(),
        }
    }
}

/// Channels of maps side by side; none when they are not maps of equal height and width.
fn joined_channels(inputs: &[Shape]) -> Option<usize> {
    let Some(Shape::Map([_, height, width])) = inputs.first() else { return None };
    inputs.iter().try_fold(0, |sum, input| match input {
        Shape::Map([c, h, w]) if (h, w) == (height, width) => Some(sum + c),
        _ => None,
    })
}

/// Builds a graph node by node; every method returns the new node's name.
pub struct Builder {
    graph: Graph,
}

impl Builder {
    /// Starts a graph on pictures of shape `[channels, height, width]`.
    #[must_use]
    pub fn new(input: [usize; 3], classes: usize) -> Self {
        Self { graph: Graph { input, classes, nodes: Vec::new(), output: String::new() } }
    }

    /// Appends a node.
    pub fn node(&mut self, name: impl Into<String>, op: Op, inputs: &[&str]) -> String {
        let name = name.into();
        self.graph.nodes.push(Node {
            name: name.clone(),
            op,
            inputs: inputs.iter().map(ToString::to_string).collect(),
        });
        name
    }

    /// Whether a node of that name was added.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.graph.node(name).is_some()
    }

    /// Names the output and checks the graph.
    ///
    /// # Errors
    /// As [`Graph::sort`].
    pub fn finish(mut self, output: &str) -> Result<Graph> {
        self.graph.output = output.to_string();
        self.graph.sort()?;
        Ok(self.graph)
    }
}
