//! Convolution with int8 weights: exact 32-bit sums, one rounding.

use crate::conditioning::{Bias, Condition};
use crate::epilogue::Epilogue;
use crate::geometry::Geometry;
use crate::isa::{Convolution, Isa, ToFloat, ToInt8};
use crate::maps::{Code, Maps};
use crate::residual::Residual;

/// A convolution's sums.
///
/// ```text
/// sum[oc] = bias.steps[step][oc] + bias.classes[class][oc]
///         + Σ_{ky,kx,ic} weights[oc][ky][kx][ic] · patch[ky][kx][ic]
/// ```
///
/// The input is one map, or two whose channels follow each other; they keep their zero points: taps outside a map meet
/// its `zero_points` entry, and every zero point's product (a residual's too: it is one more tap) is in the bias.
/// Weights are symmetric, scaled per output channel. The code generator bounds |sum| · 2^shift, with and without the
/// residual, below 2³¹ over all inputs, so that no sum can overflow in any order. Cost: [`Geometry::macs`]; scratch:
/// [`crate::isa::Packing::scratch_words`].
#[derive(Clone, Copy, Debug)]
pub struct Sums {
    /// Shapes; the input's channels are those of all maps.
    pub geometry: Geometry,
    /// Channels of each input map; the second's are 0 where there is one.
    pub channels: [usize; 2],
    /// What stands for 0 in each input map.
    pub zero_points: [i16; 2],
    /// `[out_c][k_h][k_w][in_c]`, packed as [`crate::isa::Packing`] says.
    pub weights: &'static [i8],
    /// In units of input scale × weight scale.
    pub bias: Bias<i32>,
}

impl Sums {
    const fn check<I: Isa>(&self) {
        let Self { geometry, channels, weights, bias, .. } = self;
        assert!(geometry.is_valid(), "no dimension is 0");
        assert!(channels[0] > 0 && channels[0] + channels[1] == geometry.input.channels, "the maps' channels add up");
        let len = I::PACKING.packed_len(geometry.patch_len(), geometry.output.channels);
        assert!(weights.len() == len, "weights are packed for this instruction set");
        assert!(bias.is_valid(geometry.output.channels), "bias tables are rows of a value a channel");
    }

    /// With what is known when it runs.
    fn convolution<'a, X>(&'a self, condition: Condition, maps: [&'a [X]; 2]) -> Convolution<'a, X> {
        let Self { geometry, channels, zero_points, weights, bias } = self;
        Convolution {
            geometry,
            weights,
            biases: bias.rows(condition, geometry.output.channels),
            input: Maps { maps, channels: *channels, zero_points: *zero_points },
        }
    }
}

/// int8 or int16 maps → int8 map: [`Sums`], then [`Epilogue`].
#[derive(Clone, Copy, Debug)]
pub struct Conv2dInt8 {
    /// From maps to sums.
    pub sums: Sums,
    /// From sums to int8.
    pub epilogue: Epilogue,
}

impl Conv2dInt8 {
    /// Itself, for a static's initialiser.
    ///
    /// # Panics
    /// At compile time there, when lengths and geometry disagree or a multiplier is out of range.
    #[must_use]
    pub const fn checked<I: Isa>(self) -> Self {
        self.sums.check::<I>();
        assert!(
            self.epilogue.is_valid(self.sums.geometry.output.channels),
            "one even, positive multiplier a channel, one residual multiplier a channel or none; zero point and shift in range"
        );
        self
    }

    /// Runs the layer on one or two maps of int8 or int16, the second empty where there is one.
    #[inline(never)]
    pub fn run<I: Isa, X: Code>(
        &self,
        condition: Condition,
        maps: [&[X]; 2],
        residual: Residual<'_, i8>,
        scratch: &mut [i32],
        output: &mut [i8],
    ) {
        let finish = ToInt8 { epilogue: &self.epilogue, residual };
        I::conv2d(&self.sums.convolution(condition, maps), &finish, scratch, output);
    }
}

/// int8 or int16 maps → f32 map, for a network's last layer: `out = sum as f32 · scales[oc]`, the sum being that of
/// [`Sums`]; one f32 rounding in the conversion (none below 2²⁴) and one in the product.
#[derive(Clone, Copy, Debug)]
pub struct Conv2dInt8Head {
    /// From maps to sums.
    pub sums: Sums,
    /// `[out_c]`, input scale × weight scale.
    pub scales: &'static [f32],
}

impl Conv2dInt8Head {
    /// Itself, for a static's initialiser.
    ///
    /// # Panics
    /// At compile time there, when lengths and geometry disagree.
    #[must_use]
    pub const fn checked<I: Isa>(self) -> Self {
        self.sums.check::<I>();
        assert!(self.scales.len() == self.sums.geometry.output.channels, "one scale a channel");
        self
    }

    /// Runs the layer on one or two maps of int8 or int16, the second empty where there is one.
    #[inline(never)]
    pub fn run<I: Isa, X: Code>(&self, condition: Condition, maps: [&[X]; 2], scratch: &mut [i32], output: &mut [f32]) {
        I::conv2d(&self.sums.convolution(condition, maps), &ToFloat { scales: self.scales }, scratch, output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::tests::geometries;
    use crate::isa::{Packing, Portable};
    use crate::requantize::{Requantize, Table};
    use crate::shape::Shape;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    /// Leaks: tests make their statics as they go.
    fn leak<T: Clone>(values: &[T]) -> &'static [T] {
        values.to_vec().leak()
    }

    /// Packings of every kind, without instructions.
    macro_rules! packings {
        ($($name:ident: $packing:expr;)*) => {$(
            #[derive(Clone, Copy, Debug)]
            struct $name;
            impl Isa for $name {
                const NAME: &'static str = stringify!($name);
                const PACKING: Packing = $packing;
            }
        )*};
    }
    packings! {
        Pairs: Packing { channels: 4, pixels: 2, depth: 2, interleave: 2 };
        Quads: Packing { channels: 16, pixels: 3, depth: 4, interleave: 1 };
    }

    /// A convolution before its weights are packed.
    #[derive(Clone, Copy, Debug)]
    struct Plain(Conv2dInt8);

    impl Plain {
        fn pack<I: Isa>(self) -> Conv2dInt8 {
            let Sums { geometry, weights, .. } = self.0.sums;
            let (taps, out_c) = (geometry.patch_len(), geometry.output.channels);
            let mut packed = vec![0; I::PACKING.packed_len(taps, out_c)];
            for (i, weight) in weights.iter().enumerate() {
                packed[I::PACKING.place(taps, i / taps, i % taps)] = *weight;
            }
            Conv2dInt8 { sums: Sums { weights: packed.leak(), ..self.0.sums }, ..self.0 }.checked::<I>()
        }

        /// The sums as the documentation defines them, in 64 bits.
        fn oracle<X: Copy + Into<i64>>(
            &self,
            condition: Condition,
            maps: [&[X]; 2],
            residual: Option<&[i8]>,
        ) -> Vec<i64> {
            let Conv2dInt8 { sums: Sums { geometry, channels, zero_points, weights, bias }, epilogue } = self.0;
            let Geometry { output, kernel, input: Shape { channels: in_c, .. }, .. } = geometry;
            let parts = [0, 1].map(|part| {
                let input = Shape { channels: channels[part], ..geometry.input };
                Geometry { input, ..geometry }
            });
            let mut accs = Vec::new();
            for (y, x) in output.positions() {
                for oc in 0..output.channels {
                    let step = if bias.steps.len() == output.channels { 0 } else { condition.step };
                    let mut acc = i64::from(bias.steps[step * output.channels + oc]);
                    if !bias.classes.is_empty() {
                        acc += i64::from(bias.classes[condition.class * output.channels + oc]);
                    }
                    for (ky, kx) in (Shape { height: kernel[0], width: kernel[1], channels: 0 }).positions() {
                        for ic in 0..in_c {
                            let weight = weights[((oc * kernel[0] + ky) * kernel[1] + kx) * in_c + ic];
                            let part = usize::from(ic >= channels[0]);
                            let value = parts[part].oracle(maps[part], [y, x], [ky, kx, ic - part * channels[0]]);
                            acc += i64::from(weight) * value.map_or(i64::from(zero_points[part]), X::into);
                        }
                    }
                    if let Some(residual) = residual {
                        acc += i64::from(epilogue.residual_multipliers[oc]) * i64::from(residual[accs.len()]);
                    }
                    accs.push(acc);
                }
            }
            accs
        }
    }

    /// The epilogue as the documentation defines it.
    fn finish(epilogue: &Epilogue, accs: &[i64]) -> Vec<i8> {
        let Requantize { shift, multipliers, zero_point } = epilogue.requantize;
        let index = |(i, acc): (usize, &i64)| {
            let product = i128::from(*acc) * (1 << shift) * i128::from(multipliers[i % multipliers.len()]);
            (product + (1 << 31)).div_euclid(1 << 32) + i128::from(zero_point)
        };
        let output = accs.iter().enumerate().map(index);
        let value = |index: i128| match epilogue.table {
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
            second in 0..geometry.input.channels,
            zero_points in [-128i16..=127, -128i16..=127],
            residual_multipliers in prop::collection::vec(-2000..=2000, geometry.output.channels),
            multipliers in prop::collection::vec((1 << 20)..=(1 << 24), geometry.output.channels),
            output_zero_point in -128..=127,
            table in prop::option::of(prop::collection::vec(any::<i8>(), 1024)),
            geometry in Just(geometry),
        ) -> Plain {
            let sums = Sums {
                geometry,
                channels: [geometry.input.channels - second, second],
                zero_points,
                weights: leak(&weights),
                bias: Bias { steps: leak(&steps), classes: leak(&classes) },
            };
            let epilogue = Epilogue {
                residual_multipliers: leak(&residual_multipliers),
                requantize: Requantize {
                    shift: 3,
                    multipliers: multipliers.iter().map(|m| m * 2).collect::<Vec<i32>>().leak(),
                    zero_point: output_zero_point,
                },
                table: table.map(|table| <&Table>::try_from(leak(&table)).unwrap()),
            };
            Plain(Conv2dInt8 { sums, epilogue })
        }
    }

    /// Both maps of a convolution.
    fn maps<X>(sums: &Sums, value: impl Fn(usize) -> X + Copy) -> [Vec<X>; 2] {
        let pixels = sums.geometry.input.height * sums.geometry.input.width;
        sums.channels.map(|channels| (channels..channels * (pixels + 1)).map(value).collect())
    }

    fn check<I: Isa>(plain: Plain, seed: u64) -> Result<(), TestCaseError> {
        let conv = plain.pack::<I>();
        let condition = Condition { step: (seed % 3) as usize, class: (seed % 2) as usize };
        let bytes = |salt: u64| move |i: usize| ((i as u64 + salt).wrapping_mul(seed | 1) >> 24) as i8;
        let (input, wide) = (maps(&conv.sums, bytes(1)), maps(&conv.sums, |i| i16::from(bytes(5)(i)) * 40));
        let (input, wide) = ([&input[0][..], &input[1]], [&wide[0][..], &wide[1]]);
        let residual: Vec<i8> = (0..conv.sums.geometry.output.len()).map(bytes(9)).collect();
        let mut scratch = vec![i32::MIN; I::PACKING.scratch_words(&conv.sums.geometry)];

        let mut output = vec![0; residual.len()];
        conv.run::<I, _>(condition, input, Residual::None, &mut scratch, &mut output);
        prop_assert_eq!(&output, &finish(&conv.epilogue, &plain.oracle(condition, input, None)));

        let expected = finish(&conv.epilogue, &plain.oracle(condition, input, Some(&residual)));
        conv.run::<I, _>(condition, input, Residual::From(&residual), &mut scratch, &mut output);
        prop_assert_eq!(&output, &expected);
        output.copy_from_slice(&residual);
        conv.run::<I, _>(condition, input, Residual::InOutput, &mut scratch, &mut output);
        prop_assert_eq!(&output, &expected);

        let sums = plain.oracle(condition, wide, None);
        conv.run::<I, _>(condition, wide, Residual::None, &mut scratch, &mut output);
        prop_assert_eq!(&output, &finish(&conv.epilogue, &sums));
        let scales: Vec<f32> = (0..conv.sums.geometry.output.channels).map(|c| 0.001 + c as f32 / 300.0).collect();
        let head = Conv2dInt8Head { sums: conv.sums, scales: leak(&scales) }.checked::<I>();
        let mut output = vec![0.0; sums.len()];
        head.run::<I, _>(condition, wide, &mut scratch, &mut output);
        let expected: Vec<f32> =
            sums.iter().enumerate().map(|(i, sum)| *sum as f32 * scales[i % scales.len()]).collect();
        prop_assert_eq!(output, expected);
        Ok(())
    }

    proptest! {
        #[test]
        fn equals_the_definition(plain in convolutions(), seed in any::<u64>()) {
            check::<Portable>(plain, seed)?;
            check::<Pairs>(plain, seed)?;
            check::<Quads>(plain, seed)?;
        }
    }

    /// 1×1, one channel, a factor of ½; packed for [`Pairs`] but for its weights' length.
    static SMALL: Conv2dInt8 = Conv2dInt8 {
        sums: Sums {
            geometry: Geometry {
                input: Shape { height: 1, width: 4, channels: 1 },
                output: Shape { height: 1, width: 4, channels: 1 },
                kernel: [1, 1],
                stride: [1, 1],
                padding: [0, 0],
                upsample: [1, 1],
            },
            channels: [1, 0],
            zero_points: [0; 2],
            weights: &[127, 0, 0, 0],
            bias: Bias { steps: &[1], classes: &[] },
        },
        epilogue: Epilogue {
            residual_multipliers: &[],
            requantize: Requantize { shift: 1, multipliers: &[1 << 30], zero_point: 0 },
            table: None,
        },
    }
    .checked::<Portable>();

    #[test]
    fn saturates_and_ties_go_up() {
        let mut output = [0; 4];
        let condition = Condition { step: 0, class: 0 };
        SMALL.run::<Portable, i8>(condition, [&[127, -128, 0, -1], &[]], Residual::None, &mut [0; 9], &mut output);
        assert_eq!(output, [127, -128, 1, -63]);
    }

    #[test]
    fn short_buffers_change_nothing_or_less() {
        let condition = Condition { step: 7, class: 7 };
        let mut output = [5; 4];
        let run = |scratch: &mut [i32], input: &[i8], output: &mut [i8]| {
            SMALL.run::<Portable, i8>(condition, [input, &[]], Residual::From(&[]), scratch, output);
        };
        run(&mut [], &[1; 4], &mut output);
        run(&mut [0; 8], &[1; 4], &mut output);
        assert_eq!(output, [5; 4]);
        run(&mut [0; 9], &[1; 4], &mut output[..2]);
        assert_eq!(output, [64, 64, 5, 5]);
    }

    #[test]
    fn misfits_are_found() {
        let Conv2dInt8 { sums, epilogue } = SMALL;
        let misfits = [
            Conv2dInt8 { sums: Sums { weights: &[1, 2], ..sums }, epilogue },
            Conv2dInt8 { sums: Sums { channels: [1, 1], ..sums }, epilogue },
            Conv2dInt8 { sums: Sums { bias: Bias { steps: &[], classes: &[] }, ..sums }, epilogue },
            Conv2dInt8 { sums: Sums { geometry: Geometry { stride: [1, 0], ..sums.geometry }, ..sums }, epilogue },
            Conv2dInt8 { sums, epilogue: Epilogue { residual_multipliers: &[1, 2], ..epilogue } },
            Conv2dInt8 {
                sums,
                epilogue: Epilogue { requantize: Requantize { multipliers: &[3], ..epilogue.requantize }, ..epilogue },
            },
        ];
        for misfit in misfits {
            assert!(std::panic::catch_unwind(|| misfit.checked::<Portable>()).is_err(), "{misfit:?}");
        }
        assert!(std::panic::catch_unwind(|| SMALL.checked::<Quads>()).is_err());
    }
}
