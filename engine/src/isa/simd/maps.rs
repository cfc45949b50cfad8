//! Whole maps, channel by channel: sums, factors and offsets, weighted sums.

use super::{TOGETHER, Vector};
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
///
/// The map is one line in which channels recur: after the smallest common multiple of a pixel's values and those that are
/// worked on together, everything begins anew.
#[inline(always)]
pub(in super::super) fn affine<V: Vector>(
    v: V,
    factors: &[i32],
    offsets: &[i32],
    table: Option<&Table>,
    map: &mut [i8],
) {
    let (channels, run) = (factors.len().max(1), TOGETHER * V::LANES);
    let period = channels << run.trailing_zeros().saturating_sub(channels.trailing_zeros());
    for first in (0..period).step_by(run) {
        let [mut run_factors, mut run_offsets] = [[v.splat(0); TOGETHER]; 2];
        for (vector, (run_factors, run_offsets)) in run_factors.iter_mut().zip(&mut run_offsets).enumerate() {
            let channel = (first + vector * V::LANES) % channels;
            *run_factors = recurring(v, factors, channel);
            *run_offsets = recurring(v, offsets, channel);
        }
        let mut rest = map.get_mut(first..).unwrap_or_default();
        while !rest.is_empty() {
            let (values, _) = rest.split_at_mut(rest.len().min(run));
            // Written out, so that they stay in registers.
            let indices = [
                index(v, values, 0, &run_factors, &run_offsets),
                index(v, values, 1, &run_factors, &run_offsets),
                index(v, values, 2, &run_factors, &run_offsets),
                index(v, values, 3, &run_factors, &run_offsets),
            ];
            match table {
                Some(table) => v.look_up_all(table, indices, values),
                None => {
                    for (index, out) in indices.iter().zip(values.chunks_mut(V::LANES)) {
                        v.saturate(*index, out);
                    }
                }
            }
            rest = rest.get_mut(period..).unwrap_or_default();
        }
    }
}

/// The indices of vector `vector` of some values.
#[inline(always)]
fn index<V: Vector>(
    v: V,
    values: &[i8],
    vector: usize,
    factors: &[V::Lanes; TOGETHER],
    offsets: &[V::Lanes; TOGETHER],
) -> V::Lanes {
    let q = v.widen(values.get(vector * V::LANES..).unwrap_or_default());
    v.shift_right(v.add(v.multiply(q, factors[vector]), offsets[vector]), AFFINE_FRACTION)
}

/// The parameters of a vector of channels from `channel` on; the first channel follows the last.
#[inline(always)]
fn recurring<V: Vector>(v: V, parameters: &[i32], channel: usize) -> V::Lanes {
    if channel + V::LANES <= parameters.len() {
        return v.load(&parameters[channel..]);
    }
    let mut lanes = [0; 16];
    lanes.iter_mut().zip(parameters.iter().cycle().skip(channel)).for_each(|(lane, parameter)| *lane = *parameter);
    v.load(&lanes)
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
