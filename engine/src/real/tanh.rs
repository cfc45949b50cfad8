//! The hyperbolic tangent.

use super::exp::Reduced;

/// tanh x within 2.5 units in the last place.
///
/// With e = e²ˣ − 1 = 2ᵏ · (eʳ − 1) + 2ᵏ − 1 it is e / (e + 2): exact powers keep what is small precise.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let twice = 2.0 * x.abs();
    // tanh 9.1 rounds to 1.
    let reduced = Reduced::new(if twice > 18.2 { 18.2 } else { twice }, 0.0);
    let [half, rest] = reduced.powers();
    let power = half * rest;
    let e = power * reduced.exp_m1() + (power - 1.0);
    (e / (e + 2.0)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::accuracy::worst;

    #[test]
    fn tangents_are_within_2_5_units() {
        let (units, x) = worst(f32::MIN..=f32::MAX, tanh, libm::tanh);
        assert!(units < 2.5, "{units} at {x}");
        assert_eq!([f32::NEG_INFINITY, f32::INFINITY].map(tanh), [-1.0, 1.0]);
        assert_eq!(tanh(-0.0).to_bits(), (-0.0f32).to_bits());
        assert!(tanh(f32::NAN).is_nan());
    }
}
