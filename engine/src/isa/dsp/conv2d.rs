//! Convolutions: four pixels and two channels at a time.

use super::dot::{two_by_four, two_by_one};
use super::maps::Last;
use super::op::{sxtb16, sxtb16_odd};
use super::{Dsp, Isa};
use crate::conditioning::at;
use crate::geometry::Piece;
use crate::isa::{Convolution, Finish, ToInt8, portable};
use crate::maps::Code;
use crate::residual::Residual;

/// Pixels of a tile.
const PIXELS: usize = Dsp::PACKING.pixels;
/// Channels of a block.
const CHANNELS: usize = Dsp::PACKING.channels;

/// See [`Isa::conv2d`].
pub(super) fn run<X: Code, F: Finish>(
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    let geometry = convolution.geometry;
    let (taps, out_c) = (geometry.patch_len(), geometry.output.channels);
    let whole = output.len() >= geometry.output.len()
        && convolution.weights.len() >= Dsp::PACKING.packed_len(taps, out_c)
        && scratch.len() >= Dsp::PACKING.scratch_words(geometry)
        && taps > 0;
    if !whole {
        return portable::conv2d::<Dsp, X, F>(convolution, finish, scratch, output);
    }
    let (bias, columns) = scratch.split_at_mut(out_c.next_multiple_of(CHANNELS).min(scratch.len()));
    convolution.fill_bias(bias);
    let columns: &mut [i16] = bytemuck::cast_slice_mut(columns);
    let single = geometry.output.height * geometry.output.width == 1;
    let mut positions = geometry.output.positions();
    let mut first = 0;
    while let Some(position) = positions.next() {
        let mut pixels = 0;
        let mut next = Some(position);
        while let Some(position) = next {
            geometry.pieces(position, &convolution.input, |tap, piece| {
                if single {
                    place::<1, X>(piece, columns, 0, tap, taps);
                } else {
                    place::<PIXELS, X>(piece, columns, pixels, tap, taps);
                }
            });
            pixels += 1;
            next = if pixels < PIXELS { positions.next() } else { None };
        }
        let tile = Tile { first: first * out_c, pixels, out_c, single };
        match finish.to_int8(output) {
            Some((finish, output)) => int8(convolution.weights, columns, bias, taps, &tile, &finish, output),
            None => blocks(convolution.weights, columns, bias, taps, &tile, |sums, channel| {
                for (pixel, sums) in sums.chunks_exact(CHANNELS).take(pixels).enumerate() {
                    let index = tile.first + pixel * out_c + channel;
                    let count = CHANNELS.min(out_c - channel);
                    let outs = output.get_mut(index..index + count).unwrap_or_default();
                    finish.finish::<Dsp>(sums, channel, index, outs);
                }
            }),
        }
        first += pixels;
    }
}

/// Some pixels of a map.
struct Tile {
    /// The first's place in the map.
    first: usize,
    pixels: usize,
    out_c: usize,
    single: bool,
}

/// Calls `take(sums, channel)` for every block of channels, `[pixels][2 channels]`.
#[inline(always)]
fn blocks(
    weights: &[i8],
    columns: &[i16],
    bias: &[i32],
    taps: usize,
    tile: &Tile,
    mut take: impl FnMut(&mut [i32; 8], usize),
) {
    let block_len = Dsp::PACKING.block_len(taps).max(1);
    let pairs = Dsp::PACKING.padded_taps(taps) / 2;
    for (block, (weights, bias)) in weights.chunks_exact(block_len).zip(bias.chunks_exact(CHANNELS)).enumerate() {
        let [first, second] = [at(bias, 0), at(bias, 1)];
        let mut sums = [first, second, first, second, first, second, first, second];
        if tile.single {
            let mut pair = [first, second];
            // SAFETY: a block of weights, and columns that `run` has found long enough and filled for one pixel.
            unsafe { two_by_one(weights.as_ptr(), columns.as_ptr(), pairs, &mut pair) };
            [sums[0], sums[1]] = pair;
        } else {
            // SAFETY: a block of weights, and columns that `run` has found long enough and filled for four pixels.
            unsafe { two_by_four(weights.as_ptr(), columns.as_ptr(), pairs, &mut sums) };
        }
        take(&mut sums, block * CHANNELS);
    }
}

/// All channels of some pixels.
fn int8(
    weights: &[i8],
    columns: &[i16],
    bias: &[i32],
    taps: usize,
    tile: &Tile,
    finish: &ToInt8<'_>,
    output: &mut [i8],
) {
    let last = Last::of(finish.epilogue);
    if last.table.is_some() {
        blocks(weights, columns, bias, taps, tile, |sums, channel| {
            store::<true>(sums, channel, tile, finish, &last, output)
        });
    } else {
        blocks(weights, columns, bias, taps, tile, |sums, channel| {
            store::<false>(sums, channel, tile, finish, &last, output)
        });
    }
}

/// Sums of two channels to the output.
#[inline(always)]
fn store<const TABLE: bool>(
    sums: &mut [i32; 8],
    channel: usize,
    tile: &Tile,
    finish: &ToInt8<'_>,
    last: &Last<'_>,
    output: &mut [i8],
) {
    let factors = finish.epilogue.residual_multipliers;
    let index = |pixel: usize| tile.first + pixel * tile.out_c + channel;
    if !factors.is_empty() && !matches!(finish.residual, Residual::None) {
        for (pixel, sums) in sums.chunks_exact_mut(CHANNELS).take(tile.pixels).enumerate() {
            for (offset, sum) in sums.iter_mut().enumerate() {
                let index = index(pixel) + offset;
                let residual = finish.residual.at(index, at(output, index));
                *sum = sum.wrapping_add(at(factors, channel + offset).wrapping_mul(residual.into()));
            }
        }
    }
    let multipliers = finish.epilogue.requantize.multipliers;
    let [first, second] = [at(multipliers, channel), at(multipliers, channel + 1)];
    if tile.pixels == PIXELS && channel + 1 < tile.out_c {
        for pixel in 0..PIXELS {
            if let Some([left, right]) = output.get_mut(index(pixel)..).and_then(<[i8]>::first_chunk_mut) {
                *left = last.apply::<TABLE>(sums[2 * pixel], first);
                *right = last.apply::<TABLE>(sums[2 * pixel + 1], second);
            }
        }
        return;
    }
    for (pixel, sums) in sums.chunks_exact(CHANNELS).take(tile.pixels).enumerate() {
        let outs = output.get_mut(index(pixel)..).unwrap_or_default();
        let factors = [first, second].into_iter().take(tile.out_c - channel);
        for ((out, sum), factor) in outs.iter_mut().zip(sums).zip(factors) {
            *out = last.apply::<TABLE>(*sum, factor);
        }
    }
}

/// Writes a piece into the columns of a tile of `P` pixels, a word at a time where it can.
#[inline(always)]
fn place<const P: usize, X: Code>(piece: Piece<'_, X>, columns: &mut [i16], pixel: usize, tap: usize, taps: usize) {
    let mut one = |columns: &mut [i16], tap: usize, value: i16| {
        let place = Dsp::PACKING.order(taps, tap);
        if let Some(column) = columns.get_mut((place / 2 * P + pixel) * 2 + place % 2) {
            *column = value;
        }
    };
    let len = match piece {
        Piece::Padding(_, len) => len,
        Piece::Values(values) => values.len(),
    };
    let end = (tap + len).min(taps);
    let quads_start = tap.next_multiple_of(4).min(end);
    let quads_end = (end & !3).max(quads_start);
    match piece {
        Piece::Padding(value, _) => {
            (tap..quads_start).for_each(|tap| one(columns, tap, value));
            let word = u32::from(value as u16) * 0x1_0001;
            let words: &mut [u32] = bytemuck::cast_slice_mut(columns);
            for pair in quads_start / 2..quads_end / 2 {
                if let Some(column) = words.get_mut(pair * P + pixel) {
                    *column = word;
                }
            }
            (quads_end..end).for_each(|tap| one(columns, tap, value));
        }
        Piece::Values(values) => match X::bytes(values) {
            Some(bytes) => {
                for (tap, value) in (tap..quads_start).zip(bytes) {
                    one(columns, tap, (*value).into());
                }
                let quads = bytes.get(quads_start - tap..).unwrap_or_default();
                let words: &mut [u32] = bytemuck::cast_slice_mut(columns);
                let words = words.get_mut(quads_start / 2 * P + pixel..).unwrap_or_default();
                let places = words.chunks_mut(2 * P).take((quads_end - quads_start) / 4);
                for (quad, places) in quads.chunks_exact(4).zip(places) {
                    let word = u32::from_le_bytes([0, 1, 2, 3].map(|byte| at(quad, byte) as u8));
                    if let Some(first) = places.first_mut() {
                        *first = sxtb16(word);
                    }
                    if let Some(second) = places.get_mut(P) {
                        *second = sxtb16_odd(word);
                    }
                }
                for (tap, value) in (quads_end..end).zip(bytes.get(quads_end - tap..).unwrap_or_default()) {
                    one(columns, tap, (*value).into());
                }
            }
            None => {
                for (tap, value) in (tap..end).zip(values) {
                    one(columns, tap, (*value).into());
                }
            }
        },
    }
}
