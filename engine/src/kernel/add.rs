//! The sum of two maps, where it cannot be a convolution's residual.

use super::buffers::{Buffers, Lens, fit};
use super::proved::{Proved, provable, require};
use crate::epilogue::AddInt8;
use crate::isa::Isa;
use crate::real::{Activation, Real};
use crate::requantize::is_multiplier;
use crate::residual::Residual;

impl AddInt8 {
    const fn check(&self) -> Result<(), &'static str> {
        require!(
            is_multiplier(self.multiplier) && self.shift < 32,
            "the multiplier is even and positive, the shift below 32"
        );
        require!(self.zero_point >= -128 && self.zero_point <= 127, "the zero point is an int8");
        Ok(())
    }
}

impl Proved<AddInt8> {
    /// Adds two maps of the output's length. `b` may lie in the output.
    pub fn run<I: Isa>(&self, a: &[i8], b: Residual<'_, i8>, output: &mut [i8]) {
        let lens = Lens::equal(output.len(), 1);
        let Some(Buffers { maps: [a, _], residual: b, output }) = fit(lens, [a, &[]], b, [0; 2], output) else {
            return;
        };
        I::add(self.parameters(), a, b, output);
    }
}

/// `activation(a + b)` in f32, rounded to the stored type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AddFloat {
    /// The last operation.
    pub activation: Activation,
}

impl AddFloat {
    /// Any parameters will do.
    const fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

impl Proved<AddFloat> {
    /// Adds two maps of the output's length. `b` may lie in the output.
    pub fn run<T: Real>(&self, a: &[T], b: Residual<'_, T>, output: &mut [T]) {
        let lens = Lens::equal(output.len(), 1);
        let Some(Buffers { maps: [a, _], residual: b, output }) = fit(lens, [a, &[]], b, [0; 2], output) else {
            return;
        };
        for (index, (out, a)) in output.iter_mut().zip(a).enumerate() {
            let sum = a.to_f32() + b.at(index, *out).to_f32();
            *out = T::from_f32(self.parameters().activation.apply(sum));
        }
    }
}

provable! {
    [] AddInt8;
    [] AddFloat;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Portable;
    use half::f16;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    prop_compose! {
        fn pairs()(len in 0usize..40)(
            a in prop::collection::vec(any::<i8>(), len),
            b in prop::collection::vec(any::<i8>(), len),
        ) -> (Vec<i8>, Vec<i8>) { (a, b) }
    }

    proptest! {
        #[test]
        fn int8_equals_the_definition(
            (a, b) in pairs(),
            multipliers in [-60_000i32..=60_000, -60_000..=60_000],
            bias in -1_000_000i32..=1_000_000,
            multiplier in 1i32..=1 << 20,
            zero_point in -128..=127i32,
        ) {
            let add = AddInt8 { multipliers, bias, shift: 4, multiplier: multiplier * 2, zero_point }.checked();
            let expected: Vec<i8> = a.iter().zip(&b).map(|(a, b)| {
                let acc = i64::from(*a) * i64::from(multipliers[0]) + i64::from(*b) * i64::from(multipliers[1]) + i64::from(bias);
                let scaled = (i128::from(acc) * 16 * i128::from(multiplier * 2) + (1 << 31)).div_euclid(1 << 32);
                (scaled + i128::from(zero_point)).clamp(-128, 127) as i8
            }).collect();
            let mut output = vec![0; a.len()];
            add.run::<Portable>(&a, Residual::From(&b), &mut output);
            prop_assert_eq!(&output, &expected);
            output.copy_from_slice(&b);
            add.run::<Portable>(&a, Residual::InOutput, &mut output);
            prop_assert_eq!(&output, &expected);
        }

        #[test]
        fn floats_equal_the_definition(a in prop::collection::vec(-9.0f32..9.0, 9), b in prop::collection::vec(-9.0f32..9.0, 9)) {
            let mut output = b.clone();
            AddFloat { activation: Activation::Silu }.checked().run(&a, Residual::InOutput, &mut output);
            for ((a, b), out) in a.iter().zip(&b).zip(&output) {
                let sum = f64::from(*a) + f64::from(*b);
                // Roundings of the sum, of expf, of the denominator and of the quotient.
                prop_assert!((f64::from(*out) - sum / (1.0 + (-sum).exp())).abs() <= 2f64.powi(-21) * sum.abs().max(0.1));
            }
        }
    }

    #[test]
    fn halves_round_once() {
        let mut output = [f16::ZERO];
        let [a, b] = [[f16::from_f32(2048.0)], [f16::from_f32(1.5)]];
        AddFloat { activation: Activation::Identity }.checked().run(&a, Residual::From(&b), &mut output);
        assert_eq!(output, [f16::from_f32(2050.0)]);
    }

    #[test]
    fn extremes_saturate_and_misfits_are_found() {
        let add = AddInt8 { multipliers: [1 << 20; 2], bias: 0, shift: 0, multiplier: i32::MAX - 1, zero_point: 0 };
        let mut output = [0; 3];
        add.checked().run::<Portable>(&[127, -128, 0], Residual::From(&[127, -128, 0]), &mut output);
        assert_eq!(output, [127, -128, 0]);
        assert!(AddInt8 { multiplier: 3, ..add }.proved().is_err());
        assert!(AddInt8 { zero_point: 200, ..add }.proved().is_err());
    }
}
