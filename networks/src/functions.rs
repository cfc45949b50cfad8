//! A small network of element-wise functions, products, pools and softmaxes in awkward shapes, with made-up weights: fused into
//! convolutions and alone, on maps and on vectors, which are outputs as well.

use std::collections::BTreeMap;

use grano_codegen::Result;
use grano_codegen::geometry::Padding;
use grano_codegen::graph::{
    Activation, Add, AveragePool, Builder, ChannelBias, Conv2d, Embedding, Function, GlobalAveragePool, Graph, LABEL,
    Linear, Parameter, Port, PortKind, Product, Softmax,
};

use crate::calibrate::{self, Inputs, Part, random, scattered};

/// The network's name in the model.
pub const NAME: &str = "functions";
/// Shape of the port `map`.
pub const MAP: [usize; 3] = [3, 5, 7];
/// Length of the port `vector`.
pub const VECTOR: usize = 6;
/// Number of classes.
pub const CLASSES: usize = 2;

/// The graph.
///
/// # Errors
/// None: it is sound.
pub fn graph() -> Result<Graph> {
    let conv = |out_channels| Conv2d { out_channels, ..Conv2d::same(3) };
    let apply = |function| Activation { function };
    let port = |name: &str, kind| Port { name: name.into(), kind };
    let mut b = Builder::with_ports(vec![
        port("map", PortKind::Map(MAP)),
        port("vector", PortKind::Vector(VECTOR)),
        port(LABEL, PortKind::Label { classes: CLASSES }),
    ]);
    // Fused.
    b.node("relu.conv", conv(19), &["map"]);
    b.node("relu", apply(Function::Relu), &["relu.conv"]);
    b.node("tanh.conv", conv(19), &["relu"]);
    b.node("tanh", apply(Function::Tanh), &["tanh.conv"]);
    b.node("gelu.conv", conv(5), &["tanh"]);
    b.node("gelu", apply(Function::Gelu), &["gelu.conv"]);
    // A layer each, on a map that all read.
    b.node("plain", conv(5), &["gelu"]);
    b.node("plain.relu", apply(Function::Relu), &["plain"]);
    b.node("plain.sigmoid", apply(Function::Sigmoid), &["plain"]);
    b.node("plain.gelu", apply(Function::Gelu), &["plain"]);
    b.node("plain.gelu_tanh", apply(Function::GeluTanh), &["plain"]);
    b.node("plain.tanh", apply(Function::Tanh), &["plain"]);
    // Products in place of either operand, of a map with itself, and with a port.
    b.node("square", Product {}, &["plain", "plain"]);
    b.node("gated", Product {}, &["plain.sigmoid", "plain.gelu"]);
    b.node("again", Product {}, &["square", "plain.tanh"]);
    b.node("sum", Add {}, &["plain.relu", "plain.gelu_tanh"]);
    b.node("all", Add {}, &["sum", "again"]);
    // Windows of unequal sides, over some padding and cut by none: 5×7 to 3×4 to 2×5.
    let sides = Padding { before: [1, 0], after: [0, 1] };
    b.node("pool", AveragePool { kernel: [2, 3], stride: [2, 2], padding: sides }, &["all"]);
    b.node("pool2", AveragePool { kernel: [2, 4], stride: [2, 1], padding: [1, 2].into() }, &["pool"]);
    b.node("wide", AveragePool { kernel: [3, 3], stride: [1, 1], padding: [1, 1].into() }, &["relu"]);
    b.node("mean", GlobalAveragePool {}, &["wide"]);
    b.node("shares", Softmax {}, &["all"]);
    // Vectors.
    b.node("hidden", Linear { out_features: 11 }, &["pool2"]);
    b.node("hidden.gelu", apply(Function::Gelu), &["hidden"]);
    b.node("given", Linear { out_features: 11 }, &["vector"]);
    b.node("class", Embedding { dim: 11 }, &[LABEL]);
    b.node("given.class", ChannelBias {}, &["given", "class"]);
    b.node("both", Add {}, &["hidden.gelu", "given.class"]);
    b.node("both.tanh", apply(Function::Tanh), &["both"]);
    b.node("times", Product {}, &["both.tanh", "both"]);
    b.node("from_mean", Linear { out_features: 11 }, &["mean"]);
    b.node("sharp", Add {}, &["from_mean", "times"]);
    b.node("choice", Softmax {}, &["sharp"]);
    b.node("out", conv(2), &["gated"]);
    b.finish_all(&["shares", "pool2", "times", "choice", "both.tanh", "out"])
}

/// The inputs of a seed, in about [−1.5, 1.5].
#[must_use]
pub fn inputs(seed: u32) -> Inputs {
    let mut random = scattered(seed);
    let mut noise = |len: usize| (0..len).map(|_| 3.0 * random()).collect();
    let values = [("map", noise(MAP.iter().product())), ("vector", noise(VECTOR))];
    let values = values.map(|(port, value)| (port.to_string(), value));
    Inputs { values: BTreeMap::from(values), label: seed as usize % (CLASSES + 1) }
}

/// The network as a model file's bytes, with ranges that the reference interpreter found.
///
/// # Errors
/// None: it is sound.
pub fn model() -> Result<Vec<u8>> {
    let mut random = random(4);
    let values = |parameter: &Parameter| {
        let fan_in = parameter.shape[1..].iter().product::<usize>() as f32;
        let spread = if parameter.shape.len() == 1 { 0.5 } else { (24.0 / fan_in).sqrt() };
        (0..parameter.shape.iter().product()).map(|_| spread * random()).collect()
    };
    let network = calibrate::network(graph()?, values)?;
    let mut header = calibrate::header(100, "ddim-1");
    header.data.labels = ["one", "two"].map(String::from).to_vec();
    let cases = vec![(0, (0..48).map(inputs).collect())];
    calibrate::models(vec![Part { name: NAME, network, cases, fine: Vec::new() }], header)
}
