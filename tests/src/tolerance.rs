//! How far generated code may be from the float reference: one table, with reasons.

use grano_codegen::Precision;

/// Bounds of one precision.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Largest error of the network's output, in units of ε's standard deviation, which is 1.
    pub epsilon: f32,
    /// Least signal-to-noise ratio of any intermediate value, in dB.
    pub layer_db: f64,
    /// Least median PSNR of finished pictures, in dB, peak 255.
    pub median_psnr_db: f64,
    /// Least PSNR of any finished picture.
    pub worst_psnr_db: f64,
}

/// Largest error of x on an f32 trajectory of 20 steps: ε's error, up to 1e-4, times a step's k1, at most 27, where x̂0
/// is not clipped, and damped by the steps after.
pub const TRAJECTORY: f32 = 1e-3;

/// Least signal-to-noise ratio of one int8 normalisation or attention against the real numbers on its own int8 inputs,
/// in dB: what rounding its result to a code of the calibrated range costs, and little more.
pub const OPERATION_DB: f64 = 33.0;

/// The bounds of a precision.
#[must_use]
pub fn tolerance(precision: Precision) -> Tolerance {
    match precision {
        // Sums of up to 576 products in another order: 576·2⁻²⁴ relative in the worst case, a tenth in practice.
        Precision::F32 => Tolerance { epsilon: 1e-4, layer_db: 110.0, median_psnr_db: 80.0, worst_psnr_db: 50.0 },
        // Maps and weights keep 11 bits: 2⁻¹² relative each, over 13 layers, or 45 in the reference U-Net.
        Precision::F16 => Tolerance { epsilon: 2e-2, layer_db: 50.0, median_psnr_db: 45.0, worst_psnr_db: 30.0 },
        // The maps that lose most keep 12 bits.
        Precision::Mixed => Tolerance { epsilon: 0.4, layer_db: 20.0, median_psnr_db: 40.0, worst_psnr_db: 30.0 },
        // Maps and weights keep 8 bits of their range, twice where a table follows; the reference U-Net's random weights
        // are not on the int8 grid, as trained ones are.
        Precision::Int8 => Tolerance { epsilon: 0.6, layer_db: 20.0, median_psnr_db: 30.0, worst_psnr_db: 22.0 },
    }
}

/// 10·log₁₀ of the ratio of the reference's mean square (or `peak²`) to the error's.
#[must_use]
pub fn decibels(values: &[f32], reference: &[f32], peak: Option<f64>) -> f64 {
    let square = |v: f64| v * v;
    let error: f64 = values.iter().zip(reference).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    let signal = match peak {
        Some(peak) => square(peak) * reference.len() as f64,
        None => reference.iter().map(|&v| square(v.into())).sum(),
    };
    10.0 * (signal / error.max(1e-30)).log10()
}

/// The largest absolute difference.
#[must_use]
pub fn largest_error(values: &[f32], reference: &[f32]) -> f32 {
    values.iter().zip(reference).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
