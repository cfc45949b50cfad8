//! From a vector of sums to int8.

use super::Vector;
use crate::epilogue::Epilogue;
use crate::residual::Residual;

/// As [`Epilogue`] says, for a vector of channels from `channel` on, whose place in the map is `index`.
#[inline(always)]
pub(in super::super) fn to_int8<V: Vector>(
    v: V,
    epilogue: &Epilogue,
    residual: Residual<'_, i8>,
    sums: V::Lanes,
    channel: usize,
    index: usize,
    output: &mut [i8],
) {
    let second = match residual {
        Residual::None => None,
        Residual::InOutput => Some(v.widen(output)),
        // A block may end within a vector, which the next pixel's values then follow: their multipliers are 0.
        Residual::From(map) => Some(v.widen(map.get(index..).unwrap_or_default())),
    };
    let acc = match second {
        None => sums,
        Some(second) => {
            let multipliers = v.load(epilogue.residual_multipliers.get(channel..).unwrap_or_default());
            v.add(sums, v.multiply(second, multipliers))
        }
    };
    let requantize = &epilogue.requantize;
    let multipliers = v.load(requantize.multipliers.get(channel..).unwrap_or_default());
    let scaled = v.requantize(acc, requantize.shift, multipliers);
    let index = v.add(scaled, v.splat(requantize.zero_point));
    match epilogue.table {
        Some(table) => v.look_up(table, index, output),
        None => v.saturate(index, output),
    }
}
