//! Attention, four rows of a head at a time, by the loops over columns that convolutions have.
//!
//! Scores are products of int8: the queries' zero point is where their sums start from. Weights are int16.

use core::arch::asm;

use super::attention_layout::{Layout, place};
use super::columns::{self, Pass};
use super::copy;
use super::layout::{CHANNELS, PIXELS, STEP, TILE};
use crate::isa::{Attention, EXP_LEN, Isa};

/// From a row's pair of sums to the next row's, in bytes.
const ROW: usize = CHANNELS * size_of::<i32>();
/// From a row's pair of sums to its next pair, in bytes.
const PAIR: usize = TILE * size_of::<i32>();
/// Where four sums of a row lie.
const PLACES: [u32; 4] = [0, 4, PAIR as u32, PAIR as u32 + 4];

/// One layer at work.
struct Run<'a> {
    attention: &'a Attention<'a>,
    layout: Layout,
    keys: *mut i8,
    values: *mut i8,
    queries: *mut i8,
    starts: *mut i32,
    scores: *mut i32,
    weights: *mut i16,
    zeros: *const i32,
    sums: *mut i32,
}

/// See [`crate::isa::Isa::attention`].
#[allow(clippy::extra_unused_type_parameters, reason = "compiled where it is called, see `dsp`")]
#[inline(never)]
pub(super) fn run<I: Isa>(attention: &Attention<'_>, scratch: &mut [i32], output: &mut [i8]) {
    let layout = Layout { positions: attention.positions(), width: attention.width };
    let [keys, values, queries, starts, scores, weights, zeros, _] = layout.parts();
    if scratch.len() < layout.scratch_words() {
        return;
    }
    // Queries past a head's channels and weights past the last position are 0, whatever they meet.
    scratch.fill(0);
    let mut rest = scratch.as_mut_ptr();
    let mut take = |words: usize| {
        let part = rest;
        rest = rest.wrapping_add(words);
        part
    };
    let run = Run {
        attention,
        layout,
        keys: take(keys).cast(),
        values: take(values).cast(),
        queries: take(queries).cast(),
        starts: take(starts),
        scores: take(scores),
        weights: take(weights).cast(),
        zeros: take(zeros),
        sums: take(0),
    };
    let channels = attention.shape.channels;
    for first in (0..channels).step_by(attention.width.max(1)) {
        run.place_keys(first);
        run.place_values(first);
        for (block, rows) in output.chunks_mut((PIXELS * channels).max(1)).enumerate() {
            let count = (layout.positions - block * PIXELS).min(PIXELS);
            run.rows(count, rows.as_mut_ptr().wrapping_add(first));
        }
    }
}

impl Run<'_> {
    /// The keys of a head, and what scores start from: the zero point's products.
    #[inline]
    fn place_keys(&self, first: usize) {
        let Attention { shape, width, zero_point, keys, .. } = *self.attention;
        let [pairs, steps] = self.layout.scores();
        let from = keys.as_ptr().wrapping_add(first);
        for step in 0..steps {
            let [start, pair] = place([pairs, steps], step);
            let len = (width - step * STEP).min(STEP);
            for member in 0..CHANNELS {
                let from = from.wrapping_add(step * STEP + member * shape.channels);
                let to = self.keys.wrapping_add(start + member * STEP);
                let count = (self.layout.positions + 1 - member) / CHANNELS;
                // SAFETY: so many keys are there, every other one, and have their places.
                unsafe { copy::copy_pieces((from, CHANNELS * shape.channels), (to, pair), count, len) };
            }
        }
        for key in 0..self.layout.positions {
            let mut sum = 0i32;
            // SAFETY: reads a head's channels of a key.
            unsafe {
                asm!(
                    ".cpu cortex-m55",
                    "dlstp.8 lr, {width}",
                    "2:",
                    "vldrb.u8 q0, [{from}], #16",
                    "vaddva.s8 r0, q0",
                    "letp lr, 2b",
                    width = in(reg) width, from = inout(reg) from.wrapping_add(key * shape.channels) => _,
                    inout("r0") sum, out("lr") _, out("d0") _, out("d1") _,
                );
            }
            let start = self.starts.wrapping_add(key / CHANNELS * TILE + key % CHANNELS);
            for row in 0..PIXELS {
                // SAFETY: every key has its place for every row.
                unsafe { start.wrapping_add(row * CHANNELS).write(sum.wrapping_mul(-zero_point)) };
            }
        }
    }

    /// The values of a head, channel by channel.
    #[inline]
    fn place_values(&self, first: usize) {
        const LANES: usize = 8;
        let Attention { shape, width, values, .. } = *self.attention;
        let [pairs, steps] = self.layout.sums();
        for step in 0..steps {
            let [start, pair] = place([pairs, steps], step);
            let count = (self.layout.positions - step * STEP).min(STEP);
            let offsets: [u16; LANES] =
                core::array::from_fn(|lane| (lane / CHANNELS * pair + lane % CHANNELS * STEP) as u16);
            for channel in (0..width).step_by(LANES) {
                let from = values.as_ptr().wrapping_add(step * STEP * shape.channels + first + channel);
                let to = self.values.wrapping_add(start + channel / CHANNELS * pair);
                // SAFETY: so many values of as many channels as there are, each with a place: others are switched off.
                unsafe {
                    asm!(
                        ".cpu cortex-m55",
                        "vmrs {vpr}, p0",
                        "vctp.16 {lanes}",
                        "vldrh.u16 q1, [{offsets}]",
                        "dls lr, {count}",
                        "2:",
                        "vpstt",
                        "vldrbt.u16 q0, [r0]",
                        "vstrbt.16 q0, [{to}, q1]",
                        "add r0, r0, {pixel}",
                        "add {to}, {to}, #1",
                        "le lr, 2b",
                        "vmsr p0, {vpr}",
                        lanes = in(reg) (width - channel).min(LANES), offsets = in(reg) &offsets, count = in(reg) count,
                        inout("r0") from => _, to = inout(reg) to => _, pixel = in(reg) shape.channels,
                        vpr = out(reg) _,
                        out("lr") _, out("d0") _, out("d1") _, out("d2") _, out("d3") _,
                    );
                }
            }
        }
    }

    /// So many rows, of which queries lie where the result goes.
    #[inline]
    fn rows(&self, count: usize, rows: *mut i8) {
        let Attention { shape, width, .. } = *self.attention;
        let [pairs, steps] = self.layout.scores();
        for step in 0..steps {
            let len = (width - step * STEP).min(STEP);
            let from = rows.cast_const().wrapping_add(step * STEP);
            let to = self.queries.wrapping_add(step * PIXELS * STEP);
            // SAFETY: so many rows are there, and have their places.
            unsafe { copy::copy_pieces((from, shape.channels), (to, STEP), count, len) };
        }
        let pass = Pass { weights: self.keys, before: self.starts, after: self.scores, pairs };
        // SAFETY: all parts are as long as the layout says.
        unsafe { columns::all_columns(self.queries, steps, pass) };
        let mut factors = [0; PIXELS];
        for (row, factor) in factors.iter_mut().enumerate().take(count) {
            *factor = self.attention.factor(self.weigh(row));
        }
        let [pairs, steps] = self.layout.sums();
        let pass = Pass { weights: self.values, before: self.zeros, after: self.sums, pairs };
        // SAFETY: see above.
        unsafe { columns::all_wide_columns(self.weights, steps, pass) };
        for (row, factor) in factors.iter().enumerate().take(count) {
            let sums = self.sums.wrapping_byte_add(row * ROW);
            // SAFETY: sums of a head's channels, and as many places in the row.
            unsafe { normalise(sums, width, *factor, self.attention.offset, rows.wrapping_add(row * shape.channels)) };
        }
    }

    /// A row's weights, of its scores; their sum. Instructions for four: 15.
    #[inline]
    fn weigh(&self, row: usize) -> i32 {
        let Attention { shift, multiplier, exp, .. } = *self.attention;
        let scores = self.scores.wrapping_byte_add(row * ROW);
        let weights = self.weights.wrapping_add(row * STEP / 2);
        let total;
        // SAFETY: reads the scores of all positions and writes their weights: others are switched off, and those past the
        // table are 0.
        unsafe {
            asm!(
                ".cpu cortex-m55",
                "vmrs {vpr}, p0",
                "vldrw.u32 q3, [{place}]",
                "mov {place}, {scores}",
                "mov r0, #0x80000000",
                "dlstp.32 lr, {count}",
                "2:",
                "vldrw.u32 q0, [{place}, q3]",
                "vmaxv.s32 r0, q0",
                "add {place}, {place}, #({PAIR} * 2)",
                "letp lr, 2b",
                "vmvn.i32 q2, #0",
                "mov {place}, #{LEN}",
                "movs r2, #0",
                "dlstp.32 lr, {count}",
                // Eight positions lie side by side, then those of the other rows.
                "movs {count}, #8",
                "2:",
                "vldrw.u32 q0, [{scores}, q3]",
                "vmlas.s32 q0, q2, r0",
                "vshl.s32 q0, {shift}",
                "vqrdmulh.s32 q0, q0, {multiplier}",
                "vpt.s32 lt, q0, {place}",
                "vldrht.u32 q1, [{exp}, q0, uxtw #1]",
                "vaddva.u32 r2, q1",
                "vstrh.32 q1, [r1]",
                "add {scores}, {scores}, #({PAIR} * 2)",
                "add r1, r1, {count}",
                "rsb {count}, {count}, #64",
                "letp lr, 2b",
                "vmsr p0, {vpr}",
                place = inout(reg) &PLACES => _, count = inout(reg) self.layout.positions => _,
                scores = inout(reg) scores => _, PAIR = const PAIR, LEN = const EXP_LEN,
                shift = in(reg) shift, multiplier = in(reg) multiplier / 2, exp = in(reg) exp, vpr = out(reg) _,
                out("r0") _, inout("r1") weights => _, out("r2") total, out("lr") _,
                out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _,
                out("d7") _,
            );
        }
        total
    }
}

/// A row's weighted sums, through the sum of its weights. Instructions for four: 9.
///
/// # Safety
/// So many sums and places for them are there, at least one.
unsafe fn normalise(sums: *const i32, width: usize, factor: i32, offset: i32, output: *mut i8) {
    // SAFETY: reads and writes what the caller promises: other lanes are switched off.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "vldrw.u32 q3, [{places}]",
            "vdup.32 q2, {factor}",
            "dlstp.32 lr, {width}",
            "2:",
            "vldrw.u32 q0, [{sums}, q3]",
            "vmulh.s32 q0, q0, q2",
            "vqadd.s32 q0, q0, {offset}",
            "vshr.s32 q0, q0, #8",
            "vqmovnb.s32 q0, q0",
            "vqmovnb.s16 q0, q0",
            "vstrb.32 q0, [r0], #4",
            "add {sums}, {sums}, #({PAIR} * 2)",
            "letp lr, 2b",
            places = in(reg) &PLACES, factor = in(reg) factor, width = in(reg) width, sums = inout(reg) sums => _,
            offset = in(reg) offset, inout("r0") output => _, PAIR = const PAIR,
            out("lr") _, out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _,
            out("d7") _,
        );
    }
}
