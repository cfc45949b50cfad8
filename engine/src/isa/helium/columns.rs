//! The loops over columns: patches of four pixels side by side, or a single pixel.

use core::arch::asm;

use super::layout::{CHANNELS, GROUP, PIXELS, STEP, TILE};
use super::weights;

/// What a loop reads and writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// Of the group, `[pairs][steps][2][16]`.
    pub weights: *const i8,
    /// `[pairs][4][2]`, so far.
    pub before: *const i32,
    /// `[pairs][4][2]`; may be `before`.
    pub after: *mut i32,
    /// Pairs of channels, at least 1.
    pub pairs: usize,
}

impl Pass {
    /// The loop of the next group, behind one of `steps` steps.
    #[inline(always)]
    fn next(self, steps: usize) -> Self {
        let weights = self.weights.wrapping_add(self.pairs * steps * CHANNELS * STEP);
        Self { weights, before: self.after, ..self }
    }
}

/// All groups over columns of int8, `[steps][4 pixels][16]`.
///
/// # Safety
/// As [`columns`], for every group.
#[inline(never)]
pub(super) unsafe fn all_columns(mut columns: *const i8, steps: usize, mut pass: Pass) {
    for first in (0..steps).step_by(GROUP) {
        let group = (steps - first).min(GROUP);
        match group {
            // SAFETY: as the caller promises.
            1 => unsafe { self::columns::<1>(columns, pass) },
            // SAFETY: as the caller promises.
            2 => unsafe { self::columns::<2>(columns, pass) },
            // SAFETY: as the caller promises.
            3 => unsafe { self::columns::<3>(columns, pass) },
            // SAFETY: as the caller promises.
            4 => unsafe { self::columns::<4>(columns, pass) },
            // SAFETY: as the caller promises.
            5 => unsafe { self::columns::<5>(columns, pass) },
            // SAFETY: as the caller promises.
            6 => unsafe { self::columns::<6>(columns, pass) },
            // SAFETY: as the caller promises.
            7 => unsafe { self::columns::<7>(columns, pass) },
            // SAFETY: as the caller promises.
            _ => unsafe { self::columns::<8>(columns, pass) },
        }
        columns = columns.wrapping_add(group * PIXELS * STEP);
        pass = pass.next(group);
    }
}

/// All groups over columns of int16, `[2 · steps][4 pixels][8]`.
///
/// # Safety
/// As [`wide_columns`], for every group.
#[inline(never)]
pub(super) unsafe fn all_wide_columns(mut columns: *const i16, steps: usize, mut pass: Pass) {
    for first in (0..steps).step_by(GROUP) {
        let group = (steps - first).min(GROUP);
        // SAFETY: as the caller promises.
        unsafe { wide_columns(columns, group, pass) };
        columns = columns.wrapping_add(group * PIXELS * STEP);
        pass = pass.next(group);
    }
}

/// One step over columns, where the group has more than `$step` steps.
macro_rules! step {
    ($step:literal) => {
        concat!(
            ".if {S} > ",
            $step,
            "\n",
            "vldrw.u32 q4, [r1, #",
            $step,
            " * 64]\n",
            weights!("q6"),
            "vldrw.u32 q5, [r1, #",
            $step,
            " * 64 + 16]\nvmladava.s8 r0, q4, q6\n",
            weights!("q7"),
            "vmladava.s8 r4, q5, q6\nvmladava.s8 r2, q4, q7\n",
            "vldrw.u32 q4, [r1, #",
            $step,
            " * 64 + 32]\nvmladava.s8 r6, q5, q7\n",
            "vldrw.u32 q5, [r1, #",
            $step,
            " * 64 + 48]\nvmladava.s8 r8, q4, q6\nvmladava.s8 r10, q4, q7\n",
            "vmladava.s8 r12, q5, q6\nvmladava.s8 lr, q5, q7\n",
            ".endif\n",
        )
    };
}

/// `S` steps over columns `[S][4 pixels][16]`, of which the first step's stay in q0 to q3 for all channels.
/// Instructions for a pair of channels: 14 a step for eight times sixteen products.
///
/// # Safety
/// `pass` describes slices of these sizes for `S` steps; `columns` holds as many, and lies on a word.
#[inline(always)]
unsafe fn columns<const S: usize>(columns: *const i8, pass: Pass) {
    // SAFETY: reads and writes what the caller promises; r6, which the compiler keeps for itself, is put back.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "push {{r6}}",
            "mov r11, r0",
            "mov r9, r2",
            "vldrw.u32 q0, [r1]",
            "vldrw.u32 q1, [r1, #16]",
            "vldrw.u32 q2, [r1, #32]",
            "vldrw.u32 q3, [r1, #48]",
            "2:",
            "ldm r5!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            weights!("q6"),
            weights!("q7"),
            "vmladava.s8 r0, q0, q6",
            "vmladava.s8 r2, q0, q7",
            "vmladava.s8 r4, q1, q6",
            "vmladava.s8 r6, q1, q7",
            "vmladava.s8 r8, q2, q6",
            "vmladava.s8 r10, q2, q7",
            "vmladava.s8 r12, q3, q6",
            "vmladava.s8 lr, q3, q7",
            step!("1"), step!("2"), step!("3"), step!("4"), step!("5"), step!("6"), step!("7"),
            "stm r11!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            "subs r9, r9, #1",
            "bne 2b",
            "pop {{r6}}",
            S = const S,
            in("r1") columns, inout("r3") pass.weights => _, inout("r5") pass.before => _,
            inout("r0") pass.after => _, inout("r2") pass.pairs => _,
            out("r4") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d8") _, out("d9") _, out("d10") _, out("d11") _, out("d12") _, out("d13") _, out("d14") _, out("d15") _,
        );
    }
}

/// Sums of a single pixel, eight channels at a time; `sums` holds the biases. Instructions: 19 a step for eight times
/// sixteen products, and 6 more.
///
/// # Safety
/// `pixel` holds `steps` steps, at least one, and `weights` as many for every sum; sums are whole eights, at least one.
#[inline(never)]
pub(super) unsafe fn single(pixel: *const i8, steps: usize, weights: *const i8, sums: &mut [i32]) {
    // SAFETY: reads and writes what the caller promises; r6 and r7, which the compiler keeps for itself, are put back.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "push {{r1, r2, r6, r7}}",
            "mov r9, r0",
            "2:",
            "ldrd r1, r7, [sp]",
            "ldm r5, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            "3:",
            "vldrb.u8 q0, [r1], #16",
            weights!("q1"), weights!("q2"),
            "vmladava.s8 r0, q0, q1",
            weights!("q3"),
            "vmladava.s8 r2, q0, q2",
            weights!("q4"),
            "vmladava.s8 r4, q0, q3",
            weights!("q1"),
            "vmladava.s8 r6, q0, q4",
            weights!("q2"),
            "vmladava.s8 r8, q0, q1",
            weights!("q3"),
            "vmladava.s8 r10, q0, q2",
            weights!("q4"),
            "vmladava.s8 r12, q0, q3",
            "vmladava.s8 lr, q0, q4",
            "subs r7, r7, #1",
            "bne 3b",
            "stm r5!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            "subs r9, r9, #1",
            "bne 2b",
            "pop {{r1, r2, r6, r7}}",
            inout("r0") sums.len() / TILE => _, inout("r1") pixel => _, inout("r2") steps => _,
            inout("r3") weights => _, inout("r5") sums.as_mut_ptr() => _,
            out("r4") _, out("r8") _, out("r9") _, out("r10") _, out("r12") _, out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d8") _, out("d9") _,
        );
    }
}

/// Half a step over columns of int16.
macro_rules! half_step {
    ($first:literal, $second:literal) => {
        concat!(
            "vldrw.u32 q0, [r1], #16\nvldrb.s16 q4, ",
            $first,
            "\n",
            "vldrw.u32 q1, [r1], #16\nvmladava.s16 r0, q0, q4\n",
            "vldrb.s16 q5, ",
            $second,
            "\nvmladava.s16 r4, q1, q4\n",
            "vldrw.u32 q2, [r1], #16\nvmladava.s16 r2, q0, q5\nvmladava.s16 r6, q1, q5\n",
            "vldrw.u32 q3, [r1], #16\nvmladava.s16 r8, q2, q4\nvmladava.s16 r10, q2, q5\n",
            "vmladava.s16 r12, q3, q4\nvmladava.s16 lr, q3, q5\n",
        )
    };
}

/// `steps` steps over columns of int16, `[2 · steps][4 pixels][8]`. Instructions: 30 a step, and 7 more.
///
/// # Safety
/// `pass` describes slices of these sizes for `steps` steps, at least 1; `columns` holds as many, and lies on a word.
#[inline(always)]
unsafe fn wide_columns(columns: *const i16, steps: usize, pass: Pass) {
    // SAFETY: reads and writes what the caller promises; r6 and r7, which the compiler keeps for itself, are put back.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "push {{r1, r2, r6, r7}}",
            "mov r11, r0",
            "mov r9, r4",
            "2:",
            "ldrd r1, r7, [sp]",
            "ldm r5!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            "3:",
            half_step!("[r3], #8", "[r3, #8]"),
            half_step!("[r3], #16", "[r3], #8"),
            "subs r7, r7, #1",
            "bne 3b",
            "stm r11!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            "subs r9, r9, #1",
            "bne 2b",
            "pop {{r1, r2, r6, r7}}",
            inout("r1") columns => _, inout("r2") steps => _,
            inout("r3") pass.weights => _, inout("r5") pass.before => _, inout("r0") pass.after => _, inout("r4") pass.pairs => _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d8") _, out("d9") _, out("d10") _, out("d11") _,
        );
    }
}
