//! 3×3 convolutions of a single channel: a pixel's patch stays in registers while the weights pass by.

use core::arch::asm;

use super::layout::{SIDE, WORDS, row_words};
use super::weights::weight;
use super::{Dsp, Isa};
use crate::isa::{Convolution, Finish};
use crate::maps::Code;
use crate::requantize::TABLE_LEN;

/// The taps of the pairs: two of each row, then the third ones of two rows.
const PAIRS: [[usize; 2]; 4] = [[0, 1], [3, 4], [6, 7], [2, 5]];

/// Runs a convolution that [`DspLoop::OneInput`](super::layout::DspLoop) is for; none where its scratch is too short.
#[inline(never)]
pub(super) fn run<X: Code, F: Finish>(
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) -> Option<()> {
    let Convolution { geometry, weights, input, .. } = *convolution;
    let (width, out_c) = (geometry.output.width, geometry.output.channels);
    let finish = finish.to_int8()?;
    let requantize = &finish.epilogue.requantize;
    let multipliers = requantize.multipliers.get(..out_c)?;
    let output = F::bytes(output)?;
    let (channels, rows) = scratch.split_at_mut_checked(out_c * WORDS)?;
    for (channel, (words, multiplier)) in channels.as_chunks_mut::<WORDS>().0.iter_mut().zip(multipliers).enumerate() {
        let tap = |tap: usize| i32::from(weight(weights, Dsp::place_weight(geometry, channel, tap)));
        let [a, b, c, d] = PAIRS.map(|[low, high]| tap(low) & 0xffff | tap(high) << 16);
        *words = [convolution.bias(channel), a, b, c, d, tap(8), *multiplier];
    }
    let rows: &mut [i16] = bytemuck::must_cast_slice_mut(rows.get_mut(..SIDE * row_words(geometry))?);
    let len = 2 * row_words(geometry);
    // Row y is in slot y % 3; before the first one, and after the last, there is padding.
    let mut fill = |slot: usize, values: &[X]| {
        self::fill(rows.get_mut(slot * len..(slot + 1) * len).unwrap_or_default(), input.zero_points[0], values);
        rows.as_ptr()
    };
    let mut values = input.maps[0].chunks_exact(width.max(1)).take(geometry.input.height);
    fill(2, &[]);
    fill(0, values.next()?);
    let table = finish.epilogue.table;
    for (y, outs) in output.chunks_exact_mut((width * out_c).max(1)).take(geometry.output.height).enumerate() {
        let start = fill((y + 1) % SIDE, values.next().unwrap_or_default());
        let row = Row {
            channels: channels.as_ptr(),
            output: outs.as_mut_ptr(),
            shift: requantize.shift,
            zero_point: requantize.zero_point as u32,
            rows: [2, 0, 1].map(|row| start.wrapping_add((y + row) % SIDE * len)),
            end: channels.as_ptr().wrapping_add(channels.len()),
            table: table.map_or(core::ptr::null(), |table| table.as_ptr().wrapping_add(TABLE_LEN / 2)),
            pixels: width,
        };
        match table {
            // SAFETY: as many channels, inputs with their padding and outputs are there, and none of these is empty.
            None => unsafe { pixels::<false>(&row) },
            // SAFETY: see above.
            Some(_) => unsafe { pixels::<true>(&row) },
        }
    }
    Some(())
}

/// A row of padding but for some values from the second place on.
#[inline(never)]
fn fill<X: Code>(row: &mut [i16], padding: i16, values: &[X]) {
    row.fill(padding);
    let outs = row.get_mut(1..).unwrap_or_default();
    if X::bytes(values).is_some() {
        outs.iter_mut().zip(values).for_each(|(out, value)| *out = (*value).into());
    } else {
        let codes: &[i16] = bytemuck::try_cast_slice(values).unwrap_or_default();
        outs.iter_mut().zip(codes).for_each(|(out, value)| *out = *value);
    }
}

/// What a row of the output is made of.
#[repr(C)]
struct Row {
    /// `[out_c]`: a bias, four pairs of weights, a weight, a multiplier.
    channels: *const i32,
    output: *mut i8,
    /// See [`crate::requantize::requantize`].
    shift: u32,
    /// Of the output, or of the table's index.
    zero_point: u32,
    /// The first pixel's patch in each row.
    rows: [*const i16; SIDE],
    /// Of the channels.
    end: *const i32,
    /// Its middle; not read without one.
    table: *const i8,
    pixels: usize,
}

/// A row. Instructions: 11 an output, a table 2 more; 3 for four outputs, and 15 a pixel.
///
/// # Safety
/// The pointers lead to what they say: channels, a multiple of four, and pixels, neither of them 0.
#[inline(never)]
unsafe fn pixels<const TABLE: bool>(row: &Row) {
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r4-r11, lr}}",
            "sub sp, sp, #40",
            "ldm r0, {{r0-r9}}",
            "stm sp, {{r0-r9}}",
            "20:",
            "add lr, sp, #16",
            "ldm lr, {{r9-r11}}",
            "ldr r4, [r9], #2",
            "ldr r5, [r10], #2",
            "ldr r6, [r11], #2",
            "ldrh r7, [r9, #2]",
            "ldrh r12, [r10, #2]",
            "ldrh r8, [r11, #2]",
            "stm lr, {{r9-r11}}",
            "orr r7, r7, r12, lsl #16",
            "ldr r0, [sp]",
            "21:",
            ".rept 4",
            "ldm r0!, {{r9-r12, lr}}",
            "smlad r9, r4, r10, r9",
            "smlad r9, r5, r11, r9",
            "smlad r9, r6, r12, r9",
            "smlad r9, r7, lr, r9",
            "ldrd r10, r11, [r0], #8",
            "smlabb r9, r8, r10, r9",
            "lsl r9, r9, r2",
            "smmlar r9, r9, r11, r3",
            ".if {TABLE}",
            "ssat r9, #10, r9",
            "ldr r10, [sp, #32]",
            "ldrb r9, [r10, r9]",
            ".else",
            "ssat r9, #8, r9",
            ".endif",
            "strb r9, [r1], #1",
            ".endr",
            "ldr r10, [sp, #28]",
            "cmp r0, r10",
            "bne 21b",
            "ldr r10, [sp, #36]",
            "subs r10, r10, #1",
            "str r10, [sp, #36]",
            "bne 20b",
            "add sp, sp, #40",
            "pop {{r4-r11, lr}}",
            TABLE = const TABLE as u8,
            inout("r0") row => _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r12") _,
        );
    }
}
