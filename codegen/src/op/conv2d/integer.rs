//! Convolutions on integers: scales per output channel, biases in units of the sums, bounds.

use super::kernel::Sums;
use super::{Convolution, channels_last};
use crate::error::Result;
use crate::fold::{Layer, Rows};
use crate::kernel::{Affine, Element, Requantize};
use crate::quantize::{FINEST, multiplier, multiplier_at, too_wide};

/// Sums are shifted no further than this: multipliers lose the bits that sums win.
const LARGEST_SHIFT: u32 = 8;

/// Biases beyond this, in units of the sums, are held to it: [`Channels::bound`] refuses them, whatever is added.
const LARGEST_BIAS: f64 = (1_u64 << 40) as f64;

/// What a convolution reads.
struct Input {
    scale: f64,
    zero_point: i32,
    /// The largest magnitude of a code.
    bound: i64,
    channels: usize,
}

impl Input {
    fn new(element: Element, channels: usize) -> Self {
        let (scale, zero_point, bound) = match element {
            Element::I8(affine) => (affine.scale, affine.zero_point, 128),
            Element::I16 { affine, half } => (affine.scale, affine.zero_point, i64::from(half)),
            Element::I32 | Element::F16 | Element::F32 => (1.0, 0, i64::from(i32::MAX)),
        };
        Self { scale, zero_point, bound, channels }
    }
}

/// The input that channel `channel` of all is in.
fn input_at(inputs: &[Input], mut channel: usize) -> &Input {
    for input in inputs {
        if channel < input.channels {
            return input;
        }
        channel -= input.channels;
    }
    &inputs[0]
}

/// The scales of a convolution's sums, and what follows from them.
pub(super) struct Channels {
    /// Value of one unit of the sum, per output channel.
    pub(super) scales: Vec<f64>,
    /// `[out_c][k_h][k_w][in_c]`.
    weights: Vec<i8>,
    inputs: Vec<Input>,
    /// Channels that one output channel reads, of all inputs.
    in_channels: usize,
    pub(super) residual_multipliers: Vec<i32>,
    residual_zero_point: i32,
}

impl Channels {
    /// `elements` are those of the convolution's inputs. Their scales go into the weights, relative to the first's, so
    /// that one sum serves them all.
    pub(super) fn new(conv: &Convolution, elements: &[Element], target_scale: f64, residual: Option<Affine>) -> Self {
        let inputs: Vec<Input> =
            elements.iter().zip(&conv.inputs).map(|(&element, &(_, channels))| Input::new(element, channels)).collect();
        let input_scale = inputs[0].scale;
        let taps = conv.geometry.taps();
        let area: usize = conv.geometry.kernel.iter().product();
        let relative = |w: f32, index: usize| f64::from(w) * (input_at(&inputs, index / area).scale / input_scale);
        let coarsest = residual.map_or(target_scale, |residual| target_scale.max(residual.scale));
        let (mut scales, mut weights) = (Vec::new(), Vec::new());
        for channel in conv.weight.chunks_exact(taps) {
            let channel: Vec<f64> = channel.iter().enumerate().map(|(index, &w)| relative(w, index)).collect();
            let largest = channel.iter().fold(0.0f64, |max, w| max.max(w.abs()));
            let scale = (largest / 127.0).max(coarsest * FINEST / input_scale).max(1e-12);
            scales.push(scale * input_scale);
            weights.extend(channels_last(&channel, &conv.geometry.kernel).map(|w| (w / scale).round() as i8));
        }
        let residual_multipliers = residual.map_or(Vec::new(), |residual| {
            scales.iter().map(|scale| (residual.scale / scale).round() as i32).collect()
        });
        let residual_zero_point = residual.map_or(0, |residual| residual.zero_point);
        let in_channels = taps / area;
        Self { scales, weights, inputs, in_channels, residual_multipliers, residual_zero_point }
    }

    /// One output channel's weights with the inputs that they meet.
    fn products(&self, channel: usize) -> impl Iterator<Item = (i64, &Input)> {
        let taps = self.weights.len() / self.scales.len();
        let weights = self.weights[channel * taps..][..taps].iter().enumerate();
        weights.map(|(tap, &w)| (i64::from(w), input_at(&self.inputs, tap % self.in_channels)))
    }

    /// Biases in units of the sums; zero points are folded into the steps' rows, and into them alone.
    fn bias(&self, rows: &Rows) -> [Vec<i64>; 2] {
        let units = |row: &Vec<f64>| -> Vec<i64> {
            row.iter()
                .zip(&self.scales)
                .map(|(b, scale)| (b / scale).round().clamp(-LARGEST_BIAS, LARGEST_BIAS) as i64)
                .collect()
        };
        let zero: Vec<i64> = (0..self.scales.len())
            .map(|channel| {
                let sum: i64 = self.products(channel).map(|(w, input)| w * i64::from(input.zero_point)).sum();
                let residual = self.residual_multipliers.get(channel).map_or(0, |&m| i64::from(m));
                sum + residual * i64::from(self.residual_zero_point)
            })
            .collect();
        let steps =
            rows.steps.iter().flat_map(|row| units(row).into_iter().zip(&zero).map(|(b, z)| b - z).collect::<Vec<_>>());
        [steps.collect(), rows.classes.iter().flat_map(units).collect()]
    }

    /// The largest magnitude that a sum, or a part of it, can have.
    fn bound(&self, rows: &Rows) -> i64 {
        let out_c = self.scales.len();
        let [steps, classes] = self.bias(rows);
        let largest =
            |rows: &[i64], channel: usize| rows.iter().skip(channel).step_by(out_c).map(|b| b.abs()).max().unwrap_or(0);
        (0..out_c)
            .map(|channel| {
                let products: i64 = self.products(channel).map(|(w, input)| w.abs() * input.bound).sum();
                let residual = self.residual_multipliers.get(channel).map_or(0, |&m| i64::from(m) * 128);
                products + residual + largest(&steps, channel) + largest(&classes, channel)
            })
            .max()
            .unwrap_or(0)
    }

    /// The kernel's integer part.
    ///
    /// # Errors
    /// Names the layer when its sums are too wide.
    pub(super) fn sums(&self, layer: &Layer, conv: &Convolution, channels: [usize; 2]) -> Result<Sums> {
        if self.bound(&conv.bias) > i64::from(i32::MAX) {
            return Err(too_wide(layer));
        }
        let bias = self.bias(&conv.bias).map(|rows| rows.iter().map(|&b| b as i32).collect());
        Ok(Sums {
            geometry: conv.geometry,
            weights: self.weights.clone(),
            bias,
            channels,
            zero_points: [0, 1].map(|part| self.inputs.get(part).map_or(0, |input| input.zero_point as i16)),
        })
    }

    /// From sums to `target`.
    ///
    /// # Errors
    /// Names the layer when its sums are too wide.
    pub(super) fn requantize(&self, layer: &Layer, conv: &Convolution, target: Affine) -> Result<Requantize> {
        let ratios: Vec<f64> = self.scales.iter().map(|scale| scale / target.scale).collect();
        let (shift, multipliers) = multiplier(&ratios, self.bound(&conv.bias)).ok_or_else(|| too_wide(layer))?;
        Ok(Requantize { shift, multipliers, zero_point: target.zero_point })
    }

    /// From sums, and a residual of codes from −`half` to `half` − 1, to `target`: the residual's multipliers in units of
    /// the shifted sums, and the rest. The shift is as large as int32 allows, so that the multipliers are as fine.
    ///
    /// # Errors
    /// Names the layer when its sums are too wide.
    pub(super) fn requantize_fine(
        &self,
        layer: &Layer,
        conv: &Convolution,
        target: Affine,
        residual: Option<(Affine, i32)>,
    ) -> Result<(Vec<i32>, Requantize)> {
        let ratios: Vec<f64> = self.scales.iter().map(|scale| scale / target.scale).collect();
        let sums = self.bound(&conv.bias);
        let added = residual.map_or(0.0, |(affine, half)| {
            let finest = self.scales.iter().copied().fold(f64::INFINITY, f64::min);
            f64::from(half + affine.zero_point.abs()) * (affine.scale / finest + 1.0)
        });
        let bound = sums.saturating_add(added.ceil() as i64);
        let shifted = |shift| multiplier_at(&ratios, bound, shift);
        let (shift, multipliers) = (0..=LARGEST_SHIFT)
            .rev()
            .find_map(|shift| Some((shift, shifted(shift)?)))
            .ok_or_else(|| too_wide(layer))?;
        let unit = f64::from(1u32 << shift);
        let residuals = residual.map_or(Vec::new(), |(affine, _)| {
            self.scales.iter().map(|scale| (affine.scale / scale * unit).round() as i32).collect()
        });
        Ok((residuals, Requantize { shift, multipliers, zero_point: target.zero_point }))
    }
}
