//! Group normalisation: statistics of runs of channels, then a factor and an offset a channel (Wu & He 2018).

use super::buffers::{Buffers, Lens, fit};
use super::proved::{Proved, provable, require};
use super::scale_shift::{Chosen, LANES, LARGEST_GAIN, Round};
use crate::conditioning::{Bias, Condition, at};
use crate::isa::{Isa, Work};
use crate::real::{Activation, Real, narrow, widen};
use crate::requantize::Table;
use crate::residual::Residual;
use crate::shape::Shape;

/// int8 map → int8 map. Per group of N values q, with the integers S = Σ q and S₂ = Σ q²:
///
/// ```text
/// mean     = S / N
/// variance = (N·S₂ − S²) / N²                                       the numerator exactly, in 64 bits
/// gain[c]  = clamp((gains[step][c] + gains[class][c]) · (1 / √(variance + eps)), ±512)
/// m[c]     = ⌊gain[c] · 2¹⁴ + ½⌋
/// o[c]     = clamp(⌊((offsets[step][c] + offsets[class][c]) − mean · gain[c]) · 2¹⁴ + ½⌋, ±(2³⁰ − 2¹⁴)) + 2¹³
/// index    = (q · m[c] + o[c]) >> 14
/// out      = table ? table[clamp(index, −512, 511) + 512] : clamp(index, −128, 127)
/// ```
///
/// The statistics are f32, operation by operation as written, the rest integers: the same bits on every chip. The
/// input's scale and zero point cancel, but for `eps`. |q · m| ≤ 2³⁰ and |o| < 2³⁰, so that no index overflows; N below
/// 2¹⁷ keeps S₂ in int32. Scratch: 2 · channels.
#[derive(Clone, Copy, Debug)]
pub struct GroupNormInt8<'a> {
    /// Of input and output.
    pub shape: Shape,
    /// Runs of channels of equal length.
    pub groups: usize,
    /// In squared units of the input.
    pub eps: f32,
    /// Rows `[2][channels]`: gains in units of the output or of the table's index; then offsets in the same units, with
    /// the output's zero point in them. Adaptive normalisation has a row a step and a class, any other one row.
    pub rows: Bias<'a, f32>,
    /// An activation.
    pub table: Option<&'a Table>,
}

impl GroupNormInt8<'_> {
    const fn check(&self) -> Result<(), &'static str> {
        let Self { shape, groups, eps, rows, .. } = self;
        require!(shape.is_valid(), "a dimension is 0, or a map has more elements than 32 bits count");
        require!(*groups > 0 && shape.channels.is_multiple_of(*groups), "whole groups");
        require!(rows.is_valid(2 * shape.channels), "rows of a gain and an offset a channel");
        require!(shape.len() / *groups < 1 << 17, "the sum of squares fits into 32 bits");
        require!(*eps > 0.0, "what is added to the variance is above 0");
        Ok(())
    }
}

impl Proved<GroupNormInt8<'_>> {
    /// Runs the layer on `input`, which may lie in the output.
    #[inline(never)]
    pub fn run<I: Isa>(&self, condition: Condition, input: Residual<'_, i8>, scratch: &mut [i32], output: &mut [i8]) {
        let GroupNormInt8 { shape, groups, eps, rows, table } = *self.parameters();
        let words = [scratch.len(), self.scratch_len()];
        let Some(Buffers { residual: input, output, .. }) =
            fit(Lens::equal(shape.len(), 0), [&[0i8; 0]; 2], input, words, output)
        else {
            return;
        };
        let channels = shape.channels.max(1);
        let len = (channels / groups.max(1)).max(1);
        input.place(output);
        // First the groups' sums, then what they are turned into.
        let Some((factors, rest)) = scratch.split_at_mut_checked(channels) else { return };
        let Some(offsets) = rest.get_mut(..channels) else { return };
        I::group_sums(output, len, factors, offsets);
        let count = shape.len() / groups.max(1);
        let rows = Chosen::of(&rows, condition, channels);
        let groups = factors.chunks_mut(len).zip(offsets.chunks_mut(len));
        for (first, (factors, offsets)) in (0..channels).step_by(len).zip(groups) {
            let (mean, reciprocal) = statistics::<I>([at(factors, 0), at(offsets, 0)], count, eps);
            rows.each(first, [factors, offsets], |[factor, offset], [gain, bias]| {
                let gain = (gain * reciprocal).clamp(-LARGEST_GAIN, LARGEST_GAIN);
                [*factor, *offset] = bytemuck::must_cast([gain, bias - mean * gain]);
            });
        }
        I::vectorize(Round { factors, offsets });
        I::affine(factors, offsets, table, output);
    }
}

/// Mean, and 1 / √(variance + eps), of `count` values.
fn statistics<I: Isa>([sum, squares]: [i32; 2], count: usize, eps: f32) -> (f32, f32) {
    let n = count as f32;
    let spread = count as i64 * i64::from(squares) - i64::from(sum) * i64::from(sum);
    let variance = spread as f32 / (n * n);
    (sum as f32 / n, 1.0 / I::sqrt(variance + eps))
}

/// f32 or f16 map → map of the same type: `out = activation((x − mean) / √(variance + eps) · gain[c] + offset[c])`, the
/// variance being the mean of (x − mean)², gain and offset the sums of their rows of step and class.
///
/// All in f32 without FMA; sums are taken channel by channel: along a row, over the rows, then over the group's channels.
/// The result is rounded once. Scratch: 2 · channels.
#[derive(Clone, Copy, Debug)]
pub struct GroupNormFloat<'a, T> {
    /// Of input and output.
    pub shape: Shape,
    /// Runs of channels of equal length.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// Rows `[2][channels]`: gains, then offsets.
    pub rows: Bias<'a, T>,
    /// The last operation.
    pub activation: Activation,
}

impl<T: Real> GroupNormFloat<'_, T> {
    const fn check(&self) -> Result<(), &'static str> {
        let Self { shape, groups, rows, .. } = self;
        require!(shape.is_valid(), "a dimension is 0, or a map has more elements than 32 bits count");
        require!(*groups > 0 && shape.channels.is_multiple_of(*groups), "whole groups");
        require!(rows.is_valid(2 * shape.channels), "rows of a gain and an offset a channel");
        Ok(())
    }
}

impl<T: Real> Proved<GroupNormFloat<'_, T>> {
    /// Runs the layer on `input`, which may lie in the output.
    pub fn run<I: Isa, X: Real>(
        &self,
        condition: Condition,
        input: Residual<'_, X>,
        scratch: &mut [f32],
        output: &mut [X],
    ) {
        let layer = self.parameters();
        let needed = [scratch.len(), self.scratch_len()];
        let Some(Buffers { residual: input, output, .. }) =
            fit(Lens::equal(layer.shape.len(), 0), [&[0i8; 0]; 2], input, needed, output)
        else {
            return;
        };
        input.place(output);
        let rows = Chosen::of(&layer.rows, condition, layer.shape.channels);
        I::vectorize(Normalise { layer, rows, scratch, output });
    }
}

/// What generated code and programs compare their buffers with.
macro_rules! lens {
    ($([$($generics:tt)*] $kernel:ty;)*) => {$(
        impl<$($generics)*> Proved<$kernel> {
            /// Elements of input and output.
            #[must_use]
            pub const fn output_len(&self) -> usize {
                self.parameters().shape.len()
            }

            /// Elements of scratch.
            #[must_use]
            pub const fn scratch_len(&self) -> usize {
                2 * self.parameters().shape.channels
            }
        }
    )*};
}
lens! {
    ['a] GroupNormInt8<'a>;
    ['a, T: Real] GroupNormFloat<'a, T>;
}

provable! {
    ['a] GroupNormInt8<'a>;
    ['a, T: Real] GroupNormFloat<'a, T>;
}

/// A layer at work on what lies in the output.
struct Normalise<'a, T, X> {
    layer: &'a GroupNormFloat<'a, T>,
    rows: Chosen<'a, T>,
    scratch: &'a mut [f32],
    output: &'a mut [X],
}

impl<T: Real, X: Real> Work for Normalise<'_, T, X> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { layer, rows, scratch, output } = self;
        let channels = layer.shape.channels.max(1);
        let len = (channels / layer.groups.max(1)).max(1);
        let count = (layer.shape.len() / layer.groups.max(1)) as f32;
        let row_len = layer.shape.width * channels;
        let Some((means, rest)) = scratch.split_at_mut_checked(channels) else { return };
        let Some(factors) = rest.get_mut(..channels) else { return };
        let average = |sums: &mut [f32]| {
            for group in sums.chunks_mut(len) {
                let mean = group.iter().fold(0.0, |sum, x| sum + x) / count;
                group.fill(mean);
            }
        };
        channel_sums(output, channels, row_len, means, |x, _| x, |_| 0.0);
        average(means);
        channel_sums(output, channels, row_len, factors, |x, mean| (x - mean) * (x - mean), |c| at(means, c));
        average(factors);
        for factor in &mut *factors {
            *factor = 1.0 / libm::sqrtf(*factor + layer.eps);
        }
        for first in (0..channels).step_by(LANES) {
            let [means, factors] = [&*means, &*factors].map(|values| widen::<f32, LANES>(values.get(first..)));
            let [weight, bias] = rows.lanes(first);
            for pixel in output.chunks_exact_mut(channels) {
                let pixel = pixel.get_mut(first..).unwrap_or_default();
                let mut values = widen::<X, LANES>(Some(pixel));
                for (c, x) in values.iter_mut().enumerate() {
                    *x = (*x - means[c]) * factors[c] * weight[c] + bias[c];
                }
                narrow(layer.activation.apply_all(values), pixel);
            }
        }
    }
}

/// `sums[c] = Σ_rows Σ_columns f(x, parameter(c))` of every channel of a map.
#[inline(always)]
fn channel_sums<X: Real>(
    map: &[X],
    channels: usize,
    row_len: usize,
    sums: &mut [f32],
    f: impl Fn(f32, f32) -> f32,
    parameter: impl Fn(usize) -> f32,
) {
    for (block, sums) in sums.chunks_mut(LANES).enumerate() {
        let first = block * LANES;
        let parameters: [f32; LANES] = core::array::from_fn(|c| parameter(first + c));
        let mut totals = [0.0; LANES];
        for row in map.chunks_exact(row_len.max(1)) {
            let mut row_sums = [0.0; LANES];
            for pixel in row.chunks_exact(channels) {
                let values = widen::<X, LANES>(pixel.get(first..));
                for ((sum, x), parameter) in row_sums.iter_mut().zip(values).zip(parameters) {
                    *sum += f(x, parameter);
                }
            }
            totals.iter_mut().zip(row_sums).for_each(|(total, sum)| *total += sum);
        }
        sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum = total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Avx2, Avx512Vnni, Portable};
    use half::f16;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    const FIRST: Condition = Condition { step: 0, class: 0 };

    /// One row for all steps and classes.
    fn constant<T: Clone>(gains: &[T], offsets: &[T]) -> Bias<'static, T> {
        Bias { steps: leak(&[gains, offsets].concat()), classes: &[] }
    }

    fn leak<T: Clone>(values: &[T]) -> &'static [T] {
        values.to_vec().leak()
    }

    /// (x − μ)/√(σ² + eps) · gain + offset per element, in f64.
    fn oracle(shape: Shape, groups: usize, eps: f64, x: &[f64], gains: &[f32], offsets: &[f32]) -> Vec<f64> {
        let len = shape.channels / groups;
        let mut out = vec![0.0; x.len()];
        for group in 0..groups {
            let member = |i: &usize| i % shape.channels / len == group;
            let count = (x.len() / groups) as f64;
            let mean = (0..x.len()).filter(member).map(|i| x[i]).sum::<f64>() / count;
            let variance = (0..x.len()).filter(member).map(|i| (x[i] - mean).powi(2)).sum::<f64>() / count;
            for i in (0..x.len()).filter(member) {
                let c = i % shape.channels;
                out[i] = (x[i] - mean) / (variance + eps).sqrt() * f64::from(gains[c]) + f64::from(offsets[c]);
            }
        }
        out
    }

    fn shapes() -> impl Strategy<Value = (Shape, usize)> {
        (1usize..=5, 1usize..=6, 1usize..=4, 1usize..=10)
            .prop_map(|(height, width, groups, len)| (Shape { height, width, channels: groups * len }, groups))
    }

    proptest! {
        #[test]
        fn int8_is_near_the_real_numbers((shape, groups) in shapes(), seed in any::<u64>(), eps in 0.01f32..4.0, fused in any::<bool>()) {
            let random = |salt: u64| move |i: usize| ((i as u64 + salt).wrapping_mul(seed | 1) >> 24) as i8;
            let input: Vec<i8> = (0..shape.len()).map(random(1)).collect();
            let gains: Vec<f32> = (0..shape.channels).map(random(7)).map(|q| f32::from(q) * 0.9).collect();
            let offsets: Vec<f32> = (0..shape.channels).map(random(9)).map(|q| f32::from(q) * 0.3).collect();
            let table: Table = core::array::from_fn(|i| (i as i32 / 4 - 128) as i8);
            let norm = GroupNormInt8 {
                shape, groups, eps, rows: constant(&gains, &offsets),
                table: fused.then(|| &leak(&[table])[0]),
            }.checked();
            let mut scratch = vec![0; 2 * shape.channels];
            let mut output = vec![0; input.len()];
            norm.run::<Portable>(FIRST, Residual::From(&input), &mut scratch, &mut output);
            let wide: Vec<f64> = input.iter().map(|q| f64::from(*q)).collect();
            for (out, real) in output.iter().zip(oracle(shape, groups, eps.into(), &wide, &gains, &offsets)) {
                let real = if fused { real.clamp(-512.0, 511.0) / 4.0 - 0.375 } else { real.clamp(-128.0, 127.0) };
                // Half a unit, and what f32 and 14 bits of fraction lose.
                prop_assert!((f64::from(*out) - real).abs() <= 0.53, "{} {}", out, real);
            }
            type Layer = Proved<GroupNormInt8<'static>>;
            for run in [Layer::run::<Portable>, Layer::run::<Avx2>, Layer::run::<Avx512Vnni>] {
                let mut in_place = input.clone();
                run(&norm, FIRST, Residual::InOutput, &mut scratch, &mut in_place);
                prop_assert_eq!(&in_place, &output);
            }
        }

        #[test]
        fn floats_equal_the_definition((shape, groups) in shapes(), seed in any::<u64>()) {
            let random = |salt: u64| move |i: usize| ((i as u64 + salt).wrapping_mul(seed | 1) >> 24) as i8 as f32 / 32.0;
            let input: Vec<f32> = (0..shape.len()).map(random(1)).collect();
            let [weight, bias] = [3, 5].map(|salt| (0..shape.channels).map(random(salt)).collect::<Vec<f32>>());
            let norm = GroupNormFloat {
                shape, groups, eps: 0.01, rows: constant(&weight, &bias), activation: Activation::Identity,
            }.checked();
            let mut output = vec![0.0; input.len()];
            let mut scratch = vec![0.0; 2 * shape.channels];
            norm.run::<Portable, _>(FIRST, Residual::From(&input), &mut scratch, &mut output);
            type Layer = Proved<GroupNormFloat<'static, f32>>;
            for run in [Layer::run::<Avx2, f32>, Layer::run::<Avx512Vnni, f32>] {
                let mut in_place = input.clone();
                run(&norm, FIRST, Residual::InOutput, &mut scratch, &mut in_place);
                prop_assert_eq!(&in_place, &output);
            }
            let wide: Vec<f64> = input.iter().map(|x| f64::from(*x)).collect();
            for (out, real) in output.iter().zip(oracle(shape, groups, f64::from(0.01f32), &wide, &weight, &bias)) {
                prop_assert!((f64::from(*out) - real).abs() <= 1e-4, "{} {}", out, real);
            }
        }
    }

    #[test]
    fn extremes() {
        let shape = Shape { height: 1, width: 2, channels: 2 };
        let norm = GroupNormInt8 {
            shape,
            groups: 2,
            eps: 1e-9,
            rows: constant(&[f32::MAX, -1e30], &[0.0, -40.0]),
            table: None,
        };
        let mut output = [0; 4];
        norm.checked().run::<Portable>(FIRST, Residual::From(&[-128, 127, 127, -128]), &mut [0; 4], &mut output);
        assert_eq!(output, [-128, -128, 127, 127], "gains saturate");
        // A constant group has no variance: what is left is the offset.
        let flat = GroupNormInt8 { rows: constant(&[50.0, 50.0], &[3.0, -4.6]), ..norm };
        flat.checked().run::<Portable>(FIRST, Residual::From(&[9, -128, 9, -128]), &mut [0; 4], &mut output);
        assert_eq!(output, [3, -5, 3, -5]);
    }

    #[test]
    fn sums_of_the_largest_map_fit() {
        let map = vec![-128; (1 << 17) - 1];
        for channel_sums in [Portable::channel_sums, Avx2::channel_sums, Avx512Vnni::channel_sums] {
            let (mut sum, mut squares) = ([1], [1]);
            channel_sums(&map, &mut sum, &mut squares);
            assert_eq!((sum[0], squares[0]), (-128 * ((1 << 17) - 1), 16384 * ((1 << 17) - 1)));
            assert_eq!(statistics::<Portable>([sum[0], squares[0]], map.len(), 0.25), (-128.0, 2.0));
        }
    }

    #[test]
    fn halves_round_once_and_activations_apply() {
        let shape = Shape { height: 1, width: 2, channels: 1 };
        let rows = constant(&[f16::ONE], &[f16::ONE]);
        let norm = GroupNormFloat { shape, groups: 1, eps: 1e-6, rows, activation: Activation::Silu };
        let mut map = [f16::from_f32(2.0), f16::from_f32(4.0)];
        norm.checked().run::<Portable, _>(FIRST, Residual::InOutput, &mut [0.0; 4], &mut map);
        let expected = [0.0, 2.0].map(|x| f16::from_f32(Activation::Silu.apply(x)));
        assert!(map.iter().zip(expected).all(|(a, b)| (a.to_f32() - b.to_f32()).abs() < 2e-3), "{map:?}");
    }

    #[test]
    fn rows_of_step_and_class_add_up() {
        let shape = Shape { height: 1, width: 2, channels: 2 };
        let steps = leak(&[9.0, 9.0, 9.0, 9.0, 10.0, 20.0, 1.0, 0.0]);
        let rows = Bias { steps, classes: leak(&[0.0, 0.0, 0.0, 0.0, 5.0, -40.0, 2.0, 7.0]) };
        let condition = Condition { step: 1, class: 1 };
        let norm = GroupNormInt8 { shape, groups: 2, eps: 1e-9, rows, table: None }.checked();
        let mut output = [-1, 3, 1, 5];
        norm.run::<Portable>(condition, Residual::InOutput, &mut [0; 4], &mut output);
        assert_eq!(output, [-12, 27, 18, -13]);
        let floats = GroupNormFloat { shape, groups: 2, eps: 1e-9, rows, activation: Activation::Identity }.checked();
        let mut map = [-1.0f32, 3.0, 1.0, 5.0];
        floats.run::<Portable, _>(condition, Residual::InOutput, &mut [0.0; 4], &mut map);
        assert!(map.iter().zip(output).all(|(x, q)| (x - f32::from(q)).abs() < 1e-3), "{map:?}");
    }

    #[test]
    fn misfits_are_found() {
        let shape = Shape { height: 1, width: 1, channels: 2 };
        let norm = GroupNormInt8 { shape, groups: 1, eps: 1.0, rows: constant(&[1.0; 2], &[0.0; 2]), table: None };
        for misfit in [
            GroupNormInt8 { groups: 3, ..norm },
            GroupNormInt8 { rows: constant(&[1.0], &[1.0]), ..norm },
            GroupNormInt8 { eps: 0.0, ..norm },
            GroupNormInt8 { shape: Shape { height: 1 << 16, ..shape }, ..norm },
        ] {
            assert!(misfit.proved().is_err(), "{misfit:?}");
        }
    }
}
