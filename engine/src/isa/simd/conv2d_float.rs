//! The direct convolution in floating point: tiles of P pixels × B vectors of channels, or for a few channels, tiles of R
//! vectors of neighbouring pixels.

use super::Floats;
use super::conv2d::flat;
use super::elements::Reals;
use super::padded::Padded;
use super::planes::Planes;
use crate::geometry::Geometry;
use crate::isa::{FinishFloat, FloatConvolution};
use crate::real::Real;
use crate::shape::Shape;

/// Up to so many output channels, lanes are pixels.
const FEW: usize = 4;

/// Elements that [`run`] takes with tiles of up to `pixels` neighbouring pixels, R vectors, or of up to `channels`
/// channels, B vectors.
pub(in super::super) const fn scratch(geometry: &Geometry, pixels: usize, channels: usize) -> usize {
    let geometry = flat(geometry);
    if geometry.output.channels <= FEW {
        geometry.patch_len() + Planes::of_channels(&geometry, pixels).len()
    } else {
        geometry.patch_len() * channels + Padded::new(&geometry).len()
    }
}

/// Computes tile by tile, with FMA where the weights are f32.
#[inline(always)]
pub(in super::super) fn run<V: Floats, T: Real, X: Real, const P: usize, const B: usize, const R: usize>(
    v: V,
    convolution: &FloatConvolution<'_, T, X>,
    scratch: &mut [f32],
    finish: &mut impl FinishFloat,
) {
    let geometry = &flat(convolution.geometry);
    let out_c = geometry.output.channels;
    if out_c <= FEW {
        return run_rows::<V, T, X, R>(v, geometry, convolution, scratch, finish);
    }
    let channels = B * V::LANES;
    let Some((panel, scratch)) = scratch.split_at_mut_checked(geometry.patch_len() * channels) else { return };
    let padded = Padded::new(geometry);
    let Some(map) = padded.of(geometry, &convolution.input, scratch) else { return };
    let fused = T::floats(&[]).is_some();
    for first in (0..out_c).step_by(channels) {
        for (panel, row) in panel.chunks_exact_mut(channels).zip(convolution.weights.chunks_exact(out_c)) {
            let row = row.get(first..).unwrap_or_default();
            for (block, panel) in panel.chunks_exact_mut(V::LANES).enumerate() {
                v.store(v.load(row.get(block * V::LANES..).unwrap_or_default()), panel);
            }
        }
        let tiles = Tiles { padded, map, panel, fused };
        tiles.run::<V, P, B>(v, geometry, first, finish);
    }
}

/// What a block of channels is computed from.
struct Tiles<'a> {
    padded: Padded,
    map: &'a [f32],
    /// `[k_h][k_w][in_c][channels of the block]`, filled up with 0.
    panel: &'a [f32],
    fused: bool,
}

impl Tiles<'_> {
    /// All pixels of the block whose first channel is `first`.
    #[inline(always)]
    fn run<V: Floats, const P: usize, const B: usize>(
        &self,
        v: V,
        geometry: &Geometry,
        first: usize,
        finish: &mut impl FinishFloat,
    ) {
        let Shape { height, width, .. } = geometry.output;
        let pixels = height * width;
        let mut starts = self.padded.starts([height, width]);
        for tile in (0..pixels).step_by(P) {
            // After the last pixel, the first one's patch again; those sums are not used.
            let mut patches = [self.map; P];
            for (patch, start) in patches.iter_mut().zip(&mut starts) {
                *patch = self.map.get(start..).unwrap_or_default();
            }
            let sums = self.tile::<V, P, B>(v, patches);
            for (pixel, sums) in (tile..pixels).zip(sums) {
                v.finish(sums, finish, pixel, first);
            }
        }
    }

    #[inline(always)]
    fn tile<V: Floats, const P: usize, const B: usize>(&self, v: V, patches: [&[f32]; P]) -> [[V::Lanes; B]; P] {
        let Padded { line, run, .. } = self.padded;
        let mut sums = [[v.splat(0.0); B]; P];
        let (mut panel, mut start) = (self.panel, 0);
        while let Some((weights, rest)) = panel.split_at_checked(run * B * V::LANES) {
            if weights.is_empty() {
                break;
            }
            let mut rows = [&[][..]; P];
            for (row, patch) in rows.iter_mut().zip(patches) {
                let Some(taps) = patch.get(start..).and_then(|taps| taps.get(..run)) else { return sums };
                *row = taps;
            }
            for (tap, weights) in (0..run).zip(weights.chunks_exact(B * V::LANES)) {
                let mut loaded = [v.splat(0.0); B];
                for (loaded, weights) in loaded.iter_mut().zip(weights.chunks_exact(V::LANES)) {
                    *loaded = v.load(weights);
                }
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let tap = v.splat(row[tap]);
                    for (sum, weights) in sums.iter_mut().zip(loaded) {
                        *sum = multiply_add(v, self.fused, *sum, tap, weights);
                    }
                }
            }
            (panel, start) = (rest, start + line);
        }
        sums
    }
}

/// Lanes are neighbouring pixels of one channel.
#[inline(always)]
fn run_rows<V: Floats, T: Real, X: Real, const R: usize>(
    v: V,
    geometry: &Geometry,
    convolution: &FloatConvolution<'_, T, X>,
    scratch: &mut [f32],
    finish: &mut impl FinishFloat,
) {
    let (out_c, out_w) = (geometry.output.channels.max(1), geometry.output.width);
    let planes = Planes::of_channels(geometry, R * V::LANES);
    let Some((offsets, scratch)) = scratch.split_at_mut_checked(planes.taps()) else { return };
    let Some(map) = scratch.get_mut(..planes.len()) else { return };
    let offsets: &mut [u32] = bytemuck::must_cast_slice_mut(offsets);
    planes.offsets(offsets);
    planes.fill::<Reals<X>>(geometry, &convolution.input, [0.0; 2], 0..planes.rows, map);
    for y in 0..geometry.output.height {
        for x in (0..out_w).step_by(R * V::LANES) {
            let Some(map) = map.get(planes.start((y, x))..) else { return };
            for channel in 0..out_c {
                let weights = convolution.weights.iter().skip(channel).step_by(out_c);
                let sums = row_tile::<V, T, R>(v, weights, map, offsets);
                for (first, sums) in (x..out_w).step_by(V::LANES).zip(sums) {
                    let mut array = [0.0; 16];
                    v.store(sums, &mut array);
                    for (pixel, sum) in (first..out_w).zip(array).take(V::LANES) {
                        finish.finish(y * out_w + pixel, channel, [[sum]]);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn row_tile<'a, V: Floats, T: Real, const R: usize>(
    v: V,
    weights: impl Iterator<Item = &'a T>,
    map: &[f32],
    offsets: &[u32],
) -> [V::Lanes; R] {
    let fused = T::floats(&[]).is_some();
    let mut sums = [v.splat(0.0); R];
    for (weight, offset) in weights.zip(offsets) {
        let Some(taps) = map.get(*offset as usize..).and_then(|taps| taps.get(..R * V::LANES)) else { break };
        let weight = v.splat(weight.to_f32());
        for (vector, sum) in sums.iter_mut().enumerate() {
            *sum = multiply_add(v, fused, *sum, v.load(&taps[vector * V::LANES..]), weight);
        }
    }
    sums
}

#[inline(always)]
fn multiply_add<V: Floats>(v: V, fused: bool, sum: V::Lanes, a: V::Lanes, b: V::Lanes) -> V::Lanes {
    if fused { v.fused(sum, a, b) } else { v.add_product(sum, a, b) }
}
