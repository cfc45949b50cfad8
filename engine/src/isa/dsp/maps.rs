//! From sums to int8, and the sum of two maps.

use super::op::{smlad, smmlar, smuad, ssat8, ssat10, sxtb16, sxtb16_odd};
use crate::conditioning::at;
use crate::epilogue::{AddInt8, Epilogue};
use crate::requantize::{TABLE_LEN, Table};
use crate::residual::Residual;

/// What follows the rounding: a zero point, and a table where there is one.
#[derive(Clone, Copy)]
pub(super) struct Last<'a> {
    pub shift: u32,
    pub zero_point: u32,
    pub table: Option<&'a Table>,
}

impl<'a> Last<'a> {
    pub(super) fn of(epilogue: &Epilogue) -> Last<'static> {
        let requantize = &epilogue.requantize;
        Last { shift: requantize.shift & 31, zero_point: requantize.zero_point as u32, table: epilogue.table }
    }

    /// See [`crate::requantize::Requantize::apply`].
    #[inline(always)]
    pub(super) fn apply<const TABLE: bool>(&self, sum: i32, multiplier: i32) -> i8 {
        let index = smmlar((sum as u32) << self.shift, multiplier as u32, self.zero_point);
        match self.table {
            Some(table) if TABLE => {
                let entry = (ssat10(index) as usize).wrapping_add(TABLE_LEN / 2);
                table.get(entry).copied().unwrap_or_default()
            }
            _ => ssat8(index) as i8,
        }
    }
}

/// See [`super::super::Isa::requantize`].
#[inline(always)]
pub(super) fn requantize(
    epilogue: &Epilogue,
    sums: &[i32],
    [channel, index]: [usize; 2],
    residual: Residual<'_, i8>,
    output: &mut [i8],
) {
    let last = Last::of(epilogue);
    for (offset, (sum, out)) in sums.iter().zip(output).enumerate() {
        let (channel, index) = (channel + offset, index + offset);
        let residual = at(epilogue.residual_multipliers, channel).wrapping_mul(residual.at(index, *out).into());
        let multiplier = at(epilogue.requantize.multipliers, channel);
        let sum = sum.wrapping_add(residual);
        *out = if last.table.is_some() {
            last.apply::<true>(sum, multiplier)
        } else {
            last.apply::<false>(sum, multiplier)
        };
    }
}

/// See [`super::super::Isa::add`].
#[inline(always)]
pub(super) fn add(add: &AddInt8, a: &[i8], b: Residual<'_, i8>, output: &mut [i8]) {
    super::super::portable::add(add, a, b, output);
    let _ = (smlad, smuad, sxtb16, sxtb16_odd);
}
