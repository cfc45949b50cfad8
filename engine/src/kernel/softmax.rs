//! The softmax over the channels of every position.

use super::buffers::{Buffers, Lens, fit};
use super::proved::{Proved, provable, require};
use crate::isa::{Isa, Work};
use crate::real::{Real, exp};
use crate::requantize::saturate;
use crate::residual::Residual;

/// int8 map → int8 map of the same shape, whose code q stands for (q + 128) / 256. For the channels c of each position:
///
/// ```text
/// weight[c] = exp[max q − q[c]]
/// m         = ⌊2³¹ / Σ_c weight[c] + ½⌋
/// out[c]    = saturate(((weight[c] · m + 2²²) >> 23) − 128)
/// ```
///
/// in unsigned 32-bit integers: the largest weight is `exp[0]`, so that Σ ≥ `exp[0]` and weight · m ≤ 2³¹ + 2¹⁴, and Σ stays
/// below 2³¹ where there are no more than 2¹⁶ channels. One division a position.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxInt8<'a> {
    /// Values a position, at most 2¹⁶.
    pub channels: usize,
    /// `exp[i]` ≈ 32767 · e^(−i · input scale).
    pub exp: &'a [i16; 256],
}

impl SoftmaxInt8<'_> {
    const fn check(&self) -> Result<(), &'static str> {
        require!(self.channels > 0 && self.channels <= 1 << 16, "1 to 65536 channels");
        require!(self.exp[0] == i16::MAX, "the exponential begins at 32767");
        let mut index = 1;
        while index < self.exp.len() {
            require!(
                self.exp[index] >= 0 && self.exp[index] <= self.exp[index - 1],
                "the exponential falls, to 0 at most"
            );
            index += 1;
        }
        Ok(())
    }
}

impl Proved<SoftmaxInt8<'_>> {
    /// Runs the layer on `input`, which may lie in the output.
    pub fn run(&self, input: Residual<'_, i8>, output: &mut [i8]) {
        let SoftmaxInt8 { channels, exp } = self.parameters();
        let lens = Lens::equal(output.len(), 0);
        let Some(Buffers { residual: input, output, .. }) = fit(lens, [&[0i8; 0]; 2], input, [0; 2], output) else {
            return;
        };
        input.place(output);
        for position in output.chunks_exact_mut((*channels).max(1)) {
            let largest = position.iter().fold(i8::MIN, |a, &b| if a > b { a } else { b });
            // The difference of two int8 is a byte.
            let weight = |code: i8| u32::from(exp[usize::from(largest.wrapping_sub(code) as u8)] as u16);
            let total = position.iter().fold(0u32, |sum, &code| sum.wrapping_add(weight(code))).max(1);
            let factor = ((1u32 << 31) + total / 2) / total;
            for code in position {
                let share = (weight(*code).wrapping_mul(factor).wrapping_add(1 << 22) >> 23) as i32;
                *code = saturate(share - 128);
            }
        }
    }
}

/// f32 or f16 map → map of the same type and shape: `out[c] = e^(x[c] − max x) / Σ e^(x − max x)` over the channels of each
/// position, in f32, from the first channel to the last; the result is rounded once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftmaxFloat {
    /// Values a position.
    pub channels: usize,
}

impl SoftmaxFloat {
    const fn check(&self) -> Result<(), &'static str> {
        require!(self.channels > 0, "at least one channel");
        Ok(())
    }
}

impl Proved<SoftmaxFloat> {
    /// Runs the layer on `input`, which may lie in the output.
    pub fn run<I: Isa, T: Real>(&self, input: Residual<'_, T>, output: &mut [T]) {
        let lens = Lens::equal(output.len(), 0);
        let Some(Buffers { residual: input, output, .. }) = fit(lens, [&[0i8; 0]; 2], input, [0; 2], output) else {
            return;
        };
        input.place(output);
        I::vectorize(Shares { channels: self.parameters().channels, map: output });
    }
}

/// Every position's values become their softmax.
struct Shares<'a, T> {
    channels: usize,
    map: &'a mut [T],
}

impl<T: Real> Work for Shares<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for position in self.map.chunks_exact_mut(self.channels.max(1)) {
            let largest = position.iter().fold(f32::NEG_INFINITY, |a, b| a.max(b.to_f32()));
            let weight = |value: &T| exp(value.to_f32() - largest);
            // The exponential is computed twice, so that no weight is rounded to the stored type and no scratch needed.
            let total = position.iter().fold(0.0, |sum, value| sum + weight(value));
            position.iter_mut().for_each(|value| *value = T::from_f32(weight(value) / total));
        }
    }
}

provable! {
    ['a] SoftmaxInt8<'a>;
    [] SoftmaxFloat;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Avx2, Avx512Vnni, Portable};
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    fn oracle(map: &[f64], channels: usize) -> Vec<f64> {
        let position = |values: &[f64]| {
            let largest = values.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = values.iter().map(|v| (v - largest).exp()).sum();
            values.iter().map(|v| (v - largest).exp() / total).collect::<Vec<f64>>()
        };
        map.chunks_exact(channels).flat_map(position).collect()
    }

    fn table(scale: f64) -> [i16; 256] {
        core::array::from_fn(|i| (32767.0 * (-scale * i as f64).exp()).round() as i16)
    }

    fn maps() -> impl Strategy<Value = (usize, Vec<i8>)> {
        (1usize..=40, 1usize..=5).prop_flat_map(|(channels, positions)| {
            (Just(channels), prop::collection::vec(any::<i8>(), channels * positions))
        })
    }

    proptest! {
        #[test]
        fn int8_is_near_the_real_numbers((channels, map) in maps(), scale in 0.001f64..0.5) {
            let exp = table(scale);
            let softmax = SoftmaxInt8 { channels, exp: &exp }.checked();
            let mut output = vec![0; map.len()];
            softmax.run(Residual::From(&map), &mut output);
            let reals: Vec<f64> = map.iter().map(|q| scale * f64::from(*q)).collect();
            for (code, real) in output.iter().zip(oracle(&reals, channels)) {
                // Half a unit; weights are rounded to 2⁻¹⁶ of the largest, 40 of them; the last code is 255.
                let value = (256.0 * real).min(255.0);
                prop_assert!((f64::from(*code) + 128.0 - value).abs() <= 0.5 + 0.2, "{} {}", code, value);
            }
            let mut in_place = map.clone();
            softmax.run(Residual::InOutput, &mut in_place);
            prop_assert_eq!(&in_place, &output);
        }

        #[test]
        fn floats_equal_the_definition((channels, map) in maps()) {
            let map: Vec<f32> = map.iter().map(|q| f32::from(*q) / 8.0).collect();
            let wide: Vec<f64> = map.iter().map(|v| f64::from(*v)).collect();
            let softmax = SoftmaxFloat { channels }.checked();
            let mut output = vec![0.0; map.len()];
            softmax.run::<Portable, _>(Residual::From(&map), &mut output);
            for (out, real) in output.iter().zip(oracle(&wide, channels)) {
                prop_assert!((f64::from(*out) - real).abs() <= 2f64.powi(-20));
            }
            for run in [Proved::<SoftmaxFloat>::run::<Avx2, f32>, Proved::<SoftmaxFloat>::run::<Avx512Vnni, f32>] {
                let mut in_place = map.clone();
                run(&softmax, Residual::InOutput, &mut in_place);
                prop_assert_eq!(&in_place, &output);
            }
        }
    }

    #[test]
    fn extremes_and_misfits() {
        let exp = table(1.0);
        let mut map = [127, -128, 0];
        SoftmaxInt8 { channels: 1, exp: &exp }.checked().run(Residual::InOutput, &mut map);
        assert_eq!(map, [127; 3], "one channel takes all");
        let mut map = vec![5; 1 << 16];
        SoftmaxInt8 { channels: 1 << 16, exp: &exp }.checked().run(Residual::InOutput, &mut map);
        assert_eq!(map, vec![-128; 1 << 16]);
        assert!(SoftmaxInt8 { channels: 0, exp: &exp }.proved().is_err());
        assert!(SoftmaxInt8 { channels: 1 << 17, exp: &exp }.proved().is_err());
        let mut rising = exp;
        rising[9] = 1000;
        for exp in [rising, [0; 256]] {
            assert!(SoftmaxInt8 { channels: 3, exp: &exp }.proved().is_err());
        }
        assert!(SoftmaxFloat { channels: 0 }.proved().is_err());
    }
}
