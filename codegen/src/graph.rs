//! The graph IR: named ports in, nodes of [`Op`]s, named values out.
//!
//! Nodes name their inputs; parameters are tensors named `{node}.weight` and `{node}.bias`. Maps are
//! `[channels, height, width]` here and in the weights' axes (PyTorch's order); the engine's buffers are
//! `[height, width, channels]`. A denoiser maps a noisy picture `x`, a time index `t` and a class `label` to one map of
//! x's shape; an encoder, a decoder or a classifier has other ports.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::geometry::dimension;
use crate::limits::{
    LARGEST_MAP, MOST_CLASSES, MOST_INPUTS, MOST_MACS, MOST_NODES, MOST_PORTS, at_most, check_name, quoted,
};
pub use crate::op::{
    Activation, Add, Attention, AveragePool, ChannelBias, ChannelGain, Conv2d, DepthToSpace, Embedding, Function,
    GlobalAveragePool, GroupNorm, Linear, Op, Product, ScaleShift, Sinusoid, Softmax,
};

/// The name of a denoiser's port for the noisy picture.
pub const X: &str = "x";
/// The name of the time index's port.
pub const T: &str = "t";
/// The name of the class label's port.
pub const LABEL: &str = "label";

/// A network: its ports and its nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graph {
    /// What the network reads.
    pub inputs: Vec<Port>,
    /// Nodes in any order; [`Graph::sort`] puts them in one in which they can be computed.
    pub nodes: Vec<Node>,
    /// The names of the nodes whose values are the network's outputs.
    pub outputs: Vec<String>,
}

/// A named input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Unique among ports and nodes.
    pub name: String,
    /// What it carries.
    #[serde(flatten)]
    pub kind: PortKind,
}

/// What an input carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortKind {
    /// `[channels, height, width]`.
    Map([usize; 3]),
    /// A vector of this length.
    Vector(usize),
    /// The time index.
    Time {},
    /// The class label.
    Label {
        /// Number of classes; labels run over `0..classes`, and label `classes` means "no class".
        classes: usize,
    },
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique; also the prefix of its tensors.
    pub name: String,
    /// What it computes.
    #[serde(flatten)]
    pub op: Op,
    /// Names of nodes or ports.
    pub inputs: Vec<String>,
}

/// The ports of a denoiser.
#[must_use]
pub fn denoiser_ports(input: [usize; 3], classes: usize) -> Vec<Port> {
    let port = |name: &str, kind| Port { name: name.into(), kind };
    vec![port(X, PortKind::Map(input)), port(T, PortKind::Time {}), port(LABEL, PortKind::Label { classes })]
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

impl Shape {
    /// As a map: a vector is one of a single pixel. None for the time index and the label.
    #[must_use]
    pub fn map(self) -> Option<[usize; 3]> {
        match self {
            Self::Map(map) => Some(map),
            Self::Vector(len) => Some([len, 1, 1]),
            Self::Time | Self::Label => None,
        }
    }
}

impl From<PortKind> for Shape {
    fn from(kind: PortKind) -> Self {
        match kind {
            PortKind::Map(map) => Self::Map(map),
            PortKind::Vector(len) => Self::Vector(len),
            PortKind::Time {} => Self::Time,
            PortKind::Label { .. } => Self::Label,
        }
    }
}

/// A tensor that a node needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// `{node}.weight` or `{node}.bias`.
    pub name: String,
    /// In PyTorch's axis order.
    pub shape: Vec<usize>,
}

impl Graph {
    /// The node of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The port of that name.
    #[must_use]
    pub fn port(&self, name: &str) -> Option<&Port> {
        self.inputs.iter().find(|port| port.name == name)
    }

    /// Number of classes of the label's port; 0 where there is none.
    #[must_use]
    pub fn classes(&self) -> usize {
        let classes = |port: &Port| match port.kind {
            PortKind::Label { classes } => Some(classes),
            _ => None,
        };
        self.inputs.iter().find_map(classes).unwrap_or(0)
    }

    /// Shape of the port [`X`], `[channels, height, width]`; zeros where there is none.
    #[must_use]
    pub fn input(&self) -> [usize; 3] {
        self.port(X).and_then(|port| Shape::from(port.kind).map()).unwrap_or_default()
    }

    /// The first output's name.
    #[must_use]
    pub fn output(&self) -> &str {
        self.outputs.first().map_or("", String::as_str)
    }

    /// Checks the whole graph and puts its nodes into an order in which they can be computed: their own where it serves.
    ///
    /// # Errors
    /// Names the node that is on a cycle, misses an input, shares its name, is of no use or does not fit its inputs.
    pub fn sort(&mut self) -> Result<()> {
        self.check_names()?;
        let mut ready: BTreeSet<String> = self.inputs.iter().map(|port| port.name.clone()).collect();
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
        self.check_use()?;
        self.shapes().map(drop)
    }

    /// That names are sound, unique and known, and that there are not too many.
    fn check_names(&self) -> Result<()> {
        for (what, count, most) in [
            ("nodes", self.nodes.len(), MOST_NODES),
            ("inputs", self.inputs.len(), MOST_PORTS),
            ("outputs", self.outputs.len(), MOST_PORTS),
        ] {
            if count == 0 || count > most {
                return Err(Error::Model(format!("the graph has {count} {what}; give 1 to {most}")));
            }
        }
        let mut names = BTreeSet::new();
        let all = self.inputs.iter().map(|port| &port.name).chain(self.nodes.iter().map(|node| &node.name));
        for name in all {
            check_name("node or port", name)?;
            if !names.insert(name.as_str()) {
                return Err(Error::node(name, "two nodes or inputs have this name; rename one"));
            }
        }
        for node in &self.nodes {
            if node.inputs.len() > MOST_INPUTS {
                return Err(Error::node(&node.name, format!("{} inputs; at most {MOST_INPUTS}", node.inputs.len())));
            }
            if let Some(input) = node.inputs.iter().find(|input| !names.contains(input.as_str())) {
                return Err(Error::node(&node.name, format!("its input {} does not exist", quoted(input))));
            }
        }
        for (index, output) in self.outputs.iter().enumerate() {
            if self.node(output).is_none() {
                return Err(Error::Model(format!("the graph's output {} is not one of its nodes", quoted(output))));
            }
            if self.outputs[..index].contains(output) {
                return Err(Error::Model(format!("the graph's output `{output}` is named twice")));
            }
        }
        for (what, is) in [
            ("time", (|kind| matches!(kind, PortKind::Time {})) as fn(PortKind) -> bool),
            ("label", |kind| matches!(kind, PortKind::Label { .. })),
        ] {
            if self.inputs.iter().filter(|port| is(port.kind)).count() > 1 {
                return Err(Error::Model(format!("the graph has more than one {what} port")));
            }
        }
        Ok(())
    }

    /// That every node serves an output, and every map or vector that comes in a node, so that nothing is computed for
    /// nothing. The nodes must be sorted. A network need not use the time index and the label that it is given.
    fn check_use(&self) -> Result<()> {
        let mut used: BTreeSet<&str> = self.outputs.iter().map(String::as_str).collect();
        for node in self.nodes.iter().rev() {
            if !used.contains(node.name.as_str()) {
                return Err(Error::node(
                    &node.name,
                    "no output depends on it; remove it, or name it among the graph's outputs",
                ));
            }
            used.extend(node.inputs.iter().map(String::as_str));
        }
        let is_read = |port: &Port| Shape::from(port.kind).map().is_none() || used.contains(port.name.as_str());
        match self.inputs.iter().find(|port| !is_read(port)) {
            Some(port) => Err(Error::node(&port.name, "an input that no node reads; remove it")),
            None => Ok(()),
        }
    }

    /// That the network is a denoiser: what samplers call.
    ///
    /// # Errors
    /// Says which port or output it has too many, lacks, or has in another shape.
    pub fn check_denoiser(&self) -> Result<()> {
        let is_known = |Port { name, kind }: &Port| match kind {
            PortKind::Map(_) => name == X,
            PortKind::Time {} => name == T,
            PortKind::Label { .. } => name == LABEL,
            PortKind::Vector(_) => false,
        };
        if let Some(port) = self.inputs.iter().find(|port| !is_known(port)) {
            return Err(Error::node(
                &port.name,
                format!(
                    "a denoiser has the inputs `{X}`, a map, and, where it needs them, `{T}`, the time index, and `{LABEL}`, the class; remove it, or give the network another name"
                ),
            ));
        }
        if self.port(X).is_none() {
            return Err(Error::Model(format!("the denoiser has no input `{X}`, a map: the noisy picture")));
        }
        let [output] = &self.outputs[..] else {
            let outputs = self.outputs.join(", ");
            return Err(Error::Model(format!(
                "the denoiser has the outputs {outputs}; give it one, of the shape of `{X}`"
            )));
        };
        let (input, shape) = (self.input(), self.shapes()?[output]);
        match shape.map() {
            Some(map) if map == input => Ok(()),
            Some([channels, height, width]) if [channels, height, width] == [2 * input[0], input[1], input[2]] => {
                Err(Error::node(
                    output,
                    format!(
                        "a denoiser's output of {channels} channels for {} is a learned variance, which grano does not sample with; export the first {} channels alone",
                        input[0], input[0]
                    ),
                ))
            }
            _ => Err(Error::node(
                output,
                format!("a denoiser's output is {shape:?}; `{X}` is a map of {input:?}, give the same shape"),
            )),
        }
    }

    /// The shape of every value, by name. The nodes must be sorted.
    ///
    /// # Errors
    /// Names the port or node that does not fit.
    pub fn shapes(&self) -> Result<BTreeMap<String, Shape>> {
        let mut shapes = BTreeMap::new();
        let mut macs: u64 = 0;
        for Port { name, kind } in &self.inputs {
            let sound = match *kind {
                PortKind::Map(map) => map.into_iter().try_for_each(|n| dimension(name, n).map(drop)),
                PortKind::Vector(len) => dimension(name, len).map(drop),
                PortKind::Time {} => Ok(()),
                PortKind::Label { classes } => at_most("classes", classes, MOST_CLASSES),
            };
            sound.and_then(|()| check_size(name, (*kind).into()))?;
            shapes.insert(name.clone(), (*kind).into());
        }
        for node in &self.nodes {
            let of = |input: &String| {
                shapes
                    .get(input)
                    .copied()
                    .ok_or_else(|| Error::node(&node.name, format!("its input `{input}` does not come before it")))
            };
            let inputs: Vec<Shape> = node.inputs.iter().map(of).collect::<Result<_>>()?;
            let shape = node.op.operation().shape(&node.name, &inputs)?;
            check_size(&node.name, shape)?;
            macs = macs.saturating_add(node.op.operation().macs(&inputs, shape));
            if macs > MOST_MACS {
                return Err(Error::node(
                    &node.name,
                    format!(
                        "up to here an evaluation takes more than {MOST_MACS} multiply–accumulates; make the network smaller"
                    ),
                ));
            }
            shapes.insert(node.name.clone(), shape);
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
            node.parameters(&inputs, self.classes())
        };
        Ok(self.nodes.iter().flat_map(parameters).collect())
    }
}

impl Node {
    /// The tensors that the node needs, given the shapes of its inputs.
    #[must_use]
    pub fn parameters(&self, inputs: &[Shape], classes: usize) -> Vec<Parameter> {
        let parameter = |(kind, shape): (&str, Vec<usize>)| Parameter { name: format!("{}.{kind}", self.name), shape };
        self.op.operation().parameters(inputs, classes).into_iter().map(parameter).collect()
    }
}

/// That a value is no larger than models for small chips have.
fn check_size(name: &str, shape: Shape) -> Result<()> {
    match shape.map() {
        Some(map) if map.iter().copied().fold(1, usize::saturating_mul) > LARGEST_MAP => {
            Err(Error::node(name, format!("a map of {map:?}; at most {LARGEST_MAP} elements")))
        }
        _ => Ok(()),
    }
}

/// Builds a graph node by node; every method returns the new node's name.
pub struct Builder {
    graph: Graph,
}

impl Builder {
    /// Starts a denoiser's graph, on pictures of shape `[channels, height, width]`.
    #[must_use]
    pub fn new(input: [usize; 3], classes: usize) -> Self {
        Self::with_ports(denoiser_ports(input, classes))
    }

    /// Starts a graph on any ports.
    #[must_use]
    pub fn with_ports(inputs: Vec<Port>) -> Self {
        Self { graph: Graph { inputs, nodes: Vec::new(), outputs: Vec::new() } }
    }

    /// Appends a node.
    pub fn node(&mut self, name: impl Into<String>, op: impl Into<Op>, inputs: &[&str]) -> String {
        let (name, op) = (name.into(), op.into());
        let inputs = inputs.iter().map(ToString::to_string).collect();
        self.graph.nodes.push(Node { name: name.clone(), op, inputs });
        name
    }

    /// Whether a node of that name was added.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.graph.node(name).is_some()
    }

    /// Names the only output and checks the graph.
    ///
    /// # Errors
    /// As [`Graph::sort`].
    pub fn finish(self, output: &str) -> Result<Graph> {
        self.finish_all(&[output])
    }

    /// Names the outputs and checks the graph.
    ///
    /// # Errors
    /// As [`Graph::sort`].
    pub fn finish_all(mut self, outputs: &[&str]) -> Result<Graph> {
        self.graph.outputs = outputs.iter().map(ToString::to_string).collect();
        self.graph.sort()?;
        Ok(self.graph)
    }
}
