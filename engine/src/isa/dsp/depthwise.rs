//! Depthwise 3×3: four channels of two neighbouring pixels at a time.

use super::Dsp;
use super::op::{smlabb, smlatt, sxtb16, sxtb16_odd};
use super::requantize::apply;
use crate::conditioning::at;
use crate::isa::{Depthwise, ToInt8, portable};
use crate::residual::Residual;
use crate::shape::Shape;

/// Channels of a word.
const CHANNELS: usize = 4;
/// Rows and columns of the kernel.
const SIDE: usize = 3;
/// Pixels at a time.
const PIXELS: usize = 2;

/// See [`Isa::depthwise`].
#[inline(always)]
pub(super) fn run(depthwise: &Depthwise<'_>, finish: &ToInt8<'_>, output: &mut [i8]) {
    let geometry = depthwise.geometry;
    let Shape { height, width, channels } = geometry.input;
    let fits = geometry.kernel == [SIDE; 2]
        && geometry.stride == [1; 2]
        && geometry.padding == [1; 2]
        && geometry.upsample == [1; 2]
        && geometry.output == geometry.input
        && channels.is_multiple_of(CHANNELS)
        && matches!(finish.residual, Residual::None)
        && depthwise.weights.len() >= channels * SIDE * SIDE
        && depthwise.input.len() >= geometry.input.len()
        && output.len() >= geometry.input.len();
    if !fits {
        return portable::depthwise::<Dsp>(depthwise, finish, output);
    }
    let word = |values: &[i8], start: usize| {
        let start = values.as_ptr().wrapping_add(start).cast::<u32>();
        // SAFETY: every caller has a whole word of channels from there on, as has just been found.
        unsafe { start.read_unaligned() }
    };
    let padding = u32::from(depthwise.zero_point as u8) * 0x0101_0101;
    for first in (0..channels).step_by(CHANNELS) {
        let weights: [[u32; 2]; SIDE * SIDE] = core::array::from_fn(|tap| {
            let word = word(depthwise.weights, tap * channels + first);
            [sxtb16(word), sxtb16_odd(word)]
        });
        let start: [u32; CHANNELS] = core::array::from_fn(|channel| {
            let [steps, classes] = depthwise.biases;
            at(steps, first + channel).wrapping_add(at(classes, first + channel)) as u32
        });
        let multipliers: [i32; CHANNELS] =
            core::array::from_fn(|channel| at(finish.epilogue.requantize.multipliers, first + channel));
        for y in 0..height {
            for x in (0..width).step_by(PIXELS) {
                let inside = y > 0 && y + 1 < height && x > 0 && x + PIXELS < width;
                let sums = if inside {
                    let base = ((y - 1) * width + x - 1) * channels + first;
                    let load = |row, column| word(depthwise.input, base + (row * width + column) * channels);
                    products(load, &weights, start)
                } else {
                    let load = |row: usize, column: usize| {
                        let index = (y + row).checked_sub(1).zip((x + column).checked_sub(1));
                        let index = index.filter(|(y, x)| *y < height && *x < width);
                        index.map_or(padding, |(y, x)| word(depthwise.input, (y * width + x) * channels + first))
                    };
                    products(load, &weights, start)
                };
                let place = (y * width + x) * channels + first;
                for (pixel, sums) in sums.into_iter().enumerate().take(width - x) {
                    let outs = output.get_mut(place + pixel * channels..).and_then(<[i8]>::first_chunk_mut);
                    let Some(outs): Option<&mut [i8; CHANNELS]> = outs else { return };
                    for ((out, sum), multiplier) in outs.iter_mut().zip(sums).zip(multipliers) {
                        *out = apply(finish.epilogue, sum as i32, multiplier);
                    }
                }
            }
        }
    }
}

/// The sums of four channels of both pixels, of inputs of 3 rows and 4 columns.
#[inline(always)]
fn products(
    load: impl Fn(usize, usize) -> u32,
    weights: &[[u32; 2]; SIDE * SIDE],
    start: [u32; CHANNELS],
) -> [[u32; CHANNELS]; PIXELS] {
    let mut sums = [start; PIXELS];
    for row in 0..SIDE {
        for column in 0..SIDE + PIXELS - 1 {
            let word = load(row, column);
            let (even, odd) = (sxtb16(word), sxtb16_odd(word));
            for (pixel, [a, b, c, d]) in sums.iter_mut().enumerate() {
                let Some(tap) = column.checked_sub(pixel).filter(|tap| *tap < SIDE) else { continue };
                let [even_weights, odd_weights] = at(weights, row * SIDE + tap);
                *a = smlabb(even, even_weights, *a);
                *b = smlabb(odd, odd_weights, *b);
                *c = smlatt(even, even_weights, *c);
                *d = smlatt(odd, odd_weights, *d);
            }
        }
    }
    sums
}
