//! The definition of floating-point sums, in plain Rust.

use super::{FinishFloat, FloatConvolution};
use crate::conditioning::at;
use crate::geometry::{Geometry, Piece};
use crate::real::Real;

/// Output pixels that are computed together, so that a weight is loaded and widened once for all of them.
const TILE_PIXELS: usize = 4;

/// Output channels that are computed together. With the pixels they make 16 sums: half of a Cortex-M4F's registers, or
/// four SSE registers.
const TILE_CHANNELS: usize = 4;

/// See [`super::Isa::float_scratch`].
pub(super) const fn scratch(geometry: &Geometry) -> usize {
    TILE_PIXELS * geometry.patch_len()
}

/// See [`super::Isa::conv2d_float`].
#[inline(always)]
pub(super) fn conv2d<T: Real, X: Real>(
    convolution: &FloatConvolution<'_, T, X>,
    scratch: &mut [f32],
    finish: &mut impl FinishFloat,
) {
    let FloatConvolution { geometry, weights, input } = convolution;
    let (patch_len, out_c) = (geometry.patch_len().max(1), geometry.output.channels.max(1));
    let Some(patches) = scratch.get_mut(..TILE_PIXELS * patch_len) else { return };
    let mut positions = geometry.output.positions();
    let pixels = geometry.output.height * geometry.output.width;
    for tile in (0..pixels).step_by(TILE_PIXELS) {
        // After the last pixel, patches keep what an earlier tile left; their sums are not used.
        for patch in patches.chunks_exact_mut(patch_len) {
            let Some(position) = positions.next() else { break };
            geometry.pieces(position, input, |tap, piece| {
                let taps = patch.get_mut(tap..).unwrap_or_default().iter_mut();
                match piece {
                    Piece::Values(values) => taps.zip(values).for_each(|(p, x)| *p = x.to_f32()),
                    Piece::Padding(_, len) => taps.take(len).for_each(|p| *p = 0.0),
                }
            });
        }
        for first in (0..out_c).step_by(TILE_CHANNELS) {
            let sums = sum_tile(patches, patch_len, weights, out_c, first);
            for (pixel, sums) in (tile..pixels).zip(sums) {
                finish.finish(pixel, first, [sums]);
            }
        }
    }
}

/// The sums of a tile, `[pixel][channel]`, channels from `first` on; those past the last channel are 0.
#[inline(never)]
fn sum_tile<T: Real>(
    patches: &[f32],
    patch_len: usize,
    weights: &[T],
    out_c: usize,
    first: usize,
) -> [[f32; TILE_CHANNELS]; TILE_PIXELS] {
    let mut sums = [[0.0; TILE_CHANNELS]; TILE_PIXELS];
    let mut patches = patches.chunks_exact(patch_len.max(1));
    let mut patch = || patches.next().unwrap_or_default();
    let (p0, p1, p2, p3) = (patch(), patch(), patch(), patch());
    for ((((row, p0), p1), p2), p3) in weights.chunks_exact(out_c.max(1)).zip(p0).zip(p1).zip(p2).zip(p3) {
        let row = row.get(first..).unwrap_or_default();
        let weights: [f32; TILE_CHANNELS] = match row.first_chunk::<TILE_CHANNELS>() {
            Some(weights) => weights.map(T::to_f32),
            None => core::array::from_fn(|channel| at(row, channel).to_f32()),
        };
        for (sums, p) in sums.iter_mut().zip([p0, p1, p2, p3]) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += p * weight;
            }
        }
    }
    sums
}
