//! *Backward*: the gradient of a network's output as more nodes of the same graph.
//!
//! Reverse-mode differentiation of the graph (Linnainmaa 1970; Griewank and Walther 2008, chapter 3): from the output back to
//! an input, every operation says by [`crate::op::Operation::backward`] which nodes take the gradient of its value to that of
//! what it reads; where a value is read several times, gradients add up. All of them are ordinary operations before
//! folding, so that fusion, quantisation, planning and every chip's kernels serve them as they are, and values that both
//! passes need are buffers like any other.

mod convolution;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use convolution::transposed;

use crate::error::{Error, Result};
use crate::graph::{Add, ChannelBias, Conv2d, Embedding, LABEL, Linear, Node, Op, Port, PortKind, Shape, Softmax, X};
use crate::model::Network;

/// The name of the output that [`log_probability`] appends.
pub const GRADIENT: &str = "gradient";

/// A classifier's network with one more output, [`GRADIENT`]: ∇ log p(label | x) with respect to its input `x`, a map of
/// x's shape (classifier guidance; Dhariwal & Nichol 2021, algorithm 2).
///
/// `logits` is the output, a vector, whose softmax is p(· | x). The network gets a label's port with as many classes where it
/// has none. Label `classes`, "no class", stands for all classes alike: the gradient of the mean of their log p.
///
/// # Errors
/// Names the output or port that is missing or of another kind, and the node that has no backward pass.
pub fn log_probability(network: &Network, logits: &str) -> Result<Network> {
    let mut network = network.clone();
    let shapes = network.graph.shapes()?;
    let Some(Shape::Vector(classes)) = shapes.get(logits).copied() else {
        return Err(Error::node(logits, "the network has no vector of that name to take for logits"));
    };
    let label = network.graph.inputs.iter().find(|port| matches!(port.kind, PortKind::Label { .. }));
    let label = match label {
        Some(Port { name, kind: PortKind::Label { classes: known } }) if *known == classes => name.clone(),
        Some(port) => {
            return Err(Error::node(&port.name, format!("a label of other classes than the {classes} of `{logits}`")));
        }
        None => {
            network.graph.inputs.push(Port { name: LABEL.into(), kind: PortKind::Label { classes } });
            LABEL.into()
        }
    };
    // ∂ log p(label) / ∂ logits = one_hot(label) − p.
    let mut tape = Tape::new(&mut network, &shapes, "log_p");
    let identity = |value: f32| (0..classes * classes).map(move |i| if i % (classes + 1) == 0 { value } else { 0.0 });
    let p = tape.node("p", Softmax {}, &[logits], &[]);
    let away = tape.linear("away", &p, identity(-1.0).collect(), classes);
    let rows = identity(1.0).chain((0..classes).map(|_| 1.0 / classes as f32)).collect();
    let one_hot = tape.node("one_hot", Embedding { dim: classes }, &[&label], &[("weight", rows)]);
    let cotangent = tape.node("difference", ChannelBias {}, &[&away, &one_hot], &[]);
    vector_jacobian(&network, logits, &cotangent, X, GRADIENT)
}

/// A network with one more output, named `name`: the gradient of ⟨cotangent, output⟩ with respect to the input `input`, of
/// that input's shape (a vector–Jacobian product). `output` and `cotangent` are values of equal shape; the cotangent may be a
/// port, and counts as constant.
///
/// # Errors
/// Names what is missing, of another shape or of the same name, and the node that has no backward pass.
pub fn vector_jacobian(network: &Network, output: &str, cotangent: &str, input: &str, name: &str) -> Result<Network> {
    let shapes = network.graph.shapes()?;
    let shape = |value: &str| {
        let found = shapes.get(value).copied();
        found.ok_or_else(|| Error::node(value, "the network has no node or input of that name; name one that it has"))
    };
    if shape(output)?.map() != shape(cotangent)?.map() {
        let [output_shape, cotangent_shape] = [shape(output)?, shape(cotangent)?];
        return Err(Error::node(
            cotangent,
            format!("it is {cotangent_shape:?}; the gradient of `{output}` is {output_shape:?}"),
        ));
    }
    if network.graph.port(input).is_none() || shape(input)?.map().is_none() {
        return Err(Error::node(input, "gradients are taken of inputs that are maps or vectors"));
    }
    if shapes.contains_key(name) {
        return Err(Error::node(name, "a value has this name already; name the gradient otherwise"));
    }
    check_parameters(network)?;
    let forward = network.graph.nodes.clone();
    let mut depends = BTreeSet::from([input]);
    for node in &forward {
        if node.inputs.iter().any(|read| depends.contains(read.as_str())) {
            depends.insert(&node.name);
        }
    }
    if !depends.contains(output) {
        return Err(Error::node(output, format!("it does not depend on `{input}`: there is no gradient")));
    }
    let mut result = network.clone();
    let mut gradients: BTreeMap<&str, Vec<String>> = BTreeMap::from([(output, vec![cotangent.to_string()])]);
    for node in forward.iter().rev().filter(|node| depends.contains(node.name.as_str())) {
        let Some(parts) = gradients.remove(node.name.as_str()) else { continue };
        let mut tape = Tape::new(&mut result, &shapes, &node.name);
        let gradient = tape.sum(parts);
        for (index, read) in node.inputs.iter().enumerate().filter(|(_, read)| depends.contains(read.as_str())) {
            let tape = Tape { prefix: format!("{}.{index}", node.name), ..tape.again() };
            let part = node.op.operation().backward(tape, node, index, &gradient)?;
            gradients.entry(read).or_default().push(part);
        }
    }
    let parts = gradients.remove(input).ok_or_else(|| Error::node(input, "no gradient reaches it"))?;
    let mut tape = Tape::new(&mut result, &shapes, input);
    let total = tape.sum(parts);
    tape.rename(&total, name, shapes[input]);
    result.graph.outputs.push(name.into());
    result.graph.sort()?;
    Ok(result)
}

/// That every parameter of the graph is there and as long as its shape says.
fn check_parameters(network: &Network) -> Result<()> {
    for parameter in network.graph.parameters()? {
        let (wanted, found) = (parameter.shape.iter().product::<usize>(), network.parameters.get(&parameter.name));
        if found.is_none_or(|values| values.len() != wanted) {
            let count = found.map_or(0, Vec::len);
            return Err(Error::tensor(&parameter.name, format!("it has {count} values; the graph takes {wanted}")));
        }
    }
    Ok(())
}

/// Where an operation appends the nodes of its backward pass.
pub struct Tape<'a> {
    network: &'a mut Network,
    /// Of the forward pass.
    shapes: &'a BTreeMap<String, Shape>,
    /// What new nodes' names begin with, after `back.`.
    prefix: String,
}

impl<'a> Tape<'a> {
    fn new(network: &'a mut Network, shapes: &'a BTreeMap<String, Shape>, prefix: &str) -> Self {
        Self { network, shapes, prefix: prefix.into() }
    }

    fn again(&mut self) -> Tape<'_> {
        Tape { network: self.network, shapes: self.shapes, prefix: self.prefix.clone() }
    }

    /// The shape of a map or vector of the forward pass, `[channels, height, width]`.
    pub(crate) fn map(&self, value: &str) -> [usize; 3] {
        self.shapes[value].map().unwrap_or_default()
    }

    /// Whether a value of the forward pass is a vector.
    pub(crate) fn is_vector(&self, value: &str) -> bool {
        matches!(self.shapes.get(value), Some(Shape::Vector(_)))
    }

    /// The forward pass's parameter `weight` or `bias` of a node that has it.
    pub(crate) fn parameter(&self, node: &Node, kind: &str) -> Vec<f32> {
        self.network.parameters[&format!("{}.{kind}", node.name)].clone()
    }

    /// Appends a node with its parameters, and gives its name.
    pub(crate) fn node(
        &mut self,
        what: &str,
        op: impl Into<Op>,
        inputs: &[&str],
        parameters: &[(&str, Vec<f32>)],
    ) -> String {
        let stem = format!("back.{}.{what}", self.prefix);
        let mut name = stem.clone();
        let mut count = 1;
        while self.network.graph.node(&name).is_some() || self.network.graph.port(&name).is_some() {
            count += 1;
            name = format!("{stem}{count}");
        }
        for (kind, values) in parameters {
            self.network.parameters.insert(format!("{name}.{kind}"), values.clone());
        }
        let inputs = inputs.iter().map(ToString::to_string).collect();
        self.network.graph.nodes.push(Node { name: name.clone(), op: op.into(), inputs });
        name
    }

    /// A matrix `[out_features][in_features]` times a vector or a map.
    pub(crate) fn linear(&mut self, what: &str, value: &str, weight: Vec<f32>, out_features: usize) -> String {
        self.node(what, Linear { out_features }, &[value], &[("weight", weight), ("bias", vec![0.0; out_features])])
    }

    /// A convolution without bias.
    pub(crate) fn conv2d(&mut self, what: &str, value: &str, conv: Conv2d, weight: Vec<f32>) -> String {
        let bias = vec![0.0; conv.out_channels];
        self.node(what, conv, &[value], &[("weight", weight), ("bias", bias)])
    }

    /// Every channel times a number.
    pub(crate) fn scaled(&mut self, what: &str, value: &str, channels: usize, factor: f32) -> String {
        let conv = Conv2d { out_channels: channels, groups: channels, ..Conv2d::same(1) };
        self.conv2d(what, value, conv, vec![factor; channels])
    }

    /// A map of one pixel as a vector.
    pub(crate) fn vector(&mut self, map: &str, channels: usize) -> String {
        let identity = (0..channels * channels).map(|i| if i % (channels + 1) == 0 { 1.0 } else { 0.0 });
        self.linear("vector", map, identity.collect(), channels)
    }

    /// `limit` less a value of the shape of `like`, a map or vector of the forward pass.
    pub(crate) fn below(&mut self, what: &str, value: &str, like: &str, limit: f32) -> String {
        let [channels, ..] = self.map(like);
        let bias = ("bias", vec![limit; channels]);
        if self.is_vector(like) {
            let identity = (0..channels * channels).map(|i| if i % (channels + 1) == 0 { -1.0 } else { 0.0 });
            let linear = Linear { out_features: channels };
            return self.node(what, linear, &[value], &[("weight", identity.collect()), bias]);
        }
        let conv = Conv2d { out_channels: channels, groups: channels, ..Conv2d::same(1) };
        self.node(what, conv, &[value], &[("weight", vec![-1.0; channels]), bias])
    }

    /// The sum of values of equal shape, of which there is at least one; the value where there is no other.
    fn sum(&mut self, parts: Vec<String>) -> String {
        let add = |sum: String, part: String| self.node("sum", Add {}, &[&sum, &part], &[]);
        parts.into_iter().reduce(add).unwrap_or_default()
    }

    /// Gives the last node of the backward pass a name of its own; where that is none of its own, a copy's.
    fn rename(&mut self, total: &str, name: &str, shape: Shape) {
        let is_new = !self.shapes.contains_key(total);
        let readers = self.network.graph.nodes.iter().any(|node| node.inputs.iter().any(|read| read == total));
        let channels = shape.map().map_or(0, |map| map[0]);
        let last = match is_new && !readers {
            true => total.to_string(),
            false if matches!(shape, Shape::Vector(_)) => self.vector(total, channels),
            false => self.scaled("copy", total, channels, 1.0),
        };
        for kind in ["weight", "bias"] {
            if let Some(values) = self.network.parameters.remove(&format!("{last}.{kind}")) {
                self.network.parameters.insert(format!("{name}.{kind}"), values);
            }
        }
        let node = self.network.graph.nodes.iter_mut().find(|node| node.name == last);
        node.into_iter().for_each(|node| node.name = name.into());
    }
}
