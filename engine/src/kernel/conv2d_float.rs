//! Convolution in floating point: weights stored as f32 or f16, sums in f32.

use super::real::{Activation, Real};
use crate::conditioning::{Bias, Condition, at};
use crate::geometry::{Geometry, Piece};
use crate::maps::Maps;
use crate::residual::Residual;

/// Output pixels that are computed together, so that a weight is loaded and widened once for all of them.
pub const TILE_PIXELS: usize = 4;

/// Output channels that are computed together. With the pixels they make 16 sums: half of a Cortex-M4F's registers, or
/// four SSE registers.
const TILE_CHANNELS: usize = 4;

/// One or two maps → map, `T` being the stored type of weights and biases; maps are f32 or f16.
///
/// ```text
/// sum[oc] = Σ_{ky,kx,ic} weights[ky][kx][ic][oc] · patch[ky][kx][ic]
/// out     = activation(sum[oc] + bias.steps[step][oc] + bias.classes[class][oc] + residual[y][x][oc])
/// ```
///
/// Taps outside the map meet 0. All in f32, products and sums rounded apart (no FMA), from the first tap to the last;
/// the result is rounded once to the output's type. Cost: [`Geometry::macs`]; scratch: 16 · K bytes,
/// K = [`Geometry::patch_len`].
#[derive(Clone, Copy, Debug)]
pub struct Conv2dFloat<T: 'static> {
    /// Shapes; the input's channels are those of all maps.
    pub geometry: Geometry,
    /// Channels of each input map; the second's are 0 where there is one.
    pub channels: [usize; 2],
    /// `[k_h][k_w][in_c][out_c]`: neighbouring output channels lie side by side for vector instructions.
    pub weights: &'static [T],
    /// Added to the sum.
    pub bias: Bias<T>,
    /// The last operation.
    pub activation: Activation,
}

impl<T: Real> Conv2dFloat<T> {
    /// Itself, for a static's initialiser.
    ///
    /// # Panics
    /// At compile time there, when lengths and geometry disagree.
    #[must_use]
    pub const fn checked(self) -> Self {
        let out_c = self.geometry.output.channels;
        let [first, second] = self.channels;
        assert!(self.geometry.is_valid(), "no dimension is 0");
        assert!(first > 0 && first + second == self.geometry.input.channels, "the maps' channels add up");
        assert!(self.weights.len() == out_c * self.geometry.patch_len(), "K rows of a weight a channel");
        assert!(self.bias.is_valid(out_c), "bias tables are rows of a value a channel");
        self
    }

    /// Runs the layer on one or two maps, the second empty where there is one. `patch` has [`TILE_PIXELS`] · K elements.
    pub fn run<X: Real, Y: Real>(
        &self,
        condition: Condition,
        maps: [&[X]; 2],
        residual: Residual<'_, Y>,
        patch: &mut [f32],
        output: &mut [Y],
    ) {
        let patch_len = self.geometry.patch_len().max(1);
        let Some(patches) = patch.get_mut(..TILE_PIXELS * patch_len) else { return };
        let out_c = self.geometry.output.channels.max(1);
        let [steps, classes] = self.bias.rows(condition, out_c);
        let input = Maps { maps, channels: self.channels, zero_points: [0; 2] };
        let mut positions = self.geometry.output.positions();
        for (tile, outs) in output.chunks_mut((TILE_PIXELS * out_c).max(1)).enumerate() {
            // After the last pixel, patches keep what an earlier tile left; their sums are not stored.
            for patch in patches.chunks_exact_mut(patch_len) {
                let Some(position) = positions.next() else { break };
                self.geometry.pieces(position, &input, |tap, piece| {
                    let taps = patch.get_mut(tap..).unwrap_or_default().iter_mut();
                    match piece {
                        Piece::Values(values) => taps.zip(values).for_each(|(p, x)| *p = x.to_f32()),
                        Piece::Padding(_, len) => taps.take(len).for_each(|p| *p = 0.0),
                    }
                });
            }
            for first in (0..out_c).step_by(TILE_CHANNELS) {
                let sums = sum_tile(patches, patch_len, self.weights, out_c, first);
                for (pixel, (sums, outs)) in sums.iter().zip(outs.chunks_exact_mut(out_c)).enumerate() {
                    let outs = outs.get_mut(first..).unwrap_or_default();
                    for (channel, (sum, out)) in (first..).zip(sums.iter().zip(outs)) {
                        let index = (tile * TILE_PIXELS + pixel) * out_c + channel;
                        let bias = at(steps, channel).to_f32() + at(classes, channel).to_f32();
                        let sum = sum + bias + residual.at(index, *out).to_f32();
                        *out = Y::from_f32(self.activation.apply(sum));
                    }
                }
            }
        }
    }
}

/// The sums of a tile, `[pixel][channel]`, channels from `first` on; those past the last channel are 0.
#[inline(never)]
fn sum_tile<T: Real>(
    patches: &[f32],
    patch_len: usize,
    weights: &[T],
    out_c: usize,
    first: usize,
) -> [[f32; TILE_CHANNELS]; TILE_PIXELS] {
    let mut sums = [[0.0; TILE_CHANNELS]; TILE_PIXELS];
    let mut patches = patches.chunks_exact(patch_len.max(1));
    let mut patch = || patches.next().unwrap_or_default();
    let (p0, p1, p2, p3) = (patch(), patch(), patch(), patch());
    for ((((row, p0), p1), p2), p3) in weights.chunks_exact(out_c.max(1)).zip(p0).zip(p1).zip(p2).zip(p3) {
        let row = row.get(first..).unwrap_or_default();
        let weights: [f32; TILE_CHANNELS] = match row.first_chunk::<TILE_CHANNELS>() {
            Some(weights) => weights.map(T::to_f32),
            None => core::array::from_fn(|channel| at(row, channel).to_f32()),
        };
        for (sums, p) in sums.iter_mut().zip([p0, p1, p2, p3]) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += p * weight;
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::tests::geometries;
    use crate::shape::Shape;
    use half::f16;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    /// The result in f64, and the sum of all summands' magnitudes, which rounding errors are in proportion to.
    fn oracle<T: Real>(
        conv: &Conv2dFloat<T>,
        condition: Condition,
        input: &[f32],
        residual: Option<&[f32]>,
    ) -> Vec<(f64, f64)> {
        let Geometry { output, kernel, input: Shape { channels, .. }, .. } = conv.geometry;
        let mut results = Vec::new();
        for (y, x) in output.positions() {
            for oc in 0..output.channels {
                let steps = if conv.bias.steps.len() == output.channels { 0 } else { condition.step };
                let mut summands = vec![f64::from(conv.bias.steps[steps * output.channels + oc].to_f32())];
                if !conv.bias.classes.is_empty() {
                    summands.push(f64::from(conv.bias.classes[condition.class * output.channels + oc].to_f32()));
                }
                for (ky, kx) in (Shape { height: kernel[0], width: kernel[1], channels: 0 }).positions() {
                    for ic in 0..channels {
                        let weight = conv.weights[((ky * kernel[1] + kx) * channels + ic) * output.channels + oc];
                        let value = conv.geometry.oracle(input, [y, x], [ky, kx, ic]).unwrap_or(0.0);
                        summands.push(f64::from(weight.to_f32()) * f64::from(value));
                    }
                }
                summands.extend(residual.map(|residual| f64::from(residual[results.len()])));
                let sum: f64 = summands.iter().sum();
                let result = if conv.activation == Activation::Silu { sum / (1.0 + (-sum).exp()) } else { sum };
                results.push((result, summands.iter().map(|s| s.abs()).sum()));
            }
        }
        results
    }

    fn random(len: usize, seed: u64) -> Vec<f32> {
        (0..len as u64).map(|i| ((i + 3).wrapping_mul(seed | 1) >> 20) as i16 as f32 / 16384.0).collect()
    }

    fn convolution<T: Real>(geometry: Geometry, seed: u64) -> Conv2dFloat<T> {
        let stored = |len, salt| random(len, seed ^ salt).into_iter().map(T::from_f32).collect::<Vec<T>>().leak();
        let out_c = geometry.output.channels;
        Conv2dFloat {
            geometry,
            channels: [geometry.input.channels, 0],
            weights: stored(out_c * geometry.patch_len(), 2),
            bias: Bias {
                steps: stored([1, 3][geometry.input.width % 2] * out_c, 4),
                classes: stored([0, 2][geometry.input.channels % 2] * out_c, 8),
            },
            activation: if seed.is_multiple_of(3) { Activation::Identity } else { Activation::Silu },
        }
        .checked()
    }

    /// Each of up to 146 summands costs a rounding of the product and one of the sum, 2⁻²⁴ each; SiLU's slope is at
    /// most 1.1, and its own roundings are 2⁻²² of its value. `storage` is the rounding of the output's type.
    fn check<T: Real, X: Real, Y: Real>(geometry: Geometry, seed: u64, storage: f64) -> Result<(), TestCaseError> {
        let conv = convolution::<T>(geometry, seed);
        let condition = Condition { step: (seed % 3) as usize, class: (seed % 2) as usize };
        let input: Vec<X> = random(geometry.input.len(), seed ^ 16).into_iter().map(X::from_f32).collect();
        let residual: Vec<Y> = random(geometry.output.len(), seed ^ 32).into_iter().map(Y::from_f32).collect();
        let wide_input: Vec<f32> = input.iter().map(|x| x.to_f32()).collect();
        let wide_residual: Vec<f32> = residual.iter().map(|y| y.to_f32()).collect();
        let mut patch = vec![f32::NAN; TILE_PIXELS * geometry.patch_len()];

        let mut plain = vec![Y::default(); residual.len()];
        conv.run(condition, [&input, &[]], Residual::None, &mut patch, &mut plain);
        let mut from = vec![Y::default(); residual.len()];
        conv.run(condition, [&input, &[]], Residual::From(&residual), &mut patch, &mut from);
        let mut in_output = residual;
        conv.run(condition, [&input, &[]], Residual::InOutput, &mut patch, &mut in_output);
        prop_assert_eq!(bytemuck::cast_slice::<Y, u8>(&from), bytemuck::cast_slice::<Y, u8>(&in_output));

        for (output, residual) in [(plain, None), (from, Some(&wide_residual[..]))] {
            for (got, (expected, magnitude)) in output.iter().zip(oracle(&conv, condition, &wide_input, residual)) {
                let got = f64::from(got.to_f32());
                let tolerance =
                    1.1 * 147.0 * 2f64.powi(-24) * magnitude + (storage + 2f64.powi(-22)) * expected.abs() + 1e-7;
                prop_assert!((got - expected).abs() <= tolerance, "{} {} {}", got, expected, tolerance);
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn f32_equals_the_definition(geometry in geometries(), seed in any::<u64>()) {
            check::<f32, f32, f32>(geometry, seed, 0.0)?;
        }

        #[test]
        fn f16_equals_the_definition(geometry in geometries(), seed in any::<u64>()) {
            check::<f16, f16, f16>(geometry, seed, 2f64.powi(-11))?;
        }

        /// The stem of an f16 network reads f32, its head writes f32.
        #[test]
        fn maps_of_other_types(geometry in geometries(), seed in any::<u64>()) {
            check::<f16, f32, f16>(geometry, seed, 2f64.powi(-11))?;
            check::<f16, f16, f32>(geometry, seed, 0.0)?;
        }
    }

    #[test]
    fn short_buffers_change_nothing_or_less() {
        let map = |channels| Shape { height: 2, width: 3, channels };
        let geometry = Geometry {
            input: map(1),
            output: map(2),
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0],
            upsample: [1, 1],
        };
        let conv = Conv2dFloat {
            geometry,
            channels: [1, 0],
            weights: &[1.0, 2.0],
            bias: Bias { steps: &[0.5, 0.0], classes: &[] },
            activation: Activation::Identity,
        };
        let condition = Condition { step: 0, class: 0 };
        let mut output = [9.0f32; 12];
        conv.run(condition, [&[1.0f32; 6], &[]], Residual::None, &mut [0.0; 3], &mut output);
        assert_eq!(output, [9.0; 12]);
        conv.run(condition, [&[1.0f32; 6], &[]], Residual::None, &mut [0.0; 4], &mut output[..5]);
        assert_eq!(output[..7], [1.5, 2.0, 1.5, 2.0, 9.0, 9.0, 9.0]);
        assert!(std::panic::catch_unwind(|| Conv2dFloat { weights: &[1.0], ..conv }.checked()).is_err());
    }
}
