//! 3×3 convolution by Winograd's method: the bits of [`super::Conv2dInt8`] for 16 products instead of 36.

use crate::conditioning::{Bias, Condition};
use crate::epilogue::Epilogue;
use crate::geometry::Geometry;
use crate::isa::winograd::{self, Winograd};
use crate::isa::{Isa, ToInt8};
use crate::maps::Maps;
use crate::residual::Residual;

/// A convolution's sums, as [`super::Sums`] defines them, for the geometries that [`winograd::fits`] names.
///
/// Cost: 16 products of int16 for four outputs, 9 with an enlargement by 2, and the transforms.
#[derive(Clone, Copy, Debug)]
pub struct WinogradSums<W: 'static> {
    /// Shapes; the input's channels are those of all maps.
    pub geometry: Geometry,
    /// Channels of each input map; the second's are 0 where there is one.
    pub channels: [usize; 2],
    /// What stands for 0 in each input map.
    pub zero_points: [i16; 2],
    /// int16: transformed and packed as [`winograd::place`] says; int8: as [`winograd::plain_place`] says.
    pub weights: &'static [W],
    /// In units of input scale × weight scale.
    pub bias: Bias<i32>,
}

impl<W> WinogradSums<W> {
    const fn check(&self, epilogue: &Epilogue, weights: usize) {
        let Self { geometry, channels, bias, .. } = self;
        assert!(geometry.is_valid(), "no dimension is 0");
        assert!(
            winograd::fits(geometry),
            "3×3, stride 1, padding 1, an enlargement of 1 or 2, no more channels than int32 holds"
        );
        assert!(channels[0] > 0 && channels[0] + channels[1] == geometry.input.channels, "the maps' channels add up");
        assert!(self.weights.len() == weights, "weights are packed for this instruction set");
        assert!(bias.is_valid(geometry.output.channels), "bias tables are rows of a value a channel");
        assert!(
            epilogue.is_valid(geometry.output.channels),
            "one even, positive multiplier a channel, one residual multiplier a channel or none; zero point and shift in range"
        );
    }

    /// With what is known when it runs: `count` output channels from `first`, and their transformed weights.
    fn part<'a>(
        &'a self,
        [first, count]: [usize; 2],
        weights: &'a [i16],
        condition: Condition,
        maps: [&'a [i8]; 2],
    ) -> Winograd<'a> {
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

/// int8 map(s) → int8 map with transformed weights in flash: 3.6 times the bytes of int8, 2 with an enlargement.
///
/// Scratch: [`winograd::scratch_words`] without a group.
#[derive(Clone, Copy, Debug)]
pub struct WinogradInt8 {
    /// From maps to sums.
    pub sums: WinogradSums<i16>,
    /// From sums to int8.
    pub epilogue: Epilogue,
}

impl WinogradInt8 {
    /// Itself, for a static's initialiser.
    ///
    /// # Panics
    /// At compile time there, when lengths and geometry disagree or a multiplier is out of range.
    #[must_use]
    pub const fn checked<I: Isa>(self) -> Self {
        self.sums.check(&self.epilogue, winograd::packed_len(&I::WIDE, &self.sums.geometry));
        self
    }

    /// Runs the layer on one or two maps, the second empty where there is one.
    #[inline(never)]
    pub fn run<I: Isa>(
        &self,
        condition: Condition,
        maps: [&[i8]; 2],
        residual: Residual<'_, i8>,
        scratch: &mut [i32],
        output: &mut [i8],
    ) {
        let channels = [0, self.sums.geometry.output.channels];
        let winograd = self.sums.part(channels, self.sums.weights, condition, maps);
        I::winograd(&winograd, &ToInt8 { epilogue: &self.epilogue, residual }, scratch, output);
    }
}

/// int8 map(s) → int8 map with int8 weights in flash, which it transforms into scratch, `group` output channels at a time;
/// the maps are transformed once a group.
///
/// Scratch: [`winograd::scratch_words`] with the group.
#[derive(Clone, Copy, Debug)]
pub struct WinogradInRamInt8 {
    /// From maps to sums.
    pub sums: WinogradSums<i8>,
    /// From sums to int8.
    pub epilogue: Epilogue,
    /// Output channels at a time, a multiple of [`Isa::WIDE`]'s channels.
    pub group: usize,
}

impl WinogradInRamInt8 {
    /// Itself, for a static's initialiser.
    ///
    /// # Panics
    /// At compile time there, when lengths and geometry disagree or a multiplier is out of range.
    #[must_use]
    pub const fn checked<I: Isa>(self) -> Self {
        self.sums.check(&self.epilogue, winograd::plain_len(&self.sums.geometry));
        assert!(self.group > 0 && self.group.is_multiple_of(I::WIDE.channels), "groups are whole blocks of channels");
        self
    }

    /// Runs the layer on one or two maps, the second empty where there is one.
    #[inline(never)]
    pub fn run<I: Isa>(
        &self,
        condition: Condition,
        maps: [&[i8]; 2],
        residual: Residual<'_, i8>,
        scratch: &mut [i32],
        output: &mut [i8],
    ) {
        let geometry = &self.sums.geometry;
        let finish = ToInt8 { epilogue: &self.epilogue, residual };
        let words = (self.group.div_ceil(I::WIDE.channels) * winograd::block_len(&I::WIDE, geometry)).div_ceil(2);
        let Some((transformed, scratch)) = scratch.split_at_mut_checked(words) else { return };
        let transformed: &mut [i16] = bytemuck::try_cast_slice_mut(transformed).unwrap_or_default();
        let out_c = geometry.output.channels;
        let channel_len = winograd::plain_len(geometry) / out_c.max(1);
        let groups = self.sums.weights.chunks((self.group * channel_len).max(1));
        for (index, plain) in groups.enumerate() {
            let first = index * self.group;
            let count = self.group.min(out_c.saturating_sub(first));
            let len = count.div_ceil(I::WIDE.channels) * winograd::block_len(&I::WIDE, geometry);
            let Some(weights) = transformed.get_mut(..len) else { return };
            I::winograd_weights(geometry, plain, weights);
            let winograd = self.sums.part([first, count], weights, condition, maps);
            I::winograd(&winograd, &finish, scratch, output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Portable;
    use crate::kernel::oracle::{Pairs, Plain, Quads, bytes, convolutions, finish, leak, maps};
    use crate::kernel::{Conv2dInt8, Sums};
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
        fn sums<W>(&self, weights: &'static [W]) -> WinogradSums<W> {
            let Sums { geometry, channels, zero_points, bias, .. } = self.0.sums;
            WinogradSums { geometry, channels, zero_points, weights, bias }
        }

        /// Weights as the code generator places them.
        pub(in super::super) fn winograd<I: Isa>(self) -> (WinogradInt8, WinogradInRamInt8) {
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
        let (in_flash, in_ram) = plain.winograd::<I>();
        let geometry = &plain.0.sums.geometry;
        let condition = Condition { step: (seed % 3) as usize, class: (seed % 2) as usize };
        let input = maps(&plain.0.sums, bytes(seed, 1));
        let input = [&input[0][..], &input[1]];
        let residual: Vec<i8> = (0..geometry.output.len()).map(bytes(seed, 9)).collect();
        let mut scratch = vec![i32::MIN; winograd::scratch_words(&I::WIDE, geometry, None)];
        let mut more = vec![i32::MIN; winograd::scratch_words(&I::WIDE, geometry, Some(in_ram.group))];

        let expected = finish(&in_flash.epilogue, &plain.oracle(condition, input, None));
        let mut output = vec![0; residual.len()];
        in_flash.run::<I>(condition, input, Residual::None, &mut scratch, &mut output);
        prop_assert_eq!(&output, &expected);
        output.fill(0);
        in_ram.run::<I>(condition, input, Residual::None, &mut more, &mut output);
        prop_assert_eq!(&output, &expected);

        let expected = finish(&in_flash.epilogue, &plain.oracle(condition, input, Some(&residual)));
        in_flash.run::<I>(condition, input, Residual::From(&residual), &mut scratch, &mut output);
        prop_assert_eq!(&output, &expected);
        output.copy_from_slice(&residual);
        in_ram.run::<I>(condition, input, Residual::InOutput, &mut more, &mut output);
        prop_assert_eq!(&output, &expected);
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
            in_flash.run::<Portable>(condition, input, Residual::None, &mut scratch, &mut output);
            prop_assert_eq!(output, finish(&plain.0.epilogue, &plain.oracle(condition, input, None)));
        }
    }

    #[test]
    fn short_buffers_and_misfits() {
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
        let mut output = [5; 4];
        let condition = Condition { step: 0, class: 0 };
        layer.checked::<Portable>().run::<Portable>(condition, [&[1; 4], &[]], Residual::None, &mut [], &mut output);
        assert_eq!(output, [5; 4]);
        let misfit = |geometry| WinogradInt8 { sums: WinogradSums { geometry, ..sums }, epilogue };
        for geometry in [Geometry { stride: [2; 2], ..geometry }, Geometry { upsample: [2; 2], ..geometry }] {
            assert!(std::panic::catch_unwind(|| misfit(geometry).checked::<Portable>()).is_err());
        }
        assert!(std::panic::catch_unwind(|| layer.checked::<Quads>()).is_err());
        let WinogradSums { channels, zero_points, bias, .. } = sums;
        let sums = WinogradSums { geometry, channels, zero_points, weights: &[1; 36], bias };
        for group in [0, 3] {
            let layer = WinogradInRamInt8 { sums, epilogue, group };
            assert!(std::panic::catch_unwind(|| layer.checked::<Portable>()).is_err());
        }
    }
}
