//! What becomes of integer sums: the parameters of the steps after a convolution, and of a sum of two maps.

use crate::requantize::{Requantize, Table};

/// From a convolution's sums to int8.
///
/// ```text
/// acc   = sum[oc] + residual_multipliers[oc] · residual[y][x][oc]
/// index = requantize(acc, shift, multipliers[oc]) + zero_point
/// out   = table ? table[clamp(index, −512, 511) + 512] : clamp(index, −128, 127)
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Epilogue {
    /// `[out_c]`, or empty where there is no residual.
    pub residual_multipliers: &'static [i32],
    /// From sums to int8.
    pub requantize: Requantize,
    /// An activation.
    pub table: Option<&'static Table>,
}

impl Epilogue {
    /// Whether the parameters are in range for `channels` channels.
    pub(crate) const fn is_valid(&self, channels: usize) -> bool {
        let residuals = self.residual_multipliers.len();
        (residuals == 0 || residuals == channels) && self.requantize.is_valid(channels, self.table.is_some())
    }
}

/// The sum of two int8 maps: both through a factor into one 32-bit sum, then one rounding.
///
/// ```text
/// acc = multipliers[0] · a + multipliers[1] · b + bias
/// out = saturate(requantize(acc, shift, multiplier) + zero_point)
/// ```
///
/// The bias is −Σ multiplier · zero point of the inputs. The code generator bounds |acc| · 2^shift below 2³¹.
#[derive(Clone, Copy, Debug)]
pub struct AddInt8 {
    /// Of `a` and `b`.
    pub multipliers: [i32; 2],
    /// Holds the zero points of `a` and `b`.
    pub bias: i32,
    /// See [`crate::requantize::requantize`].
    pub shift: u32,
    /// See [`crate::requantize::requantize`].
    pub multiplier: i32,
    /// Of the output.
    pub zero_point: i32,
}
