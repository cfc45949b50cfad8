//! The exponential: reduced by multiples of ln 2, then a polynomial.

/// An argument as k · ln 2 + hi − lo, |hi − lo| ≤ ½ ln 2 but for rounding.
#[derive(Clone, Copy)]
pub(super) struct Reduced {
    /// The bits of 1.5 · 2²³ + 254 + k as an f32, whose last bits are the integer 254 + k.
    shifted: u32,
    hi: f32,
    lo: f32,
}

impl Reduced {
    /// Of x + more, |more| being small against x; |x| ≤ 104.
    ///
    /// Adding 1.5 · 2²³ rounds to the nearest integer. ln 2 is the sum of LN2_HI, its first 16 bits, whose product with
    /// |k| ≤ 150 is exact, as is the difference from x then, and of LN2_LO (Cody and Waite 1980).
    #[inline(always)]
    pub(super) fn new(x: f32, more: f32) -> Self {
        const SHIFT: f32 = 12_582_912.0 + 254.0;
        const LN2_HI: f32 = 0.693_145_75;
        const LN2_LO: f32 = 1.428_606_8e-6;
        let shifted = x * core::f32::consts::LOG2_E + SHIFT;
        let k = shifted - SHIFT;
        Self { shifted: shifted.to_bits(), hi: x - k * LN2_HI, lo: k * LN2_LO - more }
    }

    /// eʳ − 1 of r = hi − lo: r + r² · q(r).
    #[inline(always)]
    pub(super) fn exp_m1(self) -> f32 {
        let Self { hi, lo, .. } = self;
        let r = hi - lo;
        let q = Q[0] + r * (Q[1] + r * (Q[2] + r * (Q[3] + r * (Q[4] + r * Q[5]))));
        (r * r * q - lo) + hi
    }

    /// 2ᵏ as the product of two powers, each in an f32's range.
    #[inline(always)]
    pub(super) fn powers(self) -> [f32; 2] {
        let half = self.shifted >> 1;
        [half, self.shifted - half].map(|bits| f32::from_bits(bits << 23))
    }
}

/// The minimax polynomial q of (eʳ − 1 − r) / r² for |r| ≤ ½ ln 2, its error weighted by r² / eʳ, that is relative to
/// eʳ: 5.2e-11.
const Q: [f32; 6] = [0.5, 0.166_666_66, 0.041_666_295, 0.008_333_497, 0.001_394_464_9, 0.000_197_903_52];

/// eˣ within 0.9 units in the last place, subnormal results included; infinite from 88.722 84 on, 0 from −103.972 08
/// down.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    exp_of_sum(x, 0.0)
}

/// eˣ⁺ᵐ, |m| being small against x, as precise.
#[inline(always)]
pub(super) fn exp_of_sum(x: f32, m: f32) -> f32 {
    // Beyond these bounds the results are 0 and infinite. NaN passes both, and what follows keeps it.
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let reduced = Reduced::new(x, m);
    let [half, rest] = reduced.powers();
    // The first product is exact; the second may be subnormal.
    (1.0 + reduced.exp_m1()) * half * rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::accuracy::{assert_coefficients, worst};

    #[test]
    fn coefficients_are_the_minimax_polynomials() {
        let half = core::f64::consts::LN_2 / 2.0;
        // (eʳ − 1 − r) / r² = Σ rⁱ / (i + 2)!
        let series = |r: f64| (2..20).rev().fold(0.0, |sum, i| (1.0 + r * sum) / f64::from(i));
        let weight = |r: f64| r * r / libm::exp(r);
        assert_coefficients(&Q, series, weight, [-half, half], 5.2e-11);
    }

    #[test]
    fn exponentials_are_within_0_9_units() {
        let (units, x) = worst(-104.0..=88.72, exp, libm::exp);
        assert!(units < 0.9, "{units} at {x}");
    }

    #[test]
    fn far_arguments() {
        assert_eq!([f32::NEG_INFINITY, f32::MIN, -103.972_09, 0.0].map(exp), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(exp(-103.972_08), f32::from_bits(1));
        assert_eq!(exp(88.722_84), f32::INFINITY);
        assert!(exp(88.722_83).is_finite());
        assert_eq!([89.5, f32::MAX, f32::INFINITY].map(exp), [f32::INFINITY; 3]);
        assert!(exp(f32::NAN).is_nan() && exp(-f32::NAN).is_nan());
    }
}
