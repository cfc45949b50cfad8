//! Winograd's method on pairs of channels, two tiles and four output channels at a time.

use super::gather;
use super::op::{pkhbt, pkhtb};
use super::outputs::{CHANNELS, Finisher, Outputs, Place, TILES, one_by_one, shift};
use super::products::{Entry, Products, block, enlarged_block};
use super::rise;
use super::spread::{self, Spread};
use crate::epilogue::Epilogue;
use crate::geometry::Geometry;
use crate::isa::winograd::{self, MAX_POSITIONS, Winograd, block_len, positions};
use crate::isa::{Finish, Isa, ToInt8};
use crate::maps::Code;
use crate::requantize::FINE_HALF;
use crate::shape::Shape;

/// Rows and columns of a tile of inputs, at most.
const SIDE: usize = 4;
/// Columns of two neighbouring tiles of inputs.
const COLUMNS: usize = SIDE + 2;
/// Bytes of a patch's pixel: more channels are copied in turn.
const PATCH_BYTES: usize = 32;
/// Tiles of inputs where some are outside the map or channels are no whole quadruples: codes, `[rows][columns][channels]`,
/// and as many as the last pixel's last quadruple is longer than its channels.
type Patch = [u32; PATCH_WORDS];
const PATCH_WORDS: usize = SIDE * COLUMNS * PATCH_BYTES / 4 + 2;

/// Whether results may be made of four times the sums, biases and residual included, which then fit int32. An enlarged map's
/// are the sums themselves.
fn are_small<X: Code>(winograd: &Winograd<'_, X>, to: Option<&ToInt8<'_>>) -> bool {
    let largest = |values: &[i32]| values.iter().fold(0, |all, value| all | (value ^ value >> 31)) as u64;
    if positions(winograd.geometry.upsample) == 9 || to.is_some_and(|to| to.epilogue.requantize.shift >= 2) {
        return true;
    }
    let half = if X::bytes(&[]).is_some() { 128 } else { FINE_HALF as u64 };
    let products = (winograd.geometry.input.channels * winograd::TAPS) as u64 * 128 * half;
    let biases: u64 = winograd.biases.into_iter().map(largest).sum();
    let residual = to.map_or(0, |to| largest(to.epilogue.residual_multipliers) * 128);
    products + biases + residual < 1 << 29
}

/// What finishes blocks of int8.
fn finisher(epilogue: &Epilogue<'_>, enlarged: bool) -> Finisher {
    let down = !enlarged && epilogue.requantize.shift < 2;
    match (enlarged, down, epilogue.table.is_some()) {
        (false, false, false) => gather::tiles::<false, false, false>,
        (false, false, true) => gather::tiles::<false, false, true>,
        (false, true, false) => gather::tiles::<false, true, false>,
        (false, true, true) => gather::tiles::<false, true, true>,
        (true, _, false) => gather::tiles::<true, false, false>,
        (true, _, true) => gather::tiles::<true, false, true>,
    }
}

/// See [`Isa::winograd`].
pub(super) fn run<I: Isa, X: Code, F: Finish>(
    winograd: &Winograd<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    if are_small(winograd, finish.to_int8()) {
        tiles::<I, X, F, false>(winograd, finish, scratch, output);
    } else {
        tiles::<I, X, F, true>(winograd, finish, scratch, output);
    }
}

/// Tile by tile; with biases that are too large for four times the sums, so that they are added `LATE`, to the results.
#[inline(never)]
fn tiles<I: Isa, X: Code, F: Finish, const LATE: bool>(
    winograd: &Winograd<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    let geometry = winograd.geometry;
    let positions = positions(geometry.upsample);
    let enlarged = positions == 9;
    let pairs = I::WIDE.padded_taps(geometry.input.channels) / 2;
    let block_len = block_len(&I::WIDE, geometry);
    let out_c = geometry.output.channels.next_multiple_of(CHANNELS);
    let Some((biases, scratch)) = scratch.split_at_mut_checked(out_c) else { return };
    if LATE {
        biases.fill(0);
    } else {
        winograd.fill_bias(biases, shift(enlarged));
    }
    let Some((rows, columns)) = scratch.split_first_chunk_mut::<64>() else { return };
    let all = winograd.tiles();
    let gather = finish.to_int8().filter(|_| !LATE).map(|to| finisher(to.epilogue, enlarged));
    let Entry { skip, passes, first } = Entry::of(pairs);
    let mut products = Products {
        weights: winograd.weights.as_ptr(),
        columns: columns.as_ptr().cast(),
        skip,
        rows: rows.as_mut_ptr(),
        bias: biases.as_ptr(),
        last: 1,
        passes,
        first,
    };
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
        (products.weights, products.bias, products.last) = (winograd.weights.as_ptr(), biases.as_ptr(), last);
        let int8 = finish.to_int8().zip(gather).zip(F::bytes(output));
        let mut outputs = int8.map(|((to, gather), output)| {
            Outputs::of(to, enlarged, gather, &places, winograd.first, rows, output.as_mut_ptr())
        });
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
            let channels = [winograd.first, winograd.count - left, left.min(CHANNELS)];
            left = left.saturating_sub(CHANNELS);
            match (finish.to_int8(), &mut outputs) {
                (Some(_), Some(outputs)) if channels[2] == CHANNELS => {
                    // SAFETY: there are as many multipliers and factors as channels, and output and residual are whole, see
                    // `Isa`, so that the pixels, which the map has, lie within them.
                    unsafe { outputs.four() };
                }
                (Some(to), Some(outputs)) => {
                    if let Some(output) = F::bytes(output) {
                        outputs.rest(to, &places, channels, output);
                    }
                }
                (Some(_), None) if !LATE => {}
                (_, None) if enlarged => one_by_one::<F, true>(finish, &places, channels, rows, None, output),
                (_, None) => {
                    let start = channels[0] + channels[1];
                    let late = LATE.then(|| core::array::from_fn(|channel| winograd.bias(start + channel)));
                    one_by_one::<F, false>(finish, &places, channels, rows, late, output);
                }
                (None, Some(_)) => {}
            }
        }
    }
}

/// Writes v of a tile, for tile `tile` of the two, or of both where they are neighbours, as [`Products::columns`] says.
#[inline(never)]
fn spread<X: Code>(
    winograd: &Winograd<'_, X>,
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
    let [of_first, of_second] = winograd.input.channels;
    if of_second > 0 && of_first % 4 != 0 {
        return spread_joined(winograd, [y, x], [side, side_x], [tile, tiles], patch, columns);
    }
    let inside = y > 0 && x > 0 && y + side - 1 <= height && x + side_x - 1 <= width;
    for (part, (map, channels)) in winograd.input.maps.into_iter().zip(winograd.input.channels).enumerate() {
        let in_map = inside && channels % 4 == 0;
        let (mut first, at_once) = (0, if in_map { channels } else { PATCH_BYTES / size_of::<X>() });
        while first < channels {
            let count = at_once.min(channels - first);
            let (quads, rest) = (count / 4, count % 4);
            let output = columns.as_mut_ptr().wrapping_add(tile).cast();
            let mut spread = if in_map {
                let start = ((y - 1) * width + x - 1) * channels;
                let pixel = channels * size_of::<X>();
                Spread { input: map.as_ptr().wrapping_add(start).cast(), row: width * pixel, pixel, output }
            } else {
                copy::<X, false>(winograd, part, [first, count], [y, x], [side, side_x], patch, [0; 2]);
                let pixel = count * size_of::<X>();
                Spread { input: patch.as_ptr().cast(), row: COLUMNS * pixel, pixel, output }
            };
            if quads > 0 {
                // SAFETY: in the map, or the patch, there are `side` rows of `side_x` pixels; the columns are long enough
                // for all channels.
                unsafe { whole::<X>(&spread, quads, side, tiles) };
            }
            let len = quads * 2 * positions * TILES;
            (_, columns) = core::mem::take(&mut columns).split_at_mut_checked(len).unwrap_or_default();
            if rest > 0 {
                spread.input = spread.input.wrapping_add(quads * 4 * size_of::<X>());
                last_pairs::<X>(spread, [side, tile, tiles], rest, columns);
            }
            first += count;
        }
    }
}

/// As [`spread`], where the second map's channels begin within a quadruple: both maps' are put together in the patch.
#[inline(never)]
fn spread_joined<X: Code>(
    winograd: &Winograd<'_, X>,
    corner: [usize; 2],
    [side, side_x]: [usize; 2],
    [tile, tiles]: [usize; 2],
    patch: &mut Patch,
    mut columns: &mut [i32],
) {
    let channels = winograd.geometry.input.channels;
    let at_once = PATCH_BYTES / size_of::<X>();
    for first in (0..channels).step_by(at_once) {
        let count = at_once.min(channels - first);
        copy_joined(winograd, [first, count], corner, [side, side_x], patch);
        let (quads, pixel) = (count / 4, count * size_of::<X>());
        let output = columns.as_mut_ptr().wrapping_add(tile).cast();
        let mut spread = Spread { input: patch.as_ptr().cast(), row: COLUMNS * pixel, pixel, output };
        if quads > 0 {
            // SAFETY: in the patch there are `side` rows of `side_x` pixels; the columns are long enough for all channels.
            unsafe { whole::<X>(&spread, quads, side, tiles) };
        }
        let len = quads * 2 * side * side * TILES;
        (_, columns) = core::mem::take(&mut columns).split_at_mut_checked(len).unwrap_or_default();
        if !count.is_multiple_of(4) {
            spread.input = spread.input.wrapping_add(quads * 4 * size_of::<X>());
            last_pairs::<X>(spread, [side, tile, tiles], count % 4, columns);
        }
    }
}

/// v of the last `rest` channels, up to three, where the columns may have no room for two pairs. They are in the patch, and
/// lie as neighbours.
#[inline(never)]
fn last_pairs<X: Code>(mut spread: Spread, [side, tile, tiles]: [usize; 3], rest: usize, columns: &mut [i32]) {
    let mut pairs = [0; 2 * MAX_POSITIONS * TILES];
    spread.output = pairs.as_mut_ptr().wrapping_add(tile);
    // SAFETY: the patch has whole quadruples, and there is room for two pairs.
    unsafe { whole::<X>(&spread, 1, side, tiles) };
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
unsafe fn whole<X: Code>(spread: &Spread, quads: usize, side: usize, tiles: usize) {
    match (side, tiles, size_of::<X>()) {
        // SAFETY: as the caller says.
        (3, _, 1) => unsafe { spread::enlarged_tile::<false>(spread, quads) },
        // SAFETY: see above.
        (3, ..) => unsafe { spread::enlarged_tile::<true>(spread, quads) },
        // SAFETY: see above.
        (_, 1, 1) => unsafe { spread::tile::<false>(spread, quads) },
        // SAFETY: see above.
        (_, 1, _) => unsafe { spread::tile::<true>(spread, quads) },
        // SAFETY: see above.
        (_, _, 1) => unsafe { spread::pair::<false>(spread, quads) },
        // SAFETY: see above.
        _ => unsafe { spread::pair::<true>(spread, quads) },
    }
}

/// As [`copy`], `count` channels from channel `first` on of both maps side by side.
#[inline(never)]
fn copy_joined<X: Code>(
    winograd: &Winograd<'_, X>,
    [first, count]: [usize; 2],
    corner: [usize; 2],
    size: [usize; 2],
    patch: &mut Patch,
) {
    let [of_first, of_second] = winograd.input.channels;
    let in_first = (first + count).min(of_first).saturating_sub(first);
    let (second, in_second) = (first.saturating_sub(of_first), (count - in_first).min(of_second));
    if in_first > 0 {
        copy::<X, true>(winograd, 0, [first, in_first], corner, size, patch, [0, count]);
    }
    if in_second > 0 {
        copy::<X, true>(winograd, 1, [second, in_second], corner, size, patch, [in_first, count]);
    }
}

/// Copies some channels of a tile's inputs, the first of which is the one before the corner at `[y, x]` in both directions,
/// with what stands for 0 outside the map. Where maps are `JOINED`, they become the channels from `place` on of the patch's
/// `all`; else they are all of them.
#[inline(never)]
fn copy<X: Code, const JOINED: bool>(
    winograd: &Winograd<'_, X>,
    part: usize,
    [channel, count]: [usize; 2],
    [y, x]: [usize; 2],
    [rows, columns]: [usize; 2],
    patch: &mut Patch,
    [place, all]: [usize; 2],
) {
    let Shape { height, width, .. } = winograd.geometry.input;
    let (map, channels) = (winograd.input.maps[part & 1], winograd.input.channels[part & 1]);
    let nothing = [X::from_zero_point(winograd.input.zero_points[part & 1]); PATCH_BYTES];
    let nothing: *const i8 = nothing.as_ptr().cast();
    let [pixel, len] = [channels, count].map(|count| count * size_of::<X>());
    let step = if JOINED { all * size_of::<X>() } else { len };
    let left = usize::from(x == 0);
    let on = (width + 1).saturating_sub(x).min(columns).saturating_sub(left);
    // All channels of neighbours lie side by side.
    let [pixels, bytes] = if !JOINED && count == channels { [1, on * step] } else { [on, len] };
    let mut to = patch.as_mut_ptr().cast::<i8>();
    if JOINED {
        to = to.wrapping_add(place * size_of::<X>());
    }
    for row in y..y + rows {
        let (inside, mut before) = ((1..=height).contains(&row), columns);
        if inside {
            before = left;
            let start = ((row - 1) * width + x + left - 1) * channels + channel;
            let (from, to) = (map.as_ptr().wrapping_add(start).cast(), to.wrapping_add(left * step));
            // SAFETY: so many pixels are in the map, which is whole, see `Isa`, and in the row of the patch; at
            // least one, for tiles begin in the map.
            unsafe { spread::copy(from, to, bytes, pixels, [pixel, step]) };
            let after = columns - left - on;
            if after > 0 {
                // SAFETY: the row of the patch goes on.
                unsafe { spread::copy(nothing, to.wrapping_add(on * step), len, after, [0, step]) };
            }
        }
        if before > 0 {
            // SAFETY: so many pixels are in the row of the patch.
            unsafe { spread::copy(nothing, to, len, before, [0, step]) };
        }
        to = to.wrapping_add(COLUMNS * step);
    }
}

/// See [`Isa::winograd_weights`].
pub(super) fn weights<I: Isa>(geometry: &Geometry, plain: &[i8], transformed: &mut [i16]) {
    let in_c = geometry.input.channels;
    let (quads, rest) = (in_c / 4, in_c % 4);
    let channel_len = in_c.next_multiple_of(4) * winograd::TAPS;
    let position_words = I::WIDE.padded_taps(in_c) / 2 * CHANNELS;
    let (positions, channel) = match positions(geometry.upsample) {
        9 => (9, rise::channel::<true> as unsafe fn(*const i8, *mut u32, usize, usize)),
        positions => (positions, rise::channel::<false> as _),
    };
    let transformed: &mut [u32] = bytemuck::try_cast_slice_mut(transformed).unwrap_or_default();
    let channels = plain.chunks_exact(channel_len.max(1));
    if let Some(last) =
        transformed.len().checked_sub(positions * position_words).filter(|_| !channels.len().is_multiple_of(CHANNELS))
    {
        // Channels that the last block lacks.
        transformed.get_mut(last..).unwrap_or_default().fill(0);
    }
    for (index, plain) in channels.enumerate() {
        let start = index / CHANNELS * positions * position_words + index % CHANNELS;
        let Some(words) = transformed.get_mut(start..start + positions * position_words - index % CHANNELS) else {
            return;
        };
        if quads > 0 {
            let position_bytes = position_words * size_of::<u32>();
            // SAFETY: there are weights of whole quadruples, and words for all positions of the block from this channel on.
            unsafe { channel(plain.as_ptr(), words.as_mut_ptr(), position_bytes, quads) };
        }
        if rest > 0 {
            let plain = plain.get(quads * 4 * winograd::TAPS..).unwrap_or_default();
            let words = words.get_mut(quads * 2 * CHANNELS..).unwrap_or_default();
            last_weights(channel, plain, [position_words, rest], words);
        }
    }
}

/// u of the last `rest` input channels, up to three, of an output channel, as [`last_pairs`] joins them.
#[inline(never)]
fn last_weights(
    channel: unsafe fn(*const i8, *mut u32, usize, usize),
    plain: &[i8],
    [position_words, rest]: [usize; 2],
    words: &mut [u32],
) {
    // A quadruple's pairs, `CHANNELS` words apart, position by position.
    const POSITION: usize = 2 * CHANNELS;
    let mut pairs = [0; MAX_POSITIONS * POSITION];
    if plain.len() < 4 * winograd::TAPS {
        return;
    }
    // SAFETY: a quadruple's weights are there, and room for two pairs at up to 16 positions.
    unsafe { channel(plain.as_ptr(), pairs.as_mut_ptr(), POSITION * size_of::<u32>(), 1) };
    for (words, pairs) in words.chunks_mut(position_words.max(1)).zip(pairs.as_chunks::<POSITION>().0) {
        let (even, odd) = (pairs[0], pairs[CHANNELS]);
        if let Some(word) = words.first_mut() {
            *word = pkhbt(even, odd);
        }
        if let Some(word) = words.get_mut(CHANNELS).filter(|_| rest == 3) {
            *word = pkhtb(odd, even);
        }
    }
}
