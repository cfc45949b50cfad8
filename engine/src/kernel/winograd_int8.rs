//! 3×3 convolution by Winograd's method: the bits of [`super::Conv2dInt8`] and [`super::Conv2dFine`] for 16 products
//! instead of 36.

use core::marker::PhantomData;

use super::buffers::{Buffers, Lens, fit};
use super::conv2d_int8::BAD_EPILOGUE;
use super::proved::{Proved, provable, require, same_packing};
use crate::conditioning::{Bias, Condition};
use crate::epilogue::{Epilogue, FineEpilogue};
use crate::geometry::Geometry;
use crate::isa::winograd::{self, Winograd};
use crate::isa::{Finish, Isa, ToCode, ToInt8};
use crate::maps::{Code, Maps};
use crate::residual::Residual;

/// A convolution's sums, as [`super::Sums`] defines them, for the geometries and codes that [`winograd::fits`] names.
///
/// Cost: 16 products of int16 for four outputs, 9 with an enlargement by 2, and the transforms.
#[derive(Clone, Copy, Debug)]
pub struct WinogradSums<'a, W> {
    /// Shapes; the input's channels are those of all maps.
    pub geometry: Geometry,
    /// Channels of each input map; the second's are 0 where there is one.
    pub channels: [usize; 2],
    /// What stands for 0 in each input map.
    pub zero_points: [i16; 2],
    /// int16: transformed and packed as [`winograd::place`] says; int8: as [`winograd::plain_place`] says.
    pub weights: &'a [W],
    /// In units of input scale × weight scale.
    pub bias: Bias<'a, i32>,
}

impl<W> WinogradSums<'_, W> {
    const fn check(&self, weights: usize) -> Result<(), &'static str> {
        let Self { geometry, channels: [first, second], bias, .. } = self;
        require!(geometry.is_valid(), "a dimension is 0, or a map has more elements than 32 bits count");
        require!(
            winograd::fits(geometry, 128),
            "3×3, stride 1, padding 1, an enlargement of 1 or 2, no output beyond the map, no more channels than int32 holds"
        );
        require!(
            *first > 0 && *first <= geometry.input.channels && *second == geometry.input.channels - *first,
            "the maps' channels add up to the geometry's"
        );
        require!(self.weights.len() == weights, "weights are packed for this instruction set");
        require!(bias.is_valid(geometry.output.channels), "bias tables are rows of a value a channel");
        Ok(())
    }

    /// Elements of its maps.
    const fn lens(&self) -> Lens {
        Lens::of(&self.geometry, self.channels)
    }

    /// With what is known when it runs: `count` output channels from `first`, and their transformed weights.
    fn part<'b, X>(
        &'b self,
        [first, count]: [usize; 2],
        weights: &'b [i16],
        condition: Condition,
        maps: [&'b [X]; 2],
    ) -> Winograd<'b, X> {
        let Self { geometry, channels, zero_points, bias, .. } = self;
        Winograd {
            geometry,
            first,
            count,
            weights,
            biases: bias.rows(condition, geometry.output.channels),
            input: Maps { maps, channels: *channels, zero_points: *zero_points },
        }
    }
}

impl WinogradSums<'_, i16> {
    const fn check_packed<I: Isa>(&self) -> Result<(), &'static str> {
        self.check(winograd::packed_len(&I::WIDE, &self.geometry))
    }

    #[inline(always)]
    fn run<I: Isa, X: Code, F: Finish>(
        &self,
        condition: Condition,
        maps: [&[X]; 2],
        finish: &F,
        scratch: &mut [i32],
        output: &mut [F::Element],
    ) {
        let channels = [0, self.geometry.output.channels];
        I::winograd(&self.part(channels, self.weights, condition, maps), finish, scratch, output);
    }
}

impl WinogradSums<'_, i8> {
    const fn check_plain<I: Isa>(&self, group: usize) -> Result<(), &'static str> {
        let blocks = self.geometry.output.channels.div_ceil(I::WIDE.channels);
        require!(
            group > 0 && group.is_multiple_of(I::WIDE.channels) && group / I::WIDE.channels <= blocks,
            "groups are whole blocks of channels, and no more than there are"
        );
        self.check(winograd::plain_len(&self.geometry))
    }

    /// `group` output channels at a time: their weights are transformed into scratch.
    #[inline(always)]
    fn run<I: Isa, X: Code, F: Finish>(
        &self,
        group: usize,
        condition: Condition,
        maps: [&[X]; 2],
        finish: &F,
        scratch: &mut [i32],
        output: &mut [F::Element],
    ) {
        let geometry = &self.geometry;
        let words = (group.div_ceil(I::WIDE.channels) * winograd::block_len(&I::WIDE, geometry)).div_ceil(2);
        let Some((transformed, scratch)) = scratch.split_at_mut_checked(words) else { return };
        let transformed: &mut [i16] = bytemuck::try_cast_slice_mut(transformed).unwrap_or_default();
        let out_c = geometry.output.channels;
        let channel_len = winograd::plain_len(geometry) / out_c.max(1);
        for (index, plain) in self.weights.chunks((group * channel_len).max(1)).enumerate() {
            let first = index * group;
            let count = group.min(out_c.saturating_sub(first));
            let len = count.div_ceil(I::WIDE.channels) * winograd::block_len(&I::WIDE, geometry);
            let Some(weights) = transformed.get_mut(..len) else { return };
            I::winograd_weights(geometry, plain, weights);
            I::winograd(&self.part([first, count], weights, condition, maps), finish, scratch, output);
        }
    }
}

/// int8 or fine map(s) → int8 map with transformed weights in flash: 3.6 times the bytes of int8, 2 with an enlargement.
///
/// Scratch: [`winograd::scratch_words`] without a group.
#[derive(Clone, Copy, Debug)]
pub struct WinogradInt8<'a> {
    /// From maps to sums.
    pub sums: WinogradSums<'a, i16>,
    /// From sums to int8.
    pub epilogue: Epilogue<'a>,
}

/// The same where the result or its residual is fine.
#[derive(Clone, Copy, Debug)]
pub struct WinogradFine<'a> {
    /// From maps to sums.
    pub sums: WinogradSums<'a, i16>,
    /// From sums to codes.
    pub epilogue: FineEpilogue<'a>,
}

/// int8 or fine map(s) → int8 map with int8 weights in flash, which it transforms into scratch, `group` output channels at
/// a time; the maps are transformed once a group.
///
/// Scratch: [`winograd::scratch_words`] with the group.
#[derive(Clone, Copy, Debug)]
pub struct WinogradInRamInt8<'a> {
    /// From maps to sums.
    pub sums: WinogradSums<'a, i8>,
    /// From sums to int8.
    pub epilogue: Epilogue<'a>,
    /// Output channels at a time, a multiple of [`Isa::WIDE`]'s channels.
    pub group: usize,
}

/// The same where the result or its residual is fine.
#[derive(Clone, Copy, Debug)]
pub struct WinogradInRamFine<'a> {
    /// From maps to sums.
    pub sums: WinogradSums<'a, i8>,
    /// From sums to codes.
    pub epilogue: FineEpilogue<'a>,
    /// Output channels at a time, a multiple of [`Isa::WIDE`]'s channels.
    pub group: usize,
}

macro_rules! layers {
    ($($int8:ident, $fine:ident: $check:ident $(, $group:ident)?;)*) => {$(
        layers!(@proof $int8: $check $(, $group)?);
        layers!(@proof $fine: $check $(, $group)?);

        impl<P: Isa> Proved<$int8<'_>, P> {
            /// Runs the layer on one or two maps, the second empty where there is one.
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
                let $int8 { sums, epilogue $(, $group)? } = self.parameters();
                let words = [scratch.len(), self.scratch_len()];
                let Some(Buffers { maps, residual, output }) = fit(sums.lens(), maps, residual, words, output) else {
                    return;
                };
                sums.run::<I, X, _>($(*$group,)? condition, maps, &ToInt8 { epilogue, residual }, scratch, output);
            }
        }

        impl<P: Isa> Proved<$fine<'_>, P> {
            /// Runs the layer on one or two maps, the second empty where there is one. A residual in the output's place is
            /// of the output's type.
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
                let $fine { sums, epilogue $(, $group)? } = self.parameters();
                let words = [scratch.len(), self.scratch_len()];
                let Some(Buffers { maps, residual, output }) = fit(sums.lens(), maps, residual, words, output) else {
                    return;
                };
                let finish = ToCode { epilogue, residual, output: PhantomData };
                sums.run::<I, X, _>($(*$group,)? condition, maps, &finish, scratch, output);
            }
        }
    )*};
    (@proof $layer:ident: $check:ident $(, $group:ident)?) => {
        impl $layer<'_> {
            const fn check<I: Isa>(&self) -> Result<(), &'static str> {
                if let Err(reason) = self.sums.$check::<I>($(self.$group)?) {
                    return Err(reason);
                }
                require!(self.epilogue.is_valid(self.sums.geometry.output.channels), BAD_EPILOGUE);
                Ok(())
            }
        }

        provable! {
            ['a] $layer<'a>, packed for I;
        }

        impl<P: Isa> Proved<$layer<'_>, P> {
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
            #[inline]
            pub const fn scratch_len(&self) -> usize {
                let layer = self.parameters();
                winograd::scratch_words(&P::WIDE, &layer.sums.geometry, layers!(@group layer $(, $group)?))
            }
        }
    };
    (@group $layer:ident) => {
        None
    };
    (@group $layer:ident, $group:ident) => {
        Some($layer.$group)
    };
}
layers! {
    WinogradInt8, WinogradFine: check_packed;
    WinogradInRamInt8, WinogradInRamFine: check_plain, group;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Portable;
    use crate::kernel::oracle::{Pairs, Plain, Quads, bytes, convolutions, fine, finish, leak, maps};
    use crate::kernel::{Conv2dInt8, Sums};
    use crate::requantize::FineTable;
    use crate::shape::Shape;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    /// Every size from 1×1, with and without enlargement, some cut short.
    fn geometries() -> impl Strategy<Value = Geometry> {
        (1..=6usize, 1..=6usize, 1..=9usize, 1..=9usize, 1..=2usize, 0..2usize).prop_map(
            |(height, width, in_c, out_c, upsample, cut)| Geometry {
                input: Shape { height, width, channels: in_c },
                output: Shape { height: (height * upsample - cut).max(1), width: width * upsample, channels: out_c },
                kernel: [3; 2],
                stride: [1; 2],
                padding: [1; 2],
                upsample: [upsample; 2],
            },
        )
    }

    impl Plain {
        fn sums<W>(&self, weights: &'static [W]) -> WinogradSums<'static, W> {
            let Sums { geometry, channels, zero_points, bias, .. } = self.0.sums;
            WinogradSums { geometry, channels, zero_points, weights, bias }
        }

        /// Weights as the code generator places them.
        pub(in super::super) fn winograd<I: Isa>(
            self,
        ) -> (Proved<WinogradInt8<'static>, I>, Proved<WinogradInRamInt8<'static>, I>) {
            let Conv2dInt8 { sums: Sums { geometry, weights, .. }, epilogue } = self.0;
            let mut transformed = vec![0; winograd::packed_len(&I::WIDE, &geometry)];
            let mut plain = vec![0; winograd::plain_len(&geometry)];
            let in_c = geometry.input.channels;
            for out_channel in 0..geometry.output.channels {
                for in_channel in 0..in_c {
                    let tap = |tap: usize| weights[(out_channel * 9 + tap) * in_c + in_channel];
                    (0..9).for_each(|k| plain[winograd::plain_place(&geometry, k, out_channel, in_channel)] = tap(k));
                    let taps = [0, 3, 6].map(|row| [0, 1, 2].map(|column| i16::from(tap(row + column))));
                    let u = winograd::transform(taps, geometry.upsample);
                    for (position, u) in u.iter().enumerate().take(winograd::positions(geometry.upsample)) {
                        transformed[winograd::place(&I::WIDE, &geometry, position, out_channel, in_channel)] = *u;
                    }
                }
            }
            let in_flash = WinogradInt8 { sums: self.sums(leak(&transformed)), epilogue };
            let in_ram = WinogradInRamInt8 { sums: self.sums(leak(&plain)), epilogue, group: I::WIDE.channels };
            (in_flash.checked::<I>(), in_ram.checked::<I>())
        }
    }

    fn check<I: Isa>(plain: Plain, seed: u64) -> Result<(), TestCaseError> {
        let (narrow, wide) = (
            maps(&plain.0.sums, bytes(seed, 1)),
            maps(&plain.0.sums, |i| i16::from(bytes(seed, 5)(i)) * 16 + i16::from(bytes(seed, 6)(i)) / 16),
        );
        check_maps::<I, _>(plain, [&narrow[0], &narrow[1]], seed)?;
        check_maps::<I, _>(plain, [&wide[0], &wide[1]], seed)
    }

    fn check_maps<I: Isa, X: Code + Into<i64>>(plain: Plain, input: [&[X]; 2], seed: u64) -> Result<(), TestCaseError> {
        let (in_flash, in_ram) = plain.winograd::<I>();
        let geometry = &plain.0.sums.geometry;
        let condition = Condition { step: (seed % 3) as usize, class: (seed % 2) as usize };
        let residual: Vec<i8> = (0..geometry.output.len()).map(bytes(seed, 9)).collect();
        let mut scratch = vec![i32::MIN; in_flash.scratch_len()];
        let mut more = vec![i32::MIN; in_ram.scratch_len()];

        let accs = plain.oracle(condition, input, None);
        let epilogue = &in_flash.parameters().epilogue;
        let expected = finish(epilogue, &accs);
        let mut output = vec![0; residual.len()];
        in_flash.run::<I, X>(condition, input, Residual::None, &mut scratch, &mut output);
        prop_assert_eq!(&output, &expected);
        output.fill(0);
        in_ram.run::<I, X>(condition, input, Residual::None, &mut more, &mut output);
        prop_assert_eq!(&output, &expected);

        let expected = finish(epilogue, &plain.oracle(condition, input, Some(&residual)));
        in_flash.run::<I, X>(condition, input, Residual::From(&residual), &mut scratch, &mut output);
        prop_assert_eq!(&output, &expected);
        output.copy_from_slice(&residual);
        in_ram.run::<I, X>(condition, input, Residual::InOutput, &mut more, &mut output);
        prop_assert_eq!(&output, &expected);

        let table: FineTable = core::array::from_fn(|knot| i16::from(bytes(seed, 21)(knot)) * 15);
        let epilogue = FineEpilogue {
            residual_multipliers: epilogue.residual_multipliers,
            residual_zero_point: (seed % 99) as i32,
            requantize: epilogue.requantize,
            table: epilogue.table.map(|_| leak(&[table]).first().unwrap()),
        };
        let in_flash = WinogradFine { sums: in_flash.parameters().sums, epilogue }.checked::<I>();
        let WinogradInRamInt8 { sums, group, .. } = *in_ram.parameters();
        let in_ram = WinogradInRamFine { sums, epilogue, group }.checked::<I>();
        let codes = accs.iter().zip(&residual).enumerate();
        let codes: Vec<i32> = codes.map(|(i, (sum, r))| fine(&epilogue, *sum, i, Some(i32::from(*r) * 13))).collect();
        let residual: Vec<i16> = residual.iter().map(|code| i16::from(*code) * 13).collect();
        let mut output = residual.clone();
        in_flash.run::<I, X, i16, _>(condition, input, Residual::InOutput, &mut scratch, &mut output);
        prop_assert_eq!(output, codes.iter().map(|code| i16::from_fine(*code)).collect::<Vec<_>>());
        let mut output = vec![0i8; residual.len()];
        in_ram.run::<I, X, _, _>(condition, input, Residual::From(&residual), &mut more, &mut output);
        prop_assert_eq!(output, codes.iter().map(|code| i8::from_fine(*code)).collect::<Vec<_>>());
        Ok(())
    }

    proptest! {
        #[test]
        fn equals_the_definition(plain in convolutions(geometries()), seed in any::<u64>()) {
            check::<Portable>(plain, seed)?;
            check::<Pairs>(plain, seed)?;
            check::<Quads>(plain, seed)?;
        }

        /// The largest codes and weights, with their signs so that a sum is as large as it gets.
        #[test]
        fn extremes_saturate(plain in convolutions(geometries()), signs in [any::<bool>(), any::<bool>()]) {
            let extreme = |sign: bool| if sign { i8::MIN } else { i8::MAX };
            let weights = vec![extreme(signs[0]); plain.0.sums.weights.len()];
            let plain = Plain(Conv2dInt8 { sums: Sums { weights: leak(&weights), ..plain.0.sums }, ..plain.0 });
            let input = maps(&plain.0.sums, |_| extreme(signs[1]));
            let input = [&input[0][..], &input[1]];
            let condition = Condition { step: 0, class: 0 };
            let (in_flash, _) = plain.winograd::<Portable>();
            let mut output = vec![0; plain.0.sums.geometry.output.len()];
            let mut scratch = vec![0; winograd::scratch_words(&Portable::WIDE, &plain.0.sums.geometry, None)];
            in_flash.run::<Portable, i8>(condition, input, Residual::None, &mut scratch, &mut output);
            prop_assert_eq!(output, finish(&plain.0.epilogue, &plain.oracle(condition, input, None)));
        }
    }

    #[test]
    fn misfits_are_found() {
        let geometry = Geometry {
            input: Shape { height: 2, width: 2, channels: 1 },
            output: Shape { height: 2, width: 2, channels: 1 },
            kernel: [3; 2],
            stride: [1; 2],
            padding: [1; 2],
            upsample: [1; 2],
        };
        let sums = WinogradSums {
            geometry,
            channels: [1, 0],
            zero_points: [0; 2],
            weights: &[1; 64],
            bias: Bias { steps: &[0], classes: &[] },
        };
        let requantize = crate::requantize::Requantize { shift: 4, multipliers: &[1 << 28], zero_point: 0 };
        let epilogue = Epilogue { residual_multipliers: &[], requantize, table: None };
        let layer = WinogradInt8 { sums, epilogue };
        assert!(layer.proved::<Portable>().is_ok());
        let misfit = |geometry| WinogradInt8 { sums: WinogradSums { geometry, ..sums }, epilogue };
        let wide = Geometry { output: Shape { width: 3, ..geometry.output }, ..geometry };
        for geometry in [Geometry { stride: [2; 2], ..geometry }, Geometry { upsample: [2; 2], ..geometry }, wide] {
            assert!(misfit(geometry).proved::<Portable>().is_err());
        }
        assert!(layer.proved::<Quads>().is_err());
        let WinogradSums { channels, zero_points, bias, .. } = sums;
        let sums = WinogradSums { geometry, channels, zero_points, weights: &[1; 36], bias };
        for group in [0, 3, 8] {
            let layer = WinogradInRamInt8 { sums, epilogue, group };
            assert!(layer.proved::<Portable>().is_err());
        }
    }
}
