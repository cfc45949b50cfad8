//! The loops: sums of two channels × four pixels, over all pairs of channels.
//!
//! Each loop reads a tile's sums so far (at first the biases), adds the products of a group of steps, and writes the
//! sums, `[pairs][4 pixels][2 channels]`; weights stream by once. r0, r2 … r12, lr hold the sums; LDM and STM move all
//! eight. That takes the link register, so the loops count in r9.

use core::arch::asm;

use super::layout::{CHANNELS, GROUP, PIXELS, STEP};

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

/// All groups of [`super::layout::Method::Windows`] for `pixels` (1 to 4) neighbouring pixels; a group's halo lies
/// `plane` bytes behind the one before.
///
/// # Safety
/// As [`windows`], for every group.
#[inline(never)]
pub(super) unsafe fn all_windows<const STRIDE: usize, const ROWS: usize>(
    pixels: usize,
    columns: *const i8,
    plane: usize,
    groups: usize,
    mut pass: Pass,
) {
    for group in 0..groups {
        let columns = columns.wrapping_add(group * plane);
        match pixels {
            // SAFETY: as the caller promises.
            4 => unsafe { windows::<4, STRIDE, ROWS>(columns, pass) },
            // SAFETY: as the caller promises.
            3 => unsafe { windows::<3, STRIDE, ROWS>(columns, pass) },
            // SAFETY: as the caller promises.
            2 => unsafe { windows::<2, STRIDE, ROWS>(columns, pass) },
            // SAFETY: as the caller promises.
            _ => unsafe { windows::<1, STRIDE, ROWS>(columns, pass) },
        }
        pass = pass.next(9);
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

/// One VMLADAVA, where the tile has more than `$guard` pixels.
macro_rules! product {
    ($guard:literal, $sum:literal, $column:literal, $weight:literal) => {
        concat!(".if {P} > ", $guard, "\nvmladava.s8 ", $sum, ", ", $column, ", ", $weight, "\n.endif\n")
    };
}

/// Loads column `$x` of row `$row` of the halo, where the tile has more than `$guard` pixels.
macro_rules! column {
    ($guard:literal, $register:literal, $x:literal, $row:literal) => {
        concat!(
            ".if {P} > ",
            $guard,
            "\nvldrw.u32 ",
            $register,
            ", [r1, #(",
            $x,
            " * {R} + ",
            $row,
            ") * 16]\n.endif\n"
        )
    };
}

/// Loads the next sixteen weights.
macro_rules! weights {
    ($register:literal) => {
        concat!("vldrb.u8 ", $register, ", [r3], #16\n")
    };
}

/// One row of the kernel at stride 1. Column x of the halo is in q(x mod 4), a product after the load of the next.
macro_rules! row_of_stride_1 {
    ($row:literal) => {
        concat!(
            column!("0", "q0", "0", $row),
            weights!("q4"),
            column!("0", "q1", "1", $row),
            product!("0", "r0", "q0", "q4"),
            column!("0", "q2", "2", $row),
            product!("1", "r4", "q1", "q4"),
            weights!("q5"),
            product!("2", "r8", "q2", "q4"),
            column!("1", "q3", "3", $row),
            product!("0", "r2", "q0", "q5"),
            product!("3", "r12", "q3", "q4"),
            column!("2", "q0", "4", $row),
            product!("1", "r6", "q1", "q5"),
            weights!("q6"),
            product!("2", "r10", "q2", "q5"),
            product!("3", "lr", "q3", "q5"),
            product!("0", "r0", "q1", "q6"),
            weights!("q7"),
            product!("1", "r4", "q2", "q6"),
            product!("0", "r2", "q1", "q7"),
            product!("2", "r8", "q3", "q6"),
            column!("3", "q1", "5", $row),
            product!("3", "r12", "q0", "q6"),
            weights!("q4"),
            product!("1", "r6", "q2", "q7"),
            product!("2", "r10", "q3", "q7"),
            weights!("q5"),
            product!("0", "r0", "q2", "q4"),
            product!("3", "lr", "q0", "q7"),
            product!("1", "r4", "q3", "q4"),
            product!("2", "r8", "q0", "q4"),
            product!("3", "r12", "q1", "q4"),
            product!("0", "r2", "q2", "q5"),
            product!("1", "r6", "q3", "q5"),
            product!("2", "r10", "q0", "q5"),
            product!("3", "lr", "q1", "q5"),
        )
    };
}

/// One row of the kernel at stride 2: even columns stay for the kernel's third place.
macro_rules! row_of_stride_2 {
    ($row:literal) => {
        concat!(
            column!("0", "q0", "0", $row),
            weights!("q4"),
            column!("0", "q1", "2", $row),
            product!("0", "r0", "q0", "q4"),
            weights!("q5"),
            product!("1", "r4", "q1", "q4"),
            column!("1", "q2", "4", $row),
            product!("0", "r2", "q0", "q5"),
            product!("1", "r6", "q1", "q5"),
            column!("2", "q3", "6", $row),
            product!("2", "r8", "q2", "q4"),
            product!("2", "r10", "q2", "q5"),
            column!("3", "q0", "8", $row),
            product!("3", "r12", "q3", "q4"),
            product!("3", "lr", "q3", "q5"),
            column!("0", "q6", "1", $row),
            weights!("q4"),
            weights!("q5"),
            product!("0", "r0", "q6", "q4"),
            column!("1", "q7", "3", $row),
            product!("0", "r2", "q6", "q5"),
            product!("1", "r4", "q7", "q4"),
            column!("2", "q6", "5", $row),
            product!("1", "r6", "q7", "q5"),
            product!("2", "r8", "q6", "q4"),
            column!("3", "q7", "7", $row),
            product!("2", "r10", "q6", "q5"),
            product!("3", "r12", "q7", "q4"),
            weights!("q4"),
            product!("3", "lr", "q7", "q5"),
            weights!("q5"),
            product!("0", "r0", "q1", "q4"),
            product!("1", "r4", "q2", "q4"),
            product!("2", "r8", "q3", "q4"),
            product!("3", "r12", "q0", "q4"),
            product!("0", "r2", "q1", "q5"),
            product!("1", "r6", "q2", "q5"),
            product!("2", "r10", "q3", "q5"),
            product!("3", "lr", "q0", "q5"),
        )
    };
}

/// Sixteen input channels of a 3×3 convolution, for `P` neighbouring pixels at stride `STRIDE`.
///
/// `columns` is the first pixel's place in a halo `[width][R rows][16]`. Instructions: 75 + 8.25 · P at stride 1 for
/// sixteen products each of 18 · P, and 4 more.
///
/// # Safety
/// `pass` describes slices of these sizes for nine steps; the halo holds `(P − 1) · STRIDE + 3` columns and three rows
/// from `columns` on, which lies on a word.
#[inline(always)]
unsafe fn windows<const P: usize, const STRIDE: usize, const R: usize>(columns: *const i8, pass: Pass) {
    // SAFETY: reads and writes what the caller promises; r6, which the compiler keeps for itself, is put back.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "push {{r6}}",
            "mov r11, r0",
            "mov r9, r2",
            "2:",
            "ldm r5!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            ".if {STRIDE} == 1",
            row_of_stride_1!("0"),
            row_of_stride_1!("1"),
            row_of_stride_1!("2"),
            ".else",
            row_of_stride_2!("0"),
            row_of_stride_2!("1"),
            row_of_stride_2!("2"),
            ".endif",
            "stm r11!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            "subs r9, r9, #1",
            "bne 2b",
            "pop {{r6}}",
            P = const P, STRIDE = const STRIDE, R = const R,
            in("r1") columns, inout("r3") pass.weights => _, inout("r5") pass.before => _, inout("r0") pass.after => _, inout("r2") pass.pairs => _,
            out("r4") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d8") _, out("d9") _, out("d10") _, out("d11") _, out("d12") _, out("d13") _, out("d14") _, out("d15") _,
        );
    }
}

/// One step over columns, where the group has more than `$step` steps.
macro_rules! step {
    ($step:literal) => {
        concat!(
            ".if {S} > ",
            $step,
            "\n",
            "vldrw.u32 q0, [r1, #",
            $step,
            " * 64]\n",
            weights!("q4"),
            "vldrw.u32 q1, [r1, #",
            $step,
            " * 64 + 16]\nvmladava.s8 r0, q0, q4\n",
            weights!("q5"),
            "vmladava.s8 r4, q1, q4\n",
            "vldrw.u32 q2, [r1, #",
            $step,
            " * 64 + 32]\nvmladava.s8 r2, q0, q5\nvmladava.s8 r6, q1, q5\n",
            "vldrw.u32 q3, [r1, #",
            $step,
            " * 64 + 48]\nvmladava.s8 r8, q2, q4\nvmladava.s8 r10, q2, q5\n",
            "vmladava.s8 r12, q3, q4\nvmladava.s8 lr, q3, q5\n",
            ".endif\n",
        )
    };
}

/// `S` steps over columns `[S][4 pixels][16]`. Instructions: 14 a step for eight times sixteen products, and 4 more.
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
            "2:",
            "ldm r5!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            step!("0"), step!("1"), step!("2"), step!("3"), step!("4"), step!("5"), step!("6"), step!("7"),
            "stm r11!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            "subs r9, r9, #1",
            "bne 2b",
            "pop {{r6}}",
            S = const S,
            in("r1") columns, inout("r3") pass.weights => _, inout("r5") pass.before => _, inout("r0") pass.after => _, inout("r2") pass.pairs => _,
            out("r4") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d8") _, out("d9") _, out("d10") _, out("d11") _,
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
