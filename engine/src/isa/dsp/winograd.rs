//! Winograd's method on pairs of channels, two tiles and four output channels at a time.

use super::gather;
use super::op::{sadd16, ssub16, sxtb16, sxtb16_odd};
use super::outputs::{CHANNELS, Finisher, Outputs, Place, SHIFT, TILES};
use super::products::{MAX_PAIRS, Products, block, enlarged_block, skip};
use super::spread::{self, Spread};
use crate::conditioning::at;
use crate::epilogue::Epilogue;
use crate::geometry::Geometry;
use crate::isa::winograd::{self, Winograd, block_len, positions};
use crate::isa::{Isa, ToInt8};
use crate::residual::Residual;
use crate::shape::Shape;

/// Rows and columns of a tile of inputs, at most.
const SIDE: usize = 4;
/// The most input channels.
const MAX_CHANNELS: usize = 2 * MAX_PAIRS;
/// Columns of two neighbouring tiles of inputs.
const COLUMNS: usize = SIDE + 2;
/// Tiles of inputs where some are outside the map, four channels a word.
type Patch = [[u32; MAX_CHANNELS / 4]; SIDE * COLUMNS];

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
        && !matches!(finish.residual, Residual::From(map) if map.len() < geometry.output.len())
        && (enlarged || finish.epilogue.requantize.shift >= 2 || are_small(winograd, finish.epilogue))
        && finish.epilogue.requantize.multipliers.len() >= geometry.output.channels;
    let down = !enlarged && finish.epilogue.requantize.shift < 2;
    let gather: Finisher = match (enlarged, down, finish.epilogue.table.is_some()) {
        (false, false, false) => gather::tiles::<false, false, false>,
        (false, false, true) => gather::tiles::<false, false, true>,
        (false, true, false) => gather::tiles::<false, true, false>,
        (false, true, true) => gather::tiles::<false, true, true>,
        (true, _, false) => gather::tiles::<true, false, false>,
        (true, _, true) => gather::tiles::<true, false, true>,
    };
    match (fits, enlarged) {
        (false, _) => winograd::run::<I>(winograd, finish, scratch, output),
        (true, false) => tiles::<I, false>(winograd, finish, gather, scratch, output),
        (true, true) => tiles::<I, true>(winograd, finish, gather, scratch, output),
    }
}

/// Whether four times every sum fits int32, as products of so few channels leave room for biases and residuals.
fn are_small(winograd: &Winograd<'_>, epilogue: &Epilogue) -> bool {
    let biases = winograd.biases.into_iter().flatten().all(|bias| bias.unsigned_abs() < 1 << 27);
    biases && epilogue.residual_multipliers.iter().all(|factor| factor.unsigned_abs() < 1 << 20)
}

/// Tile by tile.
#[inline(never)]
fn tiles<I: Isa, const ENLARGED: bool>(
    winograd: &Winograd<'_>,
    finish: &ToInt8<'_>,
    gather: Finisher,
    scratch: &mut [i32],
    output: &mut [i8],
) {
    let geometry = winograd.geometry;
    let positions = positions(geometry.upsample);
    let pairs = I::WIDE.padded_taps(geometry.input.channels) / 2;
    let block_len = block_len(&I::WIDE, geometry);
    let out_c = geometry.output.channels.next_multiple_of(CHANNELS);
    let Some((biases, scratch)) = scratch.split_at_mut_checked(out_c) else { return };
    winograd.fill_bias(biases, if ENLARGED { 0 } else { SHIFT });
    let Some((rows, columns)) = scratch.split_first_chunk_mut::<64>() else { return };
    let all = winograd.tiles();
    let mut patch = [[0; MAX_CHANNELS / 4]; SIDE * COLUMNS];
    let (mut y, mut x) = (0, 0);
    while y < all.height {
        // The second tile is no higher up: where the first has no lower outputs, nor has the second.
        let last = usize::from(2 * y + 1 < geometry.output.height);
        let mut places = [None; TILES];
        let neighbours = !ENLARGED && x + 1 < all.width;
        if neighbours {
            spread::<ENLARGED>(winograd, (y, x), [0, TILES], &mut patch, columns, positions);
        }
        for (tile, place) in places.iter_mut().enumerate() {
            if y < all.height {
                if !neighbours {
                    spread::<ENLARGED>(winograd, (y, x), [tile, 1], &mut patch, columns, positions);
                }
                *place = Some(Place::of(geometry, (y, x), winograd.first));
                x += 1;
                if x == all.width {
                    (y, x) = (y + 1, 0);
                }
            }
        }
        let mut products = Products {
            weights: winograd.weights.as_ptr(),
            columns: columns.as_ptr().cast(),
            skip: skip(pairs),
            rows: rows.as_mut_ptr(),
            bias: biases.as_ptr(),
            last,
        };
        let mut outputs = Outputs::<ENLARGED>::of(finish, gather, &places, winograd.first, rows, output.as_mut_ptr());
        let mut left = winograd.count;
        while left > 0 {
            if ENLARGED {
                // SAFETY: a block of weights; columns and rows of 9 positions, no more than scratch holds.
                unsafe { enlarged_block(&products) };
            } else {
                // SAFETY: a block of weights; columns and rows of 16 positions, no more than scratch holds.
                unsafe { block(&products) };
            }
            products.weights = products.weights.wrapping_add(block_len);
            products.bias = products.bias.wrapping_add(CHANNELS);
            if left < CHANNELS {
                outputs.rest(finish, &places, [winograd.first, winograd.count - left, left], output);
                break;
            }
            // SAFETY: there are as many multipliers and factors as channels, and `run` has found output and residual to be
            // whole, so that the pixels, which the map has, lie within them.
            unsafe { outputs.four() };
            left -= CHANNELS;
        }
    }
}

/// Writes v of a tile, for tile `tile` of the two, or of both where they are neighbours, as [`Products::columns`] says.
#[inline(always)]
fn spread<const ENLARGED: bool>(
    winograd: &Winograd<'_>,
    (y, x): (usize, usize),
    [tile, tiles]: [usize; 2],
    patch: &mut Patch,
    columns: &mut [i32],
    positions: usize,
) {
    let Shape { height, width, .. } = winograd.geometry.input;
    let (side, scale) = if ENLARGED { (3, 1) } else { (4, 2) };
    let side_x = side + 2 * (tiles - 1);
    let mut first = 0;
    for (part, (map, channels)) in winograd.input.maps.into_iter().zip(winograd.input.channels).enumerate() {
        if channels == 0 {
            continue;
        }
        let inside = y > 0 && x > 0 && scale * y + side - 1 <= height && scale * x + side_x - 1 <= width;
        let [base, row_len, pixel_len] = if inside {
            [((scale * y - 1) * width + scale * x - 1) * channels, width * channels, channels]
        } else {
            copy(winograd, part, [scale * y, scale * x], [side, side_x], patch);
            [0, COLUMNS * MAX_CHANNELS, MAX_CHANNELS]
        };
        let source = if inside { map } else { bytemuck::must_cast_slice(patch.as_flattened()) };
        let quads = channels / 4;
        if quads > 0 {
            let spread = Spread {
                input: source.as_ptr().wrapping_add(base),
                row: row_len,
                pixel: pixel_len,
                output: columns.as_mut_ptr().wrapping_add(first / 2 * positions * TILES + tile).cast(),
            };
            // Inside the map, or the patch, there are `side` rows of `side_x` pixels of `channels` bytes from `base`; the
            // columns are long enough for all channels.
            match (ENLARGED, tiles) {
                // SAFETY: see above.
                (true, _) => unsafe { spread::enlarged_tile(&spread, quads) },
                // SAFETY: see above.
                (false, 1) => unsafe { spread::tile(&spread, quads) },
                // SAFETY: see above.
                (false, _) => unsafe { spread::pair(&spread, quads) },
            }
        }
        // The rest in pairs of neighbours, and at last a channel by itself.
        for channel in (quads * 4..channels).step_by(2) {
            for tile in tile..tile + tiles {
                let base = base + (tile * 2 * (tiles - 1)) * pixel_len;
                let value = |pixel: usize, channel: usize| {
                    let start = base + pixel / SIDE * row_len + pixel % SIDE * pixel_len + channel;
                    if channel < channels { at(source, start) as u16 } else { 0 }
                };
                let pair = |pixel| u32::from(value(pixel, channel)) | u32::from(value(pixel, channel + 1)) << 16;
                transform::<ENLARGED>(pair, columns, (first + channel) / 2 * positions * TILES + tile);
            }
        }
        first += channels;
    }
}

/// Copies a tile's inputs, the first of which is the one before `corner`'s in both directions, with what stands for 0
/// outside the map.
#[inline(always)]
fn copy(winograd: &Winograd<'_>, part: usize, [y, x]: [usize; 2], [rows, columns]: [usize; 2], patch: &mut Patch) {
    let Shape { height, width, .. } = winograd.geometry.input;
    let (map, channels) = (winograd.input.maps[part & 1], winograd.input.channels[part & 1]);
    let nothing = u32::from(winograd.input.zero_points[part & 1] as u8) * 0x0101_0101;
    let quads = channels / 4;
    for (row, line) in patch.chunks_exact_mut(COLUMNS).enumerate().take(rows) {
        let inside = (1..=height).contains(&(y + row));
        let mut start = ((y + row).wrapping_sub(1) * width + x).wrapping_sub(1).wrapping_mul(channels);
        for (column, out) in line.iter_mut().enumerate().take(columns) {
            if inside && (1..=width).contains(&(x + column)) {
                let pixel = map.as_ptr().wrapping_add(start);
                for (quad, out) in out.iter_mut().enumerate().take(quads) {
                    let word = pixel.cast::<u32>().wrapping_add(quad);
                    // SAFETY: the pixel is in the map, which `run` has found to be whole, and has so many channels.
                    *out = unsafe { word.read_unaligned() };
                }
                if let Some(out) = out.get_mut(quads).filter(|_| quads * 4 < channels) {
                    *out = word(map.get(start + quads * 4..start + channels).unwrap_or_default());
                }
            } else {
                out.iter_mut().take(channels.div_ceil(4)).for_each(|out| *out = nothing);
            }
            start = start.wrapping_add(channels);
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
        rows.iter_mut().zip(line).for_each(|(row, value)| row[column & 3] = value);
    }
    let mut place = 0;
    for row in rows.into_iter().take(side) {
        for value in fall::<ENLARGED>(row).into_iter().take(side) {
            if let Some(out) = columns.get_mut(place) {
                *out = value as i32;
            }
            place += TILES;
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
    let whole = in_c > 0
        && in_c.is_multiple_of(4)
        && count.is_multiple_of(CHANNELS)
        && transformed.len() >= count / CHANNELS * block_len(&I::WIDE, geometry)
        && transformed.as_ptr().cast::<u32>().is_aligned();
    if !whole {
        return winograd::weights(I::WIDE, geometry, plain, transformed);
    }
    let transformed = bytemuck::try_cast_slice_mut(transformed).unwrap_or_default();
    if positions(geometry.upsample) == 9 {
        rise_all::<true>(in_c, plain, transformed);
    } else {
        rise_all::<false>(in_c, plain, transformed);
    }
}

/// Weights of whole blocks of channels and quadruples of input channels.
#[inline(always)]
fn rise_all<const ENLARGED: bool>(in_c: usize, plain: &[i8], mut words: &mut [u32]) {
    let positions = if ENLARGED { 9 } else { 16 };
    let position_len = in_c * CHANNELS / 2;
    let mut quads = plain.chunks_exact(4 * winograd::TAPS);
    while let Some((block, rest)) = words.split_at_mut_checked(positions * position_len) {
        words = rest;
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
    let [a, b, c, d, e, f, g, h, i] = taps;
    let columns = [rise::<ENLARGED>([a, d, g]), rise::<ENLARGED>([b, e, h]), rise::<ENLARGED>([c, f, i])];
    let [a, b, c] = columns;
    let mut place = start;
    for ((a, b), c) in a.into_iter().zip(b).zip(c).take(side) {
        for value in rise::<ENLARGED>([a, b, c]).into_iter().take(side) {
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
