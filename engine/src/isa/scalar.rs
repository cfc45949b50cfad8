//! What chips that multiply one number at a time have in common.

use crate::epilogue::Epilogue;
use crate::requantize::{look_up, saturate};
use crate::residual::Residual;

/// The most channels of a tile.
const MOST: usize = 4;

/// [`super::Isa::requantize`] for at most four channels: every choice is made before the loops. `rescale` is
/// [`crate::requantize::requantize`] without the shift.
#[inline(always)]
pub(super) fn requantize(
    epilogue: &Epilogue<'_>,
    sums: &[i32],
    channel: usize,
    index: usize,
    residual: Residual<'_, i8>,
    output: &mut [i8],
    rescale: impl Fn(i32, i32) -> i32,
) {
    let mut accs = [0; MOST];
    accs.iter_mut().zip(sums).for_each(|(acc, sum)| *acc = *sum);
    let factors = epilogue.residual_multipliers.get(channel..).unwrap_or_default();
    let mut add = |residual: &[i8]| {
        for ((acc, factor), residual) in accs.iter_mut().zip(factors).zip(residual) {
            *acc = acc.wrapping_add(factor.wrapping_mul(i32::from(*residual)));
        }
    };
    match residual {
        Residual::None => {}
        Residual::InOutput => add(output),
        Residual::From(map) => add(map.get(index..).unwrap_or_default()),
    }
    let (shift, zero_point) = (epilogue.requantize.shift, epilogue.requantize.zero_point);
    let multipliers = epilogue.requantize.multipliers.get(channel..).unwrap_or_default();
    let outputs = output.iter_mut().zip(&accs).zip(multipliers);
    let scale = |acc: i32, multiplier: i32| rescale(acc.wrapping_shl(shift), multiplier) + zero_point;
    match epilogue.table {
        Some(table) => outputs.for_each(|((out, acc), multiplier)| *out = look_up(table, scale(*acc, *multiplier))),
        None => outputs.for_each(|((out, acc), multiplier)| *out = saturate(scale(*acc, *multiplier))),
    }
}
