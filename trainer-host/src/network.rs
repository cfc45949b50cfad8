//! Runs a graph with libtorch: the IR is the one definition of the network, here it learns.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result};
use grano_codegen::fold::fold;
use grano_codegen::graph::{Function, Graph, LABEL, Op, Parameter, T, X};
use grano_codegen::kernel::Affine;
use grano_codegen::model::{self, Ranges};
use grano_codegen::quantize::{Code, codes};
use tch::{Device, Kind, Tensor};

use crate::integer::Integer;

/// A graph and its parameters, which lie one behind another in one flat vector.
pub struct Network {
    graph: Graph,
    parameters: Vec<Parameter>,
    flat: Tensor,
    views: BTreeMap<String, Tensor>,
    rounding: Option<Rounding>,
}

/// What an int8 or mixed network rounds values to.
#[derive(Clone, Debug)]
pub struct Rounding {
    /// By node.
    pub codes: BTreeMap<String, Code>,
    ranges: Ranges,
    fine: Vec<String>,
}

impl Rounding {
    /// Of `network` with these ranges and the values `fine` in int16.
    ///
    /// # Errors
    /// When int8 has no kernel for a node, or int16 cannot hold what is to be fine.
    pub fn new(network: &model::Network, ranges: &Ranges, fine: &[String]) -> Result<Self> {
        let codes = codes(&fold(network, &ranges.times)?, ranges, fine)?;
        Ok(Self { codes, ranges: ranges.clone(), fine: fine.to_vec() })
    }
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
                    (Some(Op::GroupNorm { .. }), _) if kind == "weight" => Tensor::ones([count], (Kind::Float, device)),
                    (Some(Op::Embedding { .. }), _) => Tensor::randn([count], (Kind::Float, device)),
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
        anyhow::ensure!(offset == flat.size1()?, "{} values for {offset} parameters", flat.size1()?);
        Ok(Self { graph, parameters, flat, views, rounding: None })
    }

    /// The same network that rounds its values as the chip does, to the last bit (fake quantisation): they are those of
    /// [`Integer`]. Gradients pass as if only what lies beyond a code's ends were cut off (straight-through, Bengio et al.
    /// 2013). Where sums leave int32, which an export would refuse, values become the nearest codes instead.
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

    /// The gradients that `backward` left, f32 like [`Self::flat`], and sets them to zero.
    pub fn take_gradient(&self) -> Tensor {
        let views = || self.parameters.iter().map(|parameter| &self.views[&parameter.name]);
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

    /// The values that the chip has, by node; none without fake quantisation. Shapes as for [`Self::forward`].
    fn exact(&self, x: &Tensor, t: &Tensor, label: &Tensor) -> BTreeMap<String, Tensor> {
        let Some(Rounding { ranges, fine, .. }) = &self.rounding else { return BTreeMap::new() };
        let run = || {
            let parameter = |(parameter, value): (&Parameter, Tensor)| {
                Ok((parameter.name.clone(), Vec::<f32>::try_from(value.detach().reshape([-1]))?))
            };
            let parameters = self.named().map(parameter).collect::<Result<_>>()?;
            let network = model::Network { graph: self.graph.clone(), parameters };
            let times: BTreeSet<i64> = Vec::<i64>::try_from(t)?.into_iter().collect();
            let times: Vec<usize> = times.into_iter().map(|t| t as usize).collect();
            Integer::new(&network, ranges, fine, &times, x.device())?.run(x, t, label)
        };
        tch::no_grad(run).unwrap_or_default()
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
        &held + (rounded - held.detach())
    }

    /// The network's output f32 `[N, C, H, W]` for `x` f32 `[N, C, H, W]`, `t` i64 `[N]`, `label` i64 `[N]`,
    /// computed in `kind`.
    pub fn forward(&self, x: &Tensor, t: &Tensor, label: &Tensor, kind: Kind) -> Tensor {
        self.trace(x, t, label, kind, &mut |_, _| ())
    }

    /// As [`Self::forward`], and shows every node's value to `watch`.
    pub fn trace(
        &self,
        x: &Tensor,
        t: &Tensor,
        label: &Tensor,
        kind: Kind,
        watch: &mut dyn FnMut(&str, &Tensor),
    ) -> Tensor {
        let exact = self.exact(x, t, label);
        // Channels last in memory, which libtorch's convolutions keep and are a tenth faster on.
        let x = x.to_kind(kind).permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        let mut values: HashMap<&str, Tensor> = HashMap::from([
            (X, self.rounded(X, x, exact.get(X))),
            (T, t.shallow_clone()),
            (LABEL, label.shallow_clone()),
        ]);
        let parameter = |node: &str, which: &str| self.value(&format!("{node}.{which}")).to_kind(kind);
        for node in &self.graph.nodes {
            let input = |i: usize| &values[node.inputs[i].as_str()];
            let value = match &node.op {
                Op::Conv2d { stride, padding, upsample, groups, .. } => {
                    let joined = match node.inputs.len() {
                        1 => input(0).shallow_clone(),
                        count => Tensor::cat(&(0..count).map(input).collect::<Vec<_>>(), 1),
                    };
                    let [_, _, h, w] = joined.size()[..] else { unreachable!("the graph was checked") };
                    let [up_h, up_w] = upsample.map(|n| n as i64);
                    let enlarged = match upsample {
                        [1, 1] => joined,
                        _ => joined.upsample_nearest2d([h * up_h, w * up_w], None, None),
                    };
                    let (weight, bias) = (parameter(&node.name, "weight"), parameter(&node.name, "bias"));
                    let [stride, padding] = [stride, padding].map(|pair| pair.map(|n| n as i64));
                    enlarged.conv2d(&weight, Some(bias), stride, padding, [1, 1], *groups as i64)
                }
                Op::GroupNorm { groups, eps } => {
                    let (weight, bias) = (parameter(&node.name, "weight"), parameter(&node.name, "bias"));
                    input(0).group_norm(*groups as i64, Some(weight), Some(bias), *eps, false)
                }
                Op::Attention { heads } => attention([input(0), input(1), input(2)], *heads as i64),
                Op::Linear { .. } => {
                    input(0).linear(&parameter(&node.name, "weight"), Some(parameter(&node.name, "bias")))
                }
                Op::Activation { function: Function::Silu } => input(0).silu(),
                Op::Activation { function: Function::ClippedSilu { limit } } => input(0).silu().clamp_max(*limit),
                Op::Add => input(0) + input(1),
                Op::ChannelGain => input(0) * parameter(&node.name, "weight").reshape([1, -1, 1, 1]),
                Op::ChannelBias => input(0) + input(1).unsqueeze(-1).unsqueeze(-1),
                Op::Sinusoid { dim, max_period } => sinusoid(input(0), *dim as i64, *max_period).to_kind(kind),
                Op::Embedding { .. } => Tensor::embedding(&parameter(&node.name, "weight"), input(0), -1, false, false),
                Op::DepthToSpace { block } => input(0).pixel_shuffle(*block as i64),
            };
            let value = self.rounded(&node.name, value, exact.get(&node.name));
            watch(&node.name, &value);
            values.insert(&node.name, value);
        }
        values[self.graph.output.as_str()].to_kind(Kind::Float)
    }
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
pub fn attention(maps: [&Tensor; 3], heads: i64) -> Tensor {
    let size = maps[0].size();
    let [n, channels, h, w] = size[..] else { unreachable!("the graph was checked") };
    let depth = channels / heads;
    let [q, k, v] = maps.map(|map| map.reshape([n, heads, depth, h * w]));
    let scores = q.transpose(2, 3).matmul(&k) / (depth as f64).sqrt();
    let weights = scores.softmax(-1, scores.kind());
    v.matmul(&weights.transpose(2, 3)).reshape(&size[..])
}

/// `[sin(t·ω), cos(t·ω)]`, f32 `[N, dim]`.
fn sinusoid(t: &Tensor, dim: i64, max_period: f64) -> Tensor {
    let half = dim / 2;
    let exponent = Tensor::arange(half, (Kind::Double, t.device())) * (-max_period.ln() / half as f64);
    let angle = t.to_kind(Kind::Double).unsqueeze(-1) * exponent.exp().unsqueeze(0);
    Tensor::cat(&[angle.sin(), angle.cos()], -1).to_kind(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use crate::unet::{Config, unet};
    use grano_codegen::graph::Builder;
    use grano_codegen::{model, reference};
    use grano_networks::unet::graph as reference_unet;

    /// A depthwise convolution and attention of two heads.
    fn heads_and_groups() -> grano_codegen::Result<Graph> {
        let conv = |out_channels, groups| Op::Conv2d {
            out_channels,
            kernel: [3; 2],
            stride: [1; 2],
            padding: [1; 2],
            upsample: [1; 2],
            groups,
        };
        let mut b = Builder::new([1, 3, 5], 0);
        b.node("q", conv(6, 1), &[X]);
        b.node("k", conv(6, 6), &["q"]);
        b.node("v", conv(6, 1), &["k", X]);
        b.node("mix", Op::Attention { heads: 2 }, &["q", "k", "v"]);
        b.node("out", conv(1, 1), &["mix"]);
        b.finish("out")
    }

    #[test]
    fn every_value_is_the_reference_interpreters() {
        let config =
            |input, classes| Config { input, classes, channels: [4, 6], blocks: [1, 1, 2], embedding: 8, limit: 0.5 };
        let graphs = [
            unet(&config([3, 8, 12], 3)).unwrap(),
            unet(&config([1, 4, 8], 0)).unwrap(),
            reference_unet([2, 8, 4], 3).unwrap(),
            heads_and_groups().unwrap(),
        ];
        for graph in graphs {
            let (input, classes) = (graph.input, graph.classes);
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
            let _ = network.trace(&x, &Tensor::from_slice(&t), &Tensor::from_slice(&labels), Kind::Float, &mut keep);
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
        let network = Network::new(unet(&config).unwrap(), Device::Cpu).unwrap();
        let x = Tensor::randn([1, 1, 4, 4], (Kind::Float, Device::Cpu));
        let gradient = || {
            let loss =
                network.forward(&x, &Tensor::from(3i64).reshape([1]), &Tensor::from(1i64).reshape([1]), Kind::Float);
            loss.square().sum(Kind::Float).backward();
            network.take_gradient()
        };
        let (first, second) = (gradient(), gradient());
        assert_eq!(first.size(), network.flat().size());
        assert!(first.abs().max().double_value(&[]) > 0.0);
        assert!(first.equal(&second));
    }
}
