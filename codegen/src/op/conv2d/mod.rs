//! Convolution: of one map or several side by side, grouped by channel or not.

mod depthwise;
mod integer;
pub(crate) mod kernel;
mod packed;
mod packed_float;
mod packed_head;

use serde::{Deserialize, Serialize};

use super::{
    At, Evaluation, Folding, Kernel, LayerOp, Operation, fine_target, float_activation, side_by_side, target, wrong,
};
use crate::backward::{Tape, transposed};
use crate::error::{Error, Result};
use crate::fold::{FusedActivation, Layer, Node, Rows};
use crate::geometry::{Geometry, Padding, dimension, extent};
use crate::graph::{self, Shape};
use crate::kernel::Element;
use crate::quantize::{Quantizer, check_stored, fine_element, narrow};

use integer::Channels;
pub use kernel::Sums;
use kernel::{Conv2dFine, Conv2dFloat, Conv2dHead, Conv2dInt8, DepthwiseFloat, DepthwiseInt8};

/// Cross-correlation of the (nearest-neighbour upsampled) map with `weight`
/// `[out_channels, in_channels / groups, k_h, k_w]`, zero padding, plus `bias` `[out_channels]`.
/// Geometry is `[vertical, horizontal]`; 1-D data has height 1. Several inputs, of equal height and
/// width, count as one whose channels follow each other: what a concatenation would be for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2d {
    /// Channels of the output.
    pub out_channels: usize,
    /// Taps.
    pub kernel: [usize; 2],
    /// Distance between the centres of neighbouring outputs.
    pub stride: [usize; 2],
    /// Zeros around the enlarged map.
    pub padding: Padding,
    /// Factor by which the input is first enlarged.
    pub upsample: [usize; 2],
    /// 1, or as many as there are channels in and out: then each channel has a kernel of its own (depthwise).
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub groups: usize,
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_one(groups: &usize) -> bool {
    *groups == 1
}

impl Conv2d {
    /// To one channel, with a kernel of odd side `kernel` and padding that keeps the map's size.
    #[must_use]
    pub fn same(kernel: usize) -> Self {
        Self {
            out_channels: 1,
            kernel: [kernel; 2],
            stride: [1; 2],
            padding: [kernel / 2; 2].into(),
            upsample: [1; 2],
            groups: 1,
        }
    }

    fn geometry(&self, node: &str, inputs: &[[usize; 3]]) -> Result<Geometry> {
        let Self { out_channels, kernel, stride, padding, upsample, groups } = *self;
        let channels = inputs.iter().map(|[channels, ..]| channels).sum();
        let [_, height, width] = inputs[0];
        if groups != 1 && !(groups == channels && groups == out_channels) {
            return Err(Error::node(
                node,
                format!(
                    "{groups} groups from {channels} channels to {out_channels}; give 1 group, or as many as there are channels in and out"
                ),
            ));
        }
        let extent = |axis: usize, size| {
            let sides = [padding.before[axis], padding.after[axis]];
            extent(node, size, upsample[axis], sides, [kernel[axis], stride[axis]])
        };
        let output = [dimension(node, out_channels)?, extent(0, height)?, extent(1, width)?];
        let input = [dimension(node, channels)?, height, width];
        let geometry = Geometry { input, output, kernel, stride, padding: padding.before, upsample, groups };
        if !geometry.engine().is_valid() {
            return Err(Error::node(
                node,
                "the map with its padding, enlarged, or the weights have more elements than the engine counts (2²⁸); make them smaller",
            ));
        }
        Ok(geometry)
    }
}

impl Operation for Conv2d {
    fn shape(&self, node: &str, inputs: &[Shape]) -> Result<Shape> {
        let maps = side_by_side(inputs).ok_or_else(|| wrong(node, inputs, "maps of equal height and width"))?;
        Ok(Shape::Map(self.geometry(node, &maps)?.output))
    }

    fn macs(&self, inputs: &[Shape], output: Shape) -> u64 {
        let channels: usize = side_by_side(inputs).unwrap_or_default().iter().map(|[channels, ..]| channels).sum();
        let outputs = output.map().unwrap_or_default();
        let sides = outputs.into_iter().chain(self.kernel).chain([channels / self.groups.max(1)]);
        sides.fold(1, |product, side| product.saturating_mul(side as u64))
    }

    fn parameters(&self, inputs: &[Shape], _: usize) -> Vec<(&'static str, Vec<usize>)> {
        let channels: usize = side_by_side(inputs).unwrap_or_default().iter().map(|[channels, ..]| channels).sum();
        let [k_h, k_w] = self.kernel;
        vec![
            ("weight", vec![self.out_channels, channels / self.groups.max(1), k_h, k_w]),
            ("bias", vec![self.out_channels]),
        ]
    }

    fn reference(&self, at: &At<'_>) -> Vec<f32> {
        let maps = side_by_side(&at.shapes).unwrap_or_default();
        let Ok(geometry) = self.geometry(at.node, &maps) else { return Vec::new() };
        conv2d(&geometry, &at.inputs.concat(), at.parameter("weight"), at.parameter("bias"))
    }

    fn fold(&self, node: &Node<'_>) -> Result<Folding> {
        let count = node.inputs().len();
        let maps = (0..count).map(|input| node.map(input)).collect::<Result<Vec<_>>>()?;
        let convolution = Convolution {
            node: node.name().into(),
            inputs: node.inputs().iter().cloned().zip(maps.iter().map(|[channels, ..]| *channels)).collect(),
            geometry: self.geometry(node.name(), &maps)?,
            weight: node.parameter("weight").to_vec(),
            bias: Rows::constant(node.parameter("bias")),
            residual: None,
            activation: None,
        };
        Ok(Folding::layer(convolution))
    }

    fn backward(&self, mut tape: Tape<'_>, node: &graph::Node, input: usize, gradient: &str) -> Result<String> {
        let maps: Vec<[usize; 3]> = node.inputs.iter().map(|read| tape.map(read)).collect();
        let before: usize = maps[..input].iter().map(|map| map[0]).sum();
        let (map, output) = (maps[input], tape.map(&node.name));
        let weight = tape.parameter(node, "weight");
        let taps = self.kernel[0] * self.kernel[1];
        let all: usize = maps.iter().map(|map| map[0]).sum();
        // Of several maps, the part that reads this one; of a group a channel, that with zeros for the other channels.
        let tap = |out: usize, channel: usize, tap: usize| match self.groups {
            1 => weight[(out * all + channel) * taps + tap],
            _ if out == channel => weight[out * taps + tap],
            _ => 0.0,
        };
        let result = if maps.len() == 1 {
            transposed(&mut tape, &node.name, self, &weight, [map, output], gradient)?
        } else {
            let places = (0..self.out_channels * map[0] * taps)
                .map(|i| [i / taps / map[0], before + i / taps % map[0], i % taps]);
            let part: Vec<f32> = places.map(|[out, channel, k]| tap(out, channel, k)).collect();
            transposed(&mut tape, &node.name, &Self { groups: 1, ..self.clone() }, &part, [map, output], gradient)?
        };
        Ok(if tape.is_vector(&node.inputs[input]) { tape.vector(&result, map[0]) } else { result })
    }
}

/// activation(conv(inputs) + bias rows + residual).
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    /// The graph's node that the weights come from.
    pub node: String,
    /// The maps, and the channels of each.
    pub inputs: Vec<(String, usize)>,
    /// Shapes and strides; the input's channels are those of all maps.
    pub geometry: Geometry,
    /// `[out_channels, in_channels / groups, k_h, k_w]`.
    pub weight: Vec<f32>,
    /// Bias, time and class in one.
    pub bias: Rows,
    /// A map of the output's shape that is added.
    pub residual: Option<String>,
    /// What is applied last.
    pub activation: Option<FusedActivation>,
}

impl Convolution {
    /// Channels of the one or two maps that its kernel reads; the second's are 0 where there is one.
    fn channels(&self) -> [usize; 2] {
        [0, 1].map(|map| self.inputs.get(map).map_or(0, |(_, channels)| *channels))
    }

    fn is_depthwise(&self) -> bool {
        self.geometry.groups > 1
    }
}

impl LayerOp for Convolution {
    fn maps(&self) -> Vec<&str> {
        self.inputs.iter().map(|(input, _)| input.as_str()).collect()
    }

    fn second(&self) -> Option<&str> {
        self.residual.as_deref()
    }

    fn node(&self) -> Option<&str> {
        Some(&self.node)
    }

    fn macs(&self, _: [usize; 3]) -> usize {
        self.geometry.macs()
    }

    fn evaluate(&self, _: &Layer, at: &Evaluation<'_>) -> Vec<f32> {
        let bias: Vec<f32> = self.bias.at(at.step, at.class).iter().map(|&b| b as f32).collect();
        let joined: Vec<f32> = self.inputs.iter().flat_map(|(input, _)| at.values[input].iter().copied()).collect();
        let mut sum = conv2d(&self.geometry, &joined, &self.weight, &bias);
        if let Some(residual) = &self.residual {
            sum.iter_mut().zip(&at.values[residual]).for_each(|(sum, r)| *sum += r);
        }
        sum
    }

    fn activation(&self) -> Option<&FusedActivation> {
        self.activation.as_ref()
    }

    /// Gains that are the same at all steps and for all classes go into the weights.
    fn scale_and_shift(&mut self, gains: &Rows, shifts: &Rows) -> bool {
        let Some(gains) = gains.as_constant() else { return false };
        if self.residual.is_some() || self.activation.is_some() {
            return false;
        }
        if gains.iter().any(|&gain| gain != 1.0) {
            let gains: Vec<f32> = gains.iter().map(|&gain| gain as f32).collect();
            let taps = self.geometry.taps();
            for (weights, &gain) in self.weight.chunks_exact_mut(taps).zip(&gains) {
                weights.iter_mut().for_each(|w| *w *= gain);
            }
            self.bias = self.bias.times(&gains);
        }
        self.bias = self.bias.plus(shifts);
        true
    }

    fn add(&mut self, map: &str) -> bool {
        let takes = self.residual.is_none() && self.activation.is_none();
        if takes {
            self.residual = Some(map.into());
        }
        takes
    }

    fn activate(&mut self, activation: FusedActivation) -> bool {
        self.activation.is_none() && self.activation.replace(activation).is_none()
    }

    fn unreadable(&self) -> Option<Vec<(String, usize)>> {
        let most = if self.is_depthwise() { 1 } else { 2 };
        (self.inputs.len() > most).then(|| self.inputs.clone())
    }

    fn read_joined(&mut self, map: &str) {
        self.inputs = vec![(map.into(), self.geometry.input[0])];
    }

    fn can_be_head(&self) -> bool {
        self.residual.is_none() && self.activation.is_none() && !self.is_depthwise()
    }

    fn can_be_fine(&self) -> bool {
        !self.is_depthwise()
    }

    fn float(&self, layer: &Layer, stored: Element, head: bool) -> Result<Kernel> {
        let (geometry, channels, taps) = (self.geometry, self.channels(), self.geometry.taps());
        let by_channel: Vec<Vec<f32>> =
            self.weight.chunks_exact(taps).map(|channel| channels_last(channel, &geometry.kernel).collect()).collect();
        let weights = (0..taps).flat_map(|tap| by_channel.iter().map(move |weights| weights[tap])).collect();
        let bias = self.bias.flat();
        check_stored(layer, "weight", &self.weight, stored)?;
        bias.iter().try_for_each(|rows| check_stored(layer, "bias", rows, stored))?;
        let activation = float_activation(self.activation.as_ref().map(|activation| activation.function));
        Ok(if self.is_depthwise() {
            DepthwiseFloat { geometry, weights, bias, activation, stored }.into()
        } else {
            Conv2dFloat { geometry, channels, weights, bias, activation, stored, is_head: head }.into()
        })
    }

    fn integer(&self, layer: &Layer, quantizer: &Quantizer<'_>) -> Result<(Kernel, Element)> {
        let parts: Vec<Element> = self.inputs.iter().map(|(input, _)| quantizer.element(input)).collect();
        if parts.windows(2).any(|pair| pair[0].bytes() != pair[1].bytes()) {
            return Err(Error::node(&layer.name, "it reads an int8 map and one of int16; make both fine, or neither"));
        }
        let channels = self.channels();
        check_stored(layer, "weight", &self.weight, Element::F32)?;
        if quantizer.is_head {
            let integer = Channels::new(self, &parts, 0.0, None);
            let scales = narrow(layer, "scale", integer.scales.iter().copied())?;
            return Ok((Conv2dHead { sums: integer.sums(layer, self, channels)?, scales }.into(), Element::F32));
        }
        let output = quantizer.output()?;
        let residual = self.residual.as_ref().map(|name| quantizer.element(name));
        let adds_fine = matches!(residual, Some(Element::I16 { .. }));
        if quantizer.is_fine || adds_fine {
            let (target, table) = fine_target(output.fine(), self.activation.as_ref(), quantizer.ranges)?;
            let residual = residual.and_then(|element| match element {
                Element::I8(affine) => Some((affine, 128)),
                Element::I16 { affine, half } => Some((affine, half)),
                _ => None,
            });
            let integer = Channels::new(self, &parts, target.scale, None);
            let (residual_multipliers, requantize) = integer.requantize_fine(layer, self, target, residual)?;
            let residual_zero_point = residual.map_or(0, |(affine, _)| affine.zero_point);
            let sums = integer.sums(layer, self, channels)?;
            let kernel = Conv2dFine { sums, residual_multipliers, residual_zero_point, requantize, table };
            let element = if quantizer.is_fine { fine_element(output) } else { Element::I8(output) };
            return Ok((kernel.into(), element));
        }
        let (target, table) = target(output, self.activation.as_ref(), quantizer.ranges)?;
        let residual = self.residual.as_deref().map(|name| quantizer.int8(name)).transpose()?;
        let integer = Channels::new(self, &parts, target.scale, residual);
        let requantize = integer.requantize(layer, self, target)?;
        let residual_multipliers = integer.residual_multipliers.clone();
        let mut sums = integer.sums(layer, self, channels)?;
        let kernel = if self.is_depthwise() {
            quantizer.int8(&self.inputs[0].0)?;
            let taps = self.geometry.taps();
            let tap = |tap: usize| sums.weights.iter().skip(tap).step_by(taps).copied();
            sums.weights = (0..taps).flat_map(tap).collect();
            DepthwiseInt8 { sums, residual_multipliers, requantize, table }.into()
        } else {
            Conv2dInt8 { sums, residual_multipliers, requantize, table }.into()
        };
        Ok((kernel, Element::I8(output)))
    }
}

/// One output channel's weights, `[in_c, k_h, k_w]`, in the order `[k_h][k_w][in_c]`.
fn channels_last<'a, T: Copy>(channel: &'a [T], kernel: &[usize; 2]) -> impl Iterator<Item = T> + 'a {
    let area = kernel[0] * kernel[1];
    (0..area).flat_map(move |tap| channel.iter().skip(tap).step_by(area).copied())
}

/// Cross-correlation with zero padding, `weight` `[out_channels, in_channels / groups, k_h, k_w]`.
fn conv2d(geometry: &Geometry, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let Geometry { input: [in_c, in_h, in_w], output: [out_c, out_h, out_w], kernel: [k_h, k_w], groups, .. } =
        *geometry;
    let (in_group, out_group) = (in_c / groups, out_c / groups);
    let mut output = Vec::with_capacity(out_c * out_h * out_w);
    for c in 0..out_c {
        for y in 0..out_h {
            for x_out in 0..out_w {
                let mut sum = f64::from(bias[c]);
                for ky in 0..k_h {
                    let Some(iy) = geometry.tap(0, y, ky, in_h) else { continue };
                    for kx in 0..k_w {
                        let Some(ix) = geometry.tap(1, x_out, kx, in_w) else { continue };
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

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Geometry = Geometry {
        input: [1, 2, 2],
        output: [1, 2, 2],
        kernel: [3; 2],
        stride: [1; 2],
        padding: [1; 2],
        upsample: [1; 2],
        groups: 1,
    };

    #[test]
    fn a_convolution_by_hand() {
        let weight = [0.0, 1.0, 0.0, 2.0, 10.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(conv2d(&PLAIN, &[1.0, 2.0, 3.0, 4.0], &weight, &[0.5]), [10.5, 22.5, 31.5, 48.5]);
    }

    #[test]
    fn zeros_to_the_right_and_below_alone() {
        let padding = Padding { before: [0; 2], after: [1; 2] };
        let conv = Conv2d { kernel: [2; 2], stride: [2; 2], padding, ..Conv2d::same(1) };
        let geometry = conv.geometry("n", &[[1, 3, 3]]).unwrap();
        assert_eq!(geometry.output, [1, 2, 2]);
        let x: Vec<f32> = (1..10u8).map(f32::from).collect();
        assert_eq!(conv2d(&geometry, &x, &[1.0; 4], &[0.0]), [12.0, 9.0, 15.0, 9.0]);
    }

    #[test]
    fn upsampling_reads_each_pixel_twice() {
        let geometry = Geometry {
            input: [1, 1, 2],
            output: [1, 2, 4],
            kernel: [1; 2],
            padding: [0; 2],
            upsample: [2; 2],
            ..PLAIN
        };
        assert_eq!(conv2d(&geometry, &[1.0, 2.0], &[1.0], &[0.0]), [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
    }

    #[test]
    fn depthwise_channels_do_not_meet() {
        let geometry =
            Geometry { input: [2, 1, 2], output: [2, 1, 2], kernel: [1, 2], padding: [0, 1], groups: 2, ..PLAIN };
        let x = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(conv2d(&geometry, &x, &[10.0, 1.0, 0.0, -1.0], &[0.0, 0.5]), [1.0, 12.0, -2.5, -3.5]);
        assert_eq!((geometry.taps(), geometry.macs()), (2, 8));
    }
}
