//! Whole maps, channel by channel: sums, factors and offsets, weighted sums.

use super::Vector;
use crate::isa::AFFINE_FRACTION;
use crate::requantize::Table;

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
    let blocks = factors.chunks(V::LANES).zip(offsets.chunks(V::LANES));
    for (block, (block_factors, offsets)) in blocks.enumerate() {
        let (factor, offset) = (v.load(block_factors), v.load(offsets));
        for pixel in map.chunks_exact_mut(factors.len().max(1)) {
            let Some(values) = pixel.get_mut(block * V::LANES..) else { continue };
            let index = v.add(v.multiply(v.widen(values), factor), offset);
            let index = v.shift_right(index, AFFINE_FRACTION);
            match table {
                Some(table) => v.look_up(table, index, values),
                None => v.saturate(index, values),
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
