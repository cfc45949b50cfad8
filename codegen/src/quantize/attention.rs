//! Attention on integers: scores to steps of a table of the exponential, weighted sums to int8.

use grano::kernel::EXP_LEN;

use super::{multiplier, too_wide};
use crate::error::{Error, Result};
use crate::fold::Layer;
use crate::kernel::{Affine, Kernel};

/// Fall of the exponent from one entry of the table to the next: the last entry is 2⁻¹⁶ of the first, which an int16
/// no longer holds. Rounding to whole entries is off by 0.6 % of a weight, root mean square.
const STEP: f64 = 16.0 * std::f64::consts::LN_2 / EXP_LEN as f64;
/// A unit of v is at most so many units of the output: a row's factor then stays within int32.
const FINEST_OUTPUT: f64 = 16.0;

/// The kernel, and the output's code: that of its range, or a coarser one.
///
/// # Errors
/// Names the layer whose sums leave int32.
pub(super) fn kernel(layer: &Layer, heads: usize, [q, k, v]: [Affine; 3], output: Affine) -> Result<(Kernel, Affine)> {
    let [channels, height, width] = layer.shape;
    let (depth, positions) = (channels / heads, height * width);
    let coarser = (v.scale / FINEST_OUTPUT / output.scale).max(1.0);
    let output =
        Affine { scale: output.scale * coarser, zero_point: (f64::from(output.zero_point) / coarser).round() as i32 };
    // Sums of v's codes, 128 at most, times weights.
    let peak = (i32::MAX as usize / 128 / positions).min(i16::MAX as usize);
    if peak < 1 << 13 {
        return Err(Error::node(&layer.name, format!("attention over {positions} positions; int8 sums hold 2047")));
    }
    let exp = std::array::from_fn(|i| (peak as f64 * libm::exp(-STEP * i as f64)).round() as i16);
    let ratio = q.scale * k.scale / libm::sqrt(depth as f64) / STEP;
    let bound = (depth as i64) << 16;
    let (shift, multipliers) =
        multiplier(&[ratio], bound).filter(|&(shift, _)| bound << shift < 1 << 31).ok_or_else(|| too_wide(layer))?;
    let ratio = v.scale / output.scale;
    let offset = f64::from(output.zero_point) - f64::from(v.zero_point) * ratio;
    let kernel = Kernel::AttentionInt8 {
        heads,
        q_zero_point: q.zero_point,
        score: (shift, multipliers[0]),
        exp,
        ratio: (ratio * libm::exp2(40.0)) as f32,
        offset: (offset * 256.0).round() as i32 + 128,
    };
    Ok((kernel, output))
}
