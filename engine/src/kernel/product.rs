//! The element-wise product of two maps.

use super::buffers::{Buffers, Lens, fit};
use super::proved::{Proved, provable, require};
use crate::isa::{Isa, Work};
use crate::real::Real;
use crate::requantize::{is_multiplier, requantize, saturate};
use crate::residual::Residual;

/// int8 maps a and b → int8 map, all of one shape:
///
/// ```text
/// acc = (a − zero_points[0]) · (b − zero_points[1])
/// out = saturate(requantize(acc, shift, multiplier) + zero_point)
/// ```
///
/// |acc| is at most 255², which leaves int32 no room for a shift above 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductInt8 {
    /// Of `a` and `b`.
    pub zero_points: [i32; 2],
    /// See [`requantize`]; at most 15.
    pub shift: u32,
    /// See [`requantize`]: both scales through the output's.
    pub multiplier: i32,
    /// Of the output.
    pub zero_point: i32,
}

impl ProductInt8 {
    const fn check(&self) -> Result<(), &'static str> {
        let [a, b] = self.zero_points;
        let zero_points = [a, b, self.zero_point];
        let mut index = 0;
        while index < zero_points.len() {
            require!(zero_points[index] >= -128 && zero_points[index] <= 127, "zero points are int8");
            index += 1;
        }
        require!(
            is_multiplier(self.multiplier) && self.shift < 16,
            "the multiplier is even and positive, the shift below 16"
        );
        Ok(())
    }

    /// One product.
    #[inline(always)]
    fn apply(&self, a: i8, b: i8) -> i8 {
        let acc = (i32::from(a) - self.zero_points[0]) * (i32::from(b) - self.zero_points[1]);
        saturate(requantize(acc, self.shift, self.multiplier) + self.zero_point)
    }
}

impl Proved<ProductInt8> {
    /// Multiplies two maps of the output's length. `b` may lie in the output.
    pub fn run<I: Isa>(&self, a: &[i8], b: Residual<'_, i8>, output: &mut [i8]) {
        let lens = Lens::equal(output.len(), 1);
        let Some(Buffers { maps: [a, _], residual: b, output }) = fit(lens, [a, &[]], b, [0; 2], output) else {
            return;
        };
        let layer = *self.parameters();
        I::vectorize(Multiply { apply: move |a, b| layer.apply(a, b), a, b, output });
    }
}

/// `a · b` in f32, rounded to the stored type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductFloat {}

impl ProductFloat {
    /// There are no parameters.
    const fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

impl Proved<ProductFloat> {
    /// Multiplies two maps of the output's length. `b` may lie in the output.
    pub fn run<I: Isa, T: Real>(&self, a: &[T], b: Residual<'_, T>, output: &mut [T]) {
        let lens = Lens::equal(output.len(), 1);
        let Some(Buffers { maps: [a, _], residual: b, output }) = fit(lens, [a, &[]], b, [0; 2], output) else {
            return;
        };
        I::vectorize(Multiply { apply: |a: T, b: T| T::from_f32(a.to_f32() * b.to_f32()), a, b, output });
    }
}

/// Two maps at work.
struct Multiply<'a, T, F> {
    apply: F,
    a: &'a [T],
    b: Residual<'a, T>,
    output: &'a mut [T],
}

impl<T: Copy, F: Fn(T, T) -> T> Work for Multiply<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { apply, a, b, output } = self;
        let pairs = output.iter_mut().zip(a);
        match b {
            Residual::From(b) => pairs.zip(b).for_each(|((out, a), b)| *out = apply(*a, *b)),
            Residual::InOutput => pairs.for_each(|(out, a)| *out = apply(*a, *out)),
            Residual::None => {}
        }
    }
}

provable! {
    [] ProductInt8;
    [] ProductFloat;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Avx2, Avx512Vnni, Portable};
    use half::f16;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    proptest! {
        #[test]
        fn int8_equals_the_definition(
            pairs in prop::collection::vec(any::<[i8; 2]>(), 0..70),
            zero_points in [-128i32..=127, -128..=127],
            shift in 0u32..16,
            half in 1i32..=1 << 29,
            zero_point in -128..=127i32,
        ) {
            let product = ProductInt8 { zero_points, shift, multiplier: 2 * half, zero_point }.checked();
            let expected: Vec<i8> = pairs.iter().map(|[a, b]| {
                let acc = (i128::from(*a) - i128::from(zero_points[0])) * (i128::from(*b) - i128::from(zero_points[1]));
                let scaled = ((acc << shift) * i128::from(2 * half) + (1 << 31)).div_euclid(1 << 32);
                (scaled + i128::from(zero_point)).clamp(-128, 127) as i8
            }).collect();
            let [a, b] = [0, 1].map(|side| pairs.iter().map(|pair| pair[side]).collect::<Vec<i8>>());
            type Layer = Proved<ProductInt8>;
            for run in [Layer::run::<Portable>, Layer::run::<Avx2>, Layer::run::<Avx512Vnni>] {
                let mut output = vec![0; a.len()];
                run(&product, &a, Residual::From(&b), &mut output);
                prop_assert_eq!(&output, &expected);
                output.copy_from_slice(&b);
                run(&product, &a, Residual::InOutput, &mut output);
                prop_assert_eq!(&output, &expected);
            }
        }
    }

    #[test]
    fn halves_round_once_and_misfits_are_found() {
        let mut output = [f16::from_f32(3.0)];
        ProductFloat {}.checked().run::<Portable, _>(&[f16::from_f32(683.5)], Residual::InOutput, &mut output);
        assert_eq!(output, [f16::from_f32(2050.0)], "2050.5 lies between two");
        let product = ProductInt8 { zero_points: [0; 2], shift: 0, multiplier: 2, zero_point: 0 };
        for misfit in [
            ProductInt8 { zero_points: [0, 128], ..product },
            ProductInt8 { shift: 16, ..product },
            ProductInt8 { multiplier: 3, ..product },
            ProductInt8 { zero_point: -129, ..product },
        ] {
            assert!(misfit.proved().is_err(), "{misfit:?}");
        }
    }
}
