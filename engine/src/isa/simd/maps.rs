//! Whole maps, channel by channel: sums, factors and offsets, weighted sums.

use super::Vector;
use crate::isa::AFFINE_FRACTION;
use crate::requantize::Table;

/// Pixels whose table entries are looked up together.
const PIXELS: usize = 4;

/// See [`crate::isa::Isa::channel_sums`].
#[inline(always)]
pub(in super::super) fn channel_sums<V: Vector>(v: V, map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
    let channels = sums.len().max(1);
    for (block, (sums, squares)) in sums.chunks_mut(V::LANES).zip(squares.chunks_mut(V::LANES)).enumerate() {
        let (mut sum, mut square) = (v.splat(0), v.splat(0));
        // The last vector of a pixel may reach into the next, or end with the map: those lanes are not stored.
        let mut at = block * V::LANES;
        while let Some(values) = map.get(at..).filter(|values| !values.is_empty()) {
            let q = v.widen(values);
            sum = v.add(sum, q);
            square = v.add(square, v.multiply(q, q));
            at += channels;
        }
        v.store(sum, sums);
        v.store(square, squares);
    }
}

/// See [`crate::isa::Isa::affine`].
#[inline(always)]
pub(in super::super) fn affine<V: Vector>(
    v: V,
    factors: &[i32],
    offsets: &[i32],
    table: Option<&Table>,
    map: &mut [i8],
) {
    let channels = factors.len().max(1);
    for (first, (factors, offsets)) in factors.chunks(V::LANES).zip(offsets.chunks(V::LANES)).enumerate() {
        let (first, len) = (first * V::LANES, factors.len());
        let (factors, offsets) = (v.load(factors), v.load(offsets));
        for pixels in map.chunks_mut(PIXELS * channels) {
            let mut indices = [v.splat(0); PIXELS];
            for (index, pixel) in indices.iter_mut().zip(pixels.chunks_exact(channels)) {
                let q = v.widen(pixel.get(first..).unwrap_or_default());
                *index = v.shift_right(v.add(v.multiply(q, factors), offsets), AFFINE_FRACTION);
            }
            let outs =
                pixels.chunks_exact_mut(channels).map(|pixel| pixel.get_mut(first..first + len).unwrap_or_default());
            match table {
                Some(table) => {
                    for (out, values) in outs.zip(v.look_up_four(table, indices)) {
                        keep::<V>(out, values);
                    }
                }
                None => outs.zip(indices).for_each(|(out, index)| v.saturate(index, out)),
            }
        }
    }
}

/// See [`crate::isa::Isa::weighted_sums`].
#[inline(always)]
pub(in super::super) fn weighted_sums<V: Vector>(
    v: V,
    weights: &[i32],
    values: &[i8],
    stride: usize,
    sums: &mut [i32],
) {
    for (block, sums) in sums.chunks_mut(V::LANES).enumerate() {
        let mut sum = v.splat(0);
        for (row, weight) in weights.iter().enumerate() {
            let values = values.get(row * stride + block * V::LANES..).unwrap_or_default();
            sum = v.add(sum, v.multiply(v.splat(*weight), v.widen(values)));
        }
        v.store(sum, sums);
    }
}

/// The first values.
#[inline(always)]
fn keep<V: Vector>(output: &mut [i8], values: [i8; 16]) {
    match output.first_chunk_mut::<16>() {
        Some(output) if V::LANES == 16 => *output = values,
        _ => output.iter_mut().zip(values).take(V::LANES).for_each(|(to, from)| *to = from),
    }
}
