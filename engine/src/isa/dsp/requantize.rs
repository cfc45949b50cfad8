//! From sums to int8 and to fine codes.

use super::op::{smmlar, ssat8, ssat10, ssat14};
use crate::conditioning::at;
use crate::epilogue::{Epilogue, FineEpilogue};
use crate::maps::Code;
use crate::requantize::{FINE_INDEX_HALF, TABLE_LEN, between_knots};
use crate::residual::Residual;

/// `sum` to int8, see [`crate::requantize::Requantize::apply`].
#[inline(always)]
pub(super) fn apply(epilogue: &Epilogue<'_>, sum: i32, multiplier: i32) -> i8 {
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
    epilogue: &Epilogue<'_>,
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

/// See [`crate::isa::Isa::requantize_fine`].
#[inline(always)]
pub(super) fn requantize_fine<R: Code, Y: Code>(
    epilogue: &FineEpilogue<'_>,
    sums: &[i32],
    [channel, index]: [usize; 2],
    residual: Residual<'_, R>,
    output: &mut [Y],
) {
    let fine = Fine { epilogue, channel, index, residual };
    if let Some(outs) = output.first_chunk_mut()
        && let Ok(sums) = <&[i32; 4]>::try_from(sums)
    {
        four(&fine, sums, outs);
    } else {
        for ((offset, sum), out) in sums.iter().enumerate().zip(output) {
            let fine = Fine { channel: channel + offset, index: index + offset, ..fine };
            fine.apply(&[*sum], core::array::from_mut(out));
        }
    }
}

/// What is made of the sums of some channels.
#[derive(Clone, Copy)]
struct Fine<'a, R> {
    epilogue: &'a FineEpilogue<'a>,
    channel: usize,
    index: usize,
    residual: Residual<'a, R>,
}

/// Apart, where there are registers enough.
#[inline(never)]
fn four<R: Code, Y: Code>(fine: &Fine<'_, R>, sums: &[i32; 4], output: &mut [Y; 4]) {
    fine.apply(sums, output);
}

fn codes<X: Code, const N: usize>(map: &[X; N]) -> [i16; N] {
    core::array::from_fn(|offset| map.get(offset).map_or(0, |code| (*code).into()))
}

impl<'a, R: Code> Fine<'a, R> {
    #[inline(always)]
    fn apply<Y: Code, const N: usize>(&self, sums: &[i32; N], output: &mut [Y; N]) {
        let FineEpilogue { residual_multipliers, residual_zero_point, requantize, table } = self.epilogue;
        let from = |values: &'a [i32]| values.get(self.channel..).and_then(<[i32]>::first_chunk::<N>);
        let Some(multipliers) = from(requantize.multipliers) else { return };
        let mut accs: [i32; N] = core::array::from_fn(|offset| at(sums, offset).wrapping_shl(requantize.shift));
        if let Some(factors) = from(residual_multipliers) {
            let codes: [i16; N] = match self.residual {
                Residual::None => [0; N],
                Residual::InOutput => codes(output),
                Residual::From(map) => map.get(self.index..).and_then(<[R]>::first_chunk).map_or([0; N], codes),
            };
            accs = core::array::from_fn(|offset| {
                let code = i32::from(at(&codes, offset)) - residual_zero_point;
                at(&accs, offset).wrapping_add(at(factors, offset).wrapping_mul(code))
            });
        }
        let zero_point = requantize.zero_point as u32;
        let index = |offset: usize| smmlar(at(&accs, offset) as u32, at(multipliers, offset) as u32, zero_point);
        *output = match table {
            None => core::array::from_fn(|offset| Y::from_fine(index(offset) as i32)),
            Some(table) => core::array::from_fn(|offset| {
                let place = ssat14(index(offset)).wrapping_add(FINE_INDEX_HALF as u32);
                Y::from_fine(between_knots(table, place as usize))
            }),
        };
    }
}
