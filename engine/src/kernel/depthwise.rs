//! Convolution with a kernel of its own for every channel.

use super::buffers::{Buffers, Lens, fit};
use super::conv2d_int8::BAD_EPILOGUE;
use super::proved::{Proved, provable, require};
use crate::conditioning::{Bias, Condition, at};
use crate::epilogue::Epilogue;
use crate::geometry::Geometry;
use crate::isa::{Depthwise, Isa, ToInt8};
use crate::real::{Activation, Real};
use crate::residual::Residual;

/// Channels that are computed together in floating point.
const LANES: usize = 4;

/// int8 map → int8 map of as many channels.
///
/// ```text
/// sum[c] = bias.steps[step][c] + bias.classes[class][c] + Σ_{ky,kx} weights[ky][kx][c] · patch[ky][kx][c]
/// ```
///
/// then [`Epilogue`]. Taps outside the map meet `zero_point`; every zero point's product is in the bias. The code
/// generator bounds the sums as it does those of [`super::Sums`]. Cost: output elements · k_h · k_w MACs; no scratch.
#[derive(Clone, Copy, Debug)]
pub struct DepthwiseInt8<'a> {
    /// Shapes.
    pub geometry: Geometry,
    /// What stands for 0 in the input.
    pub zero_point: i16,
    /// `[k_h][k_w][channels]`; −127 to 127.
    pub weights: &'a [i8],
    /// In units of input scale × weight scale.
    pub bias: Bias<'a, i32>,
    /// From sums to int8.
    pub epilogue: Epilogue<'a>,
}

impl DepthwiseInt8<'_> {
    const fn check(&self) -> Result<(), &'static str> {
        if let Err(reason) = check(&self.geometry, self.weights.len(), &self.bias) {
            return Err(reason);
        }
        require!(self.epilogue.is_valid(self.geometry.output.channels), BAD_EPILOGUE);
        Ok(())
    }
}

impl Proved<DepthwiseInt8<'_>> {
    /// Runs the layer.
    #[inline(never)]
    pub fn run<I: Isa>(&self, condition: Condition, input: &[i8], residual: Residual<'_, i8>, output: &mut [i8]) {
        let DepthwiseInt8 { geometry, zero_point, weights, bias, epilogue } = self.parameters();
        let Some(Buffers { maps: [input, _], residual, output }) =
            fit(self.lens(), [input, &[]], residual, [0; 2], output)
        else {
            return;
        };
        let biases = bias.rows(condition, geometry.output.channels);
        let depthwise = Depthwise { geometry, zero_point: *zero_point, weights, biases, input };
        I::depthwise(&depthwise, &ToInt8 { epilogue, residual }, output);
    }
}

/// f32 or f16 map → map of as many channels, `T` being the stored type of weights and biases:
/// `out = activation(Σ_{ky,kx} weights[ky][kx][c] · patch[ky][kx][c] + bias + residual)`.
///
/// Taps outside the map meet 0. All in f32 without FMA, from the first tap to the last; the result is rounded once.
#[derive(Clone, Copy, Debug)]
pub struct DepthwiseFloat<'a, T> {
    /// Shapes.
    pub geometry: Geometry,
    /// `[k_h][k_w][channels]`.
    pub weights: &'a [T],
    /// Added to the sum.
    pub bias: Bias<'a, T>,
    /// The last operation.
    pub activation: Activation,
}

impl<T: Real> DepthwiseFloat<'_, T> {
    const fn check(&self) -> Result<(), &'static str> {
        check(&self.geometry, self.weights.len(), &self.bias)
    }
}

impl<T: Real> Proved<DepthwiseFloat<'_, T>> {
    /// Runs the layer.
    pub fn run<X: Real, Y: Real>(
        &self,
        condition: Condition,
        input: &[X],
        residual: Residual<'_, Y>,
        output: &mut [Y],
    ) {
        let Some(Buffers { maps: [input, _], residual, output }) =
            fit(self.lens(), [input, &[]], residual, [0; 2], output)
        else {
            return;
        };
        let DepthwiseFloat { geometry, weights, bias, activation } = self.parameters();
        let channels = geometry.output.channels.max(1);
        let [steps, classes] = bias.rows(condition, channels);
        let pixels = geometry.output.positions().zip(output.chunks_exact_mut(channels));
        for (index, (position, pixel)) in pixels.enumerate() {
            for (block, outs) in pixel.chunks_mut(LANES).enumerate() {
                let first = block * LANES;
                let mut sums = [0.0; LANES];
                let mut weights = weights.chunks_exact(channels);
                geometry.taps(position, |pixel| {
                    let weights = weights.next().and_then(|weights| weights.get(first..)).unwrap_or_default();
                    let values = pixel.and_then(|pixel| input.get(pixel * channels + first..)).unwrap_or_default();
                    for ((sum, value), weight) in sums.iter_mut().zip(values).zip(weights) {
                        *sum += value.to_f32() * weight.to_f32();
                    }
                });
                for ((channel, sum), out) in (first..).zip(sums).zip(outs) {
                    let bias = at(steps, channel).to_f32() + at(classes, channel).to_f32();
                    let residual = residual.at(index * channels + channel, *out).to_f32();
                    *out = Y::from_f32(activation.apply(sum + bias + residual));
                }
            }
        }
    }
}

const fn check<T>(geometry: &Geometry, weights: usize, bias: &Bias<'_, T>) -> Result<(), &'static str> {
    let channels = geometry.output.channels;
    require!(geometry.is_valid(), "a dimension is 0, or a map has more elements than 32 bits count");
    require!(geometry.input.channels == channels, "as many channels out as in");
    require!(weights == geometry.patch_len(), "a kernel a channel");
    require!(bias.is_valid(channels), "bias tables are rows of a value a channel");
    Ok(())
}

/// What generated code and programs compare their buffers with.
macro_rules! lens {
    ($([$($generics:tt)*] $kernel:ty;)*) => {$(
        impl<$($generics)*> Proved<$kernel> {
            const fn lens(&self) -> Lens {
                let geometry = &self.parameters().geometry;
                Lens::of(geometry, [geometry.input.channels, 0])
            }

            /// Elements of the map that it reads.
            #[must_use]
            pub const fn input_len(&self) -> usize {
                self.lens().inputs[0]
            }

            /// Elements of its output, and of a residual.
            #[must_use]
            pub const fn output_len(&self) -> usize {
                self.lens().output
            }
        }
    )*};
}
lens! {
    ['a] DepthwiseInt8<'a>;
    ['a, T: Real] DepthwiseFloat<'a, T>;
}

provable! {
    ['a] DepthwiseInt8<'a>;
    ['a, T: Real] DepthwiseFloat<'a, T>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::tests::geometries;
    use crate::isa::Portable;
    use crate::requantize::{Requantize, requantize, saturate};
    use crate::shape::Shape;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    fn leak<T: Clone>(values: &[T]) -> &'static [T] {
        values.to_vec().leak()
    }

    fn depthwise(geometry: Geometry) -> Geometry {
        Geometry { input: Shape { channels: geometry.output.channels, ..geometry.input }, ..geometry }
    }

    proptest! {
        #[test]
        fn int8_equals_the_definition(geometry in geometries().prop_map(depthwise), seed in any::<u64>(), zero_point in -128i16..=127) {
            let random = |salt: u64| move |i: usize| ((i as u64 + salt).wrapping_mul(seed | 1) >> 24) as i8;
            let channels = geometry.output.channels;
            let [k_h, k_w] = geometry.kernel;
            let bytes = |len: usize, salt| (0..len).map(random(salt)).collect::<Vec<i8>>();
            let words = |len: usize, salt| (0..len).map(random(salt)).map(|v| 40 * i32::from(v)).collect::<Vec<i32>>();
            let conv = DepthwiseInt8 {
                geometry,
                zero_point,
                weights: leak(&bytes(k_h * k_w * channels, 3)),
                bias: Bias { steps: leak(&words(3 * channels, 5)), classes: leak(&words(2 * channels, 7)) },
                epilogue: Epilogue {
                    residual_multipliers: leak(&words(channels, 11)),
                    requantize: Requantize {
                        shift: 1,
                        multipliers: leak(&words(channels, 13).iter().map(|w| 2 * (w + (1 << 24))).collect::<Vec<_>>()),
                        zero_point: 4,
                    },
                    table: None,
                },
            };
            let (input, residual) = (bytes(geometry.input.len(), 17), bytes(geometry.output.len(), 19));
            let condition = Condition { step: 2, class: 1 };
            let proved = conv.checked();
            let mut expected = Vec::new();
            for (y, x) in geometry.output.positions() {
                for c in 0..channels {
                    let mut sum = conv.bias.steps[2 * channels + c] + conv.bias.classes[channels + c];
                    for (ky, kx) in (Shape { height: k_h, width: k_w, channels: 0 }).positions() {
                        let value = geometry.oracle(&input, [y, x], [ky, kx, c]).map_or(i32::from(zero_point), i32::from);
                        sum += value * i32::from(conv.weights[(ky * k_w + kx) * channels + c]);
                    }
                    sum += conv.epilogue.residual_multipliers[c] * i32::from(residual[expected.len()]);
                    let Requantize { shift, multipliers, zero_point } = conv.epilogue.requantize;
                    expected.push(saturate(requantize(sum, shift, multipliers[c]) + zero_point));
                }
            }
            let mut output = vec![0; expected.len()];
            proved.run::<Portable>(condition, &input, Residual::From(&residual), &mut output);
            prop_assert_eq!(&output, &expected);
            output.copy_from_slice(&residual);
            proved.run::<Portable>(condition, &input, Residual::InOutput, &mut output);
            prop_assert_eq!(&output, &expected);
        }

        #[test]
        fn floats_equal_the_definition(geometry in geometries().prop_map(depthwise), seed in any::<u64>()) {
            let random = |salt: u64| move |i: usize| f32::from((i as u64 + salt).wrapping_mul(seed | 1).to_be_bytes()[4] as i8) / 64.0;
            let reals = |len: usize, salt| (0..len).map(random(salt)).collect::<Vec<f32>>();
            let channels = geometry.output.channels;
            let [k_h, k_w] = geometry.kernel;
            let conv = DepthwiseFloat {
                geometry,
                weights: leak(&reals(k_h * k_w * channels, 3)),
                bias: Bias { steps: leak(&reals(channels, 5)), classes: &[] },
                activation: Activation::Identity,
            };
            let (input, residual) = (reals(geometry.input.len(), 17), reals(geometry.output.len(), 19));
            let mut output = vec![0.0; residual.len()];
            conv.checked().run(Condition { step: 0, class: 0 }, &input, Residual::From(&residual), &mut output);
            for (i, (y, x)) in geometry.output.positions().enumerate() {
                for c in 0..channels {
                    let mut sum = f64::from(conv.bias.steps[c]) + f64::from(residual[i * channels + c]);
                    for (ky, kx) in (Shape { height: k_h, width: k_w, channels: 0 }).positions() {
                        let value = geometry.oracle(&input, [y, x], [ky, kx, c]).unwrap_or(0.0);
                        sum += f64::from(value) * f64::from(conv.weights[(ky * k_w + kx) * channels + c]);
                    }
                    prop_assert!((f64::from(output[i * channels + c]) - sum).abs() <= 1e-4);
                }
            }
        }
    }
}
