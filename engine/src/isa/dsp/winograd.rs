//! Winograd's method on pairs of channels, two tiles and four output channels at a time.

use super::gather;
use super::op::{pkhbt, pkhtb};
use super::outputs::{CHANNELS, Finisher, Outputs, Place, TILES, shift};
use super::products::{MAX_PAIRS, Products, block, enlarged_block, skip};
use super::rise;
use super::spread::{self, Spread};
use crate::epilogue::Epilogue;
use crate::geometry::Geometry;
use crate::isa::winograd::{self, MAX_POSITIONS, Winograd, block_len, positions};
use crate::isa::{Isa, ToInt8};
use crate::residual::Residual;
use crate::shape::Shape;

/// Rows and columns of a tile of inputs, at most.
const SIDE: usize = 4;
/// The most input channels.
const MAX_CHANNELS: usize = 2 * MAX_PAIRS;
/// Columns of two neighbouring tiles of inputs.
const COLUMNS: usize = SIDE + 2;
/// Channels of a patch: more are copied in turn.
const PATCH_CHANNELS: usize = 32;
/// Tiles of inputs where some are outside the map or channels are no whole quadruples: bytes, `[rows][columns][channels]`,
/// and as many as the last pixel's last quadruple is longer than its channels.
type Patch = [u32; PATCH_WORDS];
const PATCH_WORDS: usize = SIDE * COLUMNS * PATCH_CHANNELS / 4 + 1;

/// See [`Isa::winograd`].
pub(super) fn run<I: Isa>(winograd: &Winograd<'_>, finish: &ToInt8<'_>, scratch: &mut [i32], output: &mut [i8]) {
    let geometry = winograd.geometry;
    let Shape { height, width, channels: in_c } = geometry.input;
    let enlarged = positions(geometry.upsample) == 9;
    let blocks = winograd.count.div_ceil(CHANNELS);
    let [first, second] = winograd.input.channels;
    let factors = finish.epilogue.residual_multipliers;
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
        && finish.epilogue.requantize.multipliers.len() >= geometry.output.channels
        && (factors.is_empty() || factors.len() >= geometry.output.channels);
    let down = !enlarged && finish.epilogue.requantize.shift < 2;
    let gather: Finisher = match (enlarged, down, finish.epilogue.table.is_some()) {
        (false, false, false) => gather::tiles::<false, false, false>,
        (false, false, true) => gather::tiles::<false, false, true>,
        (false, true, false) => gather::tiles::<false, true, false>,
        (false, true, true) => gather::tiles::<false, true, true>,
        (true, _, false) => gather::tiles::<true, false, false>,
        (true, _, true) => gather::tiles::<true, false, true>,
    };
    if fits {
        tiles::<I>(winograd, finish, gather, scratch, output);
    } else {
        definition::<I>(winograd, finish, scratch, output);
    }
}

/// Apart, because its stack would be everyone's.
#[inline(never)]
fn definition<I: Isa>(winograd: &Winograd<'_>, finish: &ToInt8<'_>, scratch: &mut [i32], output: &mut [i8]) {
    winograd::run::<I>(winograd, finish, scratch, output);
}

/// Whether four times every sum fits int32, as products of so few channels leave room for biases and residuals.
fn are_small(winograd: &Winograd<'_>, epilogue: &Epilogue) -> bool {
    let biases = winograd.biases.into_iter().flatten().all(|bias| bias.unsigned_abs() < 1 << 27);
    biases && epilogue.residual_multipliers.iter().all(|factor| factor.unsigned_abs() < 1 << 20)
}

/// Tile by tile.
#[inline(never)]
fn tiles<I: Isa>(
    winograd: &Winograd<'_>,
    finish: &ToInt8<'_>,
    gather: Finisher,
    scratch: &mut [i32],
    output: &mut [i8],
) {
    let geometry = winograd.geometry;
    let positions = positions(geometry.upsample);
    let enlarged = positions == 9;
    let pairs = I::WIDE.padded_taps(geometry.input.channels) / 2;
    let block_len = block_len(&I::WIDE, geometry);
    let out_c = geometry.output.channels.next_multiple_of(CHANNELS);
    let Some((biases, scratch)) = scratch.split_at_mut_checked(out_c) else { return };
    winograd.fill_bias(biases, shift(enlarged));
    let Some((rows, columns)) = scratch.split_first_chunk_mut::<64>() else { return };
    let all = winograd.tiles();
    let mut patch = [0; PATCH_WORDS];
    let (mut y, mut x) = (0, 0);
    while y < all.height {
        // The second tile is no higher up: where the first has no lower outputs, nor has the second.
        let last = usize::from(2 * y + 1 < geometry.output.height);
        let mut places = [None; TILES];
        let neighbours = !enlarged && x + 1 < all.width;
        if neighbours {
            spread(winograd, (y, x), [0, TILES], &mut patch, columns);
        }
        for (tile, place) in places.iter_mut().enumerate() {
            if y < all.height {
                if !neighbours {
                    spread(winograd, (y, x), [tile, 1], &mut patch, columns);
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
        let mut outputs = Outputs::of(finish, enlarged, gather, &places, winograd.first, rows, output.as_mut_ptr());
        let mut left = winograd.count;
        while left > 0 {
            if enlarged {
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
#[inline(never)]
fn spread(
    winograd: &Winograd<'_>,
    (y, x): (usize, usize),
    [tile, tiles]: [usize; 2],
    patch: &mut Patch,
    mut columns: &mut [i32],
) {
    let Geometry { input: Shape { height, width, .. }, upsample, padding: [above, _], .. } = *winograd.geometry;
    let positions = positions(upsample);
    let (side, scale) = if positions == 9 { (3, 1) } else { (4, 2) };
    // Counted from the row above the map, whether there is one or the first tile begins in the map.
    let (y, x, side_x) = ((scale * y + 1).saturating_sub(above), scale * x, side + 2 * (tiles - 1));
    let inside = y > 0 && x > 0 && y + side - 1 <= height && x + side_x - 1 <= width;
    for (part, (map, channels)) in winograd.input.maps.into_iter().zip(winograd.input.channels).enumerate() {
        let in_map = inside && channels % 4 == 0;
        let (mut first, at_once) = (0, if in_map { channels } else { PATCH_CHANNELS });
        while first < channels {
            let count = at_once.min(channels - first);
            let (quads, rest) = (count / 4, count % 4);
            let output = columns.as_mut_ptr().wrapping_add(tile).cast();
            let mut spread = if in_map {
                let start = ((y - 1) * width + x - 1) * channels;
                Spread { input: map.as_ptr().wrapping_add(start), row: width * channels, pixel: channels, output }
            } else {
                copy(winograd, part, [first, count], [y, x], [side, side_x], patch);
                Spread { input: patch.as_ptr().cast(), row: COLUMNS * count, pixel: count, output }
            };
            if quads > 0 {
                // SAFETY: in the map, or the patch, there are `side` rows of `side_x` pixels; the columns are long enough
                // for all channels.
                unsafe { whole(&spread, quads, side, tiles) };
            }
            let len = quads * 2 * positions * TILES;
            (_, columns) = core::mem::take(&mut columns).split_at_mut_checked(len).unwrap_or_default();
            if rest > 0 {
                spread.input = spread.input.wrapping_add(quads * 4);
                last_pairs(spread, [side, tile, tiles], rest, columns);
            }
            first += count;
        }
    }
}

/// v of the last `rest` channels, up to three, where the columns may have no room for two pairs. They are in the patch, and
/// lie as neighbours.
#[inline(never)]
fn last_pairs(mut spread: Spread, [side, tile, tiles]: [usize; 3], rest: usize, columns: &mut [i32]) {
    let mut pairs = [0; 2 * MAX_POSITIONS * TILES];
    spread.output = pairs.as_mut_ptr().wrapping_add(tile);
    // SAFETY: the patch has whole quadruples, and there is room for two pairs.
    unsafe { whole(&spread, 1, side, tiles) };
    let len = side * side * TILES;
    let Some((even, odd)) = pairs.split_at_checked(len) else { return };
    let mut write = |start: usize, join: fn(u32, u32) -> u32| {
        let columns = columns.get_mut(start..start + len).unwrap_or_default().as_chunks_mut::<TILES>().0;
        let pairs = even.as_chunks::<TILES>().0.iter().zip(odd.as_chunks::<TILES>().0);
        for (columns, (even, odd)) in columns.iter_mut().zip(pairs) {
            let pairs = even.iter().zip(odd).skip(tile).take(tiles);
            columns
                .iter_mut()
                .skip(tile)
                .zip(pairs)
                .for_each(|(column, (even, odd))| *column = join(*even, *odd) as i32);
        }
    };
    write(0, pkhbt);
    if rest == 3 {
        write(len, |even, odd| pkhtb(odd, even));
    }
}

/// v of `quads` quadruples of channels.
///
/// # Safety
/// As [`spread::tile`], of so many neighbouring tiles; of [`spread::enlarged_tile`], if their side is 3.
#[inline(always)]
unsafe fn whole(spread: &Spread, quads: usize, side: usize, tiles: usize) {
    match (side, tiles) {
        // SAFETY: as the caller says.
        (3, _) => unsafe { spread::enlarged_tile(spread, quads) },
        // SAFETY: see above.
        (_, 1) => unsafe { spread::tile(spread, quads) },
        // SAFETY: see above.
        _ => unsafe { spread::pair(spread, quads) },
    }
}

/// Copies some channels of a tile's inputs, the first of which is the one before `corner`'s in both directions, with what
/// stands for 0 outside the map.
#[inline(never)]
fn copy(
    winograd: &Winograd<'_>,
    part: usize,
    [channel, count]: [usize; 2],
    [y, x]: [usize; 2],
    [rows, columns]: [usize; 2],
    patch: &mut Patch,
) {
    let Shape { height, width, .. } = winograd.geometry.input;
    let (map, channels) = (winograd.input.maps[part & 1], winograd.input.channels[part & 1]);
    let nothing = [winograd.input.zero_points[part & 1] as i8; PATCH_CHANNELS];
    let left = usize::from(x == 0);
    let on = (width + 1).saturating_sub(x).min(columns).saturating_sub(left);
    // All channels of neighbours lie side by side.
    let [pixels, bytes] = if count == channels { [1, on * count] } else { [on, count] };
    let mut to = patch.as_mut_ptr().cast::<i8>();
    for row in y..y + rows {
        let (inside, mut before) = ((1..=height).contains(&row), columns);
        if inside {
            before = left;
            let start = ((row - 1) * width + x + left - 1) * channels + channel;
            let (from, to) = (map.as_ptr().wrapping_add(start), to.wrapping_add(left * count));
            // SAFETY: so many pixels are in the map, which `run` has found to be whole, and in the row of the patch; at
            // least one, for tiles begin in the map.
            unsafe { spread::copy(from, to, bytes, pixels, [channels, count]) };
            let after = columns - left - on;
            if after > 0 {
                // SAFETY: the row of the patch goes on.
                unsafe { spread::copy(nothing.as_ptr(), to.wrapping_add(on * count), count, after, [0, count]) };
            }
        }
        if before > 0 {
            // SAFETY: so many pixels are in the row of the patch.
            unsafe { spread::copy(nothing.as_ptr(), to, count, before, [0, count]) };
        }
        to = to.wrapping_add(COLUMNS * count);
    }
}

/// See [`Isa::winograd_weights`].
pub(super) fn weights<I: Isa>(geometry: &Geometry, plain: &[i8], transformed: &mut [i16]) {
    let in_c = geometry.input.channels;
    let channel_len = (in_c * winograd::TAPS).max(1);
    let count = plain.len() / channel_len;
    let whole = in_c > 0
        && in_c.is_multiple_of(4)
        && count.is_multiple_of(CHANNELS)
        && transformed.len() >= count / CHANNELS * block_len(&I::WIDE, geometry)
        && transformed.as_ptr().cast::<u32>().is_aligned();
    if !whole {
        return winograd::weights(I::WIDE, geometry, plain, transformed);
    }
    let position_bytes = in_c * CHANNELS * size_of::<i16>();
    let (block_bytes, channel) = match positions(geometry.upsample) {
        9 => (9 * position_bytes, rise::channel::<true> as unsafe fn(*const i8, *mut u32, usize, usize)),
        _ => (16 * position_bytes, rise::channel::<false> as _),
    };
    for (index, plain) in plain.chunks_exact(channel_len).enumerate() {
        let start = index / CHANNELS * block_bytes + index % CHANNELS * size_of::<u32>();
        let place = transformed.as_mut_ptr().wrapping_byte_add(start).cast();
        // SAFETY: there are weights of whole quadruples, and words for all positions of whole blocks of channels.
        unsafe { channel(plain.as_ptr(), place, position_bytes, in_c / 4) };
    }
}
