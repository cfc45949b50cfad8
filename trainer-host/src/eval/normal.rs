//! The normal distribution far out in its tails.

use std::f64::consts::{FRAC_1_SQRT_2, TAU};

/// log(Φ(high) − Φ(low)) for low < high, either of them infinite; finite wherever they are.
pub fn log_interval(low: f64, high: f64) -> f64 {
    if low > 0.0 {
        // In the left tail Φ is small and exact.
        return log_interval(-high, -low);
    }
    if high > 0.0 {
        return (-(cdf(low) + cdf(-high))).ln_1p();
    }
    let (low, high) = (log_cdf(low), log_cdf(high));
    high + (-(low - high).exp_m1()).ln()
}

fn cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z * FRAC_1_SQRT_2)
}

/// log Φ(z), z ≤ 0.
fn log_cdf(z: f64) -> f64 {
    if z > -30.0 {
        return cdf(z).ln();
    }
    if z == f64::NEG_INFINITY {
        return z;
    }
    // Φ(z) = φ(z)/|z|·(1 − 1/z² + 3/z⁴ − 15/z⁶ + …): the next term is below 1e-9 of it, and only its logarithm is kept.
    let inverse = 1.0 / (z * z);
    let series = -inverse * (1.0 - 3.0 * inverse * (1.0 - 5.0 * inverse));
    -0.5 * z * z - (-z).ln() - 0.5 * TAU.ln() + series.ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_known() {
        for (low, high, expected) in [
            (-1.0, 1.0, 0.682_689_492_137_085_9),
            (f64::NEG_INFINITY, 0.0, 0.5),
            (0.0, f64::INFINITY, 0.5),
            (1.0, 2.0, 0.135_905_121_983_277_9),
            (-2.0, -1.0, 0.135_905_121_983_277_9),
        ] {
            assert!((log_interval(low, high).exp() - expected).abs() < 1e-14, "{low} {high}");
        }
    }

    /// scipy.special.log_ndtr(−20), (−40), (−400).
    #[test]
    fn tails_are_exact() {
        for (z, expected) in [(-20.0, -203.917_155_371_1), (-40.0, -804.608_442_013_75), (-400.0, -80_006.910_409_33)] {
            let both = [log_interval(f64::NEG_INFINITY, z), log_interval(-z, f64::INFINITY)];
            assert!(both.iter().all(|log| (log / expected - 1.0).abs() < 1e-9), "{z}: {both:?}");
        }
        assert!((log_cdf(-29.999_999) - log_cdf(-30.000_001)).abs() < 1e-4, "the two ways meet");
        // Of a thin slice far out its near end is all.
        let slice = log_interval(500.0, 502.0);
        assert!((slice - log_cdf(-500.0)).abs() < 1e-9, "{slice}");
        assert!(log_interval(1e6, 1e6 + 1.0).is_finite());
    }
}
