//! Convolutions: four pixels and two channels at a time.

use super::dot::{Last, PART_PAIRS, Tile, four_pixels};
use super::layout::{DspLoop, Operands};
use super::one_pixel::one_pixel;
use super::patch::Patches;
use super::{Dsp, Isa};
use super::{one_input, one_output};
use crate::conditioning::at;
use crate::epilogue::Epilogue;
use crate::isa::{Convolution, Finish};
use crate::maps::Code;
use crate::requantize::TABLE_LEN;
use crate::residual::Residual;

/// Pixels of a tile.
const PIXELS: usize = Dsp::PACKING.pixels;
/// Channels of a block.
const CHANNELS: usize = Dsp::PACKING.channels;
/// Sums of a block.
const SUMS: usize = PIXELS * CHANNELS;

/// See [`Isa::conv2d`].
pub(super) fn run<X: Code, F: Finish>(
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) {
    let reads_int8 = X::bytes(&[]).is_some();
    let to_int8 = finish.to_int8();
    let adds = to_int8.is_some_and(|finish| !matches!(finish.residual, Residual::None));
    let maps = 1 + usize::from(convolution.input.channels[1] > 0);
    let operands = Operands { reads_int8, maps, writes_int8: to_int8.is_some(), adds };
    let done = match DspLoop::of(convolution.geometry, operands) {
        DspLoop::OneOutput => one_output::run(convolution, finish, scratch, output),
        DspLoop::OneInput => one_input::run(convolution, finish, scratch, output),
        which => tiles(convolution, finish, [!reads_int8, which == DspLoop::OnePixel], scratch, output),
    };
    debug_assert!(done.is_some(), "scratch is as long as `scratch_words` says");
}

/// Tile by tile, of four pixels or of one; none where scratch is too short.
#[inline(always)]
fn tiles<X: Code, F: Finish>(
    convolution: &Convolution<'_, X>,
    finish: &F,
    [exact, single]: [bool; 2],
    scratch: &mut [i32],
    output: &mut [F::Element],
) -> Option<()> {
    let geometry = convolution.geometry;
    let (taps, out_c) = (Dsp::PACKING.patch_taps(geometry), geometry.output.channels);
    let starts_len = out_c.next_multiple_of(CHANNELS) * PIXELS;
    let (starts, rest) = scratch.split_at_mut_checked(starts_len)?;
    let (columns, halo) = rest.split_at_mut_checked(PIXELS * taps / 2)?;
    let mut run = Run { convolution, finish, starts, taps, out_c, exact, single, part: 0 };
    let biases = run.start();
    if !exact && run.is_wide(biases) {
        let pixels = if single { 1 } else { PIXELS };
        run.part = ((taps / 2 - 1) % PART_PAIRS + 1) * pixels * size_of::<u32>();
        run.start();
    }
    let columns: &mut [u32] = bytemuck::must_cast_slice_mut(columns);
    let mut patches = Patches::of(geometry, &convolution.input, halo)?;
    let all = geometry.output.height * geometry.output.width;
    // The last tile makes some pixels once more where that gives the same.
    let again = !finish.reads_output();
    let mut whole = run.whole(columns);
    let mut done = 0;
    while done < all {
        let more = (done + PIXELS).saturating_sub(all);
        let first = if more > 0 && more <= done && again && patches.back(more) { done - more } else { done };
        let pixels = PIXELS.min(all - first);
        patches.place(first, pixels, columns);
        if run.single {
            // Its columns side by side.
            for pair in 1..taps / 2 {
                let word = at(columns, pair * PIXELS);
                if let Some(column) = columns.get_mut(pair) {
                    *column = word;
                }
            }
        }
        run.tile(&mut whole, columns, [first, pixels], output);
        done = first + pixels;
    }
    Some(())
}

/// A convolution that is running.
struct Run<'a, X, F> {
    convolution: &'a Convolution<'a, X>,
    finish: &'a F,
    /// Where sums start, `[blocks][4 pixels][2 channels]`; see [`Tile::start`].
    starts: &'a mut [i32],
    /// Filled up.
    taps: usize,
    out_c: usize,
    /// See [`Tile::exact`].
    exact: bool,
    /// Whether there is a single pixel, which is no tile of four.
    single: bool,
    /// See [`Tile::part`].
    part: usize,
}

impl<X: Code, F: Finish> Run<'_, X, F> {
    /// Sums start with the biases. Gives a number that is at least as large as any of them, but for their signs.
    fn start(&mut self) -> u32 {
        let mut largest = 0;
        for (block, starts) in self.starts.as_chunks_mut::<SUMS>().0.iter_mut().enumerate() {
            let [a, b] = [0, 1].map(|channel| self.convolution.bias(block * CHANNELS + channel));
            largest |= (a ^ a >> 31) | (b ^ b >> 31);
            let b = second(self.exact || self.part > 0, a, b);
            if self.single {
                (starts[0], starts[1]) = (a, b);
            } else {
                *starts = [a, b, a, b, a, b, a, b];
            }
        }
        largest as u32
    }

    /// Whether sums of int8 may be so large that 256 times as much leaves int32.
    fn is_wide(&self, bias: u32) -> bool {
        let products = 127 * self.taps as u64 * 128;
        products + u64::from(bias) > i32::MAX as u64 >> 8
    }

    /// All whole blocks of a tile, but for where its pixels and their residuals are; none where there are none, or where
    /// pixels are finished one by one.
    fn whole(&self, columns: &[u32]) -> Option<Tile> {
        let finish = self.finish.to_int8()?;
        let Epilogue { requantize, residual_multipliers: factors, table } = finish.epilogue;
        let blocks = self.out_c / CHANNELS;
        // A residual without factors adds nothing.
        let fits = blocks > 0 && (matches!(finish.residual, Residual::None) || !factors.is_empty());
        fits.then(|| Tile {
            multipliers: requantize.multipliers.as_ptr(),
            shift: requantize.shift,
            zero_point: requantize.zero_point as u32,
            table: table.map_or(core::ptr::null(), |table| table.as_ptr().wrapping_add(TABLE_LEN / 2)),
            weights_end: self.weights(blocks),
            last: if table.is_some() { Last::LookUp } else { Last::Saturate },
            residual_factors: factors.as_ptr(),
            odd: usize::from(self.ends_odd() && matches!(finish.residual, Residual::None)),
            ..self.block(columns, 0)
        })
    }

    /// `pixels` pixels from the one at place `first` of the output map.
    #[inline(always)]
    fn tile(&self, whole: &mut Option<Tile>, columns: &[u32], [first, pixels]: [usize; 2], output: &mut [F::Element]) {
        let start = first * self.out_c;
        let mut done = 0;
        if let (Some(tile), Some(finish)) = (whole, self.finish.to_int8())
            && let Some(output) = F::bytes(&mut *output).filter(|_| pixels == PIXELS || self.single)
        {
            tile.output = output.as_mut_ptr().wrapping_add(start);
            tile.residual = match finish.residual {
                Residual::None => core::ptr::null(),
                Residual::InOutput => tile.output,
                Residual::From(map) => map.as_ptr().wrapping_add(start),
            };
            // SAFETY: weights, residual, factors and output are as long as the shapes say, see `Isa`; columns are as `run` cut them.
            unsafe { products(tile, self.single) };
            done = self.out_c / CHANNELS + tile.odd;
        }
        for block in done..self.out_c.div_ceil(CHANNELS) {
            let channel = block * CHANNELS;
            let count = CHANNELS.min(self.out_c - channel);
            let mut sums = [0i32; SUMS];
            let tile = Tile { output: sums.as_mut_ptr().cast(), ..self.block(columns, block) };
            // SAFETY: weights are as long as the shapes say, see `Isa`, columns as `run` cut them; there is room for all sums.
            unsafe { products(&tile, self.single) };
            for (pixel, sums) in sums.chunks_exact(CHANNELS).take(pixels).enumerate() {
                let index = (first + pixel) * self.out_c + channel;
                let outs = output.get_mut(index..index + count).unwrap_or_default();
                self.finish.finish::<Dsp>(sums, channel, index, outs);
            }
        }
    }

    /// Whether the last channel has no other in its block, of four pixels.
    fn ends_odd(&self) -> bool {
        !self.out_c.is_multiple_of(CHANNELS) && !self.single
    }

    /// A block's weights.
    #[inline(always)]
    fn weights(&self, block: usize) -> *const i8 {
        self.convolution.weights.as_ptr().wrapping_add(block * CHANNELS * self.taps)
    }

    /// Block `block`, whose sums are stored.
    #[inline(always)]
    fn block(&self, columns: &[u32], block: usize) -> Tile {
        let pairs = self.taps / 2;
        let pixels = if self.single { 1 } else { PIXELS };
        Tile {
            weights: self.weights(block),
            columns: columns.as_ptr(),
            end: columns.as_ptr().wrapping_add(pairs * pixels),
            start: self.starts.as_ptr().wrapping_add(block * SUMS),
            multipliers: core::ptr::null(),
            output: core::ptr::null_mut(),
            pixel: self.out_c,
            shift: 0,
            zero_point: 0,
            table: core::ptr::null(),
            weights_end: self.weights(block + 1),
            pairs,
            last: Last::Store,
            exact: self.exact.into(),
            residual: core::ptr::null(),
            residual_factors: core::ptr::null(),
            odd: 0,
            part: self.part,
        }
    }
}

/// What stands for `b`, of a block's second channel, beside `a`, of its first; see [`Tile::start`].
#[inline(always)]
fn second(plain: bool, a: i32, b: i32) -> i32 {
    if plain { b } else { (b << 8).wrapping_add(a) }
}

/// One copy of the loops for all layers.
///
/// # Safety
/// The pointers lead to what they say.
#[inline(never)]
unsafe fn products(tile: &Tile, single: bool) {
    if single {
        // SAFETY: as the caller says.
        unsafe { one_pixel(tile) };
    } else {
        // SAFETY: as the caller says.
        unsafe { four_pixels(tile) };
    }
}
