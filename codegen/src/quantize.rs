//! *Quantize*: a folded network on integers.
//!
//! Weights are symmetric per output channel, activations affine per tensor, sums int32, the picture
//! int16, the last convolution's output f32. Scales come from all that calibration saw, never from the
//! samplers of a build: the same file gives the same integers, hence the same pictures, in every build.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::fold::{Conv2d, Folded, Kind, Layer, Rows};
use crate::graph::{Function, X};
use crate::kernel::{Affine, Element, Kernel, Requantize, Sums, Table};
use crate::model::Ranges;

/// A picture may leave the calibrated range by this factor before int16 saturates.
const HEADROOM: f32 = 1.25;
/// No unit of a sum is finer than this share of a unit of the output: keeps multipliers and residuals in int32.
const FINEST: f64 = 1.0 / (1 << 20) as f64;

/// Kernels and element types of all layers, those of the picture first.
pub type Kernels = (Vec<Kernel>, BTreeMap<String, Element>);

/// Quantises every layer; the first kernel quantises the picture.
///
/// # Errors
/// Names the layer that has no range, that integers cannot hold, or that has no int8 kernel.
pub fn quantize(folded: &Folded, ranges: &Ranges) -> Result<Kernels> {
    let [low, high] = ranges.over(X, ranges.times.iter().copied())?;
    let x_scale = f64::from(low.abs().max(high.abs()).max(1.0) * HEADROOM) / 32767.0;
    let mut elements = BTreeMap::from([(X.to_string(), Element::I16 { scale: x_scale })]);
    let mut kernels = vec![Kernel::Quantize { inverse_scale: (1.0 / x_scale) as f32 }];
    let wide = wide_values(folded)?;
    for layer in &folded.layers {
        let affine = || Ok::<_, Error>(Affine::of_range(ranges.over(&layer.name, ranges.times.iter().copied())?));
        let int8 = |name: &str| match elements[name] {
            Element::I8(affine) => Ok(affine),
            _ => Err(Error::node(
                &layer.name,
                format!("its input `{name}` is not an int8 map; put a convolution between"),
            )),
        };
        let (kernel, element) = match &layer.kind {
            Kind::Conv2d(conv) if wide.contains(&&layer.name) => {
                if conv.residual.is_some() || conv.activation.is_some() {
                    return Err(Error::node(
                        &layer.name,
                        "the network must end in a plain convolution, or one and depth_to_space",
                    ));
                }
                let input = elements[&conv.input];
                let channels = Channels::new(conv, input, 0.0, None);
                let scales = channels.scales.iter().map(|&scale| scale as f32).collect();
                (Kernel::Conv2dInt8Head { sums: channels.sums(layer, conv)?, scales }, Element::F32)
            }
            Kind::Conv2d(conv) => {
                let output = affine()?;
                let target = match &conv.activation {
                    Some(activation) => {
                        let range = ranges.over(&activation.argument, ranges.times.iter().copied())?;
                        index_code(useful_domain(activation.function, range, output))
                    }
                    None => output,
                };
                let residual = conv.residual.as_deref().map(int8).transpose()?;
                let channels = Channels::new(conv, elements[&conv.input], target.scale, residual);
                let table = conv.activation.as_ref().map(|activation| fine_table(activation.function, target, output));
                let requantize = channels.requantize(layer, conv, target)?;
                let residual_multipliers = channels.residual_multipliers.clone();
                (
                    Kernel::Conv2dInt8 { sums: channels.sums(layer, conv)?, residual_multipliers, requantize, table },
                    Element::I8(output),
                )
            }
            Kind::Add { inputs: [a, b] } => {
                let (a, b, output) = (int8(a)?, int8(b)?, affine()?);
                // The finer input's unit keeps 15 bits.
                let unit = a.scale.max(b.scale) / f64::from(1 << 15);
                let multipliers = [a, b].map(|input| (input.scale / unit).round() as i32);
                let bias = -(multipliers[0] * a.zero_point + multipliers[1] * b.zero_point);
                let (shift, multipliers_out) =
                    multiplier(&[unit / output.scale], 1 << 25).ok_or_else(|| too_wide(layer))?;
                let requantize = Requantize { shift, multipliers: multipliers_out, zero_point: output.zero_point };
                (Kernel::AddInt8 { multipliers, bias, requantize }, Element::I8(output))
            }
            Kind::Activation { input, function } => {
                let output = affine()?;
                (Kernel::ActivationInt8 { table: table(*function, int8(input)?, output) }, Element::I8(output))
            }
            Kind::DepthToSpace { input, block } => {
                if elements[input] != Element::F32 {
                    return Err(Error::node(
                        &layer.name,
                        "depth_to_space can only be the last node of an int8 network",
                    ));
                }
                let [c, h, w] = layer.shape;
                (Kernel::DepthToSpace { input: [c * block * block, h / block, w / block], block: *block }, Element::F32)
            }
            Kind::ChannelGain { .. } | Kind::ChannelBias { .. } => return Err(Folded::unfolded(&layer.name)),
        };
        kernels.push(kernel);
        elements.insert(layer.name.clone(), element);
    }
    Ok((kernels, elements))
}

/// The values kept in f32: the output, and what depth_to_space makes it from.
fn wide_values(folded: &Folded) -> Result<Vec<&String>> {
    let last = folded.layers.last().ok_or_else(|| Error::Model("the network has no layers".into()))?;
    let values = match &last.kind {
        Kind::Conv2d(_) => vec![&last.name],
        Kind::DepthToSpace { input, .. } => vec![input, &last.name],
        _ => {
            return Err(Error::node(
                &last.name,
                "an int8 network must end in a convolution, or one and depth_to_space",
            ));
        }
    };
    match values.iter().find(|&&value| folded.uses()[value] != 1) {
        Some(value) => Err(Error::node(value, "the network's output is also read inside it")),
        None => Ok(values),
    }
}

/// The part of an argument's range on which the function's value changes by as much as half a unit of the output:
/// elsewhere indices would be wasted.
fn useful_domain(function: Function, [low, high]: [f32; 2], output: Affine) -> [f32; 2] {
    let half = 0.5 * output.scale;
    let flat = (2..=120).map(|i| -0.25 * f64::from(i)).find(|&x| function.apply(x).abs() < half).unwrap_or(-30.0);
    let full = (1..=4000)
        .map(|i| 0.01 * f64::from(i))
        .find(|&x| matches!(function, Function::ClippedSilu { limit } if function.apply(x) >= limit));
    [low.max(flat as f32), high.min(full.unwrap_or(f64::MAX) as f32)]
}

/// The code in which −512 and 511 stand for the ends of a range.
fn index_code([low, high]: [f32; 2]) -> Affine {
    let scale = ((f64::from(high.max(0.0)) - f64::from(low.min(0.0))) / 1023.0).max(1e-9);
    Affine { scale, zero_point: (-512.0 - f64::from(low.min(0.0)) / scale).round() as i32 }
}

/// Every index through the function into a code.
fn fine_table(function: Function, index_code: Affine, to: Affine) -> Table {
    std::array::from_fn(|entry| {
        let index = entry as i32 - 512;
        to.quantize(function.apply(index_code.scale * f64::from(index - index_code.zero_point)))
    })
}

/// Every code of `from` through the function into a code of `to`.
fn table(function: Function, from: Affine, to: Affine) -> [i8; 256] {
    std::array::from_fn(|index| to.quantize(function.apply(from.dequantize((index as i32 - 128) as i8))))
}

/// `(shift, multipliers)` so that `((sum << shift)·m + 2³¹) >> 32` is about `ratio·sum`; `None` when no
/// shift serves for sums up to `bound`.
fn multiplier(ratios: &[f64], bound: i64) -> Option<(u32, Vec<i32>)> {
    let largest = ratios.iter().fold(0.0, |a: f64, &b| a.max(b));
    let shift =
        (0..31u32).find(|&shift| largest * f64::from(2.0f32.powi(32 - shift as i32)) < f64::from(i32::MAX - 1))?;
    let even = |ratio: f64| 2 * (ratio * f64::from(2.0f32.powi(31 - shift as i32))).round() as i32;
    let fits = bound.checked_shl(shift)? <= i64::from(i32::MAX);
    let multipliers: Vec<i32> = ratios.iter().map(|&ratio| even(ratio).max(2)).collect();
    fits.then_some((shift, multipliers))
}

fn too_wide(layer: &Layer) -> Error {
    Error::node(&layer.name, "its sums do not fit into int32; its weights or biases are far larger than its output")
}

/// The scales of a convolution's sums, and what follows from them.
struct Channels {
    /// Value of one unit of the sum, per output channel.
    scales: Vec<f64>,
    /// `[out_c][k_h][k_w][in_c]`.
    weights: Vec<i8>,
    input_zero_point: i32,
    /// The largest magnitude that an input code can have.
    input_bound: i64,
    residual_multipliers: Vec<i32>,
    residual_zero_point: i32,
}

impl Channels {
    fn new(conv: &Conv2d, input: Element, target_scale: f64, residual: Option<Affine>) -> Self {
        let (input_scale, input_zero_point, input_bound) = match input {
            Element::I8(affine) => (affine.scale, affine.zero_point, 128),
            Element::I16 { scale } => (scale, 0, 32767),
            Element::I32 | Element::F16 | Element::F32 => (1.0, 0, i64::from(i32::MAX)),
        };
        let taps = conv.geometry.taps();
        let coarsest = residual.map_or(target_scale, |residual| target_scale.max(residual.scale));
        let (mut scales, mut weights) = (Vec::new(), Vec::new());
        for channel in conv.weight.chunks_exact(taps) {
            let largest = channel.iter().fold(0.0f64, |max, &w| max.max(f64::from(w).abs()));
            let scale = (largest / 127.0).max(coarsest * FINEST / input_scale).max(1e-12);
            scales.push(scale * input_scale);
            let code = |w: f32| (f64::from(w) / scale).round() as i8;
            weights.extend(channels_last(channel, &conv.geometry.kernel).map(code));
        }
        let residual_multipliers = residual.map_or(Vec::new(), |residual| {
            scales.iter().map(|scale| (residual.scale / scale).round() as i32).collect()
        });
        let residual_zero_point = residual.map_or(0, |residual| residual.zero_point);
        Self { scales, weights, input_zero_point, input_bound, residual_multipliers, residual_zero_point }
    }

    /// Biases in units of the sums; zero points are folded into the steps' rows, and into them alone.
    fn bias(&self, rows: &Rows) -> [Vec<i64>; 2] {
        let units = |row: &Vec<f64>| -> Vec<i64> {
            row.iter().zip(&self.scales).map(|(b, scale)| (b / scale).round() as i64).collect()
        };
        let taps = self.weights.len() / self.scales.len();
        let zero: Vec<i64> = (0..self.scales.len())
            .map(|channel| {
                let weights = &self.weights[channel * taps..][..taps];
                let sum: i64 = weights.iter().map(|&w| i64::from(w)).sum();
                let residual = self.residual_multipliers.get(channel).map_or(0, |&m| i64::from(m));
                sum * i64::from(self.input_zero_point) + residual * i64::from(self.residual_zero_point)
            })
            .collect();
        let steps =
            rows.steps.iter().flat_map(|row| units(row).into_iter().zip(&zero).map(|(b, z)| b - z).collect::<Vec<_>>());
        [steps.collect(), rows.classes.iter().flat_map(units).collect()]
    }

    /// The largest magnitude that a sum, or a part of it, can have.
    fn bound(&self, rows: &Rows) -> i64 {
        let out_c = self.scales.len();
        let taps = self.weights.len() / out_c;
        let [steps, classes] = self.bias(rows);
        let largest =
            |rows: &[i64], channel: usize| rows.iter().skip(channel).step_by(out_c).map(|b| b.abs()).max().unwrap_or(0);
        (0..out_c)
            .map(|channel| {
                let products: i64 =
                    self.weights[channel * taps..][..taps].iter().map(|&w| i64::from(w).abs() * self.input_bound).sum();
                let residual = self.residual_multipliers.get(channel).map_or(0, |&m| i64::from(m) * 128);
                products + residual + largest(&steps, channel) + largest(&classes, channel)
            })
            .max()
            .unwrap_or(0)
    }

    fn sums(&self, layer: &Layer, conv: &Conv2d) -> Result<Sums> {
        if self.bound(&conv.bias) > i64::from(i32::MAX) {
            return Err(too_wide(layer));
        }
        let bias = self.bias(&conv.bias).map(|rows| rows.iter().map(|&b| b as i32).collect());
        Ok(Sums {
            geometry: conv.geometry,
            weights: self.weights.clone(),
            bias,
            input_zero_point: self.input_zero_point as i16,
        })
    }

    fn requantize(&self, layer: &Layer, conv: &Conv2d, target: Affine) -> Result<Requantize> {
        let ratios: Vec<f64> = self.scales.iter().map(|scale| scale / target.scale).collect();
        let (shift, multipliers) = multiplier(&ratios, self.bound(&conv.bias)).ok_or_else(|| too_wide(layer))?;
        Ok(Requantize { shift, multipliers, zero_point: target.zero_point })
    }
}

/// One output channel's weights, `[in_c, k_h, k_w]`, in the order `[k_h][k_w][in_c]`.
pub(crate) fn channels_last<'a>(channel: &'a [f32], kernel: &[usize; 2]) -> impl Iterator<Item = f32> + 'a {
    let area = kernel[0] * kernel[1];
    (0..area).flat_map(move |tap| channel.iter().skip(tap).step_by(area).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multipliers_are_even_and_close() {
        for ratio in [1e-5, 0.001, 0.3, 0.499, 0.7, 3.0] {
            let (shift, multipliers) = multiplier(&[ratio], 1 << 20).unwrap();
            let represented = f64::from(multipliers[0]) * f64::from(1u32 << shift) / 4_294_967_296.0;
            assert!(
                multipliers[0] % 2 == 0 && (represented / ratio - 1.0).abs() < 1e-4,
                "{ratio} became {represented}"
            );
        }
        assert!(multiplier(&[1000.0], 1 << 30).is_none());
    }

    #[test]
    fn ranges_hold_zero_exactly() {
        let affine = Affine::of_range([0.5, 2.0]);
        assert_eq!((affine.zero_point, affine.quantize(0.0), affine.quantize(2.0)), (-128, -128, 127));
        let affine = Affine::of_range([-1.0, 1.0]);
        assert_eq!(affine.dequantize(affine.quantize(0.0)), 0.0);
    }

    #[test]
    fn tables_follow_the_function() {
        let (from, to) = (Affine::of_range([-6.0, 6.0]), Affine::of_range([-0.3, 6.0]));
        for (index, &code) in table(Function::Silu, from, to).iter().enumerate() {
            let x = from.dequantize((index as i32 - 128) as i8);
            assert!((to.dequantize(code) - Function::Silu.apply(x)).abs() <= to.scale * 0.501);
        }
        let index = index_code([-6.0, 6.0]);
        for (entry, &code) in fine_table(Function::Silu, index, to).iter().enumerate() {
            let x = index.scale * f64::from(entry as i32 - 512 - index.zero_point);
            assert!((to.dequantize(code) - Function::Silu.apply(x)).abs() <= to.scale * 0.501);
        }
    }

    #[test]
    fn indices_are_spent_where_the_function_changes() {
        let clipped = Function::ClippedSilu { limit: 4.0 };
        let [low, high] = useful_domain(clipped, [-24.0, 40.0], Affine::of_range([-0.28, 4.0]));
        assert!((-8.0..-5.0).contains(&low) && (4.0..4.2).contains(&high), "{low} {high}");
    }
}
