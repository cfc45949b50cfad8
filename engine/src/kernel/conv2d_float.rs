//! Convolution in floating point: weights stored as f32 or f16, sums in f32.

use super::buffers::{Buffers, Lens, fit};
use super::proved::{Proved, provable, require};
use crate::conditioning::{Bias, Condition};
use crate::geometry::Geometry;
use crate::isa::{FinishFloat, FloatConvolution, Isa};
use crate::maps::Maps;
use crate::real::{Activation, Real, narrow};
use crate::residual::Residual;

/// One or two maps → map, `T` being the stored type of weights and biases; maps are f32 or f16.
///
/// ```text
/// sum[oc] = Σ_{ky,kx,ic} weights[ky][kx][ic][oc] · patch[ky][kx][ic]
/// out     = activation(sum[oc] + bias.steps[step][oc] + bias.classes[class][oc] + residual[y][x][oc])
/// ```
///
/// Taps outside the map meet 0. All in f32, from the first tap to the last, as [`Isa::conv2d_float`] says; the result is
/// rounded once to the output's type. Cost: [`Geometry::macs`]; scratch:
/// [`Isa::float_scratch`].
#[derive(Clone, Copy, Debug)]
pub struct Conv2dFloat<'a, T> {
    /// Shapes; the input's channels are those of all maps.
    pub geometry: Geometry,
    /// Channels of each input map; the second's are 0 where there is one.
    pub channels: [usize; 2],
    /// `[k_h][k_w][in_c][out_c]`: neighbouring output channels lie side by side for vector instructions.
    pub weights: &'a [T],
    /// Added to the sum.
    pub bias: Bias<'a, T>,
    /// The last operation.
    pub activation: Activation,
}

impl<T: Real> Conv2dFloat<'_, T> {
    const fn check(&self) -> Result<(), &'static str> {
        let Self { geometry, channels: [first, second], weights, bias, .. } = self;
        require!(geometry.is_valid(), "a dimension is 0, or a map has more elements than 32 bits count");
        require!(
            *first > 0 && *first <= geometry.input.channels && *second == geometry.input.channels - *first,
            "the maps' channels add up to the geometry's"
        );
        require!(weights.len() == geometry.output.channels * geometry.patch_len(), "K rows of a weight a channel");
        require!(bias.is_valid(geometry.output.channels), "bias tables are rows of a value a channel");
        Ok(())
    }
}

impl<T: Real> Proved<Conv2dFloat<'_, T>> {
    /// Runs the layer on one or two maps, the second empty where there is one. Scratch: [`Isa::float_scratch`].
    #[inline(never)]
    pub fn run<I: Isa, X: Real, Y: Real>(
        &self,
        condition: Condition,
        maps: [&[X]; 2],
        residual: Residual<'_, Y>,
        scratch: &mut [f32],
        output: &mut [Y],
    ) {
        let Conv2dFloat { geometry, channels, weights, bias, activation } = *self.parameters();
        let needed = [scratch.len(), I::float_scratch(&geometry)];
        let Some(Buffers { maps, residual, output }) = fit(self.lens(), maps, residual, needed, output) else { return };
        let out_c = geometry.output.channels;
        let [steps, classes] = bias.rows(condition, out_c);
        let convolution =
            FloatConvolution { geometry: &geometry, weights, input: Maps { maps, channels, zero_points: [0; 2] } };
        let mut finish = Finish { out_c, steps, classes, residual, activation, output };
        I::conv2d_float(&convolution, scratch, &mut finish);
    }

    /// Some rows of it, see [`Geometry::rows`].
    pub(super) const fn part(&self, geometry: Geometry) -> Self {
        Self::new(Conv2dFloat { geometry, ..*self.parameters() })
    }

    /// Elements of its maps.
    pub(super) const fn lens(&self) -> Lens {
        Lens::of(&self.parameters().geometry, self.parameters().channels)
    }

    /// Elements of each map that it reads; 0 for a second that there is not.
    #[must_use]
    pub const fn input_lens(&self) -> [usize; 2] {
        self.lens().inputs
    }

    /// Elements of its output, and of a residual.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        self.lens().output
    }

    /// Elements of scratch with an instruction set.
    #[must_use]
    pub const fn scratch_len<I: Isa>(&self) -> usize {
        I::SCRATCH.floats(&self.parameters().geometry)
    }
}

provable! {
    ['a, T: Real] Conv2dFloat<'a, T>;
}

/// Adds biases and residual, and applies the activation.
struct Finish<'a, T, Y> {
    out_c: usize,
    steps: &'a [T],
    classes: &'a [T],
    residual: Residual<'a, Y>,
    activation: Activation,
    output: &'a mut [Y],
}

impl<T: Real, Y: Real> FinishFloat for Finish<'_, T, Y> {
    #[inline(always)]
    fn finish<const N: usize, const B: usize>(&mut self, pixel: usize, channel: usize, sums: [[f32; N]; B]) {
        if channel + N * B <= self.out_c {
            self.whole(pixel, channel, sums);
        } else {
            self.part(pixel, channel, sums.as_flattened());
        }
    }
}

impl<T: Real, Y: Real> Finish<'_, T, Y> {
    /// All of the channels; nothing where a map is too short.
    #[inline(always)]
    fn whole<const N: usize, const B: usize>(
        &mut self,
        pixel: usize,
        channel: usize,
        mut sums: [[f32; N]; B],
    ) -> Option<()> {
        let index = pixel * self.out_c + channel;
        let outs = self.output.get_mut(index..)?.as_chunks_mut().0.first_chunk_mut()?;
        let mut bias = [[0.0; N]; B];
        add(&mut bias, blocks(self.steps, channel)?);
        if !self.classes.is_empty() {
            add(&mut bias, blocks(self.classes, channel)?);
        }
        add(&mut sums, &bias);
        match self.residual {
            Residual::None => {}
            Residual::InOutput => add(&mut sums, outs),
            Residual::From(map) => add(&mut sums, blocks(map, index)?),
        }
        for (outs, sums) in outs.iter_mut().zip(sums) {
            narrow(self.activation.apply_all(sums), outs);
        }
        Some(())
    }

    /// Those channels that there are, one by one; nothing where the output lacks some of the pixel.
    #[inline(never)]
    fn part(&mut self, pixel: usize, channel: usize, sums: &[f32]) {
        if self.output.len() < (pixel + 1) * self.out_c {
            return;
        }
        for (channel, sum) in (channel..self.out_c).zip(sums) {
            self.whole(pixel, channel, [[*sum]]);
        }
    }
}

/// B · N elements from `start` on.
#[inline(always)]
fn blocks<T, const N: usize, const B: usize>(values: &[T], start: usize) -> Option<&[[T; N]; B]> {
    values.get(start..)?.as_chunks().0.first_chunk()
}

#[inline(always)]
fn add<T: Real, const N: usize, const B: usize>(sums: &mut [[f32; N]; B], values: &[[T; N]; B]) {
    for (sums, values) in sums.iter_mut().zip(values) {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value.to_f32());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::tests::{geometries, long_geometries};
    use crate::isa::{Avx2, Avx512Vnni, Portable};
    use crate::shape::Shape;
    use half::f16;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    /// The result in f64, and the sum of all summands' magnitudes, which rounding errors are in proportion to.
    fn oracle<T: Real>(
        proved: &Proved<Conv2dFloat<'_, T>>,
        condition: Condition,
        input: &[f32],
        residual: Option<&[f32]>,
    ) -> Vec<(f64, f64)> {
        let conv = proved.parameters();
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

    fn convolution<T: Real>(geometry: Geometry, seed: u64) -> Proved<Conv2dFloat<'static, T>> {
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

    /// Each of up to 195 summands costs a rounding of the product and one of the sum, 2⁻²⁴ each; SiLU's slope is at
    /// most 1.1, and its own roundings are 2⁻²² of its value. `storage` is the rounding of the output's type.
    fn check<T: Real, X: Real, Y: Real>(geometry: Geometry, seed: u64, storage: f64) -> Result<(), TestCaseError> {
        let conv = convolution::<T>(geometry, seed);
        let condition = Condition { step: (seed % 3) as usize, class: (seed % 2) as usize };
        let input: Vec<X> = random(geometry.input.len(), seed ^ 16).into_iter().map(X::from_f32).collect();
        let residual: Vec<Y> = random(geometry.output.len(), seed ^ 32).into_iter().map(Y::from_f32).collect();
        let wide_input: Vec<f32> = input.iter().map(|x| x.to_f32()).collect();
        let wide_residual: Vec<f32> = residual.iter().map(|y| y.to_f32()).collect();
        let run = |residual, output: &mut Vec<Y>| {
            let mut scratch = vec![f32::NAN; Portable::float_scratch(&geometry)];
            let before = output.clone();
            conv.run::<Portable, X, Y>(condition, [&input, &[]], residual, &mut scratch, output);
            let others = [
                Proved::<Conv2dFloat<'_, T>>::run::<Avx2, X, Y>,
                Proved::<Conv2dFloat<'_, T>>::run::<Avx512Vnni, X, Y>,
            ];
            for (run, scratch) in others.into_iter().zip([Avx2::float_scratch, Avx512Vnni::float_scratch]) {
                let (mut scratch, mut same) = (vec![f32::NAN; scratch(&geometry)], before.clone());
                run(&conv, condition, [&input, &[]], residual, &mut scratch, &mut same);
                if T::floats(&[]).is_none() {
                    assert_eq!(bytemuck::cast_slice::<Y, u8>(output), bytemuck::cast_slice::<Y, u8>(&same));
                }
                for (a, b) in output.iter().zip(&same) {
                    let (a, b) = (a.to_f32(), b.to_f32());
                    assert!((a - b).abs() <= 1e-3 + a.abs() * 1e-3, "{a} {b}");
                }
            }
        };
        let mut plain = vec![Y::default(); residual.len()];
        run(Residual::None, &mut plain);
        let mut from = vec![Y::default(); residual.len()];
        run(Residual::From(&residual), &mut from);
        let mut in_output = residual.clone();
        run(Residual::InOutput, &mut in_output);
        prop_assert_eq!(bytemuck::cast_slice::<Y, u8>(&from), bytemuck::cast_slice::<Y, u8>(&in_output));

        for (output, residual) in [(plain, None), (from, Some(&wide_residual[..]))] {
            for (got, (expected, magnitude)) in output.iter().zip(oracle(&conv, condition, &wide_input, residual)) {
                let got = f64::from(got.to_f32());
                let tolerance =
                    1.1 * 196.0 * 2f64.powi(-24) * magnitude + (storage + 2f64.powi(-22)) * expected.abs() + 1e-7;
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

        #[test]
        fn long_rows_fill_registers(geometry in long_geometries(), seed in any::<u64>()) {
            check::<f32, f32, f32>(geometry, seed, 0.0)?;
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
    fn misfits_are_found() {
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
        assert!(conv.proved().is_ok());
        assert!(Conv2dFloat { weights: &[1.0], ..conv }.proved().is_err());
        assert!(Conv2dFloat { channels: [0, 1], ..conv }.proved().is_err());
        assert!(Conv2dFloat { channels: [2, usize::MAX], ..conv }.proved().is_err(), "their sum wraps to 1");
    }
}
