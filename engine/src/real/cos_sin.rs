//! The cosine and the sine, for noise.

use core::f32::consts::TAU;
use core::f64::consts::FRAC_PI_2;

/// cos and sin of the angle that 2π · turn · 2⁻²⁴ is in f32, turn < 2²⁴, within 0.501 units in the last place.
///
/// In f64, rounded once. The angle less the nearest multiple of ½π is x, and with z = x² cos x = 1 + z · c(z),
/// sin x = x + x · z · s(z).
#[inline(always)]
pub(crate) fn cos_sin(turn: u32) -> [f32; 2] {
    const MULTIPLES: [f64; 5] = [0.0, FRAC_PI_2, 2.0 * FRAC_PI_2, 3.0 * FRAC_PI_2, 4.0 * FRAC_PI_2];
    let angle = turn as f32 * (TAU / 16_777_216.0);
    let quarter = (turn + (1 << 21)) >> 22;
    let x = f64::from(angle) - MULTIPLES.get(quarter as usize).unwrap_or(&0.0);
    let z = x * x;
    let cos = (1.0 + z * (C[0] + z * (C[1] + z * (C[2] + z * C[3])))) as f32;
    let sin = (x + x * z * (S[0] + z * (S[1] + z * (S[2] + z * S[3])))) as f32;
    match quarter & 3 {
        0 => [cos, sin],
        1 => [-sin, cos],
        2 => [-cos, -sin],
        _ => [sin, -cos],
    }
}

/// The minimax polynomial c(z) of (cos x − 1) / x² for |x| ≤ ¼π, its error weighted by x²: 5.4e-11.
const C: [f64; 4] =
    [-0.499_999_997_251_082_35, 0.041_666_623_324_345_634, -0.001_388_676_379_441_61, 0.000_024_390_450_707_328_882];
/// The minimax polynomial s(z) of (sin x / x − 1) / x² for |x| ≤ ¼π, its error weighted by x²: 4.9e-12.
const S: [f64; 4] = [
    -0.166_666_666_416_269_57,
    0.008_333_329_385_940_908,
    -0.000_198_393_348_530_447_2,
    0.000_002_718_311_658_845_174_6,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::accuracy::{assert_coefficients, unit};

    #[test]
    fn coefficients_are_the_minimax_polynomials() {
        let end = core::f64::consts::FRAC_PI_4 * core::f64::consts::FRAC_PI_4;
        // Σ (−z)ⁱ · first! / (2i + first)!, first being 2 and 3, by Horner; times −1 / first!.
        let series = |z: f64, first: u32| {
            let terms = (1..10).rev().map(|i| f64::from((2 * i + first) * (2 * i + first - 1)));
            terms.fold(1.0, |sum, divisor| 1.0 - z * sum / divisor) / -f64::from(first * (first - 1))
        };
        assert_coefficients(&C, |z| series(z, 2), |z| z, [0.0, end], 5.4e-11);
        assert_coefficients(&S, |z| series(z, 3), |z| z, [0.0, end], 4.9e-12);
    }

    #[test]
    fn every_turn_is_within_0_501_units_and_libms() {
        let mut worst = 0.0;
        for turn in 0..1 << 24 {
            let ours = cos_sin(turn);
            let angle = TAU * (turn as f32 * (1.0 / 16_777_216.0));
            let theirs = [libm::cosf(angle), libm::sinf(angle)];
            assert_eq!(ours.map(f32::to_bits), theirs.map(f32::to_bits), "{turn}");
            for (ours, exact) in ours.into_iter().zip([libm::cos(angle.into()), libm::sin(angle.into())]) {
                worst = f64::max(worst, (f64::from(ours) - exact).abs() / unit(exact));
            }
        }
        assert!(worst < 0.501, "{worst}");
    }
}
