//! Runs a graph with libtorch: the IR is the one definition of the network, here it learns.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail, ensure};
use grano_codegen::graph::{Function, Graph, LABEL, Op, Parameter, T, X};
use grano_codegen::kernel::Affine;
use grano_codegen::model;
use grano_codegen::op::{AveragePool, Conv2d};
use grano_codegen::quantize::Code;
use tch::{Device, Kind, Tensor};

use crate::rounding::Rounding;

/// A graph and its parameters, which lie one behind another in one flat vector.
pub struct Network {
    graph: Graph,
    parameters: Vec<Parameter>,
    flat: Tensor,
    views: BTreeMap<String, Tensor>,
    rounding: Option<Rounding>,
}

impl Network {
    /// Fresh parameters on `device`: weights from N(0, 2/fan_in) (He et al. 2015), embeddings from N(0, 1), those of
    /// normalisations 1, biases and gains 0. Draws from libtorch's generator.
    ///
    /// # Errors
    /// When the graph is not sound.
    pub fn new(graph: Graph, device: Device) -> Result<Self> {
        let parts: Vec<Tensor> = graph
            .parameters()?
            .iter()
            .map(|parameter| {
                let count = parameter.shape.iter().product::<usize>() as i64;
                let fan_in = parameter.shape[1..].iter().product::<usize>() as f64;
                let (node, kind) = parameter.name.rsplit_once('.').unwrap_or_default();
                match (graph.node(node).map(|node| &node.op), parameter.shape.len()) {
                    (Some(Op::GroupNorm(_)), _) if kind == "weight" => Tensor::ones([count], (Kind::Float, device)),
                    (Some(Op::Embedding(_)), _) => Tensor::randn([count], (Kind::Float, device)),
                    (_, 1) => Tensor::zeros([count], (Kind::Float, device)),
                    _ => Tensor::randn([count], (Kind::Float, device)) * (2.0 / fan_in).sqrt(),
                }
            })
            .collect();
        Self::from_flat(graph, Tensor::cat(&parts, 0))
    }

    /// A network with the given parameters, f32 `[count]`, which it shares; in the order of [`Graph::parameters`].
    ///
    /// # Errors
    /// When the graph is not sound or the vector's length is not its number of parameters.
    pub fn from_flat(graph: Graph, flat: Tensor) -> Result<Self> {
        let parameters = graph.parameters()?;
        let mut views = BTreeMap::new();
        let mut offset = 0;
        for parameter in &parameters {
            let shape: Vec<i64> = parameter.shape.iter().map(|&n| n as i64).collect();
            let count = shape.iter().product::<i64>();
            let view =
                flat.f_narrow(0, offset, count).with_context(|| format!("no values for `{}`", parameter.name))?;
            views.insert(parameter.name.clone(), view.view(&shape[..]).detach().set_requires_grad(true));
            offset += count;
        }
        ensure!(offset == flat.size1()?, "{} values for {offset} parameters", flat.size1()?);
        Ok(Self { graph, parameters, flat, views, rounding: None })
    }

    /// The same network whose every stored value is the one that the int8 network stores, to the bit: fake quantisation by
    /// the engine's own kernels ([`Rounding::values`]). Gradients pass through the float network, as if only what lies
    /// beyond a code's ends were cut off (straight-through, Bengio et al. 2013).
    pub fn with_fake_quantization(self, rounding: Rounding) -> Self {
        Self { rounding: Some(rounding), ..self }
    }

    /// The same network with other parameters, f32 `[count]`, which it shares.
    ///
    /// # Errors
    /// When the vector's length is not the number of parameters.
    pub fn with_flat(&self, flat: Tensor) -> Result<Self> {
        Ok(Self { rounding: self.rounding.clone(), ..Self::from_flat(self.graph.clone(), flat)? })
    }

    /// The same network on another device.
    ///
    /// # Errors
    /// None in practice: nothing but the place changes.
    pub fn on_device(&self, device: Device) -> Result<Self> {
        self.with_flat(self.flat.to_device(device))
    }

    /// The graph that is run.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// All parameters as one vector, f32 `[count]`; changing it in place changes the network.
    pub fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// What gradients are of, in the graph's order, which is that of the forward pass.
    pub fn leaves(&self) -> Vec<&Tensor> {
        self.parameters.iter().map(|parameter| &self.views[&parameter.name]).collect()
    }

    /// The gradients that `backward` left, f32 like [`Self::flat`], and sets them to zero.
    pub fn take_gradient(&self) -> Tensor {
        let views = || self.leaves().into_iter();
        let flat = |view: &Tensor| if view.grad().defined() { view.grad() } else { view.zeros_like() }.reshape([-1]);
        let gradient = Tensor::cat(&views().map(flat).collect::<Vec<_>>(), 0);
        for mut used in views().map(Tensor::grad).filter(Tensor::defined) {
            let _ = used.zero_();
        }
        gradient
    }

    /// Parameters as the network uses them, convolutions' weights on their grid, in the graph's order.
    pub fn named(&self) -> impl Iterator<Item = (&Parameter, Tensor)> {
        self.parameters.iter().map(|parameter| (parameter, self.value(&parameter.name)))
    }

    /// f32 values of a parameter; gradients go to the parameter as if there were no grid.
    fn value(&self, name: &str) -> Tensor {
        let view = &self.views[name];
        if view.dim() == 4 { on_grid(view) } else { view.shallow_clone() }
    }

    /// The values that the int8 network has, by node; none without fake quantisation. Shapes as for [`Self::forward`].
    fn exact(&self, x: &Tensor, t: &Tensor, label: &Tensor) -> Result<BTreeMap<String, Tensor>> {
        let Some(rounding) = &self.rounding else { return Ok(BTreeMap::new()) };
        tch::no_grad(|| {
            let parameter = |(parameter, value): (&Parameter, Tensor)| {
                Ok((parameter.name.clone(), Vec::<f32>::try_from(value.detach().reshape([-1]))?))
            };
            let parameters = self.named().map(parameter).collect::<Result<_>>()?;
            let network = model::Network { graph: self.graph.clone(), parameters };
            rounding.values(network, x, t, label).context("the weights of this update make no int8 network")
        })
    }

    /// A node's value, rounded where the network has a code for it; `exact` is what the chip has.
    fn rounded(&self, node: &str, value: Tensor, exact: Option<&Tensor>) -> Tensor {
        let code = self.rounding.as_ref().and_then(|rounding| rounding.codes.get(node));
        let held = code.map_or_else(|| value.shallow_clone(), |code| held(code, &value));
        let rounded = match (exact, code) {
            (Some(exact), _) => exact.to_kind(value.kind()),
            (None, Some(code)) => nearest(code, &held.detach()),
            (None, None) => return value,
        };
        // The difference is 0: the value is the rounded one to the bit, the gradient the other's.
        rounded + (&held - held.detach())
    }

    /// The network's output f32 `[N, C, H, W]` for `x` f32 `[N, C, H, W]`, `t` i64 `[N]`, `label` i64 `[N]`,
    /// computed in `kind`.
    ///
    /// # Errors
    /// When it is to round as an int8 network that its weights no longer make.
    pub fn forward(&self, x: &Tensor, t: &Tensor, label: &Tensor, kind: Kind) -> Result<Tensor> {
        self.trace(x, t, label, kind, &mut |_, _| ())
    }

    /// As [`Self::forward`], and shows every node's value to `watch`.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn trace(
        &self,
        x: &Tensor,
        t: &Tensor,
        label: &Tensor,
        kind: Kind,
        watch: &mut dyn FnMut(&str, &Tensor),
    ) -> Result<Tensor> {
        let exact = self.exact(x, t, label)?;
        // Channels last in memory, which libtorch's convolutions keep and are a tenth faster on.
        let x = x.to_kind(kind).permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        let mut values: HashMap<&str, Tensor> = HashMap::from([
            (X, self.rounded(X, x, exact.get(X))),
            (T, t.shallow_clone()),
            (LABEL, label.shallow_clone()),
        ]);
        for node in &self.graph.nodes {
            let find = |input: &String| values.get(input.as_str()).with_context(|| format!("`{input}` has no value"));
            let inputs = node.inputs.iter().map(find).collect::<Result<Vec<_>>>()?;
            let value = self.compute(&node.op, &node.name, &inputs, kind)?;
            let value = self.rounded(&node.name, value, exact.get(&node.name));
            watch(&node.name, &value);
            values.insert(&node.name, value);
        }
        Ok(values[self.graph.output()].to_kind(Kind::Float))
    }

    /// A node's value in `kind`.
    fn compute(&self, op: &Op, node: &str, inputs: &[&Tensor], kind: Kind) -> Result<Tensor> {
        let parameter = |which: &str| self.value(&format!("{node}.{which}")).to_kind(kind);
        let both = || (parameter("weight"), Some(parameter("bias")));
        Ok(match (op, inputs) {
            (Op::Conv2d(conv), _) => {
                let (weight, bias) = both();
                convolution(conv, inputs, &weight, bias.as_ref())
            }
            (Op::GroupNorm(norm), _) => {
                let (weight, bias) = both();
                side_by_side(inputs).group_norm(norm.groups as i64, Some(weight), bias, norm.eps, false)
            }
            (Op::Attention(mix), [q, k, v]) => attention([q, k, v], mix.heads as i64),
            (Op::Linear(_), [x]) => {
                let (weight, bias) = both();
                x.flatten(1, -1).linear(&weight, bias)
            }
            (Op::Activation(activation), [x]) => match activation.function {
                Function::Silu => x.silu(),
                Function::ClippedSilu { limit } => x.silu().clamp_max(limit),
                Function::Relu => x.relu(),
                Function::Tanh => x.tanh(),
                Function::Sigmoid => x.sigmoid(),
                Function::Gelu => x.gelu("none"),
                Function::GeluTanh => x.gelu("tanh"),
                Function::SiluSlope => x.silu_backward(&x.ones_like()),
                Function::ReluSlope => x.threshold_backward(&x.ones_like(), 0.0),
                Function::TanhSlope => Tensor::tanh_backward(&x.ones_like(), &x.tanh()),
                Function::SigmoidSlope => Tensor::sigmoid_backward(&x.ones_like(), &x.sigmoid()),
                Function::GeluSlope => x.gelu_backward(&x.ones_like(), "none"),
                Function::GeluTanhSlope => x.gelu_backward(&x.ones_like(), "tanh"),
            },
            (Op::Add(_), [a, b]) => *a + *b,
            (Op::ChannelGain(_), [x]) => *x * parameter("weight").reshape([1, -1, 1, 1]),
            (Op::ChannelBias(_), [x, bias]) => *x + per_channel(x, bias),
            (Op::ScaleShift(_), [x, scale, shift]) => *x * (per_channel(x, scale) + 1.0) + per_channel(x, shift),
            (Op::Product(_), [a, b]) => *a * per_channel(a, b),
            (Op::AveragePool(pool), [x]) => average_pool(pool, x),
            (Op::GlobalAveragePool(_), [x]) => x.mean_dim([2i64, 3].as_slice(), true, x.kind()),
            (Op::Softmax(_), [x]) => x.softmax(1, x.kind()),
            (Op::Sinusoid(sinusoid), [t]) => angles(t, sinusoid.dim as i64, sinusoid.max_period).to_kind(kind),
            (Op::Embedding(_), [label]) => Tensor::embedding(&parameter("weight"), label, -1, false, false),
            (Op::DepthToSpace(shuffle), [x]) => x.pixel_shuffle(shuffle.block as i64),
            _ => bail!("`{node}`: the trainer has no such operation on {} inputs", inputs.len()),
        })
    }
}

/// conv(enlarged and padded maps, side by side).
fn convolution(conv: &Conv2d, maps: &[&Tensor], weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let pair = |sides: [usize; 2]| sides.map(|n| n as i64);
    let joined = match maps {
        // A vector is a map of one pixel.
        [map] if map.dim() == 2 => map.unsqueeze(-1).unsqueeze(-1),
        _ => side_by_side(maps),
    };
    let [h, w] = [2, 3].map(|axis| joined.size()[axis]);
    let [up_h, up_w] = pair(conv.upsample);
    let enlarged = match conv.upsample {
        [1, 1] => joined,
        _ => joined.upsample_nearest2d([h * up_h, w * up_w], None, None),
    };
    let ([top, left], [bottom, right]) = (pair(conv.padding.before), pair(conv.padding.after));
    let (padded, padding) = match [top, left] == [bottom, right] {
        true => (enlarged, [top, left]),
        false => (enlarged.constant_pad_nd([left, right, top, bottom]), [0, 0]),
    };
    padded.conv2d(weight, bias, pair(conv.stride), padding, [1, 1], conv.groups as i64)
}

/// Maps whose channels follow each other as one.
fn side_by_side(maps: &[&Tensor]) -> Tensor {
    match maps {
        [map] => map.shallow_clone(),
        _ => Tensor::cat(maps, 1),
    }
}

/// A vector `[N, C]` as a map of one pixel, where `map` is one; else as it is.
fn per_channel(map: &Tensor, value: &Tensor) -> Tensor {
    if map.dim() > value.dim() { value.unsqueeze(-1).unsqueeze(-1) } else { value.shallow_clone() }
}

/// The mean of those elements of each window that lie in the map.
fn average_pool(pool: &AveragePool, map: &Tensor) -> Tensor {
    let pair = |sides: [usize; 2]| sides.map(|n| n as i64);
    let ([top, left], [bottom, right]) = (pair(pool.padding.before), pair(pool.padding.after));
    let mean = |map: &Tensor| {
        let padded = map.constant_pad_nd([left, right, top, bottom]);
        padded.avg_pool2d(pair(pool.kernel), pair(pool.stride), [0, 0], false, true, None)
    };
    // With zeros around, a mean is as much too small as that of ones.
    mean(map) / mean(&map.ones_like())
}

/// Values held between those of a code's ends.
fn held(code: &Code, value: &Tensor) -> Tensor {
    let Code { affine: Affine { scale, zero_point }, ends } = *code;
    let [low, high] = ends.map(|end| f64::from(end - zero_point) * scale);
    value.clamp(low, high)
}

/// The nearest values that codes stand for, ties upwards.
fn nearest(code: &Code, value: &Tensor) -> Tensor {
    let scale = code.affine.scale;
    (value / scale + 0.5).floor() * scale
}

/// Weights `[out_channels, …]` as int8 will hold them: multiples, −127 to 127, of the 127th part of each output
/// channel's largest magnitude. Trained this way, they lose nothing when they are quantised; the rounding counts as
/// the identity for gradients (straight-through, Bengio et al. 2013).
fn on_grid(weight: &Tensor) -> Tensor {
    let latent = weight.detach();
    let scale = latent.abs().amax([1, 2, 3], true).clamp_min(1e-12) / 127.0;
    let rounded = (&latent / &scale).round() * scale;
    weight + (rounded - latent)
}

/// softmax(qᵀk / √d) · v per head, over all positions; maps are `[N, C, H, W]`.
fn attention(maps: [&Tensor; 3], heads: i64) -> Tensor {
    let size = maps[0].size();
    let [n, channels, h, w] = size[..] else { unreachable!("the graph was checked") };
    let depth = channels / heads;
    let [q, k, v] = maps.map(|map| map.reshape([n, heads, depth, h * w]));
    let scores = q.transpose(2, 3).matmul(&k) / (depth as f64).sqrt();
    let weights = scores.softmax(-1, scores.kind());
    v.matmul(&weights.transpose(2, 3)).reshape(&size[..])
}

/// `[sin(t·ω), cos(t·ω)]`, f32 `[N, dim]`.
fn angles(t: &Tensor, dim: i64, max_period: f64) -> Tensor {
    let half = dim / 2;
    let exponent = Tensor::arange(half, (Kind::Double, t.device())) * (-max_period.ln() / half as f64);
    let angle = t.to_kind(Kind::Double).unsqueeze(-1) * exponent.exp().unsqueeze(0);
    Tensor::cat(&[angle.sin(), angle.cos()], -1).to_kind(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use grano_codegen::geometry::Padding;
    use grano_codegen::graph::{Activation, Add, Attention, Builder};
    use grano_codegen::reference;
    use grano_networks::compact::{self, Config};
    use grano_networks::film;
    use grano_networks::trio;
    use grano_networks::unet::graph as reference_unet;

    /// A depthwise convolution, padding that differs from side to side, and attention of two heads.
    fn heads_and_groups() -> grano_codegen::Result<Graph> {
        let conv = |out_channels, groups| Conv2d {
            out_channels,
            kernel: [3; 2],
            stride: [1; 2],
            padding: [1; 2].into(),
            upsample: [1; 2],
            groups,
        };
        let mut b = Builder::new([1, 3, 5], 0);
        b.node("q", conv(6, 1), &[X]);
        b.node("k", conv(6, 6), &["q"]);
        b.node("v", conv(6, 1), &["k", X]);
        b.node("mix", Attention { heads: 2 }, &["q", "k", "v"]);
        let padding = Padding { before: [2, 0], after: [0, 2] };
        b.node("out", Conv2d { padding, ..conv(1, 1) }, &["mix"]);
        b.finish("out")
    }

    /// Derivatives of all activations that have one.
    fn slopes() -> grano_codegen::Result<Graph> {
        let all =
            [Function::Silu, Function::Relu, Function::Tanh, Function::Sigmoid, Function::Gelu, Function::GeluTanh];
        let mut b = Builder::new([2, 5, 7], 0);
        let mut sum = X.to_string();
        for (i, function) in all.into_iter().filter_map(Function::slope).enumerate() {
            let slope = b.node(format!("slope{i}"), Activation { function }, &[X]);
            sum = b.node(format!("sum{i}"), Add {}, &[&sum, &slope]);
        }
        b.node("out", Conv2d { out_channels: 2, ..Conv2d::same(1) }, &[&sum]);
        b.finish("out")
    }

    #[test]
    fn every_value_is_the_reference_interpreters() {
        let config =
            |input, classes| Config { input, classes, channels: [4, 6], blocks: [1, 1, 2], embedding: 8, limit: 0.5 };
        let graphs = [
            compact::graph(&config([3, 8, 12], 3)).unwrap(),
            compact::graph(&config([1, 4, 8], 0)).unwrap(),
            reference_unet([2, 8, 4], 3).unwrap(),
            heads_and_groups().unwrap(),
            trio::denoiser().unwrap(),
            trio::classifier().unwrap(),
            slopes().unwrap(),
            film::graph().unwrap(),
        ];
        for graph in graphs {
            let (input, classes) = (graph.input(), graph.classes());
            let _alone = testing::seed(0);
            // Fresh gains and biases are 0: shaken, they count.
            let fresh = Network::new(graph.clone(), Device::Cpu).unwrap();
            let shaken = fresh.flat() + fresh.flat().randn_like() * 0.1;
            let network = Network::from_flat(graph, shaken).unwrap();
            let values = |tensor: &Tensor| Vec::<f32>::try_from(tensor.detach().reshape([-1])).unwrap();
            let parameters = network.named().map(|(parameter, value)| (parameter.name.clone(), values(&value)));
            let plain = model::Network { graph: network.graph().clone(), parameters: parameters.collect() };

            let [c, h, w] = input.map(|n| n as i64);
            let x = Tensor::randn([2, c, h, w], (Kind::Float, Device::Cpu));
            let (t, labels) = ([7i64, 900], [classes as i64, 0]);
            let mut traced = BTreeMap::new();
            let mut keep = |name: &str, value: &Tensor| drop(traced.insert(name.to_string(), value.copy()));
            let _ = network
                .trace(&x, &Tensor::from_slice(&t), &Tensor::from_slice(&labels), Kind::Float, &mut keep)
                .unwrap();
            assert_eq!(traced.len(), plain.graph.nodes.len());
            for i in 0..2 {
                let expected =
                    reference::run(&plain, &values(&x.get(i)), t[i as usize] as usize, labels[i as usize] as usize);
                let expected = expected.unwrap();
                for (name, value) in &traced {
                    let value = values(&value.get(i));
                    let off = value.iter().zip(&expected[name]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(off <= 1e-4, "{name}, picture {i}: off by {off}");
                }
            }
        }
    }

    #[test]
    fn gradients_are_taken_once() {
        let config =
            Config { input: [1, 4, 4], classes: 2, channels: [2, 2], blocks: [0, 1, 0], embedding: 4, limit: 4.0 };
        let _alone = testing::seed(0);
        let network = Network::new(compact::graph(&config).unwrap(), Device::Cpu).unwrap();
        let x = Tensor::randn([1, 1, 4, 4], (Kind::Float, Device::Cpu));
        let gradient = || {
            let loss = network
                .forward(&x, &Tensor::from(3i64).reshape([1]), &Tensor::from(1i64).reshape([1]), Kind::Float)
                .unwrap();
            loss.square().sum(Kind::Float).backward();
            network.take_gradient()
        };
        let (first, second) = (gradient(), gradient());
        assert_eq!(first.size(), network.flat().size());
        assert!(first.abs().max().double_value(&[]) > 0.0);
        assert!(first.equal(&second));
    }
}
