//! Derivatives of the activations, for gradients that a chip computes.
//!
//! Errors are absolute: the functions cross or approach 0. All are finite, and constant beyond ±100.

use super::exp;
use super::normal::tail_of_density;
use super::sigmoid::sigmoid;

/// The derivative of SiLU, σ(x) · (1 + x · σ(−x)), within 3e-7; σ being the logistic function.
#[inline(always)]
pub(super) fn silu_slope(x: f32) -> f32 {
    let x = held(x);
    sigmoid(x) * (1.0 + x * sigmoid(-x))
}

/// The derivative of max(x, 0): 1 above 0, else 0.
#[inline(always)]
pub(super) fn relu_slope(x: f32) -> f32 {
    if x > 0.0 { 1.0 } else { 0.0 }
}

/// The derivative of tanh, 4 · σ(2x) · σ(−2x), within 3e-7.
#[inline(always)]
pub(super) fn tanh_slope(x: f32) -> f32 {
    4.0 * sigmoid_slope(2.0 * held(x))
}

/// The derivative of σ, σ(x) · σ(−x), within 1e-7.
#[inline(always)]
pub(super) fn sigmoid_slope(x: f32) -> f32 {
    sigmoid(x) * sigmoid(-x)
}

/// The derivative of x · Φ(x), Φ(x) + x · φ(x), within 3e-7; Φ and φ being the normal distribution's function and density.
#[inline(always)]
pub(super) fn gelu_slope(x: f32) -> f32 {
    // 1/√(2π).
    const DENSITY: f32 = 0.398_942_3;
    let x = held(x);
    let size = x.abs();
    let tail = tail_of_density(size) * exp(-0.5 * size * size);
    let below = if x < 0.0 { tail } else { 1.0 - tail };
    below + x * (DENSITY * exp(-0.5 * x * x))
}

/// The derivative of x · σ(v), v = √(8/π) · (x + 0.044715x³): σ(v) + x · v′ · σ(v) · σ(−v), within 6e-7.
#[inline(always)]
pub(super) fn gelu_tanh_slope(x: f32) -> f32 {
    // 2√(2/π), 0.044715 times that, and three times that.
    const LINEAR: f32 = 1.595_769_2;
    const CUBIC: f32 = 0.071_354_814;
    const RISE: f32 = 0.214_064_44;
    let x = held(x);
    let v = x * (LINEAR + CUBIC * (x * x));
    sigmoid(v) + x * (LINEAR + RISE * (x * x)) * sigmoid_slope(v)
}

/// Beyond ±100 nothing changes.
#[inline(always)]
fn held(x: f32) -> f32 {
    let x = if x < -100.0 { -100.0 } else { x };
    if x > 100.0 { 100.0 } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::accuracy::worst_of;
    use core::f64::consts::{FRAC_1_SQRT_2, PI};

    fn logistic(x: f64) -> f64 {
        1.0 / (1.0 + libm::exp(-x))
    }

    fn logistic_slope(x: f64) -> f64 {
        logistic(x) * logistic(-x)
    }

    /// Exact values, the largest error that is stated, and what they tend to.
    #[test]
    fn errors_are_as_stated() {
        type Case = (fn(f32) -> f32, fn(f64) -> f64, f64, [f32; 2]);
        let cases: [Case; 5] = [
            (silu_slope, |x| logistic(x) + x * logistic_slope(x), 3e-7, [0.0, 1.0]),
            (tanh_slope, |x| 4.0 * logistic_slope(2.0 * x), 3e-7, [0.0, 0.0]),
            (sigmoid_slope, logistic_slope, 1e-7, [0.0, 0.0]),
            (
                gelu_slope,
                |x| 0.5 * libm::erfc(-x * FRAC_1_SQRT_2) + x * libm::exp(-0.5 * x * x) / libm::sqrt(2.0 * PI),
                3e-7,
                [0.0, 1.0],
            ),
            (
                gelu_tanh_slope,
                |x| {
                    let v = libm::sqrt(8.0 / PI) * (x + 0.044715 * x * x * x);
                    let rise = libm::sqrt(8.0 / PI) * (1.0 + 0.134145 * x * x);
                    logistic(v) + x * rise * logistic_slope(v)
                },
                6e-7,
                [0.0, 1.0],
            ),
        ];
        for (ours, exact, bound, ends) in cases {
            let (error, x) = worst_of(-90.0..=90.0, |x| (f64::from(ours(x)) - exact(x.into())).abs());
            assert!(error < bound, "{error} at {x}");
            for (x, end) in
                [(-f32::INFINITY, ends[0]), (f32::MIN, ends[0]), (f32::MAX, ends[1]), (f32::INFINITY, ends[1])]
            {
                assert!((ours(x) - end).abs() < 1e-9, "{} at {x}", ours(x));
            }
            assert!(ours(f32::NAN).is_nan());
        }
    }

    #[test]
    fn relu_has_a_step() {
        assert_eq!([-1.0, -0.0, 0.0, f32::MIN_POSITIVE, 3.0].map(relu_slope), [0.0, 0.0, 0.0, 1.0, 1.0]);
    }
}
