//! Quantisation of a network's input.

use crate::real::floor;

/// f32 → int16, symmetric: `q = ⌊x · inverse_scale + ½⌋`, held to ±32767; NaN gives 0.
///
/// The input is finer than int8 because x_T's noise, at √ᾱ near 0, is all that early steps see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantize {
    /// 1 / (the value of one int16 step).
    pub inverse_scale: f32,
}

impl Quantize {
    /// Quantises as many elements as both slices have.
    pub fn run(&self, x: &[f32], output: &mut [i16]) {
        for (q, x) in output.iter_mut().zip(x) {
            let limit = i32::from(i16::MAX);
            *q = floor(x * self.inverse_scale + 0.5).clamp(-limit, limit) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quantize(inverse_scale: f32, x: f32) -> i16 {
        let mut output = [0];
        Quantize { inverse_scale }.run(&[x], &mut output);
        output[0]
    }

    #[test]
    fn ties_go_up_and_extremes_saturate() {
        assert_eq!([-1.5, -0.5, 0.5, 1.5, 0.49].map(|x| quantize(1.0, x)), [-1, 0, 1, 2, 0]);
        let extremes = [f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY, 32767.4, -32768.0];
        assert_eq!(extremes.map(|x| quantize(1.0, x)), [32767, -32767, 32767, -32767, 32767, -32767]);
        assert_eq!(quantize(1.0, f32::NAN), 0);
    }

    #[test]
    fn stops_at_the_shorter_slice() {
        let mut output = [7; 3];
        Quantize { inverse_scale: 2.0 }.run(&[1.0, -1.0], &mut output);
        assert_eq!(output, [2, -2, 7]);
    }

    proptest! {
        #[test]
        fn equals_the_formula(x in -6.0f32..6.0, inverse_scale in 10.0f32..8000.0) {
            let expected = f64::from(x * inverse_scale + 0.5).floor().clamp(-32767.0, 32767.0);
            prop_assert_eq!(f64::from(quantize(inverse_scale, x)), expected);
        }
    }
}
