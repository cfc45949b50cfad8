//! Three networks in one model, with made-up weights: a denoiser, a classifier of noisy pictures that gives the gradient of its
//! log-probability as well, and a decoder from latent maps to colour pictures. Sides are odd.

use std::collections::BTreeMap;

use grano_codegen::Result;
use grano_codegen::backward::log_probability;
use grano_codegen::graph::{
    Activation, Add, AveragePool, Builder, ChannelBias, Conv2d, DepthToSpace, Embedding, Function, GlobalAveragePool,
    Graph, LABEL, Linear, Parameter, Port, PortKind, Sinusoid, T, X,
};
use grano_codegen::model::{CLASSIFIER, DENOISER, Network};

use crate::calibrate::{self, Inputs, Part, random, scattered};

/// Height of the noisy picture.
pub const HEIGHT: usize = 7;
/// Width of the noisy picture.
pub const WIDTH: usize = 9;
/// Names of the classes.
pub const LABELS: [&str; 3] = ["one", "two", "three"];
/// Time indices of the default sampler, ascending.
pub const TIMES: [usize; 4] = [12, 37, 62, 87];
/// The decoder's name in the model.
pub const DECODER: &str = "decoder";
/// Shape of the decoder's input, its port `z`.
pub const LATENT: [usize; 3] = [4, 3, 5];

fn apply(function: Function) -> Activation {
    Activation { function }
}

fn conv(out_channels: usize, kernel: usize) -> Conv2d {
    Conv2d { out_channels, ..Conv2d::same(kernel) }
}

/// `[1, HEIGHT, WIDTH]` to ε of the same shape: down by a pool and up again, a skip.
///
/// # Errors
/// None: it is sound.
pub fn denoiser() -> Result<Graph> {
    let mut b = Builder::new([1, HEIGHT, WIDTH], LABELS.len());
    b.node("sinusoid", Sinusoid { dim: 6, max_period: 1000.0 }, &[T]);
    b.node("time", Linear { out_features: 5 }, &["sinusoid"]);
    b.node("class", Embedding { dim: 5 }, &[LABEL]);
    b.node("stem", conv(5, 3), &[X]);
    b.node("stem.time", ChannelBias {}, &["stem", "time"]);
    b.node("stem.class", ChannelBias {}, &["stem.time", "class"]);
    b.node("a", apply(Function::Silu), &["stem.class"]);
    // 7×9 to 4×5.
    b.node("pool", AveragePool { kernel: [3; 2], stride: [2; 2], padding: [1; 2].into() }, &["a"]);
    b.node("mid", conv(7, 3), &["pool"]);
    b.node("b", apply(Function::Gelu), &["mid"]);
    // 4×5, enlarged to 8×10, to 7×9.
    let up = Conv2d { kernel: [2; 2], padding: [0; 2].into(), upsample: [2; 2], ..conv(5, 1) };
    b.node("up", up, &["b"]);
    b.node("up.add", Add {}, &["up", "a"]);
    b.node("c", apply(Function::GeluTanh), &["up.add"]);
    b.node("epsilon", conv(1, 3), &["c"]);
    b.finish("epsilon")
}

/// Two convolutions with SiLU, the mean over all positions, a matrix: `logits`.
///
/// # Errors
/// None: it is sound.
pub fn classifier() -> Result<Graph> {
    let mut b = Builder::new([1, HEIGHT, WIDTH], LABELS.len());
    b.node("sinusoid", Sinusoid { dim: 6, max_period: 1000.0 }, &[T]);
    b.node("time", Linear { out_features: 5 }, &["sinusoid"]);
    b.node("conv1", conv(5, 3), &[X]);
    b.node("v1", ChannelBias {}, &["conv1", "time"]);
    b.node("h1", apply(Function::Silu), &["v1"]);
    b.node("v2", conv(6, 3), &["h1"]);
    b.node("h2", apply(Function::Silu), &["v2"]);
    b.node("mean", GlobalAveragePool {}, &["h2"]);
    b.node("logits", Linear { out_features: LABELS.len() }, &["mean"]);
    b.finish("logits")
}

/// [`LATENT`] maps to colour pictures eight times as high and wide.
///
/// # Errors
/// None: it is sound.
pub fn decoder() -> Result<Graph> {
    let mut b = Builder::with_ports(vec![Port { name: "z".into(), kind: PortKind::Map(LATENT) }]);
    b.node("stem", conv(8, 3), &["z"]);
    b.node("a", apply(Function::Relu), &["stem"]);
    b.node("up1", Conv2d { upsample: [2; 2], ..conv(8, 3) }, &["a"]);
    b.node("b", apply(Function::Silu), &["up1"]);
    b.node("up2", Conv2d { upsample: [2; 2], ..conv(6, 3) }, &["b"]);
    b.node("c", apply(Function::Relu), &["up2"]);
    b.node("head", conv(12, 3), &["c"]);
    b.node("picture", DepthToSpace { block: 2 }, &["head"]);
    b.finish("picture")
}

/// Numbers in about [−1.5, 1.5].
#[must_use]
pub fn noise(seed: u32, len: usize) -> Vec<f32> {
    let mut random = scattered(seed);
    (0..len).map(|_| 3.0 * random()).collect()
}

/// Weights that keep every map's variance near 1.
fn weights(seed: u32) -> impl FnMut(&Parameter) -> Vec<f32> {
    let mut random = random(seed);
    move |parameter| {
        let fan_in = parameter.shape[1..].iter().product::<usize>() as f32;
        let spread = if parameter.shape.len() == 1 { 0.3 } else { (24.0 / fan_in).sqrt() };
        (0..parameter.shape.iter().product()).map(|_| spread * random()).collect()
    }
}

/// The classifier with weights and a second output, the gradient of log p(label | x_t).
///
/// # Errors
/// None: it is sound.
pub fn classifier_network() -> Result<Network> {
    log_probability(&calibrate::network(classifier()?, weights(2))?, "logits")
}

/// The model file's bytes.
///
/// # Errors
/// None: it is sound.
pub fn model() -> Result<Vec<u8>> {
    let inputs = |port: &str, len: usize| {
        let case = |seed: u32| Inputs {
            values: BTreeMap::from([(port.to_string(), noise(seed, len))]),
            label: seed as usize % (LABELS.len() + 1),
        };
        (0..48).map(case).collect::<Vec<_>>()
    };
    let part = |name, network, cases| Part { name, network, cases, fine: Vec::new() };
    let pictures = || TIMES.map(|t| (t, inputs(X, HEIGHT * WIDTH))).to_vec();
    let mut latents = inputs("z", LATENT.iter().product());
    latents.iter_mut().for_each(|inputs| inputs.label = 0);
    let parts = vec![
        part(DENOISER, calibrate::network(denoiser()?, weights(1))?, pictures()),
        part(CLASSIFIER, classifier_network()?, pictures()),
        part(DECODER, calibrate::network(decoder()?, weights(3))?, vec![(0, latents)]),
    ];
    let mut header = calibrate::header(100, "ddim-4");
    header.data.labels = LABELS.map(String::from).to_vec();
    calibrate::models(parts, header)
}
