//! The direct convolution: tiles of P neighbouring pixels × B vectors of channels, held in registers.

use bytemuck::Pod;

use super::planes::{Planes, SIDE};
use super::{DEPTH, Products, Vector};
use crate::conditioning::at;
use crate::geometry::Geometry;
use crate::isa::{Channels, Convolution, Finish, Portable};
use crate::maps::Code;
use crate::shape::Shape;

/// 32-bit words that [`run`] takes with tiles of up to `pixels` pixels and elements of up to two bytes.
pub(in super::super) fn scratch_words(geometry: &Geometry, lanes: usize, pixels: usize) -> usize {
    let Geometry { input, output, kernel, stride, .. } = flat(geometry);
    let (taps, padded) = (geometry.patch_len(), geometry.patch_len().next_multiple_of(DEPTH * SIDE));
    let bias = output.channels.next_multiple_of(lanes);
    let offsets = taps + padded / DEPTH;
    let line = output.width.next_multiple_of(pixels) + (kernel[1] - 1) / stride[1];
    let rows = (output.height - 1) * stride[0] + kernel[0];
    let planes = rows * input.channels.next_multiple_of(DEPTH * SIDE) * stride[1] * line;
    bias + offsets + (planes + padded * pixels).div_ceil(2) + 1
}

/// A 1×1 convolution works on one long row.
pub(super) fn flat(geometry: &Geometry) -> Geometry {
    let Geometry { input, output, kernel, stride, padding, upsample } = *geometry;
    let pointwise = kernel[0] * kernel[1] * stride[0] * stride[1] * upsample[0] * upsample[1] == 1;
    if pointwise && padding[0] + padding[1] == 0 && input.width == output.width && input.height == output.height {
        let row = |shape: Shape| Shape { height: 1, width: shape.height * shape.width, channels: shape.channels };
        Geometry { input: row(input), output: row(output), ..*geometry }
    } else {
        *geometry
    }
}

/// Copies the input to [`Planes`], row by row, and computes tile by tile; `Q` makes the products of the input's type.
///
/// Tiles of P pixels × B vectors of channels; B = 0 stands for tiles whose lanes are pixels, channel by channel, which
/// suit a few channels. P is then a multiple of the lanes.
#[inline(always)]
pub(in super::super) fn run<V: Vector, Q: Products<V>, X: Code, F: Finish, const P: usize, const B: usize>(
    v: V,
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    let geometry = &flat(convolution.geometry);
    let input = &convolution.input;
    let (out_c, out_w) = (geometry.output.channels, geometry.output.width);
    let side = const { side(B) };
    let planes = Planes::new(geometry, input.channels, P, side);
    let steps = geometry.patch_len().div_ceil(DEPTH);
    let blocks = out_c.div_ceil(V::LANES);
    let direct = planes.group == DEPTH;

    let Some((bias, scratch)) = scratch.split_at_mut_checked(blocks * V::LANES) else { return };
    let Some((offsets, scratch)) = scratch.split_at_mut_checked(planes.taps()) else { return };
    let Some((counted, scratch)) = scratch.split_at_mut_checked(if direct { 0 } else { steps }) else { return };
    let offsets: &mut [u32] = bytemuck::must_cast_slice_mut(offsets);
    let counted: &mut [u32] = bytemuck::must_cast_slice_mut(counted);
    let elements = bytemuck::try_cast_slice_mut::<i32, Q::Element>(scratch).unwrap_or_default();
    let Some((map, columns)) = elements.split_at_mut_checked(planes.len()) else { return };
    let (columns, _) = columns.as_chunks_mut::<DEPTH>();

    convolution.fill_bias(bias);
    take_offset_back::<V, Q>(v, convolution.weights, steps, bias);
    planes.offsets(offsets);
    let places = (0..).step_by(P * side).flat_map(|first| first..first + side as u32);
    counted.iter_mut().zip(places).for_each(|(offset, place)| *offset = place);
    let padding = input.zero_points.map(Q::element);

    let mut filled = 0;
    for y in 0..geometry.output.height {
        // As late as can be, so that they are still in the first cache.
        let rows = planes.rows_until(y);
        planes.fill(geometry, input, padding, Q::elements::<X>, filled..rows, map);
        filled = rows;
        for x in (0..out_w).step_by(P) {
            let start = planes.start((y, x));
            let (words, offsets, start) = if direct {
                (map.as_chunks::<DEPTH>().0, &*offsets, start)
            } else {
                gather::<Q::Element, P, B>(map, offsets, start, columns);
                (&*columns, &*counted, 0)
            };
            let first = (y * out_w + x) * out_c;
            let outs = output.get_mut(first..).unwrap_or_default();
            let outs = match outs.split_at_mut_checked((out_w - x).min(P) * out_c) {
                Some((outs, _)) => outs,
                None => outs,
            };
            let part = Part { weights: convolution.weights, steps, offsets, words, start, block: 0 };
            if B == 0 {
                for channel in 0..out_c {
                    part.channel::<V, Q, F>(v, finish, bias, channel, (first, out_c), outs);
                }
                continue;
            }
            let mut block = 0;
            while block < blocks {
                let part = Part { block, ..part };
                block += if block + B <= blocks {
                    part.tile::<V, Q, F, P, B>(v, finish, bias, (first, out_c), outs);
                    B
                } else {
                    part.tile::<V, Q, F, P, 1>(v, finish, bias, (first, out_c), outs);
                    1
                };
            }
        }
    }
}

/// Takes from every bias what the activations' offset adds to its sum.
#[inline(always)]
fn take_offset_back<V: Vector, Q: Products<V>>(v: V, weights: &[i8], steps: usize, bias: &mut [i32]) {
    if Q::OFFSET == 0 {
        return;
    }
    let ones = [Q::element(1 - Q::OFFSET); DEPTH];
    let blocks = weights.chunks_exact((steps * V::LANES * DEPTH).max(1));
    for (weights, bias) in blocks.zip(bias.chunks_exact_mut(V::LANES)) {
        // Several sums at a time, as each waits for its last.
        let mut sums = [Q::zero(v); 4];
        for steps in weights.chunks(sums.len() * V::LANES * DEPTH) {
            for (sums, step) in sums.iter_mut().zip(steps.chunks_exact(V::LANES * DEPTH)) {
                *sums = Q::multiply_add(v, *sums, Q::weights(v, step), ones);
            }
        }
        let mut total = v.splat(0);
        for sums in sums {
            total = v.add(total, Q::total(v, sums));
        }
        v.store(v.add(v.load(bias), v.multiply(total, v.splat(-i32::from(Q::OFFSET)))), bias);
    }
}

/// Groups of a pixel that lie side by side, for tiles of B vectors of channels.
const fn side(vectors: usize) -> usize {
    if vectors == 0 { 1 } else { SIDE }
}

/// Puts the taps of P pixels into columns, `[steps / side][P][side][DEPTH]`, from planes of single channels.
#[inline(always)]
fn gather<E: Pod, const P: usize, const B: usize>(
    map: &[E],
    offsets: &[u32],
    start: usize,
    columns: &mut [[E; DEPTH]],
) {
    let nothing = [E::zeroed(); P];
    let side = const { side(B) };
    for (columns, offsets) in columns.chunks_exact_mut(P * side).zip(offsets.chunks(DEPTH * side)) {
        for (step, offsets) in offsets.chunks(DEPTH).enumerate() {
            let mut taps = [&nothing; DEPTH];
            for (taps, offset) in taps.iter_mut().zip(offsets) {
                let Some(values) = map.get(start + *offset as usize..).and_then(<[E]>::first_chunk::<P>) else {
                    return;
                };
                *taps = values;
            }
            for (pixel, column) in columns.iter_mut().skip(step).step_by(side).enumerate() {
                *column = taps.map(|taps| taps[pixel]);
            }
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
    /// Of channels, the first of B.
    block: usize,
}

impl<E: Copy> Part<'_, E> {
    /// Computes P pixels and B vectors of channels; `output` has as many pixels as exist.
    #[inline(always)]
    fn tile<V: Vector, Q: Products<V, Element = E>, F: Finish, const P: usize, const B: usize>(
        self,
        v: V,
        finish: &F,
        bias: &[i32],
        (index, out_c): (usize, usize),
        output: &mut [F::Element],
    ) {
        for (block, sums) in (self.block..).zip(self.sums::<V, Q, P, B>(v)) {
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

    /// Computes one channel of the pixels in `output`.
    #[inline(always)]
    fn channel<V: Vector, Q: Products<V, Element = E>, F: Finish>(
        self,
        v: V,
        finish: &F,
        bias: &[i32],
        channel: usize,
        (index, out_c): (usize, usize),
        output: &mut [F::Element],
    ) {
        let step_len = V::LANES * DEPTH;
        let block = channel / V::LANES * self.steps * step_len + channel % V::LANES * DEPTH;
        let weights = self.weights.get(block..).unwrap_or_default().as_chunks::<DEPTH>().0.iter().step_by(V::LANES);
        let bias = v.splat(at(bias, channel));
        for (vector, outs) in output.chunks_mut(V::LANES * out_c).enumerate() {
            let mut sums = Q::zero(v);
            for (weights, offset) in weights.clone().zip(self.offsets) {
                let start = self.start + *offset as usize + vector * V::LANES;
                let pixels = Q::pixels(v, self.words.get(start..).unwrap_or_default());
                sums = Q::multiply_add_pixels(v, sums, pixels, *weights);
            }
            let mut array = [0; 16];
            v.store(v.add(Q::total(v, sums), bias), &mut array);
            for (pixel, (sum, outs)) in array.iter().zip(outs.chunks_exact_mut(out_c)).enumerate() {
                let index = index + (vector * V::LANES + pixel) * out_c + channel;
                finish.finish::<Portable>(&[*sum], channel, index, &mut outs[channel..=channel]);
            }
        }
    }

    #[inline(always)]
    fn sums<V: Vector, Q: Products<V, Element = E>, const P: usize, const B: usize>(self, v: V) -> [[Q::Sums; P]; B] {
        let step_len = V::LANES * DEPTH;
        let block_len = self.steps * step_len;
        let mut sums = [[Q::zero(v); P]; B];
        let mut weights = [&[][..]; B];
        for (block, weights) in (self.block..).zip(&mut weights) {
            *weights = self.weights.get(block * block_len..(block + 1) * block_len).unwrap_or_default();
        }
        for (step, offset) in self.offsets.iter().enumerate() {
            let first = self.start + *offset as usize;
            let Some(taps) = self.words.get(first..first + const { (P - 1) * side(B) + 1 }) else { break };
            let mut loaded = [Q::weights(v, &[]); B];
            for (loaded, weights) in loaded.iter_mut().zip(weights) {
                let weights = weights.get(step * step_len..(step + 1) * step_len);
                *loaded = Q::weights(v, weights.unwrap_or_default());
            }
            for pixel in 0..P {
                for (sums, weights) in sums.iter_mut().zip(loaded) {
                    sums[pixel] = Q::multiply_add(v, sums[pixel], weights, taps[pixel * const { side(B) }]);
                }
            }
        }
        sums
    }
}
