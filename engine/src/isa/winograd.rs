//! Winograd's F(2×2, 3×3) in integers (Lavin and Gray 2016, arXiv 1509.09308): four outputs for 16 products instead of
//! 36, and for 9 where the map is enlarged by 2 first.
//!
//! In one dimension, with inputs d0 … d3, taps g0 … g2 and outputs y0, y1:
//!
//! ```text
//! v = [d1 + d2, d2 − d1, d0 − d2, d3 − d1]      u = [g0 + g1 + g2, g0 − g1 + g2, 2·g0, 2·g2]
//! 2·y0 = u0·v0 + u1·v1 + u2·v2                  2·y1 = u0·v0 − u1·v1 + u3·v3
//! ```
//!
//! In two, v and u are 4×4, numbered row by row, and sums come out four times as large; they are shifted down, exactly.
//! On raw int8 codes |v| ≤ 512, on fine ones, of 12 bits, |v| ≤ 8192, and |u| ≤ 1152. Of a map enlarged by 2 (nearest),
//! d1 = d2, so that one row and one column of v vanish; the others are even, and with input rows a, b, c above, at and
//! below the pixel
//!
//! ```text
//! v = [b, a − b, c − b]      u = [g0 + g1 + g2, g0, g2]
//! y0 = u0·v0 + u1·v1         y1 = u0·v0 + u2·v2
//! ```
//!
//! with nothing left to shift. Sums may wrap on their way: only the results, four times a convolution's, fit int32.

use super::{Finish, Isa, Packing};
use crate::conditioning;
use crate::geometry::Geometry;
use crate::maps::{Code, Maps};
use crate::requantize::FINE_HALF;
use crate::shape::Shape;

/// Most elements of v and u.
pub const MAX_POSITIONS: usize = 16;

/// Taps of a kernel.
pub(crate) const TAPS: usize = 9;

/// Whether a convolution of codes from −`half` to `half` − 1 is 3×3 with stride 1, padding 1 and no enlargement, or one of
/// [2, 2]; of codes of no more than 12 bits, of no more input channels than four times a sum of products fits int32, and of
/// no more output rows and columns than the enlarged map has.
#[must_use]
#[inline(always)]
pub const fn fits(geometry: &Geometry, half: i32) -> bool {
    let Geometry { kernel: [3, 3], stride: [1, 1], padding: [1, 1], upsample, input, output } = geometry else {
        return false;
    };
    let largest = 4 * TAPS as i64 * 128 * half as i64;
    matches!(upsample, [1, 1] | [2, 2])
        && half <= FINE_HALF
        && (input.channels as i64) <= i32::MAX as i64 / largest
        && output.height <= input.height * upsample[0]
        && output.width <= input.width * upsample[1]
}

/// Elements of v and u: 16, or 9 with an enlargement by 2.
#[must_use]
#[inline(always)]
pub const fn positions(upsample: [usize; 2]) -> usize {
    if is_enlarged(upsample) { 9 } else { MAX_POSITIONS }
}

const fn is_enlarged(upsample: [usize; 2]) -> bool {
    upsample[0] == 2
}

/// A kernel's u, of which the first [`positions`] are used; the rest are 0.
#[must_use]
#[inline]
pub const fn transform(taps: [[i16; 3]; 3], upsample: [usize; 2]) -> [i16; MAX_POSITIONS] {
    let enlarged = is_enlarged(upsample);
    let len = if enlarged { 3 } else { 4 };
    let columns = [rise(taps[0], enlarged), rise(taps[1], enlarged), rise(taps[2], enlarged)];
    let mut u = [0; MAX_POSITIONS];
    let mut column = 0;
    while column < len {
        let line = rise([columns[0][column], columns[1][column], columns[2][column]], enlarged);
        let mut row = 0;
        while row < len {
            u[row * len + column] = line[row];
            row += 1;
        }
        column += 1;
    }
    u
}

/// One dimension of [`transform`].
const fn rise([a, b, c]: [i16; 3], enlarged: bool) -> [i16; 4] {
    if enlarged { [a + b + c, a, c, 0] } else { [a + b + c, a - b + c, 2 * a, 2 * c] }
}

/// Elements of all transformed weights: `[out_c / channels][positions][in_c / depth][channels / interleave][depth][interleave]`.
#[must_use]
#[inline(always)]
pub const fn packed_len(packing: &Packing, geometry: &Geometry) -> usize {
    geometry.output.channels.div_ceil(packing.channels) * block_len(packing, geometry)
}

/// Elements of one block of `channels` output channels.
#[must_use]
#[inline(always)]
pub const fn block_len(packing: &Packing, geometry: &Geometry) -> usize {
    positions(geometry.upsample) * packing.block_len(geometry.input.channels)
}

/// Where a transformed weight lies.
#[must_use]
#[inline(always)]
pub const fn place(
    packing: &Packing,
    geometry: &Geometry,
    position: usize,
    out_channel: usize,
    in_channel: usize,
) -> usize {
    let in_c = geometry.input.channels;
    out_channel / packing.channels * block_len(packing, geometry)
        + position * packing.block_len(in_c)
        + packing.place_in_block(in_c, out_channel % packing.channels, in_channel)
}

/// Elements of weights that are transformed when they are used: `[out_c][in_c / 4][9 taps][4]`, filled up with zeros.
#[must_use]
#[inline(always)]
pub const fn plain_len(geometry: &Geometry) -> usize {
    geometry.output.channels * geometry.input.channels.next_multiple_of(4) * TAPS
}

/// Where the weight of tap `ky · 3 + kx` lies among those.
#[must_use]
#[inline(always)]
pub const fn plain_place(geometry: &Geometry, tap: usize, out_channel: usize, in_channel: usize) -> usize {
    let quads = geometry.input.channels.div_ceil(4);
    ((out_channel * quads + in_channel / 4) * TAPS + tap) * 4 + in_channel % 4
}

/// 32-bit words of scratch: biases, a tile's sums, results and v; and the transformed weights of `group` output channels
/// where they are transformed when they are used.
#[must_use]
#[inline(always)]
pub const fn scratch_words(packing: &Packing, geometry: &Geometry, group: Option<usize>) -> usize {
    let positions = positions(geometry.upsample);
    let columns = positions * packing.columns_len(geometry.input.channels);
    let weights = match group {
        Some(group) => group.div_ceil(packing.channels) * block_len(packing, geometry),
        None => 0,
    };
    let biases = geometry.output.channels.next_multiple_of(packing.channels);
    weights.div_ceil(2) + biases + (positions * packing.pixels + 1) * packing.channels + columns.div_ceil(2)
}

/// The integer part, for some of the output's channels.
#[derive(Clone, Copy, Debug)]
pub struct Winograd<'a, X> {
    /// Shapes, as [`fits`] says, or some rows of them, as [`Geometry::rows`] says; the input's channels are those of all maps.
    pub(crate) geometry: &'a Geometry,
    /// The first output channel whose weights are here; a multiple of the packing's channels.
    pub(crate) first: usize,
    /// How many there are.
    pub(crate) count: usize,
    /// Theirs, packed as [`place`] says.
    pub(crate) weights: &'a [i16],
    /// Two rows of biases `[out_c]` of all output channels, either of which may be empty.
    pub(crate) biases: [&'a [i32]; 2],
    /// What it reads.
    pub(crate) input: Maps<'a, X>,
}

impl<X> Winograd<'_, X> {
    /// A channel's bias; 0 past the last channel.
    #[inline(always)]
    pub(crate) fn bias(&self, channel: usize) -> i32 {
        let rows = self.biases.map(|row| conditioning::at(row, channel));
        rows[0].wrapping_add(rows[1])
    }

    /// Adds up the rows of biases of its channels, times 2^`shift`.
    pub(crate) fn fill_bias(&self, biases: &mut [i32], shift: u32) {
        (self.first..).zip(biases).for_each(|(channel, bias)| *bias = self.bias(channel) << shift);
    }

    /// Rows and columns of 2×2 output blocks.
    pub(crate) const fn tiles(&self) -> Shape {
        let Shape { height, width, .. } = self.geometry.output;
        Shape { height: height.div_ceil(2), width: width.div_ceil(2), channels: 1 }
    }
}

/// See [`Isa::winograd_weights`].
#[inline(always)]
pub(super) fn weights(packing: Packing, geometry: &Geometry, plain: &[i8], transformed: &mut [i16]) {
    transformed.fill(0);
    let in_c = geometry.input.channels;
    for (out_channel, plain) in plain.chunks_exact((in_c.next_multiple_of(4) * TAPS).max(1)).enumerate() {
        for in_channel in 0..in_c {
            let tap = |ky: usize, kx: usize| {
                i16::from(conditioning::at(plain, plain_place(geometry, ky * 3 + kx, 0, in_channel)))
            };
            let taps = [0, 1, 2].map(|ky| [tap(ky, 0), tap(ky, 1), tap(ky, 2)]);
            let u = transform(taps, geometry.upsample);
            for (position, u) in u.into_iter().enumerate().take(positions(geometry.upsample)) {
                let place = place(&packing, geometry, position, out_channel, in_channel);
                if let Some(weight) = transformed.get_mut(place) {
                    *weight = u;
                }
            }
        }
    }
}

/// See [`Isa::winograd`]: tiles of 2×2 outputs, as many at once as the packing has pixels.
#[inline(always)]
pub(super) fn run<I: Isa, X: Code, F: Finish>(
    winograd: &Winograd<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    let Packing { channels, pixels, .. } = I::WIDE;
    let geometry = winograd.geometry;
    let (positions, step) = (positions(geometry.upsample), I::WIDE.columns_len(geometry.input.channels));
    let out_c = geometry.output.channels.next_multiple_of(channels);
    let Some((biases, scratch)) = scratch.split_at_mut_checked(out_c) else { return };
    winograd.fill_bias(biases, 0);
    let Some((sums, scratch)) = scratch.split_at_mut_checked(channels) else { return };
    let Some((products, columns)) = scratch.split_at_mut_checked(positions * pixels * channels) else { return };
    let columns: &mut [i16] = bytemuck::try_cast_slice_mut(columns).unwrap_or_default();
    let Some(columns) = columns.get_mut(..positions * step) else { return };
    let tiles = winograd.tiles();
    for first_tile in (0..tiles.len()).step_by(pixels) {
        let tile_of =
            |pixel: usize| (first_tile + pixel < tiles.len()).then(|| divide(first_tile + pixel, tiles.width));
        for pixel in 0..pixels {
            match tile_of(pixel) {
                Some(tile) if is_enlarged(geometry.upsample) => {
                    spread::<_, true>(I::WIDE, winograd, tile, pixel, columns);
                }
                Some(tile) => spread::<_, false>(I::WIDE, winograd, tile, pixel, columns),
                None => {}
            }
        }
        let blocks = winograd.weights.chunks_exact(block_len(&I::WIDE, geometry).max(1));
        for (block, weights) in blocks.enumerate() {
            let first = winograd.first + block * channels;
            let count = channels.min((winograd.first + winograd.count).saturating_sub(first));
            let bias = biases.get(block * channels..).unwrap_or_default();
            let weights = weights.chunks_exact(I::WIDE.block_len(geometry.input.channels).max(1));
            let products_of = products.chunks_exact_mut((pixels * channels).max(1));
            for ((products, weights), columns) in products_of.zip(weights).zip(columns.chunks_exact(step.max(1))) {
                I::wide_dot(weights, columns, products);
            }
            for pixel in 0..pixels {
                let Some(tile) = tile_of(pixel) else { continue };
                for corner in 0..4 {
                    let (y, x) = (2 * tile.0 + corner / 2, 2 * tile.1 + corner % 2);
                    let Shape { height, width, channels: out_c } = geometry.output;
                    if y >= height || x >= width {
                        continue;
                    }
                    for (channel, (sum, bias)) in sums.iter_mut().zip(bias).enumerate() {
                        let product =
                            |position| conditioning::at(products, (position * pixels + pixel) * channels + channel);
                        *sum = gather(product, corner, geometry.upsample).wrapping_add(*bias);
                    }
                    let index = (y * width + x) * out_c + first;
                    let outs = output.get_mut(index..index + count).unwrap_or_default();
                    finish.finish::<I>(sums, first, index, outs);
                }
            }
        }
    }
}

/// Quotient and remainder; 0 by 0.
#[inline(always)]
fn divide(a: usize, b: usize) -> (usize, usize) {
    (a.checked_div(b).unwrap_or_default(), a.checked_rem(b).unwrap_or_default())
}

/// Writes a tile's v into the columns, for the pixel `pixel` of each position's tile.
#[inline(always)]
fn spread<X: Code, const ENLARGED: bool>(
    packing: Packing,
    winograd: &Winograd<'_, X>,
    (y, x): (usize, usize),
    pixel: usize,
    columns: &mut [i16],
) {
    let Geometry { input: shape, padding: [above, _], .. } = *winograd.geometry;
    let (len, scale) = if ENLARGED { (3, 1) } else { (4, 2) };
    let step = packing.columns_len(shape.channels);
    let mut first = 0;
    for (part, zero_point) in winograd.input.zero_points.into_iter().enumerate() {
        let patch: [[&[X]; 4]; 4] = core::array::from_fn(|row| {
            core::array::from_fn(|column| {
                let index = (scale * y + row).checked_sub(above).zip((scale * x + column).checked_sub(1));
                let inside = index.filter(|(y, x)| *y < shape.height && *x < shape.width);
                inside.map_or(&[][..], |(y, x)| winograd.input.pixel(y * shape.width + x)[part & 1])
            })
        });
        let channels = winograd.input.channels[part & 1];
        for channel in 0..channels {
            let values = patch.map(|row| row.map(|pixel| pixel.get(channel).map_or(zero_point, |code| (*code).into())));
            let rows = values.map(|row| fall(row, ENLARGED));
            for column in 0..len {
                let v = fall(rows.map(|row| row[column & 3]), ENLARGED);
                for (row, v) in v.into_iter().enumerate().take(len) {
                    let place = (row * len + column) * step + packing.column(shape.channels, pixel, first + channel);
                    if let Some(place) = columns.get_mut(place) {
                        *place = v;
                    }
                }
            }
        }
        first += channels;
    }
}

/// One dimension from inputs to v.
#[inline(always)]
const fn fall([a, b, c, d]: [i16; 4], enlarged: bool) -> [i16; 4] {
    if enlarged { [b, a - b, c - b, 0] } else { [b + c, c - b, a - c, d - b] }
}

/// One of the four outputs, numbered row by row, from all positions' products.
#[inline(always)]
fn gather(product: impl Fn(usize) -> i32, corner: usize, upsample: [usize; 2]) -> i32 {
    let (down, right) = (corner / 2, corner % 2);
    if is_enlarged(upsample) {
        let row = |row: usize| product(3 * row).wrapping_add(product(3 * row + 1 + right));
        return row(0).wrapping_add(row(1 + down));
    }
    let join = |a: i32, b: i32, c: i32, d: i32, second: usize| match second {
        0 => a.wrapping_add(b).wrapping_add(c),
        _ => a.wrapping_sub(b).wrapping_add(d),
    };
    let row =
        |row: usize| join(product(4 * row), product(4 * row + 1), product(4 * row + 2), product(4 * row + 3), right);
    join(row(0), row(1), row(2), row(3), down) >> 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn transforms_of_extreme_kernels_fit() {
        let all = |value| [[value; 3]; 3];
        assert_eq!(transform(all(-128), [1, 1])[..5], [-1152, -384, -768, -768, -384]);
        assert_eq!(transform(all(127), [2, 2])[..10], [1143, 381, 381, 381, 127, 127, 381, 127, 127, 0]);
        assert_eq!([positions([1, 1]), positions([2, 2])], [16, 9]);
    }

    #[test]
    fn plain_weights_become_packed_ones() {
        let shape = |channels| Shape { height: 5, width: 5, channels };
        let geometry = Geometry {
            input: shape(6),
            output: shape(3),
            kernel: [3, 3],
            stride: [1, 1],
            padding: [1, 1],
            upsample: [1, 1],
        };
        assert!(fits(&geometry, 128) && !fits(&Geometry { padding: [0, 1], ..geometry }, 128));
        // 227 channels · 9 taps · 2048 · 128 · 4 are just below 2³¹.
        let of = |channels| Geometry { input: shape(channels), ..geometry };
        assert!(fits(&of(227), 2048) && !fits(&of(228), 2048) && fits(&of(228), 128) && !fits(&of(1), 2049));
        let packing = Packing { channels: 2, pixels: 2, depth: 2, interleave: 1, run: 4, tail: 0 };
        let mut plain = vec![0; plain_len(&geometry)];
        plain[plain_place(&geometry, 1, 2, 5)] = 7;
        let mut packed = vec![1; packed_len(&packing, &geometry)];
        weights(packing, &geometry, &plain, &mut packed);
        let expected = transform([[0, 7, 0], [0; 3], [0; 3]], [1, 1]);
        for (position, expected) in expected.into_iter().enumerate() {
            assert_eq!(packed[place(&packing, &geometry, position, 2, 5)], expected);
        }
        assert_eq!(packed.iter().filter(|weight| **weight != 0).count(), expected.iter().filter(|u| **u != 0).count());
    }
}
