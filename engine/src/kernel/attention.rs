//! Scaled dot-product attention over all positions of a map (Vaswani et al. 2017, section 3.2).

use super::buffers::{Buffers, Lens, fit};
use super::proved::{Proved, provable, require};
use crate::isa::{Attention, Isa, Work};
use crate::real::{Real, exp, narrow, widen};
use crate::requantize::is_multiplier;
use crate::residual::Residual;
use crate::shape::Shape;

pub use crate::isa::{EXP_LEN, ExpTable};

/// int8 maps q, k, v → int8 map, all of one shape. Per head of d channels and per position i, over all positions j:
///
/// ```text
/// score[j]  = Σ_c (q[i][c] − q_zero_point) · k[j][c]              k's zero point adds the same to all: it cancels
/// step[j]   = requantize(max score − score[j], shift, multiplier)
/// weight[j] = exp[step[j]], 0 past the table
/// acc[c]    = Σ_j weight[j] · v[j][c]
/// m         = ⌊ratio / Σ_j weight[j] + ½⌋                         in f32, one division a row
/// out[c]    = saturate((((acc[c] · m) >> 32) + offset) >> 8)
/// ```
///
/// `ratio` is 2⁴⁰ · v's scale ÷ the output's, `offset` holds both zero points and the rounding's ½, in 1/256. The code
/// generator bounds 2¹⁶ · d · 2^shift and 128 · positions · exp[0] below 2³¹, so that no sum can overflow in any order.
/// Cost: 2 · positions² · channels MACs.
#[derive(Clone, Copy, Debug)]
pub struct AttentionInt8<'a> {
    /// Of all maps.
    pub shape: Shape,
    /// Runs of channels of equal length.
    pub heads: usize,
    /// Of q.
    pub q_zero_point: i32,
    /// See [`requantize`]: from scores to steps of the table.
    pub shift: u32,
    /// See [`requantize`].
    pub multiplier: i32,
    /// The exponential; falls from its first entry.
    pub exp: &'a ExpTable,
    /// See above.
    pub ratio: f32,
    /// See above.
    pub offset: i32,
}

impl AttentionInt8<'_> {
    const fn check(&self) -> Result<(), &'static str> {
        let Self { shape, heads, multiplier, shift, exp, .. } = self;
        require!(shape.is_valid(), "a dimension is 0, or a map has more elements than 32 bits count");
        require!(*heads > 0 && shape.channels.is_multiple_of(*heads), "whole heads");
        require!(is_multiplier(*multiplier) && *shift < 16, "the multiplier is even and positive, the shift below 16");
        require!(shape.channels / *heads < 1 << (15 - *shift), "scores fit into 32 bits");
        require!(
            exp[0] > 0 && shape.height * shape.width <= i32::MAX as usize / 128 / exp[0] as usize,
            "the exponential is positive, and its sums fit into 32 bits"
        );
        Ok(())
    }

    /// 32-bit words of scratch of an instruction set.
    #[must_use]
    pub const fn scratch_words<I: Isa>(shape: Shape, heads: usize) -> usize {
        let positions = shape.height * shape.width;
        let Some(width) = shape.channels.checked_div(heads) else { return positions };
        I::SCRATCH.attention(I::ROWS, positions, width)
    }
}

impl Proved<AttentionInt8<'_>> {
    /// 32-bit words of scratch with an instruction set.
    #[must_use]
    pub const fn scratch_len<I: Isa>(&self) -> usize {
        AttentionInt8::scratch_words::<I>(self.parameters().shape, self.parameters().heads)
    }

    /// Runs the layer, some positions at a time; q may lie in the output.
    #[inline(never)]
    pub fn run<I: Isa>(&self, q: Residual<'_, i8>, k: &[i8], v: &[i8], scratch: &mut [i32], output: &mut [i8]) {
        let layer @ AttentionInt8 { shape, heads, .. } = self.parameters();
        let words = [scratch.len(), self.scratch_len::<I>()];
        let Some(Buffers { maps: [k, v], residual: q, output }) =
            fit(Lens::equal(shape.len(), 2), [k, v], q, words, output)
        else {
            return;
        };
        q.place(output);
        let attention = Attention {
            shape: *shape,
            width: (shape.channels / (*heads).max(1)).max(1),
            zero_point: layer.q_zero_point,
            shift: layer.shift,
            multiplier: layer.multiplier,
            exp: layer.exp,
            ratio: layer.ratio,
            offset: layer.offset,
            keys: k,
            values: v,
        };
        I::attention(&attention, scratch, output);
    }
}

/// f32 or f16 maps q, k, v → map of the same type and shape: `out[i] = Σ_j softmax_j(scale · q[i]·k[j]) · v[j]` per head.
///
/// All in f32 without FMA, from the first position to the last; the exponential is within 0.9 units in the last place.
/// The result is rounded once. Scratch: positions · (1 + channels of a head).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionFloat {
    /// Of all maps.
    pub shape: Shape,
    /// Runs of channels of equal length.
    pub heads: usize,
    /// 1 / √(channels of a head).
    pub scale: f32,
}

impl AttentionFloat {
    const fn check(&self) -> Result<(), &'static str> {
        require!(self.shape.is_valid(), "a dimension is 0, or a map has more elements than 32 bits count");
        require!(self.heads > 0 && self.shape.channels.is_multiple_of(self.heads), "whole heads");
        Ok(())
    }
}

impl Proved<AttentionFloat> {
    /// Elements of scratch: positions · (1 + channels of a head).
    #[must_use]
    pub const fn scratch_len(&self) -> usize {
        let AttentionFloat { shape: Shape { height, width, channels }, heads, .. } = *self.parameters();
        let Some(head) = channels.checked_div(heads) else { return 0 };
        height * width * (1 + head)
    }

    /// Runs the layer; q may lie in the output.
    pub fn run<I: Isa, T: Real>(&self, q: Residual<'_, T>, k: &[T], v: &[T], scratch: &mut [f32], output: &mut [T]) {
        let layer = self.parameters();
        let needed = [scratch.len(), self.scratch_len()];
        let Some(Buffers { maps: [k, v], residual: q, output }) =
            fit(Lens::equal(layer.shape.len(), 2), [k, v], q, needed, output)
        else {
            return;
        };
        q.place(output);
        I::vectorize(AttendFloat { layer, k, v, scratch, output });
    }
}

/// What generated code and programs compare their buffers with.
macro_rules! lens {
    ($($kernel:ty)*) => {$(
        impl Proved<$kernel> {
            /// Elements of q, k, v and the output.
            #[must_use]
            pub const fn output_len(&self) -> usize {
                self.parameters().shape.len()
            }
        }
    )*};
}
lens! { AttentionInt8<'_> AttentionFloat }

provable! {
    ['a] AttentionInt8<'a>;
    [] AttentionFloat;
}

/// A layer at work on q, which lies in the output.
struct AttendFloat<'a, T> {
    layer: &'a AttentionFloat,
    k: &'a [T],
    v: &'a [T],
    scratch: &'a mut [f32],
    output: &'a mut [T],
}

impl<T: Real> Work for AttendFloat<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        const LANES: usize = 16;
        let Self { layer, k, v, scratch, output } = self;
        let channels = layer.shape.channels.max(1);
        let width = (channels / layer.heads.max(1)).max(1);
        let positions = layer.shape.height * layer.shape.width;
        let Some((scores, rest)) = scratch.split_at_mut_checked(positions) else { return };
        let Some(keys) = rest.get_mut(..positions * width) else { return };
        for first in (0..channels).step_by(width) {
            // Keys by channel, so that a query's scores are computed side by side.
            for (channel, keys) in (first..).zip(keys.chunks_exact_mut(positions)) {
                let values = k.iter().skip(channel).step_by(channels);
                keys.iter_mut().zip(values).for_each(|(key, value)| *key = value.to_f32());
            }
            for row in output.chunks_exact_mut(channels) {
                let row = row.get_mut(first..first + width).unwrap_or_default();
                scores.fill(0.0);
                for (q, keys) in row.iter().zip(keys.chunks_exact(positions)) {
                    let q = q.to_f32();
                    scores.iter_mut().zip(keys).for_each(|(score, key)| *score += q * key);
                }
                scores.iter_mut().for_each(|score| *score *= layer.scale);
                let largest = scores.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
                scores.iter_mut().for_each(|score| *score = exp(*score - largest));
                let total = scores.iter().fold(0.0, |sum, score| sum + score);
                for (block, outs) in row.chunks_mut(LANES).enumerate() {
                    let mut sums = [0.0; LANES];
                    for (weight, pixel) in scores.iter().zip(v.chunks_exact(channels)) {
                        let values = widen::<T, LANES>(pixel.get(first + block * LANES..));
                        sums.iter_mut().zip(values).for_each(|(sum, v)| *sum += weight * v);
                    }
                    narrow(sums.map(|sum| sum / total), outs);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Avx2, Avx512Vnni, Portable};
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    /// Attention in f64, on maps of reals.
    fn oracle(shape: Shape, heads: usize, [q, k, v]: [&[f64]; 3]) -> Vec<f64> {
        let (n, c, d) = (shape.height * shape.width, shape.channels, shape.channels / heads);
        let mut out = vec![0.0; n * c];
        for head in 0..heads {
            for i in 0..n {
                let dot = |j: usize| (head * d..(head + 1) * d).map(|c_| q[i * c + c_] * k[j * c + c_]).sum::<f64>();
                let scores: Vec<f64> = (0..n).map(|j| dot(j) / (d as f64).sqrt()).collect();
                let largest = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
                for c_ in head * d..(head + 1) * d {
                    let sum: f64 = (0..n).map(|j| weights[j] * v[j * c + c_]).sum();
                    out[i * c + c_] = sum / weights.iter().sum::<f64>();
                }
            }
        }
        out
    }

    fn shapes() -> impl Strategy<Value = (Shape, usize)> {
        (1usize..=4, 1usize..=7, 1usize..=3, 1usize..=20)
            .prop_map(|(height, width, heads, d)| (Shape { height, width, channels: heads * d }, heads))
    }

    const DELTA: f64 = 0.02;

    fn exp_table() -> &'static ExpTable {
        let table: ExpTable = core::array::from_fn(|i| (32767.0 * (-DELTA * i as f64).exp()).round() as i16);
        std::boxed::Box::leak(std::boxed::Box::new(table))
    }

    proptest! {
        #[test]
        fn int8_is_near_the_real_numbers((shape, heads) in shapes(), seed in any::<u64>(), zero in -128i32..=127, scale in 0.002f64..0.04) {
            let code = |salt: u64| move |i: usize| ((i as u64 + salt).wrapping_mul(seed | 1) >> 24) as i8;
            let [q, k, v] = [1, 77, 4321].map(|salt| (0..shape.len()).map(code(salt)).collect::<Vec<i8>>());
            let d = shape.channels / heads;
            // One scale for q and k; k's zero point must not matter. v and the output have scale 1.
            let steps = scale * scale / (d as f64).sqrt() / DELTA;
            let attention = AttentionInt8 {
                shape, heads, q_zero_point: zero,
                shift: 0,
                multiplier: 2 * ((steps * 2f64.powi(31)).round() as i32).max(1),
                exp: exp_table(),
                ratio: 2f32.powi(40),
                offset: 128,
            }.checked();
            let mut scratch = vec![0; attention.scratch_len::<Avx512Vnni>()];
            let mut output = vec![0; shape.len()];
            attention.run::<Portable>(Residual::From(&q), &k, &v, &mut scratch, &mut output);
            let reals = [
                q.iter().map(|q| scale * f64::from(i32::from(*q) - zero)).collect::<Vec<f64>>(),
                k.iter().map(|k| scale * (f64::from(*k) - 5.0)).collect(),
                v.iter().map(|v| f64::from(*v)).collect(),
            ];
            for (out, real) in output.iter().zip(oracle(shape, heads, [&reals[0], &reals[1], &reals[2]])) {
                // Half a unit; a step of the table is 2 % of a weight, and half of it is rounded away: up to 1 % of ±128.
                prop_assert!((f64::from(*out) - real).abs() <= 0.55 + 1.28 * 1.1, "{} {}", out, real);
            }
            type Layer = Proved<AttentionInt8<'static>>;
            for run in [Layer::run::<Portable>, Layer::run::<Avx2>, Layer::run::<Avx512Vnni>] {
                let mut in_place = q.clone();
                run(&attention, Residual::InOutput, &k, &v, &mut scratch, &mut in_place);
                prop_assert_eq!(&in_place, &output);
            }
        }

        #[test]
        fn floats_equal_the_definition((shape, heads) in shapes(), seed in any::<u64>()) {
            let real = |salt: u64| move |i: usize| ((i as u64 + salt).wrapping_mul(seed | 1) >> 24) as i8 as f32 / 64.0;
            let [q, k, v] = [1, 77, 4321].map(|salt| (0..shape.len()).map(real(salt)).collect::<Vec<f32>>());
            let attention = AttentionFloat { shape, heads, scale: 1.0 / ((shape.channels / heads) as f32).sqrt() }.checked();
            let mut scratch = vec![0.0; attention.scratch_len()];
            let mut output = q.clone();
            attention.run::<Portable, _>(Residual::InOutput, &k, &v, &mut scratch, &mut output);
            for run in [Proved::<AttentionFloat>::run::<Avx2, f32>, Proved::<AttentionFloat>::run::<Avx512Vnni, f32>] {
                let mut same = vec![0.0; q.len()];
                run(&attention, Residual::From(&q), &k, &v, &mut scratch, &mut same);
                prop_assert_eq!(&same, &output);
            }
            let wide = [&q, &k, &v].map(|map| map.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>());
            for (out, real) in output.iter().zip(oracle(shape, heads, [&wide[0], &wide[1], &wide[2]])) {
                prop_assert!((f64::from(*out) - real).abs() <= 1e-5, "{} {}", out, real);
            }
        }
    }

    /// Equal scores: the mean of v. One score far above: its v.
    #[test]
    fn extremes() {
        let shape = Shape { height: 1, width: 2, channels: 1 };
        let attention = AttentionInt8 {
            shape,
            heads: 1,
            q_zero_point: 0,
            shift: 0,
            multiplier: 1 << 30,
            exp: exp_table(),
            ratio: 2f32.powi(40),
            offset: 128,
        };
        let (mut scratch, mut output) = ([0; 4], [0; 2]);
        attention.checked().run::<Portable>(
            Residual::From(&[0, 127]),
            &[-128, 127],
            &[-128, 127],
            &mut scratch,
            &mut output,
        );
        assert_eq!(output, [0, 127]);
        let misfits = [
            AttentionInt8 { heads: 2, ..attention },
            AttentionInt8 { multiplier: 3, ..attention },
            AttentionInt8 { shift: 15, ..attention },
            AttentionInt8 { shape: Shape { height: 513, width: 1, channels: 1 }, ..attention },
            AttentionInt8 { shape: Shape { height: 0, ..shape }, ..attention },
        ];
        for misfit in misfits {
            assert!(misfit.proved().is_err(), "{misfit:?}");
        }
    }
}
