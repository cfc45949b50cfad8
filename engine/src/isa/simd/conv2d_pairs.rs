//! The direct convolution of integers where an instruction adds products of two neighbouring taps: tiles of P pixels × a
//! vector of channels.
//!
//! A vector of channels' weights are widened once, not for each tile as by [`super::conv2d`], and each lane sums one
//! channel, so that more pixels' sums fit the registers.

use super::conv2d::flat;
use super::elements::Words;
use super::padded::Padded;
use super::{DEPTH, Pairs, packing, winograd};
use crate::conditioning::at;
use crate::geometry::Geometry;
use crate::isa::scratch::larger;
use crate::isa::{Channels, Convolution, Finish};
use crate::maps::Code;
use crate::shape::Shape;

/// 32-bit words that [`direct`] takes, or Winograd's method, with vectors of `lanes` lanes and tiles of `pixels`.
pub(in super::super) const fn scratch_words(geometry: &Geometry, lanes: usize, pixels: usize) -> usize {
    let flat = flat(geometry);
    let padded = Padded::new(&flat);
    let bias = geometry.output.channels.next_multiple_of(lanes);
    let direct = bias + panel_len(&flat, &padded, lanes) + map_len(&padded).div_ceil(2);
    larger(direct, winograd::scratch_words(geometry, lanes, pixels))
}

/// Words of a vector of channels' weights.
const fn panel_len(geometry: &Geometry, padded: &Padded, lanes: usize) -> usize {
    geometry.kernel[0] * padded.run.div_ceil(2) * lanes
}

/// Elements of the padded map, and one: the last patch's last pair may be half behind its end.
const fn map_len(padded: &Padded) -> usize {
    padded.len() + 1
}

/// Widens and pads the input, then computes vector of channels by vector of channels, tile by tile.
#[inline(always)]
pub(in super::super) fn direct<V: Pairs, X: Code, F: Finish, const P: usize>(
    v: V,
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    let geometry = &flat(convolution.geometry);
    let (taps, out_c) = (geometry.patch_len(), geometry.output.channels);
    let padded = Padded::new(geometry);
    let Some((bias, scratch)) = scratch.split_at_mut_checked(out_c.next_multiple_of(V::LANES)) else { return };
    let panel_len = panel_len(geometry, &padded, V::LANES);
    let Some((panel, scratch)) = scratch.split_at_mut_checked(panel_len) else { return };
    let map: &mut [i16] = bytemuck::must_cast_slice_mut(scratch);
    let Some(map) = map.get_mut(..map_len(&padded)) else { return };
    convolution.fill_bias(bias);
    padded.fill::<Words<X>>(geometry, &convolution.input, convolution.input.zero_points, map);

    let block_len = taps.next_multiple_of(DEPTH) * V::LANES;
    let blocks = convolution.weights.chunks_exact(block_len.max(1));
    for (block, (weights, bias)) in blocks.zip(bias.chunks_exact(V::LANES)).enumerate() {
        widen(v, weights.as_chunks().0, padded.run, panel);
        let tiles = Tiles { padded, map, panel, bias, channel: block * V::LANES };
        tiles.run::<V, F, P>(v, geometry, finish, output);
    }
}

/// From a block's weights, `[steps][lanes][DEPTH]`, to a panel `[k_h][pairs of a row's taps][lanes]` of two int16 a word; 0
/// fills up rows of an odd number.
#[inline(always)]
fn widen<V: Pairs>(v: V, weights: &[[i8; DEPTH]], run: usize, panel: &mut [i32]) {
    if run.is_multiple_of(2) {
        for (step, panel) in weights.chunks_exact(V::LANES).zip(panel.chunks_mut(2 * V::LANES)) {
            for (pairs, panel) in v.halves(step).into_iter().zip(panel.chunks_exact_mut(V::LANES)) {
                v.store(pairs, panel);
            }
        }
        return;
    }
    let lanes = V::LANES;
    let pair = |low: i8, high: i8| i32::from(low) & 0xffff | i32::from(high) << 16;
    let taps = panel.len() / (run.div_ceil(2) * lanes).max(1) * run;
    let weight = |tap: usize, lane: usize| at(weights.as_flattened(), packing(lanes).place_in_block(taps, lane, tap));
    for (row, panel) in panel.chunks_exact_mut((run.div_ceil(2) * lanes).max(1)).enumerate() {
        for (first, panel) in (0..run).step_by(2).zip(panel.chunks_exact_mut(lanes)) {
            let tap = row * run + first;
            for (lane, word) in panel.iter_mut().enumerate() {
                *word = pair(weight(tap, lane), if first + 1 < run { weight(tap + 1, lane) } else { 0 });
            }
        }
    }
}

/// What a vector of channels is computed from.
struct Tiles<'a> {
    padded: Padded,
    map: &'a [i16],
    /// See [`widen`].
    panel: &'a [i32],
    bias: &'a [i32],
    /// The first.
    channel: usize,
}

impl Tiles<'_> {
    /// All pixels.
    #[inline(always)]
    fn run<V: Pairs, F: Finish, const P: usize>(
        &self,
        v: V,
        geometry: &Geometry,
        finish: &F,
        output: &mut [F::Element],
    ) {
        let Shape { height, width, channels } = geometry.output;
        let pixels = height * width;
        let bias = v.load(self.bias);
        let of = Channels::of(self.channel, V::LANES, channels);
        let mut starts = self.padded.starts([height, width]);
        for tile in (0..pixels).step_by(P) {
            // After the last pixel, the first one's patch again; those sums are not used.
            let mut patches = [self.map; P];
            for (patch, start) in patches.iter_mut().zip(&mut starts) {
                *patch = self.map.get(start..).unwrap_or_default();
            }
            let sums = self.tile::<V, P>(v, bias, patches);
            let index = tile * channels + self.channel;
            finish.finish_lanes(v, &sums, of, index, output.get_mut(index..).unwrap_or_default());
        }
    }

    #[inline(always)]
    fn tile<V: Pairs, const P: usize>(&self, v: V, bias: V::Lanes, patches: [&[i16]; P]) -> [V::Lanes; P] {
        let Padded { line, run, .. } = self.padded;
        let pairs = run.div_ceil(2);
        let mut sums = [bias; P];
        for (row, panel) in self.panel.chunks_exact((pairs * V::LANES).max(1)).enumerate() {
            let mut rows: [&[[i16; 2]]; P] = [&[]; P];
            for (row_of, patch) in rows.iter_mut().zip(patches) {
                let taps = patch.get(row * line..).and_then(|taps| taps.as_chunks().0.get(..pairs));
                let Some(taps) = taps else { return sums };
                *row_of = taps;
            }
            for (pair, weights) in (0..pairs).zip(panel.chunks_exact(V::LANES)) {
                let weights = v.load(weights);
                for (sum, row) in sums.iter_mut().zip(rows) {
                    *sum = v.add_pairs(*sum, weights, row[pair]);
                }
            }
        }
        sums
    }
}
