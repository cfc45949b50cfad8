//! The normal distribution, for GELU.

use super::exp::exp_of_sum;

/// x · Φ(x), the Gaussian error linear unit (Hendrycks and Gimpel 2016), Φ being the normal distribution's function:
/// within 11 units in the last place, subnormal results included; 0 at −∞.
///
/// It is max(x, 0) − |x| · Q(|x|), the upper tail Q = 1 − Φ being e^(−a²/2) · p(s), with s = (a − 3) / (a + 3).
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    let size = x.abs();
    // |x| · Q(|x|) rounds to 0 from 14.2 on.
    let a = if size > 15.0 { 15.0 } else { size };
    // a² = high² + (a − high) · (a + high): the first is exact, as 12 bits are enough for `high`.
    let high = f32::from_bits(a.to_bits() & 0xffff_f000);
    let gauss = exp_of_sum(-0.5 * (high * high), -0.5 * ((a - high) * (a + high)));
    let positive = if x < 0.0 { 0.0 } else { x };
    // In this order the product is subnormal only where the result is.
    positive - gauss * (a * tail_of_density(a))
}

/// Q(a) · e^(a²/2), the upper tail without its density, for 0 ≤ a ≤ 15; beyond, a finite number.
#[inline(always)]
pub(super) fn tail_of_density(a: f32) -> f32 {
    let s = (a - CENTRE) / (a + CENTRE);
    P.iter().rev().fold(0.0, |sum, c| sum * s + c)
}

/// Where s is 0: of 2, 2.5, 3, 3.5, 4 and 5 the one with the least error of p.
const CENTRE: f32 = 3.0;

/// The minimax polynomial p(s) of Q(a) · e^(a²/2) for 0 ≤ a ≤ 14.5, its error relative to that: 9.2e-9.
const P: [f32; 10] = [
    0.121_513_95,
    -0.206_402_61,
    0.123_225_04,
    -0.046_213_26,
    0.006_131_942_4,
    0.002_904_387_4,
    -0.000_983_288_2,
    -0.000_339_012_88,
    0.000_115_013_645,
    0.000_053_161_944,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::accuracy::{assert_coefficients, worst};

    fn tail(a: f64) -> f64 {
        0.5 * libm::erfc(a * core::f64::consts::FRAC_1_SQRT_2)
    }

    #[test]
    fn coefficients_are_the_minimax_polynomials() {
        let centre = f64::from(CENTRE);
        let scaled = |s: f64| {
            let a = centre * (1.0 + s) / (1.0 - s);
            tail(a) * libm::exp(a * a / 2.0)
        };
        let end = (14.5 - centre) / (14.5 + centre);
        assert_coefficients(&P, scaled, |s| 1.0 / scaled(s), [-1.0, end], 9.2e-9);
    }

    #[test]
    fn gelu_is_within_11_units() {
        let (units, x) = worst(f32::MIN..=f32::MAX, gelu, |x| x * tail(-x));
        assert!(units < 11.0, "{units} at {x}");
        assert_eq!([f32::NEG_INFINITY, 0.0, f32::INFINITY].map(gelu), [0.0, 0.0, f32::INFINITY]);
        assert!(gelu(f32::NAN).is_nan());
    }
}
