//! A convolution, tile by tile.

use super::columns::{self, Pass};
use super::copy;
use super::finish::Finisher;
use super::halo::Halo;
use super::layout::{CHANNELS, Layout, Method, PIXELS, STEP, TILE};
use super::slabs::{self, Group};
use super::windows::{self, Row};
use crate::geometry::Geometry;
use crate::isa::{Convolution, Finish, Helium};
use crate::maps::{Code, Maps};

/// What the loops share.
struct Run<'a, X, F: Finish> {
    convolution: &'a Convolution<'a, X>,
    layout: Layout,
    sink: Sink<'a, F>,
    /// Biases, `[pairs][4][2]`, and behind them the sums of a row or a tile, as many for four pixels.
    sums: &'a mut [i32],
}

/// Where sums go.
enum Sink<'a, F: Finish> {
    Int8(Finisher<'a>),
    Other(&'a F, &'a mut [F::Element]),
}

/// Runs the convolution; none where no loop is made for it.
#[inline(always)]
pub(super) fn conv2d<X: Code, F: Finish>(
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) -> Option<()> {
    let (geometry, layout) = (convolution.geometry, Layout::of(convolution.geometry));
    let words = layout.bias_words();
    if !suits(geometry, &layout, convolution.input.channels) {
        return None;
    }
    let (sums, scratch) = scratch.split_at_mut_checked(words + layout.sums_words())?;
    if layout.method == Method::Single {
        let pixel = X::bytes(convolution.input.maps[0])?;
        convolution.fill_bias(sums);
        // SAFETY: weights, biases and the pixel are as long as the shapes say.
        unsafe { columns::single(pixel.as_ptr(), layout.steps(), convolution.weights.as_ptr(), sums) };
        finish.finish::<Helium>(sums, 0, 0, output);
        return Some(());
    }
    let (tiles, bias) = sums.split_at_mut_checked(words)?;
    // The sums' place is as long: a tile's sums of all channels are more than these.
    let bias = bias.get_mut(..layout.pairs() * CHANNELS)?;
    convolution.fill_bias(bias);
    for (tile, bias) in tiles.as_chunks_mut().0.iter_mut().zip(bias.as_chunks().0) {
        let [a, b]: [i32; CHANNELS] = *bias;
        *tile = [a, b, a, b, a, b, a, b];
    }
    let sink = match finish.to_int8() {
        Some(finish) => Sink::Int8(Finisher::new(finish, geometry.output.channels, F::bytes(output)?)),
        None => Sink::Other(finish, output),
    };
    let mut run = Run { convolution, layout, sink, sums };
    match layout.method {
        Method::Windows if geometry.stride[0] == 1 => run.windows::<1, 4>(scratch),
        Method::Windows => run.windows::<2, 3>(scratch),
        Method::Pixels | Method::Single => run.pixels(scratch),
        Method::Slabs => run.slabs(scratch),
        Method::Patches => run.patches(scratch),
    }
}

/// Whether offsets fit 16 bits, and a single pixel is of one map.
fn suits(geometry: &Geometry, layout: &Layout, channels: [usize; 2]) -> bool {
    geometry.output.channels < 1 << 14
        && (layout.method != Method::Single || channels[1] == 0)
        && (layout.method != Method::Patches || layout.halo_rows() * layout.halo_row() < 1 << 16)
}

impl<X: Code, F: Finish> Run<'_, X, F> {
    /// [`Method::Windows`]. A halo of `ROWS` rows serves `(ROWS − 3) / STRIDE + 1` rows of the output.
    fn windows<const STRIDE: usize, const ROWS: usize>(&mut self, scratch: &mut [i32]) -> Option<()> {
        let geometry = self.convolution.geometry;
        let Maps { maps: [first, second], channels, zero_points } = self.convolution.input;
        let input = Maps { maps: [X::bytes(first)?, X::bytes(second)?], channels, zero_points };
        let mut halo = Halo::new(geometry, input, ROWS, scratch)?;
        let groups = geometry.input.channels / STEP;
        let plane = self.layout.halo_width() * ROWS * STEP;
        let (width, height) = (geometry.output.width, geometry.output.height);
        let at_once = (ROWS - 3) / STRIDE + 1;
        for first in (0..height).step_by(at_once) {
            halo.fill_planes::<ROWS>(first * STRIDE, first == 0);
            for y in first..(first + at_once).min(height) {
                let row = halo.start().wrapping_add((y - first) * STRIDE * STEP);
                let pairs = self.layout.pairs();
                let row = Row {
                    weights: self.convolution.weights.as_ptr(),
                    columns: row,
                    plane,
                    groups,
                    biases: self.sums.as_mut_ptr(),
                    pairs,
                    pixels: width,
                };
                // SAFETY: weights, sums and halo are as long as the shapes say.
                unsafe { windows::row::<STRIDE, ROWS>(&row) };
                self.store(y * width, width);
            }
        }
        Some(())
    }

    /// [`Method::Pixels`].
    fn pixels(&mut self, scratch: &mut [i32]) -> Option<()> {
        let lanes = STEP / size_of::<X>();
        let columns = self.columns(scratch)?;
        let input = &self.convolution.input;
        let pixels = self.convolution.geometry.output.height * self.convolution.geometry.output.width;
        // The second map's channels start a vector, or there are none.
        if input.channels[1] > 0 && !input.channels[0].is_multiple_of(lanes) {
            return None;
        }
        let [channels, rest] = input.channels;
        let [mut one, mut other] = input.maps.map(<[X]>::as_ptr);
        let to = columns.as_mut_ptr();
        for first in (0..pixels).step_by(PIXELS) {
            let count = (pixels - first).min(PIXELS);
            // SAFETY: `count` pixels of the map; columns have room for all channels of four.
            unsafe { copy::spread(one.cast(), to.cast(), channels * size_of::<X>(), count) };
            one = one.wrapping_add(channels * count);
            if rest > 0 {
                let to = to.wrapping_add(channels * PIXELS);
                // SAFETY: the same pixels of the other map, behind the first one's channels.
                unsafe { copy::spread(other.cast(), to.cast(), rest * size_of::<X>(), count) };
                other = other.wrapping_add(rest * count);
            }
            self.dot(columns);
            self.store(first, count);
        }
        Some(())
    }

    /// [`Method::Slabs`].
    fn slabs(&mut self, scratch: &mut [i32]) -> Option<()> {
        let (geometry, layout) = (self.convolution.geometry, self.layout);
        let Maps { maps: [first, second], channels, zero_points } = self.convolution.input;
        let input = Maps { maps: [X::bytes(first)?, X::bytes(second)?], channels, zero_points };
        let [whole, last] = layout.columns_words();
        let (whole, scratch) = scratch.split_at_mut_checked(whole)?;
        let (last, scratch) = scratch.split_at_mut_checked(last)?;
        let (width, height) = (geometry.output.width, geometry.output.height);
        let rows = layout.slab_rows();
        let mut halo = Halo::new(geometry, input, rows * geometry.kernel[0], scratch)?;
        let lists = [&mut *whole, &mut *last].into_iter().zip([STEP, layout.slab_channels(layout.slabs() - 1)]);
        for (places, channels) in lists {
            // A pixel's first column; past the last pixel, that one's again.
            for (pixel, place) in places.iter_mut().enumerate() {
                let pixel = pixel.min(rows * width - 1);
                let (row, x) = (pixel.checked_div(width)?, pixel.checked_rem(width)?);
                let column = row * layout.halo_width() + x * geometry.stride[1];
                *place = (column * geometry.kernel[0] * channels) as i32;
            }
        }
        let words = layout.pairs() * TILE;
        for y in (0..height).step_by(rows) {
            let pixels = rows.min(height - y) * width;
            halo.fill_slabs(rows, y);
            let tiles = pixels.div_ceil(PIXELS);
            let (biases, sums) = self.sums.split_at_mut_checked(words)?;
            for tile in sums.chunks_exact_mut(words.max(1)).take(tiles) {
                // SAFETY: both are of as many words.
                unsafe { copy::copy(biases.as_ptr().cast(), tile.as_mut_ptr().cast(), size_of_val(biases)) };
            }
            let mut weights = self.convolution.weights.as_ptr();
            let mut base = halo.start();
            for slab in 0..layout.slabs() {
                let (channels, steps) = (layout.slab_channels(slab), layout.slab_steps(slab));
                let places = if channels == STEP { whole.as_ptr() } else { last.as_ptr() };
                let pairs = layout.pairs();
                let group = Group { places: places.cast(), base, tiles, weights, sums: sums.as_mut_ptr(), pairs };
                // SAFETY: weights, sums and halo are as long as the shapes say.
                unsafe { slabs::slab(group, steps) };
                weights = weights.wrapping_add(pairs * steps * CHANNELS * STEP);
                base = base.wrapping_add(rows * layout.halo_width() * geometry.kernel[0] * channels);
            }
            self.store(y * width, pixels);
        }
        Some(())
    }

    /// [`Method::Patches`].
    fn patches(&mut self, scratch: &mut [i32]) -> Option<()> {
        let geometry = self.convolution.geometry;
        let lanes = STEP / size_of::<X>();
        let [words, offsets] = self.layout.columns_words();
        let (columns, scratch) = scratch.split_at_mut_checked(words)?;
        let (offsets, scratch) = scratch.split_at_mut_checked(offsets)?;
        let columns = self.columns(columns)?;
        let offsets: &mut [u16] = bytemuck::try_cast_slice_mut(offsets).unwrap_or_default();
        self.fill_offsets(offsets);
        let mut halo = Halo::new(geometry, self.convolution.input, geometry.kernel[0], scratch)?;
        let steps = self.layout.steps();
        let ahead = geometry.stride[1] * geometry.input.channels;
        let (mut first, mut count) = (0, 0);
        let mut to = columns.as_mut_ptr();
        for y in 0..geometry.output.height {
            halo.fill_rows(y * geometry.stride[0], y == 0);
            let mut from = halo.start();
            for _ in 0..geometry.output.width {
                // SAFETY: `offsets` point at the taps of this pixel's patch in the halo; columns have room for them.
                unsafe { copy::gather(from, offsets.as_ptr(), to, steps) };
                (from, to, count) = (from.wrapping_add(ahead), to.wrapping_add(lanes), count + 1);
                if count == PIXELS {
                    self.dot(columns);
                    self.store(first, count);
                    (first, count, to) = (first + PIXELS, 0, columns.as_mut_ptr());
                }
            }
        }
        if count > 0 {
            self.dot(columns);
            self.store(first, count);
        }
        Some(())
    }

    /// Where a patch's taps lie in the halo; anywhere in it past the last.
    fn fill_offsets(&self, offsets: &mut [u16]) {
        let [k_h, k_w] = self.convolution.geometry.kernel;
        let run = k_w * self.convolution.geometry.input.channels;
        offsets.fill(0);
        let mut offsets = offsets.iter_mut();
        for row in 0..k_h {
            let start = row * self.layout.halo_row();
            offsets.by_ref().zip(start..start + run).for_each(|(offset, place)| *offset = place as u16);
        }
    }

    /// A tile's columns in a buffer; none if that is too short.
    fn columns<'b>(&self, buffer: &'b mut [i32]) -> Option<&'b mut [X]> {
        bytemuck::try_cast_slice_mut(buffer).unwrap_or_default().get_mut(..self.layout.steps() * STEP * PIXELS)
    }

    /// What the loops read and write, all weights.
    fn pass(&mut self) -> Pass {
        Pass {
            weights: self.convolution.weights.as_ptr(),
            before: self.sums.as_ptr(),
            after: self.sums.as_mut_ptr().wrapping_add(self.layout.pairs() * TILE),
            pairs: self.layout.pairs(),
        }
    }

    /// A tile's sums from its columns.
    fn dot(&mut self, columns: &[X]) {
        let (steps, pass) = (self.layout.steps(), self.pass());
        match X::bytes(columns) {
            // SAFETY: weights, sums and columns are as long as the shapes say.
            Some(columns) => unsafe { columns::all_columns(columns.as_ptr(), steps, pass) },
            // SAFETY: the same; what is not int8 is int16.
            None => unsafe { columns::all_wide_columns(columns.as_ptr().cast(), steps, pass) },
        }
    }

    /// Finishes the sums of `pixels` pixels, the first being number `first`.
    #[inline(always)]
    fn store(&mut self, first: usize, pixels: usize) {
        let (out_c, words) = (self.convolution.geometry.output.channels, self.layout.pairs() * TILE);
        let Some(sums) = self.sums.get(words..) else { return };
        let (finish, output) = match &mut self.sink {
            Sink::Int8(finisher) => {
                let (tiles, rest) = (pixels / PIXELS, pixels % PIXELS);
                if tiles > 0 {
                    // SAFETY: sums and output are as long as the shapes say, so are the parameters, see `Isa`.
                    unsafe { finisher.tiles(sums.as_ptr(), tiles, PIXELS, first * out_c) };
                }
                if rest > 0 {
                    let sums = sums.as_ptr().wrapping_add(tiles * words);
                    // SAFETY: see above.
                    unsafe { finisher.tiles(sums, 1, rest, (first + tiles * PIXELS) * out_c) };
                }
                return;
            }
            Sink::Other(finish, output) => (finish, output),
        };
        for pixel in 0..pixels {
            let index = (first + pixel) * out_c;
            let Some(outs) = output.get_mut(index..index + out_c) else { return };
            let (tiles, _) = sums.get(pixel / PIXELS * words..).unwrap_or_default().as_chunks::<TILE>();
            for (pair, (tile, outs)) in tiles.iter().zip(outs.chunks_mut(CHANNELS)).enumerate() {
                let (sums, _) = tile.as_chunks::<CHANNELS>();
                let sums = sums.get(pixel % PIXELS).and_then(|sums| sums.get(..outs.len())).unwrap_or_default();
                finish.finish::<Helium>(sums, pair * CHANNELS, index + pair * CHANNELS, outs);
            }
        }
    }
}
