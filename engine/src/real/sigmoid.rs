//! The logistic function and what is made of it.

use super::exp;

/// 1 / (1 + e⁻ˣ), within 2.5 units in the last place for x ≥ −87; below, 0 may stand for what is less than 2⁻¹²⁵.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// x / (1 + e⁻ˣ), the sigmoid linear unit (Elfwing et al. 2017), within 2.5 units in the last place for x ≥ −87; below,
/// within 2⁻¹¹⁸. NaN at −∞.
#[inline(always)]
pub(super) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// ½x · (1 + tanh u), u = √(2/π) · (x + 0.044715x³), which is x / (1 + e⁻²ᵘ): PyTorch's `approximate="tanh"`
/// (Hendrycks and Gimpel 2016). Within 2.5 units in the last place for x > 0, within 2.5 + 6 · |u| for x ≥ −9; below, within 2⁻¹⁰⁹. NaN at −∞.
#[inline(always)]
pub(super) fn gelu_tanh(x: f32) -> f32 {
    // 2√(2/π), and 0.044715 times that.
    const LINEAR: f32 = 1.595_769_2;
    const CUBIC: f32 = 0.071_354_814;
    x / (1.0 + exp(-x * (LINEAR + CUBIC * (x * x))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::accuracy::{unit, worst, worst_of};

    #[test]
    fn errors_of_the_sigmoid() {
        let exact = |x: f64| 1.0 / (1.0 + libm::exp(-x));
        let (units, x) = worst(-87.0..=f32::MAX, sigmoid, exact);
        assert!(units < 2.5, "{units} at {x}");
        let (error, x) = worst_of(f32::MIN..=-87.0, |x| (f64::from(sigmoid(x)) - exact(x.into())).abs());
        assert!(error < libm::exp2(-125.0), "{error} at {x}");
        assert_eq!([f32::NEG_INFINITY, 0.0, f32::INFINITY].map(sigmoid), [0.0, 0.5, 1.0]);
        assert!(sigmoid(f32::NAN).is_nan());
    }

    #[test]
    fn errors_of_silu() {
        let exact = |x: f64| x / (1.0 + libm::exp(-x));
        let (units, x) = worst(-87.0..=f32::MAX, silu, exact);
        assert!(units < 2.5, "{units} at {x}");
        let (error, x) = worst_of(f32::MIN..=-87.0, |x| (f64::from(silu(x)) - exact(x.into())).abs());
        assert!(error < libm::exp2(-118.0), "{error} at {x}");
        assert_eq!(silu(f32::INFINITY), f32::INFINITY);
        assert!(silu(f32::NAN).is_nan());
    }

    #[test]
    fn errors_of_gelu_by_tanh() {
        let argument = |x: f64| libm::sqrt(8.0 / core::f64::consts::PI) * (x + 0.044715 * x * x * x);
        let exact = |x: f64| x / (1.0 + libm::exp(-argument(x)));
        let relative = |x: f32| {
            let wide = f64::from(x);
            let units = (f64::from(gelu_tanh(x)) - exact(wide)).abs() / unit(exact(wide));
            units / (2.5 + 3.0 * if x < 0.0 { -argument(wide) } else { 0.0 })
        };
        let (share, x) = worst_of(-9.0..=f32::MAX, relative);
        assert!(share < 1.0, "{share} of the bound at {x}");
        let (error, x) = worst_of(f32::MIN..=-9.0, |x| (f64::from(gelu_tanh(x)) - exact(x.into())).abs());
        assert!(error < libm::exp2(-109.0), "{error} at {x}");
        assert_eq!(gelu_tanh(f32::INFINITY), f32::INFINITY);
        assert!(gelu_tanh(f32::NAN).is_nan());
    }
}
