//! Convolution with int8 weights: exact 32-bit sums, one rounding.

use core::marker::PhantomData;

use super::buffers::{Buffers, Lens, fit};
use super::proved::{Proved, provable, require, same_packing};
use crate::conditioning::{Bias, Condition};
use crate::epilogue::{Epilogue, FineEpilogue};
use crate::geometry::Geometry;
use crate::isa::{Convolution, Isa, ToCode, ToFloat, ToInt8};
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
/// [`Isa::scratch_words`].
#[derive(Clone, Copy, Debug)]
pub struct Sums<'a> {
    /// Shapes; the input's channels are those of all maps.
    pub geometry: Geometry,
    /// Channels of each input map; the second's are 0 where there is one.
    pub channels: [usize; 2],
    /// What stands for 0 in each input map.
    pub zero_points: [i16; 2],
    /// `[out_c][k_h][k_w][in_c]`, packed as [`Isa::place_weight`] and [`Isa::recode`] say; −127 to 127.
    pub weights: &'a [i8],
    /// In units of input scale × weight scale.
    pub bias: Bias<'a, i32>,
}

impl Sums<'_> {
    const fn check<I: Isa>(&self) -> Result<(), &'static str> {
        let Self { geometry, channels: [first, second], weights, bias, .. } = self;
        require!(geometry.is_valid(), "a dimension is 0, or a map has more elements than 32 bits count");
        require!(
            *first > 0 && *first <= geometry.input.channels && *second == geometry.input.channels - *first,
            "the maps' channels add up to the geometry's"
        );
        require!(weights.len() == I::PACKING.packed_len(geometry), "weights are packed for this instruction set");
        require!(bias.is_valid(geometry.output.channels), "bias tables are rows of a value a channel");
        Ok(())
    }

    /// Elements of its maps.
    pub(super) const fn lens(&self) -> Lens {
        Lens::of(&self.geometry, self.channels)
    }

    /// With what is known when it runs.
    fn convolution<'b, X>(&'b self, condition: Condition, maps: [&'b [X]; 2]) -> Convolution<'b, X> {
        let Self { geometry, channels, zero_points, weights, bias } = self;
        Convolution {
            geometry,
            weights,
            biases: bias.rows(condition, geometry.output.channels),
            input: Maps { maps, channels: *channels, zero_points: *zero_points },
        }
    }
}

/// What is wrong with an epilogue.
pub(super) const BAD_EPILOGUE: &str =
    "one even, positive multiplier a channel, one residual multiplier a channel or none; zero point and shift in range";

/// int8 or int16 maps → int8 map: [`Sums`], then [`Epilogue`].
#[derive(Clone, Copy, Debug)]
pub struct Conv2dInt8<'a> {
    /// From maps to sums.
    pub sums: Sums<'a>,
    /// From sums to int8.
    pub epilogue: Epilogue<'a>,
}

impl Conv2dInt8<'_> {
    const fn check<I: Isa>(&self) -> Result<(), &'static str> {
        if let Err(reason) = self.sums.check::<I>() {
            return Err(reason);
        }
        require!(self.epilogue.is_valid(self.sums.geometry.output.channels), BAD_EPILOGUE);
        Ok(())
    }
}

impl<P: Isa> Proved<Conv2dInt8<'_>, P> {
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
        same_packing!(P, I);
        let Conv2dInt8 { sums, epilogue } = core::hint::black_box(self).parameters();
        let words = [scratch.len(), I::scratch_words(&sums.geometry)];
        let Some(Buffers { maps, residual, output }) = fit(sums.lens(), maps, residual, words, output) else { return };
        I::conv2d(&sums.convolution(condition, maps), &ToInt8 { epilogue, residual }, scratch, output);
    }
}

/// int8 or int16 maps → int8 or int16 map, where the result or its residual is int16: [`Sums`], then [`FineEpilogue`].
#[derive(Clone, Copy, Debug)]
pub struct Conv2dFine<'a> {
    /// From maps to sums.
    pub sums: Sums<'a>,
    /// From sums to codes.
    pub epilogue: FineEpilogue<'a>,
}

impl Conv2dFine<'_> {
    const fn check<I: Isa>(&self) -> Result<(), &'static str> {
        if let Err(reason) = self.sums.check::<I>() {
            return Err(reason);
        }
        require!(self.epilogue.is_valid(self.sums.geometry.output.channels), BAD_EPILOGUE);
        Ok(())
    }
}

impl<P: Isa> Proved<Conv2dFine<'_>, P> {
    /// Runs the layer on one or two maps of int8 or int16, the second empty where there is one. A residual in the output's
    /// place is of the output's type.
    #[inline(never)]
    pub fn run<I: Isa, X: Code, R: Code, Y: Code>(
        &self,
        condition: Condition,
        maps: [&[X]; 2],
        residual: Residual<'_, R>,
        scratch: &mut [i32],
        output: &mut [Y],
    ) {
        same_packing!(P, I);
        let Conv2dFine { sums, epilogue } = self.parameters();
        let words = [scratch.len(), I::scratch_words(&sums.geometry)];
        let Some(Buffers { maps, residual, output }) = fit(sums.lens(), maps, residual, words, output) else { return };
        let finish = ToCode { epilogue, residual, output: PhantomData };
        I::conv2d(&sums.convolution(condition, maps), &finish, scratch, output);
    }
}

/// int8 or int16 maps → f32 map, for a network's last layer: `out = sum as f32 · scales[oc]`, the sum being that of
/// [`Sums`]; one f32 rounding in the conversion (none below 2²⁴) and one in the product.
#[derive(Clone, Copy, Debug)]
pub struct Conv2dInt8Head<'a> {
    /// From maps to sums.
    pub sums: Sums<'a>,
    /// `[out_c]`, input scale × weight scale.
    pub scales: &'a [f32],
}

impl Conv2dInt8Head<'_> {
    const fn check<I: Isa>(&self) -> Result<(), &'static str> {
        if let Err(reason) = self.sums.check::<I>() {
            return Err(reason);
        }
        require!(self.scales.len() == self.sums.geometry.output.channels, "one scale a channel");
        Ok(())
    }
}

impl<P: Isa> Proved<Conv2dInt8Head<'_>, P> {
    /// Runs the layer on one or two maps of int8 or int16, the second empty where there is one.
    #[inline(never)]
    pub fn run<I: Isa, X: Code>(&self, condition: Condition, maps: [&[X]; 2], scratch: &mut [i32], output: &mut [f32]) {
        same_packing!(P, I);
        let Conv2dInt8Head { sums, scales } = self.parameters();
        let words = [scratch.len(), I::scratch_words(&sums.geometry)];
        let none = Residual::<f32>::None;
        let Some(Buffers { maps, output, .. }) = fit(sums.lens(), maps, none, words, output) else { return };
        I::conv2d(&sums.convolution(condition, maps), &ToFloat { scales }, scratch, output);
    }

    /// Some rows of it, see [`Geometry::rows`].
    pub(super) const fn part(&self, geometry: Geometry) -> Self {
        let Conv2dInt8Head { sums, scales } = *self.parameters();
        Self::new(Conv2dInt8Head { sums: Sums { geometry, ..sums }, scales })
    }
}

/// What generated code and programs compare their buffers with.
macro_rules! lens {
    ($($kernel:ident)*) => {$(
        impl<P: Isa> Proved<$kernel<'_>, P> {
            /// Elements of each map that it reads; 0 for a second that there is not.
            #[must_use]
            pub const fn input_lens(&self) -> [usize; 2] {
                self.parameters().sums.lens().inputs
            }

            /// Elements of its output, and of a residual.
            #[must_use]
            pub const fn output_len(&self) -> usize {
                self.parameters().sums.lens().output
            }

            /// 32-bit words of scratch.
            #[must_use]
            pub const fn scratch_len(&self) -> usize {
                P::SCRATCH.words(&P::PACKING, &self.parameters().sums.geometry)
            }
        }
    )*};
}
lens! { Conv2dInt8 Conv2dFine Conv2dInt8Head }

provable! {
    ['a] Conv2dInt8<'a>, packed for I;
    ['a] Conv2dFine<'a>, packed for I;
    ['a] Conv2dInt8Head<'a>, packed for I;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::tests::{geometries, long_geometries};
    use crate::isa::{Avx2, Avx512Vnni, Helium, Portable};
    use crate::kernel::oracle::{Pairs, Plain, Quads, bytes, convolutions, fine, finish, leak, maps};
    use crate::requantize::{FineTable, Requantize};
    use crate::shape::Shape;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    fn check<I: Isa>(plain: Plain, seed: u64) -> Result<(), TestCaseError> {
        let proved = plain.pack::<I>();
        let conv = proved.parameters();
        let condition = Condition { step: (seed % 3) as usize, class: (seed % 2) as usize };
        let (input, wide) = (maps(&conv.sums, bytes(seed, 1)), maps(&conv.sums, |i| i16::from(bytes(seed, 5)(i)) * 40));
        let (input, wide) = ([&input[0][..], &input[1]], [&wide[0][..], &wide[1]]);
        let residual: Vec<i8> = (0..conv.sums.geometry.output.len()).map(bytes(seed, 9)).collect();
        let mut scratch = vec![i32::MIN; proved.scratch_len()];

        let mut output = vec![0; residual.len()];
        proved.run::<I, _>(condition, input, Residual::None, &mut scratch, &mut output);
        prop_assert_eq!(&output, &finish(&conv.epilogue, &plain.oracle(condition, input, None)));

        let expected = finish(&conv.epilogue, &plain.oracle(condition, input, Some(&residual)));
        proved.run::<I, _>(condition, input, Residual::From(&residual), &mut scratch, &mut output);
        prop_assert_eq!(&output, &expected);
        output.copy_from_slice(&residual);
        proved.run::<I, _>(condition, input, Residual::InOutput, &mut scratch, &mut output);
        prop_assert_eq!(&output, &expected);

        check_fine::<I, _>(&plain, conv, condition, input, &mut scratch, seed)?;
        check_fine::<I, _>(&plain, conv, condition, wide, &mut scratch, seed)?;

        let sums = plain.oracle(condition, wide, None);
        proved.run::<I, _>(condition, wide, Residual::None, &mut scratch, &mut output);
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

    /// Every type of output with every residual.
    fn check_fine<I: Isa, X: Code + Into<i64>>(
        plain: &Plain,
        conv: &Conv2dInt8<'_>,
        condition: Condition,
        input: [&[X]; 2],
        scratch: &mut [i32],
        seed: u64,
    ) -> Result<(), TestCaseError> {
        let sums = plain.oracle(condition, input, None);
        let table: FineTable = core::array::from_fn(|knot| i16::from(bytes(seed, 21)(knot)) * 15);
        let epilogue = FineEpilogue {
            residual_multipliers: conv.epilogue.residual_multipliers,
            residual_zero_point: (seed % 99) as i32,
            requantize: conv.epilogue.requantize,
            table: conv.epilogue.table.map(|_| leak(&[table]).first().unwrap()),
        };
        let layer = Conv2dFine { sums: conv.sums, epilogue };
        let conv = layer.checked::<I>();
        let narrow: Vec<i8> = (0..sums.len()).map(bytes(seed, 9)).collect();
        let wide: Vec<i16> = narrow.iter().map(|code| i16::from(*code) * 13).collect();
        let codes = |residual: &dyn Fn(usize) -> Option<i32>| -> Vec<i32> {
            sums.iter().enumerate().map(|(i, sum)| fine(&epilogue, *sum, i, residual(i))).collect()
        };
        let [plain, narrow_added, wide_added] =
            [codes(&|_| None), codes(&|i| Some(narrow[i].into())), codes(&|i| Some(wide[i].into()))];
        let from_fine = |codes: &[i32]| codes.iter().map(|code| i8::from_fine(*code)).collect::<Vec<i8>>();
        let mut output = vec![0i8; sums.len()];
        conv.run::<I, _, _, _>(condition, input, Residual::From(&wide), scratch, &mut output);
        prop_assert_eq!(&output, &from_fine(&wide_added));
        conv.run::<I, _, _, _>(condition, input, Residual::From(&narrow), scratch, &mut output);
        prop_assert_eq!(&output, &from_fine(&narrow_added));
        output.copy_from_slice(&narrow);
        conv.run::<I, _, i8, _>(condition, input, Residual::InOutput, scratch, &mut output);
        prop_assert_eq!(&output, &from_fine(&narrow_added));

        let from_fine = |codes: &[i32]| codes.iter().map(|code| i16::from_fine(*code)).collect::<Vec<i16>>();
        let without = FineEpilogue { residual_multipliers: &[], ..epilogue };
        let mut output = vec![0i16; sums.len()];
        let bare = Conv2dFine { epilogue: without, ..layer }.checked::<I>();
        bare.run::<I, _, i16, _>(condition, input, Residual::None, scratch, &mut output);
        prop_assert_eq!(&output, &from_fine(&plain));
        conv.run::<I, _, _, _>(condition, input, Residual::From(&narrow), scratch, &mut output);
        prop_assert_eq!(&output, &from_fine(&narrow_added));
        output.copy_from_slice(&wide);
        conv.run::<I, _, i16, _>(condition, input, Residual::InOutput, scratch, &mut output);
        prop_assert_eq!(&output, &from_fine(&wide_added));
        Ok(())
    }

    proptest! {
        #[test]
        fn equals_the_definition(plain in convolutions(geometries()), seed in any::<u64>()) {
            check::<Portable>(plain, seed)?;
            check::<Pairs>(plain, seed)?;
            check::<Quads>(plain, seed)?;
            check::<Helium>(plain, seed)?;
            check::<Avx2>(plain, seed)?;
            check::<Avx512Vnni>(plain, seed)?;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn fills_registers(plain in convolutions(long_geometries()), seed in any::<u64>()) {
            check::<Quads>(plain, seed)?;
            check::<Avx2>(plain, seed)?;
            check::<Avx512Vnni>(plain, seed)?;
        }
    }

    /// 1×1, one channel, a factor of ½; packed for [`Pairs`] but for its weights' length.
    static SMALL: Proved<Conv2dInt8> = Conv2dInt8 {
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
    fn misfits_are_found() {
        let Conv2dInt8 { sums, epilogue } = *SMALL.parameters();
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
            assert!(misfit.proved::<Portable>().is_err(), "{misfit:?}");
        }
        assert_eq!(SMALL.parameters().proved::<Quads>().err(), Some("weights are packed for this instruction set"));
        assert!(std::panic::catch_unwind(|| SMALL.parameters().checked::<Quads>()).is_err());
    }
}
