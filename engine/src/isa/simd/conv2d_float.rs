//! The direct convolution in floating point: tiles of P neighbouring pixels × B vectors of channels.

use super::Floats;
use super::conv2d::flat;
use super::planes::Planes;
use crate::geometry::Geometry;
use crate::isa::{FinishFloat, FloatConvolution};
use crate::real::Real;

/// Elements that [`run`] takes with tiles of up to `pixels` pixels.
pub(in super::super) fn scratch(geometry: &Geometry, pixels: usize) -> usize {
    let geometry = flat(geometry);
    geometry.patch_len() + Planes::of_channels(&geometry, pixels).len()
}

/// Copies the input to [`Planes`] of single channels, then computes tile by tile, with FMA where the weights are f32.
#[inline(always)]
pub(in super::super) fn run<V: Floats, T: Real, X: Real, const P: usize, const B: usize>(
    v: V,
    convolution: &FloatConvolution<'_, T, X>,
    scratch: &mut [f32],
    finish: &mut impl FinishFloat,
) {
    let geometry = &flat(convolution.geometry);
    let (out_c, out_w) = (geometry.output.channels.max(1), geometry.output.width);
    let planes = Planes::of_channels(geometry, P);
    let Some((offsets, scratch)) = scratch.split_at_mut_checked(planes.taps()) else { return };
    let Some(map) = scratch.get_mut(..planes.len()) else { return };
    let offsets: &mut [u32] = bytemuck::must_cast_slice_mut(offsets);
    planes.offsets(offsets);
    planes.fill(geometry, &convolution.input, [0.0; 2], X::to_f32, map);
    for y in 0..geometry.output.height {
        for x in (0..out_w).step_by(P) {
            let start = planes.start((y, x));
            for first in (0..out_c).step_by(B * V::LANES) {
                let sums = tile::<V, T, P, B>(v, convolution.weights, out_c, first, map, offsets, start);
                for (pixel, sums) in (x..out_w).zip(&sums) {
                    for (channel, sums) in (first..out_c).step_by(V::LANES).zip(sums) {
                        v.finish(*sums, finish, y * out_w + pixel, channel);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn tile<V: Floats, T: Real, const P: usize, const B: usize>(
    v: V,
    weights: &[T],
    out_c: usize,
    first: usize,
    map: &[f32],
    offsets: &[u32],
    start: usize,
) -> [[V::Lanes; B]; P] {
    let fused = T::floats(&[]).is_some();
    let mut sums = [[v.splat(0.0); B]; P];
    for (row, offset) in weights.chunks_exact(out_c).zip(offsets) {
        let Some(taps) = map.get(start + *offset as usize..).and_then(<[f32]>::first_chunk::<P>) else { break };
        let mut loaded = [v.splat(0.0); B];
        for (block, loaded) in loaded.iter_mut().enumerate() {
            *loaded = v.load(row.get(first + block * V::LANES..).unwrap_or_default());
        }
        for (sums, tap) in sums.iter_mut().zip(taps) {
            for (sum, weights) in sums.iter_mut().zip(loaded) {
                let tap = v.splat(*tap);
                *sum = if fused { v.fused(*sum, tap, weights) } else { v.add_product(*sum, tap, weights) };
            }
        }
    }
    sums
}
