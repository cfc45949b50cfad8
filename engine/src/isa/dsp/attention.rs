//! Attention, four rows of a head at a time against two keys, and against two channels of the values.
//!
//! Keys lie as words of four channels; values, the other way round, as words of four positions. SXTB16 widens either for
//! SMLAD, against queries and weights whose halves lie in the same order.

use core::arch::asm;

use super::attention_layout::{COLUMNS, Layout, ROWS, STEP};
use super::op::{ssub16, sxtb16, sxtb16_odd};
use crate::conditioning::at;
use crate::isa::{Attention, Isa};
use crate::requantize::requantize;

/// From a row's pair of sums to its next pair, in words.
const PAIR: usize = ROWS * COLUMNS;

/// What is worked in.
struct Parts<'a> {
    keys: &'a mut [u32],
    values: &'a mut [u32],
    queries: &'a mut [u32],
    weights: &'a mut [u32],
    sums: &'a mut [i32],
}

/// See [`crate::isa::Isa::attention`].
#[allow(clippy::extra_unused_type_parameters, reason = "compiled where it is called, see `dsp`")]
#[inline(never)]
pub(super) fn run<I: Isa>(attention: &Attention<'_>, scratch: &mut [i32], output: &mut [i8]) {
    let Attention { shape, width, .. } = *attention;
    let layout = Layout { positions: attention.positions(), width };
    let [keys, values, queries, weights, _] = layout.parts();
    let Some(scratch) = scratch.get_mut(..layout.scratch_words()) else { return };
    let Some((keys, rest)) = scratch.split_at_mut_checked(keys) else { return };
    let Some((values, rest)) = rest.split_at_mut_checked(values) else { return };
    let Some((queries, rest)) = rest.split_at_mut_checked(queries) else { return };
    let Some((weights, sums)) = rest.split_at_mut_checked(weights) else { return };
    let [keys, values, queries, weights] = [keys, values, queries, weights].map(bytemuck::cast_slice_mut);
    let mut parts = Parts { keys, values, queries, weights, sums };
    let channels = shape.channels.max(1);
    for first in (0..channels).step_by(width.max(1)) {
        parts.place_keys(attention, &layout, first);
        parts.place_values(attention, &layout, first);
        for rows in output.chunks_mut((ROWS * channels).max(1)) {
            parts.rows(attention, &layout, rows, first);
        }
    }
}

/// Up to four bytes from `first` on; 0 past the end.
#[inline(always)]
fn word(bytes: &[i8], first: usize) -> u32 {
    let bytes = bytes.get(first..).unwrap_or_default();
    let four = match bytes.first_chunk::<STEP>() {
        Some(four) => *four,
        None => core::array::from_fn(|byte| at(bytes, byte)),
    };
    u32::from_le_bytes(four.map(|byte| byte as u8))
}

impl Parts<'_> {
    /// The keys of a head.
    #[inline]
    fn place_keys(&mut self, attention: &Attention<'_>, layout: &Layout, first: usize) {
        let [_, steps] = layout.scores();
        for (key, pixel) in attention.keys.chunks_exact(attention.shape.channels.max(1)).enumerate() {
            let pixel = pixel.get(first..first + layout.width).unwrap_or_default();
            let to = self.keys.get_mut(key / COLUMNS * steps * COLUMNS + key % COLUMNS..).unwrap_or_default();
            let whole = layout.width / STEP;
            // SAFETY: so many words of the head's channels are there, and have their places.
            unsafe { place(pixel.as_ptr(), whole, to.as_mut_ptr()) };
            if let Some(to) = to.get_mut(whole * COLUMNS).filter(|_| whole < steps) {
                *to = word(pixel, whole * STEP);
            }
        }
    }

    /// The values of a head, four channels of four positions at a time.
    #[inline]
    fn place_values(&mut self, attention: &Attention<'_>, layout: &Layout, first: usize) {
        /// Every other byte.
        const EVEN: u32 = 0x00ff_00ff;
        let channels = attention.shape.channels.max(1);
        let [pairs, steps] = layout.sums();
        let values = attention.values;
        for step in 0..steps {
            for channel in (0..layout.width).step_by(STEP) {
                let place = step * STEP * channels + first + channel;
                let [a, b, c, d] = core::array::from_fn(|position| word(values, place + position * channels));
                let halves = |a: u32, b: u32| [a & EVEN | (b & EVEN) << 8, a >> 8 & EVEN | b & !EVEN];
                let ([even, odd], [later_even, later_odd]) = (halves(a, b), halves(c, d));
                let low = |a: u32, b: u32| a & 0xffff | b << 16;
                let high = |a: u32, b: u32| a >> 16 | b & 0xffff_0000;
                let words =
                    [[low(even, later_even), low(odd, later_odd)], [high(even, later_even), high(odd, later_odd)]];
                let pair = channel / COLUMNS;
                for (pair, words) in (pair..pairs).zip(words) {
                    let to = self.values.get_mut((pair * steps + step) * COLUMNS..).unwrap_or_default();
                    to.iter_mut().zip(words).for_each(|(to, word)| *to = word);
                }
            }
        }
    }

    /// Up to four rows, of which queries lie where the result goes.
    #[inline]
    fn rows(&mut self, attention: &Attention<'_>, layout: &Layout, rows: &mut [i8], first: usize) {
        let Attention { shape, width, zero_point, .. } = *attention;
        let channels = shape.channels.max(1);
        let zero_points = u32::from(zero_point as u16) * 0x1_0001;
        for (row, pixel) in rows.chunks_exact(channels).enumerate() {
            let pixel = pixel.get(first..first + width).unwrap_or_default();
            let to = self.queries.get_mut(row..).unwrap_or_default();
            let whole = width / STEP;
            // SAFETY: so many words of the head's channels are there, and have their places.
            unsafe { widen(pixel.as_ptr(), whole, zero_points, to.as_mut_ptr()) };
            // Past the head's channels keys are 0.
            let bytes = word(pixel, whole * STEP);
            let halves = [sxtb16(bytes), sxtb16_odd(bytes)].map(|half| ssub16(half, zero_points));
            let to = to.get_mut(whole * 2 * ROWS..).unwrap_or_default();
            to.iter_mut().step_by(ROWS).zip(halves).for_each(|(to, half)| *to = half);
        }
        let [pairs, steps] = layout.scores();
        // SAFETY: all parts are as long as the layout says.
        unsafe { products(self.keys, self.queries, [pairs, steps], self.sums) };
        let mut factors = [0; ROWS];
        for (row, factor) in factors.iter_mut().enumerate().take(rows.len() / channels) {
            *factor = attention.factor(self.weigh(attention, layout, row));
        }
        let [pairs, steps] = layout.sums();
        // SAFETY: see above.
        unsafe { products(self.values, self.weights, [pairs, steps], self.sums) };
        for ((row, pixel), factor) in rows.chunks_exact_mut(channels).enumerate().zip(factors) {
            let pixel = pixel.get_mut(first..first + width).unwrap_or_default();
            let sums = self.sums.get(row * COLUMNS..).unwrap_or_default();
            // SAFETY: so many sums are there, in pairs.
            unsafe { normalise(sums.as_ptr(), factor, attention.offset, pixel) };
        }
    }

    /// A row's weights, of its scores; their sum.
    #[inline]
    fn weigh(&mut self, attention: &Attention<'_>, layout: &Layout, row: usize) -> i32 {
        let Attention { shift, multiplier, exp, .. } = *attention;
        let (quads, rest) = (layout.positions / STEP, layout.positions % STEP);
        let scores = self.sums.get(row * COLUMNS..).unwrap_or_default();
        let last = scores.get(quads * 2 * PAIR..).unwrap_or_default();
        let last: [i32; STEP] = core::array::from_fn(|place| at(last, place / COLUMNS * PAIR + place % COLUMNS));
        let (last, _) = last.split_at_checked(rest).unwrap_or_default();
        let largest = last.iter().fold(i32::MIN, |a, &b| if a > b { a } else { b });
        // SAFETY: reads so many fours of the row's scores.
        let largest = unsafe { largest_of(scores.as_ptr(), quads, largest) };
        let weights = self.weights.get_mut(row..).unwrap_or_default();
        let to = weights.as_mut_ptr();
        // SAFETY: reads the same, and writes as many weights.
        let mut total = unsafe { weigh(scores.as_ptr(), quads, largest, [shift, multiplier as u32], exp.as_ptr(), to) };
        if rest > 0 {
            let mut halves = [0; STEP];
            for (half, score) in halves.iter_mut().zip(last) {
                *half = at(exp, requantize(largest.wrapping_sub(*score), shift, multiplier) as usize) as u16;
                total = total.wrapping_add(i32::from(*half));
            }
            let [a, b, c, d] = halves.map(u32::from);
            let to = weights.get_mut(quads * 2 * ROWS..).unwrap_or_default();
            to.iter_mut().step_by(ROWS).zip([a | c << 16, b | d << 16]).for_each(|(to, word)| *to = word);
        }
        total
    }
}

/// What [`products`] reads.
#[repr(C)]
struct Products {
    /// Where sums start.
    zeros: [i32; PAIR],
    /// Queries, or weights.
    rows: *const u32,
    /// Their end.
    rows_end: *const u32,
    /// Steps.
    entry: usize,
    sums: *mut i32,
    /// Of keys, or values.
    end: *const u32,
    columns: *const u32,
}

/// Steps of the loop's body.
const UNROLLED: usize = 8;

/// Half a step.
macro_rules! half_step {
    ($load:literal, $widen:literal) => {
        concat!(
            $load,
            "
sxtb16 r2, r2",
            $widen,
            "
sxtb16 r3, r3",
            $widen,
            "
ldrd r12, lr, [r1], #8
",
            "smlad r4, r2, r12, r4
smlad r5, r3, r12, r5
smlad r6, r2, lr, r6
smlad r7, r3, lr, r7
",
            "ldrd r12, lr, [r1], #8
",
            "smlad r8, r2, r12, r8
smlad r9, r3, r12, r9
smlad r10, r2, lr, r10
smlad r11, r3, lr, r11
",
        )
    };
}

/// `sums[pair][row][column] = Σ rows · columns`, of `pairs` pairs of columns and `steps` steps. Instructions: 26 a step for
/// 32 products, and 11 a pair.
///
/// # Safety
/// Columns are `[pairs][steps][2]`, rows `[steps][2][4]`, and neither number is 0.
unsafe fn products(columns: &[u32], rows: &[u32], [pairs, steps]: [usize; 2], sums: &mut [i32]) {
    let products = Products {
        zeros: [0; PAIR],
        rows: rows.as_ptr(),
        rows_end: rows.as_ptr().wrapping_add(steps * 2 * ROWS),
        entry: steps.wrapping_neg() % UNROLLED,
        sums: sums.as_mut_ptr(),
        end: columns.as_ptr().wrapping_add(pairs * steps * COLUMNS),
        columns: columns.as_ptr(),
    };
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r4-r11, lr}}",
            "sub sp, sp, #52",
            "ldm r0!, {{r4-r11}}",
            "stm sp, {{r4-r11}}",
            "ldm r0, {{r1-r6}}",
            "adr.w r0, 21f + 1",
            "movs r7, #104",
            "mla r3, r3, r7, r0",
            "add r0, sp, #32",
            "stm r0, {{r1-r5}}",
            "mov r0, r6",
            "20:",
            "ldm sp, {{r4-r11}}",
            "ldr r1, [sp, #32]",
            "ldr pc, [sp, #40]",
            ".p2align 2",
            "21:",
            ".rept 8",
            half_step!("ldrd r2, r3, [r0]", ""),
            half_step!("ldrd r2, r3, [r0], #8", ", ror #8"),
            ".endr",
            "ldr r2, [sp, #36]",
            "cmp r1, r2",
            "bne.w 21b",
            "ldr r2, [sp, #44]",
            "stm r2!, {{r4-r11}}",
            "ldr r3, [sp, #48]",
            "str r2, [sp, #44]",
            "cmp r0, r3",
            "bne.w 20b",
            "add sp, sp, #52",
            "pop {{r4-r11, lr}}",
            inout("r0") &products => _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r12") _,
        );
    }
}

/// The largest of `quads` fours of a row's scores, and of `largest`. Instructions: 16 a four.
///
/// # Safety
/// So many are there.
#[inline(always)]
unsafe fn largest_of(scores: *const i32, quads: usize, mut largest: i32) -> i32 {
    // SAFETY: reads what the caller promises.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "cmp {quads}, #0",
            "beq 23f",
            "22:",
            "ldrd {a}, {b}, [{scores}], #32",
            "ldrd {c}, {d}, [{scores}], #32",
            ".irp score, {a}, {b}, {c}, {d}",
            "cmp \\score, {largest}",
            "it gt",
            "movgt {largest}, \\score",
            ".endr",
            "subs {quads}, {quads}, #1",
            "bne 22b",
            "23:",
            quads = inout(reg) quads => _, scores = inout(reg) scores => _, largest = inout(reg) largest,
            a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
        );
    }
    largest
}

/// The weights of `quads` fours of a row's scores; their sum. Instructions: 41 a four.
///
/// # Safety
/// So many are there, and places for as many.
#[inline(always)]
unsafe fn weigh(
    scores: *const i32,
    quads: usize,
    largest: i32,
    [shift, multiplier]: [u32; 2],
    exp: *const i16,
    weights: *mut u32,
) -> i32 {
    let mut total = 0;
    // SAFETY: reads and writes what the caller promises, and of the table's 512 entries those that are in it.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "cmp {quads}, #0",
            "beq 23f",
            "22:",
            "ldrd {a}, {b}, [{scores}], #32",
            "ldrd {c}, {d}, [{scores}], #32",
            ".irp score, {a}, {b}, {c}, {d}",
            "sub \\score, {largest}, \\score",
            "lsl \\score, \\score, {shift}",
            "smmulr \\score, \\score, {multiplier}",
            "cmp \\score, #512",
            "ite lo",
            "ldrhlo \\score, [{exp}, \\score, lsl #1]",
            "movhs \\score, #0",
            "add {total}, {total}, \\score",
            ".endr",
            "orr {a}, {a}, {c}, lsl #16",
            "orr {b}, {b}, {d}, lsl #16",
            "str {b}, [{weights}, #16]",
            "str {a}, [{weights}], #32",
            "subs {quads}, {quads}, #1",
            "bne 22b",
            "23:",
            quads = inout(reg) quads => _, scores = inout(reg) scores => _, largest = in(reg) largest,
            shift = in(reg) shift, multiplier = in(reg) multiplier, exp = in(reg) exp,
            weights = inout(reg) weights => _, total = inout(reg) total,
            a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
        );
    }
    total
}

/// Copies words to every other place. Instructions: 4 a word.
///
/// # Safety
/// So many are there, and places for them.
#[inline(always)]
unsafe fn place(from: *const i8, words: usize, to: *mut u32) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "cmp {words}, #0",
            "beq 23f",
            "22:",
            "ldr {a}, [{from}], #4",
            "str {a}, [{to}], #8",
            "subs {words}, {words}, #1",
            "bne 22b",
            "23:",
            from = inout(reg) from => _, words = inout(reg) words => _, to = inout(reg) to => _, a = out(reg) _,
        );
    }
}

/// A row's queries, less their zero points. Instructions: 9 a word.
///
/// # Safety
/// So many words are there, and places for them.
#[inline(always)]
unsafe fn widen(from: *const i8, words: usize, zero_points: u32, to: *mut u32) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "cmp {words}, #0",
            "beq 23f",
            "22:",
            "ldr {a}, [{from}], #4",
            "sxtb16 {b}, {a}, ror #8",
            "sxtb16 {a}, {a}",
            "ssub16 {b}, {b}, {zero_points}",
            "ssub16 {a}, {a}, {zero_points}",
            "str {b}, [{to}, #16]",
            "str {a}, [{to}], #32",
            "subs {words}, {words}, #1",
            "bne 22b",
            "23:",
            from = inout(reg) from => _, words = inout(reg) words => _, to = inout(reg) to => _,
            zero_points = in(reg) zero_points, a = out(reg) _, b = out(reg) _,
        );
    }
}

/// A row's weighted sums, through the sum of its weights: of the channels of `pixel`. Instructions: 11 for two.
///
/// # Safety
/// So many sums are there, an odd one with a partner.
unsafe fn normalise(sums: *const i32, factor: i32, offset: i32, pixel: &mut [i8]) {
    // SAFETY: reads what the caller promises, and writes the pixel.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "22:",
            "ldrd {a}, {b}, [{sums}], #32",
            "smmul {a}, {a}, {factor}",
            "smmul {b}, {b}, {factor}",
            "qadd {a}, {a}, {offset}",
            "qadd {b}, {b}, {offset}",
            "ssat {a}, #8, {a}, asr #8",
            "ssat {b}, #8, {b}, asr #8",
            "strb {a}, [{pixel}], #1",
            "subs {left}, {left}, #2",
            "blo 23f",
            "strb {b}, [{pixel}], #1",
            "bne 22b",
            "23:",
            sums = inout(reg) sums => _, factor = in(reg) factor, offset = in(reg) offset,
            pixel = inout(reg) pixel.as_mut_ptr() => _, left = inout(reg) pixel.len() => _,
            a = out(reg) _, b = out(reg) _,
        );
    }
}
