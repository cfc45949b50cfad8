//! From vectors of sums to int8.

use super::Vector;
use crate::epilogue::Epilogue;
use crate::isa::{Channels, ToInt8};
use crate::residual::Residual;

/// As [`crate::epilogue::Epilogue`] says, see [`crate::isa::Finish::finish_lanes`].
#[inline(always)]
pub(in super::super) fn to_int8<V: Vector>(
    v: V,
    finish: &ToInt8<'_>,
    sums: &[V::Lanes],
    channels: Channels,
    index: usize,
    output: &mut [i8],
) {
    let ToInt8 { epilogue: &Epilogue { residual_multipliers, requantize, table }, residual } = *finish;
    let second = match residual {
        Residual::None => v.splat(0),
        _ => v.load(residual_multipliers.get(channels.first..).unwrap_or_default()),
    };
    let multipliers = v.load(requantize.multipliers.get(channels.first..).unwrap_or_default());
    let scale = v.scale(requantize.shift, multipliers, requantize.zero_point);
    let mut place = 0;
    for sums in sums {
        let Some(out) = output.get_mut(place..).and_then(|rest| rest.get_mut(..channels.count)) else { return };
        let acc = match residual {
            Residual::None => *sums,
            Residual::InOutput => v.add(*sums, v.multiply(v.widen(out), second)),
            // A block may end within a vector, which the next pixel's values then follow: their multipliers are 0.
            Residual::From(map) => {
                v.add(*sums, v.multiply(v.widen(map.get(index + place..).unwrap_or_default()), second))
            }
        };
        let index = v.requantize(acc, &scale);
        match table {
            Some(table) => v.look_up(table, index, out),
            None => v.saturate(index, out),
        }
        place += channels.apart;
    }
}
