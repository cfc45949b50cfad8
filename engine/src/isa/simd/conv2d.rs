//! The direct convolution: tiles of P neighbouring pixels × B vectors of channels, held in registers.

use bytemuck::Pod;

use super::elements::Taps;
use super::padded::Padded;
use super::planes::Planes;
use super::{DEPTH, Products, Vector};
use crate::geometry::Geometry;
use crate::isa::{Channels, Convolution, Finish, Portable};
use crate::maps::Code;
use crate::shape::Shape;

/// 32-bit words that [`run`] takes with tiles of up to `pixels` pixels and elements of up to two bytes.
pub(in super::super) const fn scratch_words(geometry: &Geometry, lanes: usize, pixels: usize) -> usize {
    let Geometry { input, output, kernel, stride, .. } = flat(geometry);
    let (taps, padded) = (geometry.patch_len(), geometry.patch_len().next_multiple_of(DEPTH));
    let bias = output.channels.next_multiple_of(lanes);
    let offsets = taps + padded / DEPTH;
    let line = output.width.next_multiple_of(pixels) + (kernel[1] - 1) / stride[1];
    let rows = (output.height - 1) * stride[0] + kernel[0];
    let planes = rows * input.channels * stride[1] * line;
    bias + offsets + (planes + padded * pixels).div_ceil(2) + 1
}

/// A 1×1 convolution works on one long row.
pub(super) const fn flat(geometry: &Geometry) -> Geometry {
    let Geometry { input, output, kernel, stride, padding, upsample } = *geometry;
    let pointwise = kernel[0] * kernel[1] * stride[0] * stride[1] * upsample[0] * upsample[1] == 1;
    if pointwise && padding[0] + padding[1] == 0 && input.width == output.width && input.height == output.height {
        Geometry { input: row(input), output: row(output), ..*geometry }
    } else {
        *geometry
    }
}

const fn row(Shape { height, width, channels }: Shape) -> Shape {
    Shape { height: 1, width: height * width, channels }
}

/// Copies the input, row by row, and computes tile by tile; `Q` makes the products of the input's type.
///
/// Tiles of P pixels × B vectors of channels read a padded map, or columns where channels are no whole quadruples; B = 0
/// stands for tiles whose lanes are pixels, which suit up to four channels, and read [`Planes`]. P is then a multiple of the
/// lanes. In a padded map a pixel's taps are A quadruples from the next one's where that is known when this is compiled, else
/// A is 0: many pixels' places take too many registers then.
#[inline(always)]
pub(in super::super) fn run<
    V: Vector,
    Q: Products<V>,
    X: Code,
    F: Finish,
    const P: usize,
    const B: usize,
    const A: usize,
>(
    v: V,
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    let geometry = &flat(convolution.geometry);
    let input = &convolution.input;
    let (out_c, out_w) = (geometry.output.channels, geometry.output.width);
    let quadruples = input.channels.iter().all(|channels| channels.is_multiple_of(DEPTH));
    let (planes, padded) = (Planes::new(geometry, input.channels, P), Padded::new(geometry));
    let reads_padded = quadruples && B > 0;
    let steps = geometry.patch_len().div_ceil(DEPTH);
    let blocks = out_c.div_ceil(V::LANES);

    let Some((bias, scratch)) = scratch.split_at_mut_checked(blocks * V::LANES) else { return };
    let taps = if reads_padded { steps } else { planes.taps() };
    let Some((offsets, scratch)) = scratch.split_at_mut_checked(taps) else { return };
    let Some((counted, scratch)) = scratch.split_at_mut_checked(if quadruples { 0 } else { steps }) else { return };
    let offsets: &mut [u32] = bytemuck::must_cast_slice_mut(offsets);
    let counted: &mut [u32] = bytemuck::must_cast_slice_mut(counted);
    let elements = bytemuck::try_cast_slice_mut::<i32, Q::Element>(scratch).unwrap_or_default();
    // The last tile's pixels may be past the map.
    let past = (out_w.next_multiple_of(P) - out_w) * padded.apart();
    let map_len = if reads_padded { padded.len() + past } else { planes.len() };
    let Some((map, columns)) = elements.split_at_mut_checked(map_len) else { return };
    let (columns, _) = columns.as_chunks_mut::<DEPTH>();

    convolution.fill_bias(bias);
    let tail = convolution.weights.get(steps * DEPTH * bias.len()..).unwrap_or_default();
    take_offset_back::<V, Q>(tail, bias);
    if reads_padded {
        padded.offsets(offsets);
    } else {
        planes.offsets(offsets);
    }
    counted.iter_mut().zip((0..).step_by(P)).for_each(|(offset, place)| *offset = place);
    let padding = input.zero_points.map(Q::element);

    let mut filled = 0;
    for y in 0..geometry.output.height {
        // As late as can be, so that they are still in the first cache.
        let rows = filled..y * geometry.stride[0] + geometry.kernel[0];
        filled = rows.end;
        if reads_padded {
            padded.fill_rows::<Taps<V, Q, X>>(geometry, input, padding, rows, map);
        } else {
            planes.fill::<Taps<V, Q, X>>(geometry, input, padding, rows, map);
        }
        for x in (0..out_w).step_by(P) {
            let words = map.as_chunks::<DEPTH>().0;
            let first = (y * out_w + x) * out_c;
            let outs = output.get_mut(first..).unwrap_or_default();
            let outs = match outs.split_at_mut_checked((out_w - x).min(P) * out_c) {
                Some((outs, _)) => outs,
                None => outs,
            };
            let mut part = Part { weights: convolution.weights, steps, offsets, words, start: 0, apart: 1, block: 0 };
            if reads_padded {
                (part.start, part.apart) = (padded.start((y, x)) / DEPTH, padded.apart() / DEPTH);
            } else {
                part.start = planes.start((y, x));
            }
            if !quadruples {
                gather::<Q::Element, P>(map, offsets, part.start, columns);
                part = Part { offsets: counted, words: columns, start: 0, ..part };
            }
            if B == 0 {
                match out_c {
                    1 => part.pixels::<V, Q, F, 1>(v, finish, bias, first, outs),
                    2 => part.pixels::<V, Q, F, 2>(v, finish, bias, first, outs),
                    3 => part.pixels::<V, Q, F, 3>(v, finish, bias, first, outs),
                    _ => part.pixels::<V, Q, F, 4>(v, finish, bias, first, outs),
                }
                continue;
            }
            while part.block < blocks {
                part.block += if part.block + B <= blocks {
                    part.tile::<V, Q, F, P, B, A>(v, finish, bias, (first, out_c), outs);
                    B
                } else {
                    part.tile::<V, Q, F, P, 1, A>(v, finish, bias, (first, out_c), outs);
                    1
                };
            }
        }
    }
}

/// Takes from every bias what the activations' offset adds to its sum: as often its weights' sum, which the weights' tail has.
#[inline(always)]
fn take_offset_back<V: Vector, Q: Products<V>>(tail: &[i8], bias: &mut [i32]) {
    if Q::OFFSET != 0 {
        for (bias, sum) in bias.iter_mut().zip(tail.as_chunks().0) {
            let sum = i32::from_le_bytes(sum.map(|byte| byte as u8));
            *bias = bias.wrapping_sub(i32::from(Q::OFFSET).wrapping_mul(sum));
        }
    }
}

/// Puts the taps of P pixels into columns, `[steps][P][DEPTH]`, from planes of single channels.
#[inline(always)]
fn gather<E: Pod, const P: usize>(map: &[E], offsets: &[u32], start: usize, columns: &mut [[E; DEPTH]]) {
    let nothing = [E::zeroed(); P];
    for (columns, offsets) in columns.chunks_exact_mut(P).zip(offsets.chunks(DEPTH)) {
        let mut taps = [&nothing; DEPTH];
        for (taps, offset) in taps.iter_mut().zip(offsets) {
            let Some(values) = map.get(start + *offset as usize..).and_then(<[E]>::first_chunk::<P>) else { return };
            *taps = values;
        }
        for (pixel, column) in columns.iter_mut().enumerate() {
            *column = taps.map(|taps| taps[pixel]);
        }
    }
}

/// Where a tile's taps and weights are.
#[derive(Clone, Copy)]
struct Part<'a, E> {
    weights: &'a [i8],
    steps: usize,
    /// Of each step's taps, from `start` on.
    offsets: &'a [u32],
    words: &'a [[E; DEPTH]],
    start: usize,
    /// From a pixel's taps to the next one's.
    apart: usize,
    /// Of channels, the first of B.
    block: usize,
}

impl<E: Copy> Part<'_, E> {
    /// Computes P pixels and B vectors of channels; `output` has as many pixels as exist.
    #[inline(always)]
    fn tile<V: Vector, Q: Products<V, Element = E>, F: Finish, const P: usize, const B: usize, const A: usize>(
        self,
        v: V,
        finish: &F,
        bias: &[i32],
        (index, out_c): (usize, usize),
        output: &mut [F::Element],
    ) {
        for (block, sums) in (self.block..).zip(self.sums::<V, Q, P, B, A>(v)) {
            let channel = block * V::LANES;
            let bias = v.load(bias.get(channel..).unwrap_or_default());
            let mut totals = [bias; P];
            for (total, sums) in totals.iter_mut().zip(sums) {
                *total = v.add(*total, Q::total(v, sums));
            }
            let Some(outs) = output.get_mut(channel..) else { return };
            finish.finish_lanes(v, &totals, Channels::of(channel, V::LANES, out_c), index + channel, outs);
        }
    }

    /// Computes the pixels in `output`, of N channels.
    #[inline(always)]
    fn pixels<V: Vector, Q: Products<V, Element = E>, F: Finish, const N: usize>(
        self,
        v: V,
        finish: &F,
        bias: &[i32],
        index: usize,
        output: &mut [F::Element],
    ) {
        let steps = self.weights.as_chunks::<DEPTH>().0.chunks_exact(V::LANES);
        for (vector, outs) in output.chunks_mut(V::LANES * N).enumerate() {
            let mut sums = [Q::zero(v); N];
            for (weights, offset) in steps.clone().zip(self.offsets) {
                let start = self.start + *offset as usize + vector * V::LANES;
                let pixels = Q::pixels(v, self.words.get(start..).unwrap_or_default());
                for (sums, weights) in sums.iter_mut().zip(weights) {
                    *sums = Q::multiply_add_pixels(v, *sums, pixels, *weights);
                }
            }
            let mut totals = [[0; 16]; N];
            for ((totals, sums), bias) in totals.iter_mut().zip(sums).zip(bias) {
                v.store(v.add(Q::total(v, sums), v.splat(*bias)), totals);
            }
            for (pixel, outs) in outs.chunks_exact_mut(N).enumerate() {
                let totals = totals.map(|totals| totals[pixel % 16]);
                finish.finish::<Portable>(&totals, 0, index + (vector * V::LANES + pixel) * N, outs);
            }
        }
    }

    #[inline(always)]
    fn sums<V: Vector, Q: Products<V, Element = E>, const P: usize, const B: usize, const A: usize>(
        self,
        v: V,
    ) -> [[Q::Sums; P]; B] {
        let step_len = V::LANES * DEPTH;
        let block_len = self.steps * step_len;
        let mut sums = [[Q::zero(v); P]; B];
        let mut weights = [&[][..]; B];
        for (block, weights) in (self.block..).zip(&mut weights) {
            *weights = self.weights.get(block * block_len..(block + 1) * block_len).unwrap_or_default();
        }
        for (step, offset) in self.offsets.iter().enumerate() {
            let first = self.start + *offset as usize;
            let apart = if A > 0 { A } else { self.apart };
            let Some(taps) = self.words.get(first..first + (P - 1) * apart + 1) else { break };
            let mut loaded = [Q::weights(v, &[]); B];
            for (loaded, weights) in loaded.iter_mut().zip(weights) {
                let weights = weights.get(step * step_len..(step + 1) * step_len);
                *loaded = Q::weights(v, weights.unwrap_or_default());
            }
            for pixel in 0..P {
                for (sums, weights) in sums.iter_mut().zip(loaded) {
                    sums[pixel] = Q::multiply_add(v, sums[pixel], weights, taps[pixel * apart]);
                }
            }
        }
        sums
    }
}
