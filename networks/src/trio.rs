//! Three networks in one model, with made-up weights: a denoiser, a classifier of noisy pictures that gives the gradient of its
//! log-probability as well, and a decoder from latent maps to colour pictures. Sides are odd.

use std::collections::BTreeMap;

use grano_codegen::Result;
use grano_codegen::graph::{
    Activation, Add, AveragePool, Builder, ChannelBias, Conv2d, DepthToSpace, Embedding, Function, GlobalAveragePool,
    Graph, LABEL, Linear, Parameter, Port, PortKind, Product, Sinusoid, Softmax, T, X,
};
use grano_codegen::model::{DENOISER, Network};

use crate::calibrate::{self, Inputs, Part, random, scattered};

/// Height of the noisy picture.
pub const HEIGHT: usize = 7;
/// Width of the noisy picture.
pub const WIDTH: usize = 9;
/// Names of the classes.
pub const LABELS: [&str; 3] = ["one", "two", "three"];
/// Time indices of the default sampler, ascending.
pub const TIMES: [usize; 4] = [12, 37, 62, 87];
/// The classifier's name in the model.
pub const CLASSIFIER: &str = "classifier";
/// The decoder's name in the model.
pub const DECODER: &str = "decoder";
/// Shape of the decoder's input, its port `z`.
pub const LATENT: [usize; 3] = [4, 3, 5];

/// Channels of the classifier's two layers.
const CHANNELS: [usize; 2] = [5, 6];

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

/// Two convolutions with SiLU, the mean over all positions, a matrix: `logits`; and `gradient`, that of log p(label | x_t) with
/// respect to x, by the chain rule: back through the same weights, transposed, and the derivatives
/// SiLU′(v) = σ(v) + SiLU(v)·σ(−v).
///
/// # Errors
/// None: it is sound.
pub fn classifier() -> Result<Graph> {
    let mut b = Builder::new([1, HEIGHT, WIDTH], LABELS.len());
    b.node("sinusoid", Sinusoid { dim: 6, max_period: 1000.0 }, &[T]);
    b.node("time", Linear { out_features: CHANNELS[0] }, &["sinusoid"]);
    b.node("conv1", conv(CHANNELS[0], 3), &[X]);
    b.node("v1", ChannelBias {}, &["conv1", "time"]);
    b.node("h1", apply(Function::Silu), &["v1"]);
    b.node("v2", conv(CHANNELS[1], 3), &["h1"]);
    b.node("h2", apply(Function::Silu), &["v2"]);
    b.node("mean", GlobalAveragePool {}, &["h2"]);
    b.node("logits", Linear { out_features: LABELS.len() }, &["mean"]);

    // ∂ log p / ∂ logits is 1 at the label, less p; the matrix takes both back, the mean to every position.
    b.node("p", Softmax {}, &["logits"]);
    let spread = Conv2d { upsample: [HEIGHT, WIDTH], ..conv(CHANNELS[1], 1) };
    b.node("away", spread, &["p"]);
    b.node("one_hot", Embedding { dim: LABELS.len() }, &[LABEL]);
    b.node("toward", Linear { out_features: CHANNELS[1] }, &["one_hot"]);
    b.node("pull", ChannelBias {}, &["away", "toward"]);
    let slope2 = slope(&mut b, 2);
    b.node("back2", Product {}, &["pull", &slope2]);
    b.node("back1", conv(CHANNELS[0], 3), &["back2"]);
    let slope1 = slope(&mut b, 1);
    b.node("back0", Product {}, &["back1", &slope1]);
    b.node("gradient", conv(1, 3), &["back0"]);
    b.finish_all(&["logits", "gradient"])
}

/// The derivative of a layer's SiLU.
fn slope(b: &mut Builder, layer: usize) -> String {
    let name = |what: &str| format!("{what}{layer}");
    let channels = CHANNELS[layer - 1];
    b.node(name("rise"), apply(Function::Sigmoid), &[&name("v")]);
    b.node(name("minus"), Conv2d { groups: channels, ..conv(channels, 1) }, &[&name("v")]);
    b.node(name("rest"), apply(Function::Sigmoid), &[&name("minus")]);
    b.node(name("bend"), Product {}, &[&name("h"), &name("rest")]);
    b.node(name("slope"), Add {}, &[&name("rise"), &name("bend")])
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

/// The classifier with its weights, those on the way back being the same.
///
/// # Errors
/// None: it is sound.
pub fn classifier_network() -> Result<Network> {
    let mut network = calibrate::network(classifier()?, weights(2))?;
    let parameters = &mut network.parameters;
    let [first, second] = CHANNELS;
    let classes = LABELS.len();
    let matrix = parameters["logits.weight"].clone();
    let back: Vec<f32> =
        (0..second * classes).map(|i| matrix[i % classes * second + i / classes] / (HEIGHT * WIDTH) as f32).collect();
    let one_hot = (0..classes * classes).map(|i| if i % (classes + 1) == 0 { 1.0 } else { 0.0 });
    // No class pulls towards all alike.
    let one_hot = one_hot.chain((0..classes).map(|_| 1.0 / classes as f32)).collect();
    let new = [
        ("one_hot.weight", one_hot),
        ("toward.weight", back.clone()),
        ("away.weight", back.iter().map(|weight| -weight).collect()),
        ("back1.weight", transposed(&parameters["v2.weight"], [second, first])),
        ("gradient.weight", transposed(&parameters["conv1.weight"], [first, 1])),
        ("minus1.weight", vec![-1.0; first]),
        ("minus2.weight", vec![-1.0; second]),
    ];
    for (name, values) in new {
        parameters.insert(name.into(), values);
    }
    for name in ["toward", "away", "back1", "gradient", "minus1", "minus2"] {
        if let Some(bias) = parameters.get_mut(&format!("{name}.bias")) {
            bias.fill(0.0);
        }
    }
    Ok(network)
}

/// Weights `[out, in, 3, 3]` of the convolution that takes gradients back: channels exchanged, kernels turned by 180°.
fn transposed(weight: &[f32], [out_c, in_c]: [usize; 2]) -> Vec<f32> {
    let kernel = |i: usize, o: usize| weight[(o * in_c + i) * 9..][..9].iter().rev().copied();
    (0..in_c).flat_map(|i| (0..out_c).flat_map(move |o| kernel(i, o))).collect()
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
