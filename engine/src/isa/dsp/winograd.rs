//! Winograd's method on pairs of channels, two tiles and four output channels at a time.

use super::gather;
use super::op::{pkhbt, pkhtb};
use super::outputs::{CHANNELS, Finisher, Outputs, Place, TILES, one_by_one, shift};
use super::products::{MAX_PAIRS, Products, block, enlarged_block, skip};
use super::rise;
use super::spread::{self, Spread};
use crate::epilogue::Epilogue;
use crate::geometry::Geometry;
use crate::isa::winograd::{self, MAX_POSITIONS, Winograd, block_len, positions};
use crate::isa::{Finish, Isa, ToInt8};
use crate::maps::Code;
use crate::shape::Shape;

/// Rows and columns of a tile of inputs, at most.
const SIDE: usize = 4;
/// The most input channels.
const MAX_CHANNELS: usize = 2 * MAX_PAIRS;
/// Columns of two neighbouring tiles of inputs.
const COLUMNS: usize = SIDE + 2;
/// Bytes of a patch's pixel: more channels are copied in turn.
const PATCH_BYTES: usize = 32;
/// Tiles of inputs where some are outside the map or channels are no whole quadruples: codes, `[rows][columns][channels]`,
/// and as many as the last pixel's last quadruple is longer than its channels.
type Patch = [u32; PATCH_WORDS];
const PATCH_WORDS: usize = SIDE * COLUMNS * PATCH_BYTES / 4 + 2;

/// See [`Isa::winograd`].
pub(super) fn run<I: Isa, X: Code, F: Finish>(
    winograd: &Winograd<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    let geometry = winograd.geometry;
    let enlarged = positions(geometry.upsample) == 9;
    let [first, second] = winograd.input.channels;
    let fits = geometry.input.channels <= MAX_CHANNELS
        && (second == 0 || first.is_multiple_of(4))
        && finish.to_int8().map_or_else(|| enlarged || are_small(winograd), |to| to_int8_fits(to, winograd));
    if fits {
        tiles::<I, X, F>(winograd, finish, scratch, output);
    } else {
        definition::<I, X, F>(winograd, finish, scratch, output);
    }
}

/// Whether int8 can be made of four times the sums, where these are not of an enlarged map.
fn to_int8_fits<X>(to: &ToInt8<'_>, winograd: &Winograd<'_, X>) -> bool {
    let Epilogue { residual_multipliers: factors, requantize, .. } = to.epilogue;
    let are_small = || are_small(winograd) && factors.iter().all(|factor| factor.unsigned_abs() < 1 << 20);
    positions(winograd.geometry.upsample) == 9 || requantize.shift >= 2 || are_small()
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

/// Apart, because its stack would be everyone's.
#[inline(never)]
fn definition<I: Isa, X: Code, F: Finish>(
    winograd: &Winograd<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    winograd::run::<I, X, F>(winograd, finish, scratch, output);
}

/// Whether four times every sum fits int32, as products of so few channels leave room for biases.
fn are_small<X>(winograd: &Winograd<'_, X>) -> bool {
    winograd.biases.into_iter().flatten().all(|bias| bias.unsigned_abs() < 1 << 26)
}

/// Tile by tile.
#[inline(never)]
fn tiles<I: Isa, X: Code, F: Finish>(
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
    winograd.fill_bias(biases, shift(enlarged));
    let Some((rows, columns)) = scratch.split_first_chunk_mut::<64>() else { return };
    let all = winograd.tiles();
    let gather = finish.to_int8().map(|to| finisher(to.epilogue, enlarged));
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
                (Some(_), None) => {}
                (None, _) if enlarged => one_by_one::<F, true>(finish, &places, channels, rows, output),
                (None, _) => one_by_one::<F, false>(finish, &places, channels, rows, output),
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
                copy(winograd, part, [first, count], [y, x], [side, side_x], patch);
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

/// Copies some channels of a tile's inputs, the first of which is the one before `corner`'s in both directions, with what
/// stands for 0 outside the map.
#[inline(never)]
fn copy<X: Code>(
    winograd: &Winograd<'_, X>,
    part: usize,
    [channel, count]: [usize; 2],
    [y, x]: [usize; 2],
    [rows, columns]: [usize; 2],
    patch: &mut Patch,
) {
    let Shape { height, width, .. } = winograd.geometry.input;
    let (map, channels) = (winograd.input.maps[part & 1], winograd.input.channels[part & 1]);
    let nothing = [X::from_zero_point(winograd.input.zero_points[part & 1]); PATCH_BYTES];
    let nothing: *const i8 = nothing.as_ptr().cast();
    let [pixel, step] = [channels, count].map(|count| count * size_of::<X>());
    let left = usize::from(x == 0);
    let on = (width + 1).saturating_sub(x).min(columns).saturating_sub(left);
    // All channels of neighbours lie side by side.
    let [pixels, bytes] = if count == channels { [1, on * step] } else { [on, step] };
    let mut to = patch.as_mut_ptr().cast::<i8>();
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
                unsafe { spread::copy(nothing, to.wrapping_add(on * step), step, after, [0, step]) };
            }
        }
        if before > 0 {
            // SAFETY: so many pixels are in the row of the patch.
            unsafe { spread::copy(nothing, to, step, before, [0, step]) };
        }
        to = to.wrapping_add(COLUMNS * step);
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
