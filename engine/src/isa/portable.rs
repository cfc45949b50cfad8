//! The definition of every result, in plain Rust.

use super::{AFFINE_FRACTION, Convolution, Depthwise, Finish, Isa, Packing, ToInt8};
use crate::conditioning::at;
use crate::epilogue::{AddInt8, Epilogue, FineEpilogue};
use crate::geometry::Piece;
use crate::maps::Code;
use crate::requantize::{Table, look_up, requantize as rescale, saturate};
use crate::residual::Residual;

/// Tile by tile: patches into columns, columns and a block of weights into sums, sums to `finish`.
#[inline(always)]
pub(super) fn conv2d<I: Isa, X: Code, F: Finish>(
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    let Packing { channels, pixels, .. } = I::PACKING;
    let geometry = convolution.geometry;
    let out_c = geometry.output.channels;
    let has_rows = I::PACKING.has_rows(geometry);
    let Some((bias, scratch)) = scratch.split_at_mut_checked(out_c.next_multiple_of(channels)) else { return };
    let Some((sums, columns)) = scratch.split_at_mut_checked(channels * pixels) else { return };
    let columns: &mut [i16] = bytemuck::try_cast_slice_mut(columns).unwrap_or_default();
    let (row, padded) = (I::PACKING.row_taps(geometry), I::PACKING.patch_taps(geometry));
    let Some(columns) = columns.get_mut(..pixels * padded) else { return };
    convolution.fill_bias(bias);
    let mut positions = geometry.output.positions();
    for (tile, outs) in output.chunks_mut((pixels * out_c).max(1)).enumerate() {
        // After the last pixel, columns keep what an earlier tile left; their sums are not stored.
        for (pixel, position) in positions.by_ref().take(pixels).enumerate() {
            geometry.pieces(position, &convolution.input, |tap, piece| {
                let before = if has_rows { tap.checked_div(row).unwrap_or_default() } else { 0 };
                let columns = columns.get_mut(before * I::PACKING.columns_len(row)..).unwrap_or_default();
                let tap = tap - before * row;
                match (piece, has_rows) {
                    (Piece::Values(values), false) => I::place(values, columns, pixel, tap, row),
                    (Piece::Values(values), true) => {
                        place(I::PACKING.in_order(), values, columns, [pixel, tap, row]);
                    }
                    (Piece::Padding(value, len), false) => fill(I::PACKING, value, len, columns, [pixel, tap, row]),
                    (Piece::Padding(value, len), true) => {
                        fill(I::PACKING.in_order(), value, len, columns, [pixel, tap, row]);
                    }
                }
            });
        }
        let blocks = convolution.weights.chunks_exact((channels * padded).max(1));
        for (block, (weights, bias)) in blocks.zip(bias.chunks_exact(channels)).enumerate() {
            I::dot(weights, columns, sums);
            let first = block * channels;
            for (pixel, (sums, outs)) in
                sums.chunks_exact_mut(channels).zip(outs.chunks_exact_mut(out_c.max(1))).enumerate()
            {
                let Some(outs) = outs.get_mut(first..) else { continue };
                let outs = match outs.split_at_mut_checked(channels) {
                    Some((outs, _)) => outs,
                    None => outs,
                };
                sums.iter_mut().zip(bias).for_each(|(sum, bias)| *sum = sum.wrapping_add(*bias));
                finish.finish::<I>(sums, first, (tile * pixels + pixel) * out_c + first, outs);
            }
        }
    }
}

/// See [`Isa::place`].
#[inline(always)]
pub(super) fn place<X: Code>(packing: Packing, piece: &[X], columns: &mut [i16], [pixel, tap, taps]: [usize; 3]) {
    for (k, value) in (tap..).zip(piece) {
        if let Some(column) = columns.get_mut(packing.column(taps, pixel, k)) {
            *column = (*value).into();
        }
    }
}

/// As [`place`], `len` times the same value.
#[inline(always)]
fn fill(packing: Packing, value: i16, len: usize, columns: &mut [i16], [pixel, tap, taps]: [usize; 3]) {
    for k in tap..tap + len {
        if let Some(column) = columns.get_mut(packing.column(taps, pixel, k)) {
            *column = value;
        }
    }
}

/// See [`Isa::dot`] and [`Isa::wide_dot`].
#[inline(always)]
pub(super) fn dot<W: Code + Default>(packing: Packing, weights: &[W], columns: &[i16], sums: &mut [i32]) {
    let Packing { channels, pixels, depth, .. } = packing;
    sums.fill(0);
    let steps = weights.chunks_exact(channels * depth).zip(columns.chunks_exact(pixels * depth));
    for (weights, columns) in steps {
        for (column, sums) in columns.chunks_exact(depth).zip(sums.chunks_exact_mut(channels)) {
            for (channel, sum) in sums.iter_mut().enumerate() {
                for (tap, value) in column.iter().enumerate() {
                    let weight: i16 = at(weights, packing.place_in_step(channel, tap)).into();
                    *sum = sum.wrapping_add(i32::from(weight) * i32::from(*value));
                }
            }
        }
    }
}

/// See [`Isa::requantize`].
#[inline(always)]
pub(super) fn requantize(
    epilogue: &Epilogue<'_>,
    sums: &[i32],
    channel: usize,
    index: usize,
    residual: Residual<'_, i8>,
    output: &mut [i8],
) {
    for (offset, (sum, out)) in sums.iter().zip(output).enumerate() {
        let (channel, index) = (channel + offset, index + offset);
        let residual = at(epilogue.residual_multipliers, channel).wrapping_mul(residual.at(index, *out).into());
        *out = epilogue.requantize.apply(sum.wrapping_add(residual), channel, epilogue.table);
    }
}

/// See [`Isa::requantize_fine`].
#[inline(always)]
pub(super) fn requantize_fine<R: Code, Y: Code>(
    epilogue: &FineEpilogue<'_>,
    sums: &[i32],
    channel: usize,
    index: usize,
    residual: Residual<'_, R>,
    output: &mut [Y],
) {
    for (offset, (sum, out)) in sums.iter().zip(output).enumerate() {
        let residual = residual.code(index + offset, (*out).into());
        *out = Y::from_fine(epilogue.apply(*sum, channel + offset, residual.into()));
    }
}

/// Channels whose sums are held in registers.
const LANES: usize = 4;

/// See [`Isa::depthwise`].
#[inline(always)]
pub(super) fn depthwise<I: Isa>(depthwise: &Depthwise<'_>, finish: &ToInt8<'_>, output: &mut [i8]) {
    let Depthwise { geometry, zero_point, weights, biases: [steps, classes], input } = *depthwise;
    let channels = geometry.output.channels.max(1);
    let pixels = geometry.output.positions().zip(output.chunks_exact_mut(channels));
    for (index, (position, pixel)) in pixels.enumerate() {
        for (block, outs) in pixel.chunks_mut(LANES).enumerate() {
            let first = block * LANES;
            let mut sums: [i32; LANES] =
                core::array::from_fn(|lane| at(steps, first + lane).wrapping_add(at(classes, first + lane)));
            let mut weights = weights.chunks_exact(channels);
            geometry.taps(position, |pixel| {
                let weights = weights.next().and_then(|weights| weights.get(first..)).unwrap_or_default();
                let values = pixel.map(|pixel| input.get(pixel * channels + first..).unwrap_or_default());
                for (lane, sum) in sums.iter_mut().enumerate() {
                    let value = values.map_or(zero_point, |values| at(values, lane).into());
                    *sum = sum.wrapping_add(i32::from(value) * i32::from(at(weights, lane)));
                }
            });
            finish.finish::<I>(&sums, first, index * channels + first, outs);
        }
    }
}

/// See [`Isa::channel_sums`].
#[inline(always)]
pub(super) fn channel_sums(map: &[i8], sums: &mut [i32], squares: &mut [i32]) {
    let channels = sums.len().max(1);
    for (block, (sums, squares)) in sums.chunks_mut(LANES).zip(squares.chunks_mut(LANES)).enumerate() {
        let mut totals = [[0i32; 2]; LANES];
        for pixel in map.chunks_exact(channels) {
            let pixel = pixel.get(block * LANES..).unwrap_or_default();
            for ([sum, square], q) in totals.iter_mut().zip(pixel) {
                let q = i32::from(*q);
                *sum = sum.wrapping_add(q);
                *square = square.wrapping_add(q * q);
            }
        }
        for ((sum, square), total) in sums.iter_mut().zip(squares).zip(totals) {
            [*sum, *square] = total;
        }
    }
}

/// See [`Isa::group_sums`].
#[inline(always)]
pub(super) fn group_sums<I: Isa>(map: &[i8], len: usize, sums: &mut [i32], squares: &mut [i32]) {
    I::channel_sums(map, sums, squares);
    for all in [sums, squares] {
        for group in all.chunks_mut(len.max(1)) {
            let total = group.iter().fold(0i32, |total, sum| total.wrapping_add(*sum));
            group.iter_mut().take(1).for_each(|sum| *sum = total);
        }
    }
}

/// See [`Isa::affine`].
#[inline(always)]
pub(super) fn affine(factors: &[i32], offsets: &[i32], table: Option<&Table>, map: &mut [i8]) {
    let index =
        |q: i8, factor: i32, offset: i32| i32::from(q).wrapping_mul(factor).wrapping_add(offset) >> AFFINE_FRACTION;
    let pixels = map.chunks_exact_mut(factors.len().max(1));
    match table {
        Some(table) => pixels.for_each(|pixel| {
            for ((q, m), o) in pixel.iter_mut().zip(factors).zip(offsets) {
                *q = look_up(table, index(*q, *m, *o));
            }
        }),
        None => pixels.for_each(|pixel| {
            for ((q, m), o) in pixel.iter_mut().zip(factors).zip(offsets) {
                *q = saturate(index(*q, *m, *o));
            }
        }),
    }
}

/// See [`Isa::weighted_sums`].
#[inline(always)]
pub(super) fn weighted_sums(weights: &[i32], values: &[i8], stride: usize, sums: &mut [i32]) {
    for (block, sums) in sums.chunks_mut(LANES).enumerate() {
        let mut totals = [0i32; LANES];
        for (weight, pixel) in weights.iter().zip(values.chunks(stride.max(1))) {
            for (total, value) in totals.iter_mut().zip(pixel.get(block * LANES..).unwrap_or_default()) {
                *total = total.wrapping_add(weight.wrapping_mul(i32::from(*value)));
            }
        }
        sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum = total);
    }
}

/// See [`Isa::weighted_rows`].
#[inline(always)]
pub(super) fn weighted_rows<I: Isa>(rows: usize, weights: &[i32], values: &[i8], stride: usize, sums: &mut [i32]) {
    let [of_weights, of_sums] = [weights.len(), sums.len()].map(|len| (len / rows.max(1)).max(1));
    for (weights, sums) in weights.chunks_exact(of_weights).zip(sums.chunks_exact_mut(of_sums)) {
        I::weighted_sums(weights, values, stride, sums);
    }
}

/// See [`Isa::add`].
#[inline(always)]
pub(super) fn add(add: &AddInt8, a: &[i8], b: Residual<'_, i8>, output: &mut [i8]) {
    for (index, (out, a)) in output.iter_mut().zip(a).enumerate() {
        let b = b.at(index, *out);
        let acc = add.multipliers[0] * i32::from(*a) + add.multipliers[1] * i32::from(b) + add.bias;
        *out = saturate(rescale(acc, add.shift, add.multiplier) + add.zero_point);
    }
}
