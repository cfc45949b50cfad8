//! Convolution with int8 weights: exact 32-bit sums, one rounding.

use super::conditioning::{Bias, Condition, at};
use super::dot::{LANES, dot};
use super::geometry::Geometry;
use super::residual::Residual;
use crate::requantize::{Requantize, Table};

/// int8 or int16 map → int8 map.
///
/// ```text
/// acc[oc] = bias.steps[step][oc] + bias.classes[class][oc]
///         + Σ_{ky,kx,ic} weights[oc][ky][kx][ic] · patch[ky][kx][ic]
///         + residual_multipliers[oc] · residual[y][x][oc]
/// index   = requantize(acc[oc], shift, multipliers[oc]) + zero_point
/// out     = table ? table[clamp(index, −512, 511) + 512] : clamp(index, −128, 127)
/// ```
///
/// Inputs keep their zero point: taps outside the map meet `input_zero_point`, and every zero point's product (the
/// residual's too: it is one more tap) is in the bias. Weights are symmetric, scaled per output channel. The code
/// generator bounds |acc| · 2^shift below 2³¹ over all inputs, so that no sum can overflow in any order.
///
/// The patch is gathered once a pixel as int16, so that one inner loop serves both input types (Lai et al. 2018,
/// CMSIS-NN, section 3). Cost: [`Geometry::macs`]; scratch: 2 · K bytes, K = [`Geometry::patch_len`].
#[derive(Clone, Copy, Debug)]
pub struct Conv2dInt8 {
    /// Shapes.
    pub geometry: Geometry,
    /// `[out_c][k_h][k_w][in_c]`.
    pub weights: &'static [i8],
    /// In units of input scale × weight scale.
    pub bias: Bias<i32>,
    /// What stands for 0 in the input.
    pub input_zero_point: i16,
    /// `[out_c]`, or empty where there is no residual.
    pub residual_multipliers: &'static [i32],
    /// From sums to int8.
    pub requantize: Requantize,
    /// An activation.
    pub table: Option<&'static Table>,
}

impl Conv2dInt8 {
    /// Itself, for a static's initialiser.
    ///
    /// # Panics
    /// At compile time there, when lengths and geometry disagree or a multiplier is out of range.
    #[must_use]
    pub const fn checked(self) -> Self {
        let out_c = self.geometry.output.channels;
        check(&self.geometry, self.weights, &self.bias);
        let residuals = self.residual_multipliers.len();
        assert!(residuals == 0 || residuals == out_c, "one residual multiplier a channel");
        assert!(
            self.requantize.is_valid(out_c, self.table.is_some()),
            "one even, positive multiplier a channel; zero point and shift in range"
        );
        self
    }

    /// Runs the layer. `input` is a map of int8 or int16, `patch` has K elements, `output` is the output map.
    pub fn run<X: Copy + Into<i16>>(
        &self,
        condition: Condition,
        input: &[X],
        residual: Residual<'_, i8>,
        patch: &mut [i16],
        output: &mut [i8],
    ) {
        let Self { geometry, weights, bias, input_zero_point, .. } = *self;
        convolve(
            &geometry,
            weights,
            input_zero_point,
            input,
            patch,
            output,
            bias.rows(condition, geometry.output.channels),
            |acc, channel, index, out| {
                let acc = acc + at(self.residual_multipliers, channel) * i32::from(residual.at(index, *out));
                *out = self.requantize.apply(acc, channel, self.table);
            },
        );
    }
}

/// int8 or int16 map → f32 map, for a network's last layer: `out = acc as f32 · scales[oc]`, with [`Conv2dInt8`]'s
/// `acc`; one f32 rounding in the conversion (none below 2²⁴) and one in the product.
#[derive(Clone, Copy, Debug)]
pub struct Conv2dInt8Head {
    /// Shapes.
    pub geometry: Geometry,
    /// `[out_c][k_h][k_w][in_c]`.
    pub weights: &'static [i8],
    /// In units of input scale × weight scale.
    pub bias: Bias<i32>,
    /// What stands for 0 in the input.
    pub input_zero_point: i16,
    /// `[out_c]`, input scale × weight scale.
    pub scales: &'static [f32],
}

impl Conv2dInt8Head {
    /// Itself, for a static's initialiser.
    ///
    /// # Panics
    /// At compile time there, when lengths and geometry disagree.
    #[must_use]
    pub const fn checked(self) -> Self {
        check(&self.geometry, self.weights, &self.bias);
        assert!(self.scales.len() == self.geometry.output.channels, "one scale a channel");
        self
    }

    /// Runs the layer. `input` is a map of int8 or int16, `patch` has K elements, `output` is the output map.
    pub fn run<X: Copy + Into<i16>>(&self, condition: Condition, input: &[X], patch: &mut [i16], output: &mut [f32]) {
        let Self { geometry, weights, bias, input_zero_point, scales } = *self;
        convolve(
            &geometry,
            weights,
            input_zero_point,
            input,
            patch,
            output,
            bias.rows(condition, geometry.output.channels),
            |acc, channel, _, out| {
                *out = acc as f32 * at(scales, channel);
            },
        );
    }
}

const fn check(geometry: &Geometry, weights: &[i8], bias: &Bias<i32>) {
    assert!(geometry.is_valid(), "no dimension is 0");
    assert!(weights.len() == geometry.output.channels * geometry.patch_len(), "a row of K weights a channel");
    assert!(bias.is_valid(geometry.output.channels), "bias tables are rows of a value a channel");
}

/// The loop: `store(acc, channel, element, out)` for every output element.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the fields of two structs that differ in their last")]
fn convolve<X: Copy + Into<i16>, Y>(
    geometry: &Geometry,
    weights: &[i8],
    zero_point: i16,
    input: &[X],
    patch: &mut [i16],
    output: &mut [Y],
    [steps, classes]: [&[i32]; 2],
    store: impl Fn(i32, usize, usize, &mut Y),
) {
    let Some(patch) = patch.get_mut(..geometry.patch_len()) else { return };
    let block_len = LANES * patch.len();
    let out_c = geometry.output.channels.max(1);
    let mut index = 0;
    for (position, pixel) in geometry.output.positions().zip(output.chunks_exact_mut(out_c)) {
        geometry.gather(position, input, zero_point, X::into, patch);
        let mut channel = 0;
        for (block, outs) in pixel.chunks_mut(LANES).enumerate() {
            let block = weights.get(block * block_len..).unwrap_or_default();
            for (sum, out) in dot(patch, block).into_iter().zip(outs) {
                store(sum + at(steps, channel) + at(classes, channel), channel, index, out);
                channel += 1;
                index += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::geometry::tests::geometries;
    use crate::shape::Shape;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    /// Leaks: tests make their statics as they go.
    fn leak<T: Clone>(values: &[T]) -> &'static [T] {
        values.to_vec().leak()
    }

    /// acc as the documentation defines it, in 64 bits.
    fn oracle<X: Copy + Into<i64>>(
        conv: &Conv2dInt8,
        condition: Condition,
        input: &[X],
        residual: Option<&[i8]>,
    ) -> Vec<i64> {
        let Geometry { output, kernel, input: Shape { channels, .. }, .. } = conv.geometry;
        let mut accs = Vec::new();
        for (y, x) in output.positions() {
            for oc in 0..output.channels {
                let step = if conv.bias.steps.len() == output.channels { 0 } else { condition.step };
                let mut acc = i64::from(conv.bias.steps[step * output.channels + oc]);
                if !conv.bias.classes.is_empty() {
                    acc += i64::from(conv.bias.classes[condition.class * output.channels + oc]);
                }
                for (ky, kx) in (Shape { height: kernel[0], width: kernel[1], channels: 0 }).positions() {
                    for ic in 0..channels {
                        let weight = conv.weights[((oc * kernel[0] + ky) * kernel[1] + kx) * channels + ic];
                        let value = conv.geometry.oracle(input, [y, x], [ky, kx, ic]);
                        acc += i64::from(weight) * value.map_or(i64::from(conv.input_zero_point), X::into);
                    }
                }
                if let Some(residual) = residual {
                    acc += i64::from(conv.residual_multipliers[oc]) * i64::from(residual[accs.len()]);
                }
                accs.push(acc);
            }
        }
        accs
    }

    /// The epilogue as the documentation defines it.
    fn finish(conv: &Conv2dInt8, accs: &[i64]) -> Vec<i8> {
        let Requantize { shift, multipliers, zero_point } = conv.requantize;
        let index = |(i, acc): (usize, &i64)| {
            let product = i128::from(*acc) * (1 << shift) * i128::from(multipliers[i % multipliers.len()]);
            (product + (1 << 31)).div_euclid(1 << 32) + i128::from(zero_point)
        };
        let output = accs.iter().enumerate().map(index);
        let value = |index: i128| match conv.table {
            Some(table) => table[(index.clamp(-512, 511) + 512) as usize],
            None => index.clamp(-128, 127) as i8,
        };
        output.map(value).collect()
    }

    prop_compose! {
        fn convolutions()(geometry in geometries())(
            weights in prop::collection::vec(any::<i8>(), geometry.output.channels * geometry.patch_len()),
            steps in prop::collection::vec(-100_000..=100_000, [1, 3][geometry.input.width % 2] * geometry.output.channels),
            classes in prop::collection::vec(-100_000..=100_000, [0, 2][geometry.input.channels % 2] * geometry.output.channels),
            zero_point in -128i16..=127,
            residual_multipliers in prop::collection::vec(-2000..=2000, geometry.output.channels),
            multipliers in prop::collection::vec((1 << 20)..=(1 << 24), geometry.output.channels),
            output_zero_point in -128..=127,
            table in prop::option::of(prop::collection::vec(any::<i8>(), 1024)),
            geometry in Just(geometry),
        ) -> Conv2dInt8 {
            Conv2dInt8 {
                geometry,
                weights: leak(&weights),
                bias: Bias { steps: leak(&steps), classes: leak(&classes) },
                input_zero_point: zero_point,
                residual_multipliers: leak(&residual_multipliers),
                requantize: Requantize {
                    shift: 3,
                    multipliers: multipliers.iter().map(|m| m * 2).collect::<Vec<i32>>().leak(),
                    zero_point: output_zero_point,
                },
                table: table.map(|table| <&Table>::try_from(leak(&table)).unwrap()),
            }.checked()
        }
    }

    proptest! {
        #[test]
        fn equals_the_definition(conv in convolutions(), seed in any::<u64>()) {
            let condition = Condition { step: (seed % 3) as usize, class: (seed % 2) as usize };
            let bytes = |salt: u64| move |i: usize| ((i as u64 + salt).wrapping_mul(seed | 1) >> 24) as i8;
            let input: Vec<i8> = (0..conv.geometry.input.len()).map(bytes(1)).collect();
            let residual: Vec<i8> = (0..conv.geometry.output.len()).map(bytes(9)).collect();
            let mut patch = vec![0; conv.geometry.patch_len()];

            let mut output = vec![0; residual.len()];
            conv.run(condition, &input, Residual::None, &mut patch, &mut output);
            prop_assert_eq!(&output, &finish(&conv, &oracle(&conv, condition, &input, None)));

            let expected = finish(&conv, &oracle(&conv, condition, &input, Some(&residual)));
            conv.run(condition, &input, Residual::From(&residual), &mut patch, &mut output);
            prop_assert_eq!(&output, &expected);
            output.copy_from_slice(&residual);
            conv.run(condition, &input, Residual::InOutput, &mut patch, &mut output);
            prop_assert_eq!(&output, &expected);
        }

        #[test]
        fn int16_inputs_and_the_float_head(conv in convolutions(), seed in any::<u64>()) {
            let condition = Condition { step: 0, class: 1 };
            let input: Vec<i16> =
                (0..conv.geometry.input.len()).map(|i| ((i as u64 + 5).wrapping_mul(seed | 1) >> 24) as i16 / 4).collect();
            let accs = oracle(&conv, condition, &input, None);
            let mut patch = vec![0; conv.geometry.patch_len()];
            let mut output = vec![0; accs.len()];
            conv.run(condition, &input, Residual::None, &mut patch, &mut output);
            prop_assert_eq!(&output, &finish(&conv, &accs));

            let Conv2dInt8 { geometry, weights, bias, input_zero_point, .. } = conv;
            let scales: Vec<f32> = (0..geometry.output.channels).map(|c| 0.001 + c as f32 / 300.0).collect();
            let head = Conv2dInt8Head { geometry, weights, bias, input_zero_point, scales: leak(&scales) }.checked();
            let mut output = vec![0.0; accs.len()];
            head.run(condition, &input, &mut patch, &mut output);
            let expected: Vec<f32> =
                accs.iter().enumerate().map(|(i, acc)| *acc as f32 * scales[i % scales.len()]).collect();
            prop_assert_eq!(output, expected);
        }
    }

    /// 1×1, one channel, a factor of ½.
    static SMALL: Conv2dInt8 = Conv2dInt8 {
        geometry: Geometry {
            input: Shape { height: 1, width: 4, channels: 1 },
            output: Shape { height: 1, width: 4, channels: 1 },
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0],
            upsample: [1, 1],
        },
        weights: &[127],
        bias: Bias { steps: &[1], classes: &[] },
        input_zero_point: 0,
        residual_multipliers: &[],
        requantize: Requantize { shift: 1, multipliers: &[1 << 30], zero_point: 0 },
        table: None,
    }
    .checked();

    #[test]
    fn saturates_and_ties_go_up() {
        let mut output = [0; 4];
        let condition = Condition { step: 0, class: 0 };
        SMALL.run(condition, &[127i8, -128, 0, -1], Residual::None, &mut [0], &mut output);
        assert_eq!(output, [127, -128, 1, -63]);
    }

    #[test]
    fn short_buffers_change_nothing_or_less() {
        let condition = Condition { step: 7, class: 7 };
        let mut output = [5; 4];
        SMALL.run(condition, &[1i8; 4], Residual::None, &mut [], &mut output);
        assert_eq!(output, [5; 4]);
        SMALL.run(condition, &[1i8; 4], Residual::None, &mut [0], &mut output[..2]);
        assert_eq!(output, [64, 64, 5, 5]);
        SMALL.run::<i8>(condition, &[], Residual::From(&[]), &mut [0; 9], &mut output);
        assert_eq!(output, [1; 4], "a missing input counts as padding");
    }

    #[test]
    fn misfits_are_found() {
        let misfits = [
            Conv2dInt8 { weights: &[1, 2], ..SMALL },
            Conv2dInt8 { bias: Bias { steps: &[], classes: &[] }, ..SMALL },
            Conv2dInt8 { residual_multipliers: &[1, 2], ..SMALL },
            Conv2dInt8 { requantize: Requantize { multipliers: &[3], ..SMALL.requantize }, ..SMALL },
            Conv2dInt8 { geometry: Geometry { stride: [1, 0], ..SMALL.geometry }, ..SMALL },
        ];
        for misfit in misfits {
            assert!(std::panic::catch_unwind(|| misfit.checked()).is_err(), "{misfit:?}");
        }
    }
}
