//! From sums to int8.

use super::op::{smmlar, ssat8, ssat10};
use crate::conditioning::at;
use crate::epilogue::Epilogue;
use crate::requantize::TABLE_LEN;
use crate::residual::Residual;

/// `sum` to int8, see [`crate::requantize::Requantize::apply`].
#[inline(always)]
pub(super) fn apply(epilogue: &Epilogue, sum: i32, multiplier: i32) -> i8 {
    let requantize = &epilogue.requantize;
    let sum = sum.wrapping_shl(requantize.shift) as u32;
    let index = smmlar(sum, multiplier as u32, requantize.zero_point as u32);
    match epilogue.table {
        Some(table) => at(table, (ssat10(index) as usize).wrapping_add(TABLE_LEN / 2)),
        None => ssat8(index) as i8,
    }
}

/// See [`crate::isa::Isa::requantize`].
#[inline(always)]
pub(super) fn requantize(
    epilogue: &Epilogue,
    sums: &[i32],
    [channel, index]: [usize; 2],
    residual: Residual<'_, i8>,
    output: &mut [i8],
) {
    for (offset, (sum, out)) in sums.iter().zip(output).enumerate() {
        let (channel, index) = (channel + offset, index + offset);
        let residual = at(epilogue.residual_multipliers, channel).wrapping_mul(residual.at(index, *out).into());
        let multiplier = at(epilogue.requantize.multipliers, channel);
        let sum = sum.wrapping_add(residual);
        *out = apply(epilogue, sum, multiplier);
    }
}
