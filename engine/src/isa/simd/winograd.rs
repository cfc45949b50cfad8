//! [`crate::isa::winograd`] where an instruction adds products of two neighbouring channels: P tiles of 2×2 outputs × a
//! vector of channels at once.
//!
//! The weights stay packed for direct convolution, which other instruction sets of the same packing compute, and are
//! transformed in every run. At each position u and v are multiplied as matrices are: u of a vector of channels with v of P
//! tiles. The order of positions is [`crate::isa::winograd`]'s.

use super::elements::Words;
use super::padded::Padded;
use super::{DEPTH, Pairs};
use crate::geometry::Geometry;
use crate::isa::winograd::{TAPS, fits};
use crate::isa::{Channels, Convolution, Finish};
use crate::maps::Code;
use crate::shape::Shape;

/// Fewest tiles of 2×2 outputs: of fewer, the weights' transformation would take back what the rest saves.
const FEWEST_TILES: usize = 9;
/// Most kernels: their u, read anew for every P tiles, should stay in a second cache, of 256 KiB.
const MOST_KERNELS: usize = 8192;
/// Values of a line that are transformed at once.
const TOGETHER: usize = 16;

/// Whether [`run`] computes such a convolution of int8, and sooner than [`super::conv2d_pairs`].
#[inline(always)]
pub(in super::super) const fn suits(geometry: &Geometry) -> bool {
    let Shape { height, width, channels } = geometry.output;
    fits(geometry, 128)
        && geometry.input.channels.is_multiple_of(DEPTH)
        && geometry.input.channels * channels <= MOST_KERNELS
        && height.div_ceil(2) * width.div_ceil(2) >= FEWEST_TILES
}

/// Shapes of what lies in scratch.
struct Plan {
    /// The convolution as if the map were not enlarged, and its output of whole tiles.
    source: Geometry,
    padded: Padded,
    /// Rows and columns of tiles.
    tiles: [usize; 2],
    /// Rows and columns of v and u: 4, or 3 where the map is enlarged.
    side: usize,
}

impl Plan {
    #[inline(always)]
    const fn new(geometry: &Geometry) -> Self {
        let Geometry { output, upsample, .. } = *geometry;
        let tiles = [output.height.div_ceil(2), output.width.div_ceil(2)];
        let (side, outputs) = if upsample[0] == 1 { (4, 2) } else { (3, 1) };
        let shape = Shape { height: tiles[0] * outputs, width: tiles[1] * outputs, channels: output.channels };
        let source = Geometry { output: shape, upsample: [1; 2], ..*geometry };
        Self { padded: Padded::new(&source), source, tiles, side }
    }

    const fn channels(&self) -> usize {
        self.source.input.channels
    }

    /// Words of a position's u for a vector of channels, and of a vector more: positions that are as far apart as a power of 2
    /// would take each other's place in a cache.
    const fn panel_len(&self, lanes: usize) -> usize {
        (self.channels() / 2 + 1) * lanes
    }

    /// Words of everything, in this order: biases; u; the padded map; four rows of it, transformed, unless it is enlarged; v and
    /// products of P tiles.
    /// All are whole vectors, so that none is stored across two lines of a cache if scratch begins with one.
    #[inline(always)]
    const fn lens(&self, lanes: usize, pixels: usize) -> [usize; 6] {
        let positions = self.side * self.side;
        let bias = self.source.output.channels.next_multiple_of(lanes);
        let u = bias / lanes * positions * self.panel_len(lanes);
        let rows = if self.side == 4 { (self.side * self.padded.line).div_ceil(2) } else { 0 };
        let v = (positions * pixels * self.channels()).div_ceil(2);
        let mut lens = [bias, u, self.padded.len().div_ceil(2), rows, v, positions * pixels * lanes];
        let mut index = 0;
        while index < lens.len() {
            lens[index] = lens[index].next_multiple_of(lanes);
            index += 1;
        }
        lens
    }
}

/// 32-bit words that [`run`] takes with vectors of `lanes` lanes and `pixels` tiles at once; 0 for what it does not compute.
pub(in super::super) const fn scratch_words(geometry: &Geometry, lanes: usize, pixels: usize) -> usize {
    if !suits(geometry) {
        return 0;
    }
    let [bias, u, padded, rows, v, products] = Plan::new(geometry).lens(lanes, pixels);
    bias + u + padded + rows + v + products
}

/// Transforms the weights and pads the input; then, P tiles at a time, transforms it and multiplies.
#[inline(always)]
pub(in super::super) fn run<V: Pairs, X: Code, F: Finish, const P: usize>(
    v: V,
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    if convolution.geometry.upsample == [1; 2] {
        run_with::<V, X, F, P, 4>(v, convolution, finish, scratch, output);
    } else {
        run_with::<V, X, F, P, 3>(v, convolution, finish, scratch, output);
    }
}

/// With v of S × S.
#[inline(always)]
fn run_with<V: Pairs, X: Code, F: Finish, const P: usize, const S: usize>(
    v: V,
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    let (geometry, input) = (convolution.geometry, &convolution.input);
    let plan = Plan::new(geometry);
    let [bias_len, all_u_len, map_len, rows_len, v_len, _] = plan.lens(V::LANES, P);
    let Some((bias, scratch)) = scratch.split_at_mut_checked(bias_len) else { return };
    let Some((u, scratch)) = scratch.split_at_mut_checked(all_u_len) else { return };
    let Some((map, scratch)) = scratch.split_at_mut_checked(map_len) else { return };
    let Some((rows, scratch)) = scratch.split_at_mut_checked(rows_len) else { return };
    let Some((columns, products)) = scratch.split_at_mut_checked(v_len) else { return };
    let map: &mut [i16] = bytemuck::must_cast_slice_mut(map);
    let rows: &mut [i16] = bytemuck::must_cast_slice_mut(rows);
    let columns: &mut [i16] = bytemuck::must_cast_slice_mut(columns);

    convolution.fill_bias(bias);
    let (block_len, u_len) = (geometry.patch_len() * V::LANES, S * S * plan.panel_len(V::LANES));
    for (weights, u) in convolution.weights.chunks_exact(block_len.max(1)).zip(u.chunks_exact_mut(u_len)) {
        transform::<V, S>(v, weights.as_chunks().0, plan.channels(), u);
    }
    plan.padded.fill::<Words<X>>(&plan.source, input, input.zero_points, map);

    for first in (0..plan.tiles[0] * plan.tiles[1]).step_by(P) {
        if S == 3 {
            plan.spread_enlarged::<V, P>(v, map, first, columns);
        } else {
            plan.spread::<P>(map, first, rows, columns);
        }
        for (block, (u, bias)) in u.chunks_exact(u_len).zip(bias.chunks_exact(V::LANES)).enumerate() {
            multiply::<V, P, S>(v, u, columns, plan.channels(), products);
            let of = Channels::of(block * V::LANES, V::LANES, geometry.output.channels);
            plan.put::<V, F, P, S>(v, geometry.output, finish, of, v.load(bias), products, first, output);
        }
    }
}

/// Neighbouring tiles of a row.
struct Run {
    /// The first one's place among P tiles.
    pixel: usize,
    /// Of tiles.
    row: usize,
    /// The first one's.
    column: usize,
    len: usize,
}

impl Plan {
    /// The runs that P tiles from `first` on are; the last of P may be past the map.
    #[inline(always)]
    fn runs<const P: usize>(&self, first: usize) -> impl Iterator<Item = Run> + use<P> {
        let [rows, columns] = self.tiles;
        let last = (first + P).min(rows * columns);
        let mut tile = first;
        core::iter::from_fn(move || {
            let (row, column) = (tile / columns, tile % columns);
            let len = (columns - column).min(last - tile);
            let run = Run { pixel: tile - first, row, column, len };
            tile += len;
            (len > 0).then_some(run)
        })
    }

    /// The v of P tiles from `first` on, `[4][4][P][channels]`. At the begin of a row of tiles the map's rows are transformed
    /// first.
    #[inline(always)]
    fn spread<const P: usize>(&self, map: &[i16], first: usize, rows: &mut [i16], columns: &mut [i16]) {
        let (line, channels) = (self.padded.line, self.channels());
        for Run { pixel, row, column, len } in self.runs::<P>(first) {
            if column == 0 {
                fall(map.get(row * 2 * line..).unwrap_or_default(), rows, [line; 3]);
            }
            for next in 0..len {
                for row in 0..4 {
                    let from = rows.get(row * line + (column + next) * 2 * channels..).unwrap_or_default();
                    let to = columns.get_mut((row * 4 * P + pixel + next) * channels..).unwrap_or_default();
                    fall(from, to, [channels, channels, P * channels]);
                }
            }
        }
    }

    /// The same where the map is enlarged: both dimensions at once, `[3][3][P][channels]`.
    #[inline(always)]
    fn spread_enlarged<V: Pairs, const P: usize>(&self, v: V, map: &[i16], first: usize, columns: &mut [i16]) {
        let map: &[i32] = bytemuck::try_cast_slice(map).unwrap_or_default();
        let columns: &mut [i32] = bytemuck::try_cast_slice_mut(columns).unwrap_or_default();
        let (line, pixel_len) = (self.padded.line / 2, self.channels() / 2);
        for Run { pixel, row, column, len } in self.runs::<P>(first) {
            for word in (0..pixel_len).step_by(V::LANES) {
                // The last vector begins early, so that it is whole.
                let word = word.min(pixel_len.saturating_sub(V::LANES));
                let count = (pixel_len - word).min(V::LANES);
                let start = row * line + column * pixel_len + word;
                let mut rows: [&[i32]; 3] = [&[]; 3];
                for (dy, row) in rows.iter_mut().enumerate() {
                    *row = map.get(start + dy * line..).unwrap_or_default();
                }
                let mut lines = columns.chunks_exact_mut(P * pixel_len);
                let mut lines: [&mut [i32]; 9] = core::array::from_fn(|_| lines.next().unwrap_or_default());
                // Columns of the pixel's left and of the pixel itself.
                let mut left = [v.splat(0); 3];
                let mut middle = left;
                for next in 0..len + 2 {
                    let mut lanes = [v.splat(0); 3];
                    for (lanes, row) in lanes.iter_mut().zip(rows) {
                        *lanes = v.load(row.get(next * pixel_len..next * pixel_len + count).unwrap_or_default());
                    }
                    let right = differences(v, lanes);
                    if next >= 2 {
                        let place = (pixel + next - 2) * pixel_len + word;
                        for dy in 0..3 {
                            let transformed = differences(v, [left[dy], middle[dy], right[dy]]);
                            for (lanes, line) in transformed.iter().zip(&mut lines[3 * dy..]) {
                                let Some(to) = line.get_mut(place..place + count) else { return };
                                v.store(*lanes, to);
                            }
                        }
                    }
                    (left, middle) = (middle, right);
                }
            }
        }
    }

    /// Finishes the outputs of P tiles from `first` on, a vector of channels.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "what a loop's body needs")]
    fn put<V: Pairs, F: Finish, const P: usize, const S: usize>(
        &self,
        v: V,
        shape: Shape,
        finish: &F,
        of: Channels,
        bias: V::Lanes,
        products: &[i32],
        first: usize,
        output: &mut [F::Element],
    ) {
        for Run { pixel, row, column, len } in self.runs::<P>(first) {
            let mut lines = [[[bias; 2]; P]; 2];
            let [above, below] = &mut lines;
            for (next, (above, below)) in above.iter_mut().zip(below).enumerate().take(len) {
                let [a, b, c, d] = gather::<V, P, S>(v, products, pixel + next);
                *above = [v.add(a, bias), v.add(b, bias)];
                *below = [v.add(c, bias), v.add(d, bias)];
            }
            let count = (2 * len).min(shape.width - 2 * column);
            for (line, y) in lines.iter().zip(2 * row..shape.height) {
                let index = (y * shape.width + 2 * column) * shape.channels + of.first;
                let sums = line.as_flattened().get(..count).unwrap_or_default();
                finish.finish_lanes(v, sums, of, index, output.get_mut(index..).unwrap_or_default());
            }
        }
    }
}

/// One dimension from inputs to v, where the map is enlarged.
#[inline(always)]
fn differences<V: Pairs>(v: V, [a, b, c]: [V::Lanes; 3]) -> [V::Lanes; 3] {
    [b, v.subtract_halves(a, b), v.subtract_halves(c, b)]
}

/// One dimension from inputs to v, as [`crate::isa::winograd`] says: from four lines of `len` values, `apart` from each
/// other, to four lines, `apart_to`.
#[inline(always)]
fn fall(from: &[i16], to: &mut [i16], [len, apart, apart_to]: [usize; 3]) {
    let mut inputs: [&[i16]; 4] = [&[]; 4];
    for (line, input) in inputs.iter_mut().enumerate() {
        *input = from.get(line * apart..line * apart + len).unwrap_or_default();
    }
    let Some((v0, rest)) = to.split_at_mut_checked(apart_to) else { return };
    let Some((v1, rest)) = rest.split_at_mut_checked(apart_to) else { return };
    let Some((v2, v3)) = rest.split_at_mut_checked(apart_to) else { return };
    fall_by::<TOGETHER>(inputs, [&mut *v0, &mut *v1, &mut *v2, &mut *v3]);
    let whole = len - len % TOGETHER;
    if whole < len {
        let inputs = inputs.map(|line| line.get(whole..).unwrap_or_default());
        fall_by::<DEPTH>(inputs, [v0, v1, v2, v3].map(|line| line.get_mut(whole..).unwrap_or_default()));
    }
}

/// The same for as many values as fill N at once.
#[inline(always)]
fn fall_by<const N: usize>(inputs: [&[i16]; 4], outputs: [&mut [i16]; 4]) {
    let [a, b, c, d] = inputs.map(|line| line.as_chunks::<N>().0);
    let [v0, v1, v2, v3] = outputs.map(|line| line.as_chunks_mut::<N>().0);
    for (((((((a, b), c), d), v0), v1), v2), v3) in a.iter().zip(b).zip(c).zip(d).zip(v0).zip(v1).zip(v2).zip(v3) {
        let mut v = [[0; N]; 4];
        for i in 0..N {
            v[0][i] = b[i].wrapping_add(c[i]);
            v[1][i] = c[i].wrapping_sub(b[i]);
            v[2][i] = a[i].wrapping_sub(c[i]);
            v[3][i] = d[i].wrapping_sub(b[i]);
        }
        [*v0, *v1, *v2, *v3] = v;
    }
}

/// From a block's weights, `[9 taps][channels / 4][lanes][4]`, to its u: `[S][S]` panels of `[channels / 2][lanes]`, two
/// channels' int16 a word, and a vector.
#[inline(always)]
fn transform<V: Pairs, const S: usize>(v: V, weights: &[[i8; DEPTH]], channels: usize, u: &mut [i32]) {
    let (quads, panel_len) = (channels / DEPTH, (channels / 2 + 1) * V::LANES);
    for quad in 0..quads {
        let [mut first, mut last] = [[v.splat(0); TAPS]; 2];
        for (tap, (first, last)) in first.iter_mut().zip(&mut last).enumerate() {
            let step = (tap * quads + quad) * V::LANES;
            let Some(step) = weights.get(step..step + V::LANES) else { return };
            [*first, *last] = v.halves(step);
        }
        for (half, taps) in [&first, &last].into_iter().enumerate() {
            let mut rows = [[v.splat(0); 3]; 4];
            for column in 0..3 {
                let lines = rise::<V, S>(v, [taps[column], taps[3 + column], taps[6 + column]]);
                for (row, line) in rows.iter_mut().zip(&lines) {
                    row[column] = *line;
                }
            }
            let mut place = (2 * quad + half) * V::LANES;
            for row in rows.iter().take(S) {
                for value in rise::<V, S>(v, *row).iter().take(S) {
                    let Some(to) = u.get_mut(place..place + V::LANES) else { return };
                    v.store(*value, to);
                    place += panel_len;
                }
            }
        }
    }
}

/// One dimension from taps to u; the fourth is not used where S is 3.
#[inline(always)]
fn rise<V: Pairs, const S: usize>(v: V, [a, b, c]: [V::Lanes; 3]) -> [V::Lanes; 4] {
    let ends = v.add_halves(a, c);
    let sum = v.add_halves(ends, b);
    if S == 4 { [sum, v.subtract_halves(ends, b), v.add_halves(a, a), v.add_halves(c, c)] } else { [sum, a, c, c] }
}

/// From P tiles' v and a block's u to products `[S][S][P][lanes]`.
#[inline(always)]
fn multiply<V: Pairs, const P: usize, const S: usize>(
    v: V,
    u: &[i32],
    columns: &[i16],
    channels: usize,
    products: &mut [i32],
) {
    let pairs = channels / 2;
    let panel_len = (pairs + 1) * V::LANES;
    for (position, products) in products.chunks_exact_mut(P * V::LANES).enumerate() {
        let panel = u.get(position * panel_len..).unwrap_or_default();
        let columns = columns.get(position * P * channels..).unwrap_or_default();
        let mut tiles: [&[[i16; 2]]; P] = [&[]; P];
        for (pixel, tile) in tiles.iter_mut().enumerate() {
            let values = columns.get(pixel * channels..).and_then(|values| values.as_chunks().0.get(..pairs));
            let Some(values) = values else { return };
            *tile = values;
        }
        let mut sums = [v.splat(0); P];
        for (pair, weights) in (0..pairs).zip(panel.chunks_exact(V::LANES)) {
            let weights = v.load(weights);
            for (sum, tile) in sums.iter_mut().zip(tiles) {
                *sum = v.add_pairs(*sum, weights, tile[pair]);
            }
        }
        for (sums, products) in sums.into_iter().zip(products.chunks_exact_mut(V::LANES)) {
            v.store(sums, products);
        }
    }
}

/// The four outputs of tile `pixel` of P, row by row.
#[inline(always)]
fn gather<V: Pairs, const P: usize, const S: usize>(v: V, products: &[i32], pixel: usize) -> [V::Lanes; 4] {
    let first = pixel * V::LANES;
    let products = products.get(first..first + ((S * S - 1) * P + 1) * V::LANES).unwrap_or_default();
    let [mut left, mut right] = [[v.splat(0); 4]; 2];
    for (row, (left, right)) in left.iter_mut().zip(&mut right).enumerate().take(S) {
        let mut line = [v.splat(0); 4];
        for (column, lanes) in line.iter_mut().enumerate().take(S) {
            *lanes = v.load(products.get((row * S + column) * P * V::LANES..).unwrap_or_default());
        }
        [*left, *right] = join::<V, S>(v, line);
    }
    let ([a, c], [b, d]) = (join::<V, S>(v, left), join::<V, S>(v, right));
    let mut sums = [a, b, c, d];
    if S == 4 {
        for sums in &mut sums {
            *sums = v.shift_right(*sums, 2);
        }
    }
    sums
}

/// One dimension from products to two outputs.
#[inline(always)]
fn join<V: Pairs, const S: usize>(v: V, [a, b, c, d]: [V::Lanes; 4]) -> [V::Lanes; 2] {
    if S == 4 { [v.add(v.add(a, b), c), v.add(v.subtract(a, b), d)] } else { [v.add(a, b), v.add(a, c)] }
}
