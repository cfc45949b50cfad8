//! Winograd's method on pairs of channels, two tiles and four output channels at a time.

use super::gather::{self, Gather};
use super::op::{sadd16, ssub16, sxtb16, sxtb16_odd};
use super::products::{MAX_PAIRS, Products, block, enlarged_block};
use super::spread::{self, Spread};
use crate::conditioning::at;
use crate::geometry::Geometry;
use crate::isa::winograd::{self, Winograd, block_len, positions};
use crate::isa::{Isa, ToInt8};
use crate::requantize::TABLE_LEN;
use crate::residual::Residual;
use crate::shape::Shape;

/// Output channels of a block.
const CHANNELS: usize = 4;
/// Tiles at once.
const TILES: usize = 2;
/// Rows and columns of a tile of inputs, at most.
const SIDE: usize = 4;
/// The most input channels.
const MAX_CHANNELS: usize = 2 * MAX_PAIRS;
/// A tile's inputs where some are outside the map, four channels a word.
type Patch = [[u32; MAX_CHANNELS / 4]; SIDE * SIDE];

/// See [`Isa::winograd`].
pub(super) fn run<I: Isa>(winograd: &Winograd<'_>, finish: &ToInt8<'_>, scratch: &mut [i32], output: &mut [i8]) {
    let geometry = winograd.geometry;
    let Shape { height, width, channels: in_c } = geometry.input;
    let enlarged = positions(geometry.upsample) == 9;
    let blocks = winograd.count.div_ceil(CHANNELS);
    let [first, second] = winograd.input.channels;
    let fits = in_c <= MAX_CHANNELS
        && first + second == in_c
        && (second == 0 || first.is_multiple_of(4))
        && winograd.input.maps[0].len() >= height * width * first
        && winograd.input.maps[1].len() >= height * width * second
        && winograd.weights.len() >= blocks * block_len(&I::WIDE, geometry)
        && scratch.len() >= winograd::scratch_words(&I::WIDE, geometry, None)
        && output.len() >= geometry.output.len()
        && (enlarged || finish.epilogue.requantize.shift >= 2)
        && finish.epilogue.requantize.multipliers.len() >= geometry.output.channels;
    match (fits, enlarged, finish.epilogue.table.is_some()) {
        (false, ..) => winograd::run::<I>(winograd, finish, scratch, output),
        (_, false, false) => tiles::<I, false, false>(winograd, finish, scratch, output),
        (_, false, true) => tiles::<I, false, true>(winograd, finish, scratch, output),
        (_, true, false) => tiles::<I, true, false>(winograd, finish, scratch, output),
        (_, true, true) => tiles::<I, true, true>(winograd, finish, scratch, output),
    }
}

/// Tile by tile.
#[inline(never)]
fn tiles<I: Isa, const ENLARGED: bool, const TABLE: bool>(
    winograd: &Winograd<'_>,
    finish: &ToInt8<'_>,
    scratch: &mut [i32],
    output: &mut [i8],
) {
    let geometry = winograd.geometry;
    let positions = positions(geometry.upsample);
    let pairs = I::WIDE.padded_taps(geometry.input.channels) / 2;
    let block_len = block_len(&I::WIDE, geometry);
    let Some((rows, scratch)) = scratch.split_first_chunk_mut::<64>() else { return };
    let Some(columns) = scratch.get_mut(4..) else { return };
    let shift = if ENLARGED { 0 } else { 2 };
    let all = winograd.tiles();
    let mut patch = [[0; MAX_CHANNELS / 4]; SIDE * SIDE];
    let mut position = (0, 0);
    for _ in (0..all.len()).step_by(TILES) {
        let mut here = [None; TILES];
        for (tile, here) in here.iter_mut().enumerate() {
            if position.0 < all.height {
                *here = Some(position);
                spread::<ENLARGED>(winograd, position, tile, &mut patch, columns, positions);
                position.1 += 1;
                if position.1 == all.width {
                    position = (position.0 + 1, 0);
                }
            }
        }
        for (index, weights) in winograd.weights.chunks_exact(block_len.max(1)).enumerate() {
            let channel = winograd.first + index * CHANNELS;
            let bias = [0, 1, 2, 3].map(|offset| winograd.bias(channel + offset) << shift);
            let products = Products {
                weights: weights.as_ptr(),
                columns: columns.as_ptr().cast(),
                pairs,
                bias: bias.as_ptr(),
                rows: rows.as_mut_ptr(),
            };
            if ENLARGED {
                // SAFETY: a block of weights; columns and rows of 9 positions, no more than scratch holds.
                unsafe { enlarged_block(&products) };
            } else {
                // SAFETY: a block of weights; columns and rows of 16 positions, no more than scratch holds.
                unsafe { block(&products) };
            }
            let count = CHANNELS.min((winograd.first + winograd.count).saturating_sub(channel));
            for (tile, here) in here.iter().enumerate() {
                if let Some(here) = here {
                    let results = rows.get_mut(tile * CHANNELS..).unwrap_or_default();
                    store::<ENLARGED, TABLE>(geometry, *here, [channel, count], results, finish, output);
                }
            }
        }
    }
}

/// The outputs of some channels of a tile.
#[inline(always)]
fn store<const ENLARGED: bool, const TABLE: bool>(
    geometry: &Geometry,
    (y, x): (usize, usize),
    [channel, count]: [usize; 2],
    results: &mut [i32],
    finish: &ToInt8<'_>,
    output: &mut [i8],
) {
    let Shape { height, width, channels: out_c } = geometry.output;
    let (down, right) = (2 * y + 1 < height, 2 * x + 1 < width);
    let index = (2 * y * width + 2 * x) * out_c + channel;
    let below = if down { index + width * out_c } else { index };
    let pixel = if right { out_c } else { 0 };
    add_residual::<ENLARGED>([channel, count], [index, below, pixel], results, finish, output);
    let requantize = &finish.epilogue.requantize;
    let Some(multipliers) = requantize.multipliers.get(channel..channel + count) else { return };
    let gather = Gather {
        rows: results.as_ptr(),
        multipliers: multipliers.as_ptr(),
        above: output.as_mut_ptr().wrapping_add(index),
        below: output.as_mut_ptr().wrapping_add(below),
        pixel,
        shift: requantize.shift - if ENLARGED { 0 } else { 2 },
        zero_point: requantize.zero_point as u32,
        table: finish.epilogue.table.map_or(core::ptr::null(), |table| table.as_ptr().wrapping_add(TABLE_LEN / 2)),
        count,
    };
    // SAFETY: rows are those of a tile, there are `count` multipliers, and `run` has found the output to be whole, so
    // that the pixels, which the map has, lie within it.
    unsafe { gather::tile::<ENLARGED, TABLE>(&gather) };
}

/// Adds a residual to what either output of a column alone is made of: the third and the fourth row, or the second and
/// the third.
#[inline(always)]
fn add_residual<const ENLARGED: bool>(
    [channel, count]: [usize; 2],
    [above, below, pixel]: [usize; 3],
    results: &mut [i32],
    finish: &ToInt8<'_>,
    output: &[i8],
) {
    let map = match finish.residual {
        Residual::None => return,
        Residual::InOutput => output,
        Residual::From(map) => map,
    };
    let first_row = if ENLARGED { 1 } else { 2 };
    let factors = finish.epilogue.residual_multipliers.get(channel..).unwrap_or_default();
    for (row, start) in [above, below].into_iter().enumerate() {
        for (side, start) in [start, start + pixel].into_iter().enumerate() {
            let sums = results.get_mut((first_row + row) * 16 + side * 8..).unwrap_or_default();
            let values = map.get(start..).unwrap_or_default();
            for ((sum, value), factor) in sums.iter_mut().zip(values).zip(factors).take(count) {
                let scaled = if ENLARGED { *factor } else { factor << 2 };
                *sum = sum.wrapping_add(scaled.wrapping_mul((*value).into()));
            }
        }
    }
}

/// Writes a tile's v, for tile `tile` of the two, as [`Products::columns`] says.
#[inline(always)]
fn spread<const ENLARGED: bool>(
    winograd: &Winograd<'_>,
    (y, x): (usize, usize),
    tile: usize,
    patch: &mut Patch,
    columns: &mut [i32],
    positions: usize,
) {
    let Shape { height, width, .. } = winograd.geometry.input;
    let (side, scale) = if ENLARGED { (3, 1) } else { (4, 2) };
    let mut first = 0;
    for part in 0..2 {
        let (map, channels) = (winograd.input.maps[part], winograd.input.channels[part]);
        if channels == 0 {
            continue;
        }
        let inside = y > 0 && x > 0 && scale * y + side - 1 <= height && scale * x + side - 1 <= width;
        let [base, row_len, pixel_len] = if inside {
            [((scale * y - 1) * width + scale * x - 1) * channels, width * channels, channels]
        } else {
            copy(winograd, part, [scale * y, scale * x], side, patch);
            [0, SIDE * MAX_CHANNELS, MAX_CHANNELS]
        };
        let source = if inside { map } else { bytemuck::cast_slice(patch.as_flattened()) };
        let quads = channels / 4;
        if quads > 0 {
            let spread = Spread {
                input: source.as_ptr().wrapping_add(base),
                row: row_len,
                pixel: pixel_len,
                output: columns.as_mut_ptr().wrapping_add(first / 2 * positions * TILES + tile).cast(),
            };
            // Inside the map, or the patch, there are `side` rows of `side` pixels of `channels` bytes from `base`; the
            // columns are long enough for all channels.
            if ENLARGED {
                // SAFETY: see above.
                unsafe { spread::enlarged_tile(&spread, quads) };
            } else {
                // SAFETY: see above.
                unsafe { spread::tile(&spread, quads) };
            }
        }
        // The rest in pairs of neighbours, and at last a channel by itself.
        for channel in (quads * 4..channels).step_by(2) {
            let value = |pixel: usize, channel: usize| {
                let start = base + pixel / SIDE * row_len + pixel % SIDE * pixel_len + channel;
                if channel < channels { at(source, start) as u16 } else { 0 }
            };
            let pair = |pixel| u32::from(value(pixel, channel)) | u32::from(value(pixel, channel + 1)) << 16;
            transform::<ENLARGED>(pair, columns, (first + channel) / 2 * positions * TILES + tile);
        }
        first += channels;
    }
}

/// Copies a tile's inputs, the first of which is the one before `corner`'s in both directions, with what stands for 0
/// outside the map.
#[inline(always)]
fn copy(winograd: &Winograd<'_>, part: usize, [y, x]: [usize; 2], side: usize, patch: &mut Patch) {
    let Shape { height, width, .. } = winograd.geometry.input;
    let (map, channels) = (winograd.input.maps[part & 1], winograd.input.channels[part & 1]);
    let nothing = u32::from(winograd.input.zero_points[part & 1] as u8) * 0x0101_0101;
    for row in 0..side {
        for column in 0..side {
            let index = (y + row).checked_sub(1).zip((x + column).checked_sub(1));
            let index = index.filter(|(y, x)| *y < height && *x < width);
            let pixel = index.and_then(|(y, x)| map.get((y * width + x) * channels..)?.get(..channels));
            let out = &mut patch[(row * SIDE + column) & 15];
            let Some(pixel) = pixel else {
                out.iter_mut().take(channels.div_ceil(4)).for_each(|out| *out = nothing);
                continue;
            };
            let quads = pixel.chunks_exact(4);
            let rest = quads.remainder();
            for (out, quad) in out.iter_mut().zip(quads) {
                *out = word(quad);
            }
            if let Some(out) = out.get_mut(channels / 4) {
                *out = word(rest);
            }
        }
    }
}

/// Up to four bytes.
#[inline(always)]
fn word(bytes: &[i8]) -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(|byte| at(bytes, byte) as u8))
}

/// v of a pair of channels.
#[inline(always)]
fn transform<const ENLARGED: bool>(input: impl Fn(usize) -> u32, columns: &mut [i32], start: usize) {
    let side = if ENLARGED { 3 } else { 4 };
    let Some(columns) = columns.get_mut(start..start + (side * side - 1) * TILES + 1) else { return };
    let mut rows = [[0; SIDE]; SIDE];
    for column in 0..side {
        let line = fall::<ENLARGED>([0, 1, 2, 3].map(|row| if row < side { input(row * SIDE + column) } else { 0 }));
        for (row, value) in line.into_iter().enumerate() {
            rows[row][column] = value;
        }
    }
    for row in 0..side {
        let line = fall::<ENLARGED>(rows[row]);
        for column in 0..side {
            if let Some(out) = columns.get_mut((row * side + column) * TILES) {
                *out = line[column] as i32;
            }
        }
    }
}

/// One dimension from inputs to v.
#[inline(always)]
fn fall<const ENLARGED: bool>([a, b, c, d]: [u32; 4]) -> [u32; 4] {
    if ENLARGED { [b, ssub16(a, b), ssub16(c, b), 0] } else { [sadd16(b, c), ssub16(c, b), ssub16(a, c), ssub16(d, b)] }
}

/// See [`Isa::winograd_weights`].
pub(super) fn weights<I: Isa>(geometry: &Geometry, plain: &[i8], transformed: &mut [i16]) {
    let in_c = geometry.input.channels;
    let channel_len = in_c * winograd::TAPS;
    let count = plain.len() / channel_len.max(1);
    let whole = in_c.is_multiple_of(4)
        && count.is_multiple_of(CHANNELS)
        && transformed.len() >= count / CHANNELS * block_len(&I::WIDE, geometry);
    if !whole {
        return winograd::weights(I::WIDE, geometry, plain, transformed);
    }
    if positions(geometry.upsample) == 9 {
        rise_all::<true>(in_c, plain, transformed);
    } else {
        rise_all::<false>(in_c, plain, transformed);
    }
}

/// Weights of whole blocks of channels and quadruples of input channels.
#[inline(always)]
fn rise_all<const ENLARGED: bool>(in_c: usize, plain: &[i8], transformed: &mut [i16]) {
    let positions = if ENLARGED { 9 } else { 16 };
    let position_len = in_c * CHANNELS / 2;
    let words: &mut [u32] = bytemuck::cast_slice_mut(transformed);
    let blocks = words.chunks_exact_mut((positions * position_len).max(1));
    for (block, plain) in blocks.zip(plain.chunks_exact((CHANNELS * in_c * winograd::TAPS).max(1))) {
        let mut quads = plain.chunks_exact(4 * winograd::TAPS);
        for channel in 0..CHANNELS {
            for quad in 0..in_c / 4 {
                let Some(taps) = quads.next() else { return };
                let taps: [u32; winograd::TAPS] =
                    core::array::from_fn(|tap| word(taps.get(tap * 4..tap * 4 + 4).unwrap_or_default()));
                let start = quad * 2 * CHANNELS + channel;
                rise_2d::<ENLARGED>(taps.map(sxtb16), block, start, position_len);
                rise_2d::<ENLARGED>(taps.map(sxtb16_odd), block, start + CHANNELS, position_len);
            }
        }
    }
}

/// u of a pair of channels, a position every `position_len` words.
#[inline(always)]
fn rise_2d<const ENLARGED: bool>(taps: [u32; 9], block: &mut [u32], start: usize, position_len: usize) {
    let side = if ENLARGED { 3 } else { 4 };
    let columns = [0, 1, 2].map(|column| rise::<ENLARGED>([taps[column], taps[3 + column], taps[6 + column]]));
    let mut place = start;
    for row in 0..side {
        let line = rise::<ENLARGED>([columns[0][row], columns[1][row], columns[2][row]]);
        for value in line.into_iter().take(side) {
            if let Some(out) = block.get_mut(place) {
                *out = value;
            }
            place += position_len;
        }
    }
}

/// One dimension from taps to u.
#[inline(always)]
fn rise<const ENLARGED: bool>([a, b, c]: [u32; 3]) -> [u32; 4] {
    let ends = sadd16(a, c);
    let sum = sadd16(ends, b);
    if ENLARGED { [sum, a, c, 0] } else { [sum, ssub16(ends, b), sadd16(a, a), sadd16(c, c)] }
}
