//! The naive interpreter: what a graph means, without a thought for speed.
//!
//! f32 values, f64 sums in a fixed order. Passes, kernels and libtorch are compared with it.

mod attention;
mod group_norm;

use std::collections::BTreeMap;

pub use attention::attention;
pub use group_norm::group_norm;

use crate::error::{Error, Result};
use crate::graph::{LABEL, Node, Op, Shape, T, X};
use crate::model::Network;

/// A value of the graph, `[channels, height, width]` or a vector, row-major.
pub type Values = BTreeMap<String, Vec<f32>>;

/// Every value of the network for one picture `x` `[channels, height, width]`, time index and label.
///
/// # Errors
/// When the graph is not sound or `x` has the wrong length.
pub fn run(network: &Network, x: &[f32], t: usize, label: usize) -> Result<Values> {
    let graph = &network.graph;
    let shapes = graph.shapes()?;
    if x.len() != graph.input.iter().product::<usize>() || label > graph.classes {
        return Err(Error::Model(format!(
            "x has {} values for {:?}, label is {label} of {}",
            x.len(),
            graph.input,
            graph.classes
        )));
    }
    let mut values = Values::from([
        (X.to_string(), x.to_vec()),
        (T.to_string(), vec![t as f32]),
        (LABEL.to_string(), vec![label as f32]),
    ]);
    for node in &graph.nodes {
        let input = |i: usize| &values[&node.inputs[i]];
        let parameter = |kind: &str| &network.parameters[&format!("{}.{kind}", node.name)];
        let channels = |i: usize| match shapes[&node.inputs[i]] {
            Shape::Map([c, h, w]) => (c, h * w),
            _ => (1, 1),
        };
        let value = match &node.op {
            Op::Conv2d { .. } => {
                let geometry = Geometry::of(node, &shapes)?;
                let joined: Vec<f32> = node.inputs.iter().flat_map(|input| values[input].iter().copied()).collect();
                conv2d(&geometry, &joined, parameter("weight"), parameter("bias"))
            }
            Op::GroupNorm { groups, eps } => {
                group_norm(input(0), *groups, *eps, parameter("weight"), parameter("bias"))
            }
            Op::Attention { heads } => attention([input(0), input(1), input(2)], channels(0).0, *heads),
            Op::Linear { .. } => linear(input(0), parameter("weight"), parameter("bias")),
            Op::Activation { function } => input(0).iter().map(|&v| function.apply(v.into()) as f32).collect(),
            Op::Add => input(0).iter().zip(input(1)).map(|(a, b)| a + b).collect(),
            Op::ChannelGain => per_channel(input(0), channels(0).1, parameter("weight"), |v, gain| v * gain),
            Op::ChannelBias => per_channel(input(0), channels(0).1, input(1), |v, bias| v + bias),
            Op::Sinusoid { dim, max_period } => sinusoid(t, *dim, *max_period),
            Op::Embedding { dim } => parameter("weight")[label * dim..][..*dim].to_vec(),
            Op::DepthToSpace { block } => {
                let Shape::Map(from) = shapes[&node.inputs[0]] else {
                    return Err(Error::node(&node.name, "not on a map"));
                };
                depth_to_space(input(0), from, *block)
            }
        };
        values.insert(node.name.clone(), value);
    }
    Ok(values)
}

/// The geometry of a convolution; maps are `[channels, height, width]`, pairs `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The map before upsampling.
    pub input: [usize; 3],
    /// The result.
    pub output: [usize; 3],
    /// Taps.
    pub kernel: [usize; 2],
    /// Distance between outputs.
    pub stride: [usize; 2],
    /// Zeros on either side.
    pub padding: [usize; 2],
    /// Nearest-neighbour enlargement of the input.
    pub upsample: [usize; 2],
    /// 1, or the number of channels.
    pub groups: usize,
}

impl Geometry {
    /// That of a convolution in a graph whose values have these shapes; the input's channels are those of all inputs.
    ///
    /// # Errors
    /// When the node is not a convolution of maps.
    pub fn of(node: &Node, shapes: &BTreeMap<String, Shape>) -> Result<Self> {
        let map = |name: &String| match shapes.get(name) {
            Some(Shape::Map(shape)) => Ok(*shape),
            _ => Err(Error::node(&node.name, format!("`{name}` is not a map"))),
        };
        let Op::Conv2d { kernel, stride, padding, upsample, groups, .. } = node.op else {
            return Err(Error::node(&node.name, "not a convolution"));
        };
        let inputs = node.inputs.iter().map(map).collect::<Result<Vec<_>>>()?;
        let [_, height, width] = inputs.first().copied().unwrap_or_default();
        let input = [inputs.iter().map(|[channels, ..]| channels).sum(), height, width];
        Ok(Self { input, output: map(&node.name)?, kernel, stride, padding, upsample, groups })
    }

    /// Multiply–accumulates, padding included.
    #[must_use]
    pub fn macs(&self) -> usize {
        self.output.iter().product::<usize>() * self.taps()
    }

    /// The same for the engine, whose maps are `[height, width, channels]`.
    #[must_use]
    pub fn engine(&self) -> grano::kernel::Geometry {
        let shape = |[channels, height, width]: [usize; 3]| grano::shape::Shape { height, width, channels };
        grano::kernel::Geometry {
            input: shape(self.input),
            output: shape(self.output),
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            upsample: self.upsample,
        }
    }

    /// Rows `from` up to `to` of the output as a convolution of their own; of a map that is not enlarged in height.
    #[must_use]
    pub fn rows(&self, rows: [usize; 2]) -> Self {
        let (part, _) = self.engine().rows(rows);
        let mut all = *self;
        (all.input[1], all.output[1], all.padding) = (part.input.height, part.output.height, part.padding);
        all
    }

    /// Products in one output element.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.input[0] / self.groups * self.kernel.iter().product::<usize>()
    }
}

/// Cross-correlation with zero padding, `weight` `[out_channels, in_channels / groups, k_h, k_w]`.
#[must_use]
pub fn conv2d(geometry: &Geometry, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let Geometry { input: [in_c, in_h, in_w], output: [out_c, out_h, out_w], kernel: [k_h, k_w], groups, .. } =
        *geometry;
    let (in_group, out_group) = (in_c / groups, out_c / groups);
    let source = |out: usize, tap: usize, axis: usize, size: usize| {
        let at = (out * geometry.stride[axis] + tap).checked_sub(geometry.padding[axis])? / geometry.upsample[axis];
        (at < size).then_some(at)
    };
    let mut output = Vec::with_capacity(out_c * out_h * out_w);
    for c in 0..out_c {
        for y in 0..out_h {
            for x_out in 0..out_w {
                let mut sum = f64::from(bias[c]);
                for ky in 0..k_h {
                    let Some(iy) = source(y, ky, 0, in_h) else { continue };
                    for kx in 0..k_w {
                        let Some(ix) = source(x_out, kx, 1, in_w) else { continue };
                        for ic in 0..in_group {
                            let w = weight[((c * in_group + ic) * k_h + ky) * k_w + kx];
                            let plane = c / out_group * in_group + ic;
                            sum += f64::from(w) * f64::from(x[(plane * in_h + iy) * in_w + ix]);
                        }
                    }
                }
                output.push(sum as f32);
            }
        }
    }
    output
}

/// `weight` `[out, in]` times `x`, plus `bias`.
#[must_use]
pub fn linear(x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let dot = |row: &[f32]| row.iter().zip(x).map(|(&w, &v)| f64::from(w) * f64::from(v)).sum::<f64>();
    weight.chunks_exact(x.len()).zip(bias).map(|(row, &bias)| (dot(row) + f64::from(bias)) as f32).collect()
}

/// `[sin(t·ω_i)…, cos(t·ω_i)…]`, ω_i = max_period^(−i/(dim/2)).
#[must_use]
pub fn sinusoid(t: usize, dim: usize, max_period: f64) -> Vec<f32> {
    let half = dim / 2;
    let angle = |i: usize| t as f64 * libm::exp(-libm::log(max_period) * i as f64 / half as f64);
    let sines = (0..half).map(|i| libm::sin(angle(i)) as f32);
    sines.chain((0..half).map(|i| libm::cos(angle(i)) as f32)).collect()
}

/// PyTorch's pixel shuffle on `[channels, height, width]`.
#[must_use]
pub fn depth_to_space(x: &[f32], [c, h, w]: [usize; 3], block: usize) -> Vec<f32> {
    let mut output = vec![0.0; x.len()];
    let out_w = w * block;
    for (at, &value) in x.iter().enumerate() {
        let (channel, y, x) = (at / (h * w), at / w % h, at % w);
        let (plane, phase) = (channel / (block * block), channel % (block * block));
        debug_assert!(channel < c);
        output[(plane * h * block + y * block + phase / block) * out_w + x * block + phase % block] = value;
    }
    output
}

fn per_channel(x: &[f32], area: usize, vector: &[f32], f: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    x.chunks_exact(area).zip(vector).flat_map(|(map, &v)| map.iter().map(|&x| f(x, v)).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convolution_by_hand() {
        let geometry = Geometry {
            input: [1, 2, 2],
            output: [1, 2, 2],
            kernel: [3; 2],
            stride: [1; 2],
            padding: [1; 2],
            upsample: [1; 2],
            groups: 1,
        };
        let weight = [0.0, 1.0, 0.0, 2.0, 10.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(conv2d(&geometry, &[1.0, 2.0, 3.0, 4.0], &weight, &[0.5]), [10.5, 22.5, 31.5, 48.5]);
    }

    #[test]
    fn upsampling_reads_each_pixel_twice() {
        let geometry = Geometry {
            input: [1, 1, 2],
            output: [1, 2, 4],
            kernel: [1; 2],
            stride: [1; 2],
            padding: [0; 2],
            upsample: [2; 2],
            groups: 1,
        };
        assert_eq!(conv2d(&geometry, &[1.0, 2.0], &[1.0], &[0.0]), [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
    }

    #[test]
    fn depthwise_channels_do_not_meet() {
        let geometry = Geometry {
            input: [2, 1, 2],
            output: [2, 1, 2],
            kernel: [1, 2],
            stride: [1; 2],
            padding: [0, 1],
            upsample: [1; 2],
            groups: 2,
        };
        let x = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(conv2d(&geometry, &x, &[10.0, 1.0, 0.0, -1.0], &[0.0, 0.5]), [1.0, 12.0, -2.5, -3.5]);
        assert_eq!((geometry.taps(), geometry.macs()), (2, 8));
    }

    #[test]
    fn depth_to_space_puts_phases_side_by_side() {
        assert_eq!(depth_to_space(&[1.0, 2.0, 3.0, 4.0], [4, 1, 1], 2), [1.0, 2.0, 3.0, 4.0]);
        let two = depth_to_space(&[1.0, 5.0, 2.0, 6.0, 3.0, 7.0, 4.0, 8.0], [4, 1, 2], 2);
        assert_eq!(two, [1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 7.0, 8.0]);
    }
}
