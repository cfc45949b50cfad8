//! How a network's inputs come into its arena.

use super::proved::{Proved, provable, require};
use crate::io::Input;
use crate::maps::Code;
use crate::real::{Real, floor};

/// f32 → int16 or int8: `q = ⌊scale · x · inverse_scale + ½⌋ + zero_point`, held to ±32767 in int16 and to −128 … 127 in
/// int8; NaN gives the zero point. The input's scale is multiplied first, and that product rounded to f32.
///
/// A picture's input is finer than int8 because x_T's noise, at √ᾱ near 0, is all that early steps see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantize {
    /// 1 / (the value of one step).
    pub inverse_scale: f32,
    /// The code of 0.
    pub zero_point: i32,
}

provable! {
    [] Quantize;
}

impl Quantize {
    const fn check(&self) -> Result<(), &'static str> {
        require!(self.inverse_scale > 0.0 && self.inverse_scale.is_finite(), "the scale is above 0 and finite");
        require!(self.zero_point >= -128 && self.zero_point <= 127, "the zero point is an int8");
        Ok(())
    }
}

impl Proved<Quantize> {
    /// Quantises as many elements as both slices have.
    pub fn run<Y: Code>(&self, input: Input<'_>, output: &mut [Y]) {
        let Quantize { inverse_scale, zero_point } = *self.parameters();
        for (q, x) in output.iter_mut().zip(input.values) {
            *q = Y::saturated(floor(input.scale * x * inverse_scale + 0.5).saturating_add(zero_point));
        }
    }
}

/// f32 → f32 or f16: `scale · x`, rounded to the output's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load;

impl Load {
    /// Copies as many elements as both slices have.
    pub fn run<Y: Real>(&self, input: Input<'_>, output: &mut [Y]) {
        output.iter_mut().zip(input.values).for_each(|(y, x)| *y = Y::from_f32(input.scale * x));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;
    use proptest::prelude::*;

    fn quantize<Y: Code>(inverse_scale: f32, zero_point: i32, x: f32) -> i16 {
        let mut output = [Y::from_zero_point(0)];
        Quantize { inverse_scale, zero_point }.checked().run(Input::new(&[x]), &mut output);
        output[0].into()
    }

    #[test]
    fn ties_go_up_and_extremes_saturate() {
        assert_eq!([-1.5, -0.5, 0.5, 1.5, 0.49].map(|x| quantize::<i16>(1.0, 0, x)), [-1, 0, 1, 2, 0]);
        let extremes = [f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY, 32767.4, -32768.0];
        let expected = [32767, -32767, 32767, -32767, 32767, -32767];
        assert_eq!(extremes.map(|x| quantize::<i16>(1.0, 0, x)), expected);
        assert_eq!(extremes.map(|x| quantize::<i8>(1.0, 100, x)), [127, -128, 127, -128, 127, -128]);
        assert_eq!([quantize::<i16>(1.0, 0, f32::NAN), quantize::<i8>(1.0, -3, f32::NAN)], [0, -3]);
    }

    #[test]
    fn stops_at_the_shorter_slice_and_scales_first() {
        let mut output = [7i16; 3];
        let kernel = Quantize { inverse_scale: 2.0, zero_point: 0 }.checked();
        kernel.run(Input { values: &[1.0, -1.0], scale: 3.0 }, &mut output);
        assert_eq!(output, [6, -6, 7]);
        let mut output = [f16::ONE; 2];
        Load.run(Input { values: &[0.1], scale: 2.0 }, &mut output);
        assert_eq!(output, [f16::from_f32(0.2), f16::ONE]);
    }

    #[test]
    fn misfits_are_found() {
        let bad = [(0.0, 0), (f32::INFINITY, 0), (f32::NAN, 0), (1.0, 128)];
        assert!(
            bad.into_iter().all(|(inverse_scale, zero_point)| Quantize { inverse_scale, zero_point }.proved().is_err())
        );
    }

    proptest! {
        #[test]
        fn equals_the_formula(x in -6.0f32..6.0, inverse_scale in 10.0f32..8000.0, zero_point in -128..=127i32) {
            let steps = f64::from(x * inverse_scale + 0.5).floor();
            prop_assert_eq!(f64::from(quantize::<i16>(inverse_scale, 0, x)), steps.clamp(-32767.0, 32767.0));
            let expected = (steps + f64::from(zero_point)).clamp(-128.0, 127.0);
            prop_assert_eq!(f64::from(quantize::<i8>(inverse_scale, zero_point, x)), expected);
        }
    }
}
