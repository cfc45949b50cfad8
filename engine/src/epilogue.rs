//! What becomes of integer sums: the parameters of the steps after a convolution, and of a sum of two maps.

use crate::conditioning::at;
use crate::requantize::{FINE_HALF, FINE_INDEX_HALF, FineTable, Requantize, TABLE_LEN, Table, interpolate, requantize};

/// From a convolution's sums to int8.
///
/// ```text
/// acc   = sum[oc] + residual_multipliers[oc] · residual[y][x][oc]
/// index = requantize(acc, shift, multipliers[oc]) + zero_point
/// out   = table ? table[clamp(index, −512, 511) + 512] : clamp(index, −128, 127)
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// `[out_c]`, or empty where there is no residual.
    pub residual_multipliers: &'a [i32],
    /// From sums to int8.
    pub requantize: Requantize<'a>,
    /// An activation.
    pub table: Option<&'a Table>,
}

impl Epilogue<'_> {
    /// Whether the parameters are in range for `channels` channels.
    pub(crate) const fn is_valid(&self, channels: usize) -> bool {
        let residuals = self.residual_multipliers.len();
        let half = if self.table.is_some() { TABLE_LEN as i32 / 2 } else { 128 };
        (residuals == 0 || residuals == channels) && self.requantize.is_valid(channels, half)
    }
}

/// From a convolution's sums to a fine code, which an int16 map holds as it is and an int8 map rounds to its own: for
/// outputs or residuals in int16.
///
/// ```text
/// acc   = (sum[oc] << shift) + residual_multipliers[oc] · (residual[y][x][oc] − residual_zero_point)
/// index = requantize(acc, 0, multipliers[oc]) + zero_point
/// fine  = table ? interpolate(table, index) : index
/// out   = clamp(fine, −2048, 2047) in int16; clamp((fine + 8) >> 4, −128, 127) in int8
/// ```
///
/// The residual is added after the shift, so that its multipliers can be as fine as the sums have room for. The code
/// generator bounds |acc| below 2³¹ over all inputs.
#[derive(Clone, Copy, Debug)]
pub struct FineEpilogue<'a> {
    /// `[out_c]`, or empty where there is no residual; in units of the shifted sums.
    pub residual_multipliers: &'a [i32],
    /// What stands for 0 in the residual.
    pub residual_zero_point: i32,
    /// From sums to fine codes, or to the table's index.
    pub requantize: Requantize<'a>,
    /// An activation.
    pub table: Option<&'a FineTable>,
}

impl FineEpilogue<'_> {
    /// The fine code of a channel's sum; it may lie beyond 12 bits.
    #[must_use]
    #[inline(always)]
    pub fn apply(&self, sum: i32, channel: usize, residual: i32) -> i32 {
        let Requantize { shift, multipliers, zero_point } = self.requantize;
        let residual =
            at(self.residual_multipliers, channel).wrapping_mul(residual.wrapping_sub(self.residual_zero_point));
        let acc = sum.wrapping_shl(shift).wrapping_add(residual);
        let index = requantize(acc, 0, at(multipliers, channel)) + zero_point;
        self.table.map_or(index, |table| interpolate(table, index))
    }

    /// Whether the parameters are in range for `channels` channels.
    pub(crate) const fn is_valid(&self, channels: usize) -> bool {
        let residuals = self.residual_multipliers.len();
        let half = if self.table.is_some() { FINE_INDEX_HALF } else { FINE_HALF };
        (residuals == 0 || residuals == channels) && self.requantize.is_valid(channels, half)
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
