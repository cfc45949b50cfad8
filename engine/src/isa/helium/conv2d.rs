//! A convolution, tile by tile.

use super::copy;
use super::finish::Finisher;
use super::halo::Halo;
use super::layout::{CHANNELS, Layout, Method, PIXELS, STEP, TILE};
use super::sums::{self, Pass};
use crate::isa::{Convolution, Finish, Helium};
use crate::maps::{Code, Maps};
use crate::residual::Residual;

/// What the loops share.
struct Run<'a, X, F: Finish> {
    convolution: &'a Convolution<'a, X>,
    layout: Layout,
    finish: &'a F,
    finisher: Option<Finisher<'a>>,
    /// `[pairs][4][2]`.
    biases: &'a [i32],
    /// The same.
    sums: &'a mut [i32],
    output: &'a mut [F::Element],
}

/// Runs the convolution; none where no loop is made for it or a buffer has another length.
#[inline(always)]
pub(super) fn conv2d<X: Code, F: Finish>(
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) -> Option<()> {
    let (geometry, layout) = (convolution.geometry, Layout::of(convolution.geometry));
    let (out_c, words) = (geometry.output.channels, layout.pairs() * TILE);
    if !fits(convolution, finish, output.len()) {
        return None;
    }
    let (biases, scratch) = scratch.split_at_mut_checked(words)?;
    let (sums, scratch) = scratch.split_at_mut_checked(words)?;
    for (pair, tile) in biases.chunks_exact_mut(TILE).enumerate() {
        let pair = [0, 1].map(|channel| convolution.bias(pair * CHANNELS + channel));
        tile.as_chunks_mut().0.fill(pair);
    }
    let finisher = finish.to_int8().map(|finish| Finisher::new(finish, out_c));
    let mut run = Run { convolution, layout, finish, finisher, biases, sums, output };
    match layout.method {
        Method::Windows if geometry.stride[0] == 1 => run.windows::<1, 4>(scratch),
        Method::Windows => run.windows::<2, 3>(scratch),
        Method::Pixels => run.pixels(scratch),
        Method::Patches => run.patches(scratch),
    }
}

/// Whether the maps, weights and parameters are as long as the shapes say, and offsets fit 16 bits.
fn fits<X: Code, F: Finish>(convolution: &Convolution<'_, X>, finish: &F, len: usize) -> bool {
    let (geometry, layout, input) = (convolution.geometry, Layout::of(convolution.geometry), &convolution.input);
    let pixels = geometry.input.height * geometry.input.width;
    let finish = finish.to_int8().is_none_or(|finish| {
        let residual = match finish.residual {
            Residual::From(map) => map.len() == len,
            Residual::None | Residual::InOutput => true,
        };
        residual && finish.epilogue.requantize.multipliers.len() == geometry.output.channels
    });
    finish
        && geometry.is_valid()
        && len == geometry.output.len()
        && input.maps.map(<[X]>::len) == input.channels.map(|channels| channels * pixels)
        && input.channels[0] + input.channels[1] == geometry.input.channels
        && convolution.weights.len() == layout.pairs() * CHANNELS * layout.steps() * STEP
        && geometry.output.channels < 1 << 14
        && layout.halo_rows() * layout.halo_row() < 1 << 16
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
                for x in (0..width).step_by(PIXELS) {
                    let columns = row.wrapping_add(x * STRIDE * ROWS * STEP);
                    let pixels = (width - x).min(PIXELS);
                    let pass = self.pass();
                    // SAFETY: weights and sums are as long as the shapes say, and so is the halo: `pixels` pixels from
                    // x on are in the output.
                    unsafe { sums::all_windows::<STRIDE, ROWS>(pixels, columns, plane, groups, pass) };
                    self.store(y * width + x, pixels);
                }
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
        for first in (0..pixels).step_by(PIXELS) {
            let count = (pixels - first).min(PIXELS);
            for pixel in 0..count {
                let mut to = columns.as_mut_ptr().wrapping_add(pixel * lanes);
                for part in input.pixel(first + pixel) {
                    // SAFETY: columns have room for all channels of a pixel.
                    unsafe { copy::spread::<64>(part.as_ptr().cast(), to.cast(), size_of_val(part)) };
                    to = to.wrapping_add(part.len() * PIXELS);
                }
            }
            self.dot(columns);
            self.store(first, count);
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
        let offsets: &mut [u16] = bytemuck::cast_slice_mut(offsets);
        self.fill_offsets(offsets);
        let mut halo = Halo::new(geometry, self.convolution.input, geometry.kernel[0], scratch)?;
        let (steps, pixels) = (self.layout.steps(), geometry.output.height * geometry.output.width);
        for (index, (y, x)) in geometry.output.positions().enumerate() {
            if x == 0 {
                halo.fill_rows(y * geometry.stride[0], y == 0);
            }
            let from = halo.start().wrapping_add(x * geometry.stride[1] * geometry.input.channels);
            let to = columns.as_mut_ptr().wrapping_add(index % PIXELS * lanes);
            // SAFETY: `offsets` point at the taps of this pixel's patch in the halo; columns have room for them.
            unsafe { copy::gather(from, offsets.as_ptr(), to, steps) };
            let count = index % PIXELS + 1;
            if count == PIXELS || index + 1 == pixels {
                self.dot(columns);
                self.store(index + 1 - count, count);
            }
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
        bytemuck::cast_slice_mut(buffer).get_mut(..self.layout.steps() * STEP * PIXELS)
    }

    /// What the loops read and write, all weights.
    fn pass(&mut self) -> Pass {
        Pass {
            weights: self.convolution.weights.as_ptr(),
            before: self.biases.as_ptr(),
            after: self.sums.as_mut_ptr(),
            pairs: self.layout.pairs(),
        }
    }

    /// A tile's sums from its columns.
    fn dot(&mut self, columns: &[X]) {
        let (steps, pass) = (self.layout.steps(), self.pass());
        match X::bytes(columns) {
            // SAFETY: weights, sums and columns are as long as the shapes say.
            Some(columns) => unsafe { sums::all_columns(columns.as_ptr(), steps, pass) },
            // SAFETY: the same; what is not int8 is int16.
            None => unsafe { sums::all_wide_columns(columns.as_ptr().cast(), steps, pass) },
        }
    }

    /// Finishes the sums of `pixels` pixels, the first being number `first`.
    fn store(&mut self, first: usize, pixels: usize) {
        let out_c = self.convolution.geometry.output.channels;
        if let (Some(finisher), Some(output)) = (&self.finisher, F::bytes(self.output)) {
            // SAFETY: sums and output are as long as the shapes say, the parameters as `fits` found.
            return unsafe { finisher.tile(self.sums.as_ptr(), pixels, first * out_c, output.as_mut_ptr()) };
        }
        let outs = self.output.chunks_exact_mut(out_c.max(1)).enumerate().skip(first).take(pixels);
        for (pixel, (index, outs)) in outs.enumerate() {
            let tiles = self.sums.chunks_exact(TILE).zip(outs.chunks_mut(CHANNELS));
            for (pair, (tile, outs)) in tiles.enumerate() {
                let sums = tile.get(pixel * CHANNELS..).and_then(|sums| sums.get(..outs.len())).unwrap_or_default();
                self.finish.finish::<Helium>(sums, pair * CHANNELS, index * out_c + pair * CHANNELS, outs);
            }
        }
    }
}
