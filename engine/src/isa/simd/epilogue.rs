//! From vectors of sums to int8.

use super::{TOGETHER, Vector, keep, whole};
use crate::epilogue::Epilogue;
use crate::isa::{Channels, ToInt8, Work};
use crate::requantize::Table;
use crate::residual::Residual;

/// As [`Epilogue`] says, see [`crate::isa::Finish::finish_lanes`].
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
    let multipliers = v.load(requantize.multipliers.get(channels.first..).unwrap_or_default());
    let residual_multipliers = match residual {
        Residual::None => v.splat(0),
        _ => v.load(residual_multipliers.get(channels.first..).unwrap_or_default()),
    };
    let scaling = Scaling {
        scale: v.scale(requantize.shift, multipliers, requantize.zero_point),
        residual: match residual {
            Residual::From(map) => Residual::From(map.get(index..).unwrap_or_default()),
            none_or_output => none_or_output,
        },
        residual_multipliers,
    };
    if let Some(table) = table {
        return v.call(LookUp { v, scaling, table, sums, channels, output });
    }
    let mut place = 0;
    for sums in sums {
        let index = scaling.index(v, *sums, place, output);
        let Some(out) = output.get_mut(place..).and_then(|rest| rest.get_mut(..channels.count)) else { return };
        v.saturate(index, out);
        place += channels.apart;
    }
}

/// From sums to codes or indices.
struct Scaling<'a, V: Vector> {
    scale: V::Scale,
    residual: Residual<'a, i8>,
    residual_multipliers: V::Lanes,
}

impl<V: Vector> Scaling<'_, V> {
    /// Of the pixel at `place` of the output.
    #[inline(always)]
    fn index(&self, v: V, sums: V::Lanes, place: usize, output: &[i8]) -> V::Lanes {
        let map = match self.residual {
            Residual::None => return v.requantize(sums, &self.scale),
            Residual::InOutput => output,
            Residual::From(map) => map,
        };
        // A pixel may end within a vector, which the next one's values then follow: their multipliers are 0.
        let second = v.widen(map.get(place..).unwrap_or_default());
        v.requantize(v.add(sums, v.multiply(second, self.residual_multipliers)), &self.scale)
    }
}

/// [`to_int8`] with a table, for some pixels at a time.
struct LookUp<'a, V: Vector> {
    v: V,
    scaling: Scaling<'a, V>,
    table: &'a Table,
    sums: &'a [V::Lanes],
    channels: Channels,
    output: &'a mut [i8],
}

impl<V: Vector> Work for LookUp<'_, V> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { v, scaling, table, sums, channels: Channels { count, apart, .. }, output } = self;
        let mut place = 0;
        for sums in sums.chunks(TOGETHER) {
            let mut indices = [v.splat(0); TOGETHER];
            for (pixel, (index, sums)) in indices.iter_mut().zip(sums).enumerate() {
                *index = scaling.index(v, *sums, place + pixel * apart, output);
            }
            let mut values = [0; TOGETHER * 16];
            v.look_up_all(table, indices, &mut values[..TOGETHER * V::LANES]);
            for values in values.chunks_exact(V::LANES).take(sums.len()) {
                let Some(out) = output.get_mut(place..).and_then(|rest| rest.get_mut(..count)) else { return };
                keep::<_, 16>(out, whole(values));
                place += apart;
            }
        }
    }
}
