//! The other half of Winograd's way back, along columns, and the outputs of a tile.

use core::arch::asm;

/// A tile's results along rows, and its outputs.
#[repr(C)]
pub(super) struct Gather {
    /// A factor a channel; moves on.
    pub multipliers: *const i32,
    /// The first channel of the tile's upper left pixel; moves on.
    pub above: *mut i8,
    /// And of its lower left one, the same as `above` where there is none; moves on.
    pub below: *mut i8,
    /// `[rows]` of sixteen words: four channels of a row's left result, and eight words further of the right one.
    pub rows: *const i32,
    /// From a pixel to the next, in bytes; 0 where there is none.
    pub pixel: usize,
    /// By how much sums are shifted, up or down; see [`crate::requantize::requantize`].
    pub shift: u32,
    /// Of the output, or of the table's index.
    pub zero_point: u32,
    /// The middle of the table, or null.
    pub table: *const i8,
}

/// What becomes of r5 and r6, and where: results without a place of their own come first, and are overwritten.
macro_rules! outputs {
    ($shift:literal, $last:expr, $below:literal, $above:literal) => {
        concat!(
            $shift,
            " r5, r5, r8\n",
            $shift,
            " r6, r6, r8\nsmmlar r5, r5, lr, r9\nsmmlar r6, r6, lr, r9\n",
            $last,
            "strb r6, ",
            $below,
            "\nstrb r5, ",
            $above,
            "\n"
        )
    };
}

/// A side's sums.
macro_rules! side {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "ldr r10, [r0, #",
            $b,
            "]\nldr r11, [r0, #",
            $c,
            "]\nldr r12, [r0, #",
            $d,
            "]\n",
            $a,
            "add r5, r6, r10\nsub r6, r6, r10\nadd r5, r5, r11\nadd r6, r6, r12\n"
        )
    };
}

macro_rules! enlarged_side {
    ($a:literal, $b:literal, $c:literal) => {
        concat!("ldr r10, [r0, #", $b, "]\nldr r11, [r0, #", $c, "]\n", $a, "add r5, r6, r10\nadd r6, r6, r11\n")
    };
}

macro_rules! saturate {
    () => {
        "ssat r5, #8, r5\nssat r6, #8, r6\n"
    };
}

macro_rules! look_up {
    () => {
        "ssat r5, #10, r5\nssat r6, #10, r6\nldrb r5, [r7, r5]\nldrb r6, [r7, r6]\n"
    };
}

/// The sides of a tile of 16 positions, and of one of 9.
macro_rules! left {
    () => {
        side!("ldr r6, [r0], #4\n", "64", "128", "192")
    };
}

macro_rules! right {
    () => {
        side!("ldr r6, [r0, #32]\n", "96", "160", "224")
    };
}

macro_rules! enlarged_left {
    () => {
        enlarged_side!("ldr r6, [r0], #4\n", "64", "128")
    };
}

macro_rules! enlarged_right {
    () => {
        enlarged_side!("ldr r6, [r0, #32]\n", "96", "160")
    };
}

/// A channel's four outputs.
macro_rules! channel {
    ($shift:literal, $left:expr, $right:expr, $last:expr) => {
        concat!(
            "ldr lr, [r1], #4\n",
            $right,
            outputs!($shift, $last, "[r3, r4]", "[r2, r4]"),
            $left,
            outputs!($shift, $last, "[r3], #1", "[r2], #1"),
        )
    };
}

macro_rules! gather {
    ($gather:expr, $count:expr, $shift:literal, $left:expr, $right:expr, $last:expr) => {
        asm!(
            ".arch armv7e-m",
            "push {{r4-r11, lr}}",
            "push {{r0, r1}}",
            "ldr r7, [r0, #28]",
            "ldrd r8, r9, [r0, #20]",
            "ldm r0, {{r1-r4, r10}}",
            "mov r0, r4",
            "mov r4, r10",
            "ldr r10, [sp, #4]",
            "cmp r10, #4",
            "beq.w 21f",
            "20:",
            channel!($shift, $left, $right, $last),
            "ldr r10, [sp, #4]",
            "subs r10, r10, #1",
            "str r10, [sp, #4]",
            "bne 20b",
            "b.w 22f",
            "21:",
            ".rept 4",
            channel!($shift, $left, $right, $last),
            ".endr",
            "22:",
            "ldr r0, [sp], #8",
            "stm r0, {{r1-r3}}",
            "pop {{r4-r11, lr}}",
            inout("r0") &raw mut *$gather => _,
            inout("r1") $count => _,
            out("r2") _,
            out("r3") _,
            out("r12") _,
        )
    };
}

/// `out = saturate(…)`, or through the table, for 1 to 4 channels of the corners of a tile.
///
/// # Safety
/// The pointers lead to what they say, for `count` channels.
#[inline(never)]
pub(super) unsafe fn tile<const ENLARGED: bool, const DOWN: bool, const TABLE: bool>(
    gather: &mut Gather,
    count: usize,
) {
    // All of them read and write what the caller vouches for, and restore what they push.
    match (ENLARGED, DOWN, TABLE) {
        // SAFETY: see above.
        (false, false, false) => unsafe { gather!(gather, count, "lsl", left!(), right!(), saturate!()) },
        // SAFETY: see above.
        (false, false, true) => unsafe { gather!(gather, count, "lsl", left!(), right!(), look_up!()) },
        // SAFETY: see above.
        (false, true, false) => unsafe { gather!(gather, count, "asr", left!(), right!(), saturate!()) },
        // SAFETY: see above.
        (false, true, true) => unsafe { gather!(gather, count, "asr", left!(), right!(), look_up!()) },
        // SAFETY: see above.
        (true, _, false) => unsafe { gather!(gather, count, "lsl", enlarged_left!(), enlarged_right!(), saturate!()) },
        // SAFETY: see above.
        (true, _, true) => unsafe { gather!(gather, count, "lsl", enlarged_left!(), enlarged_right!(), look_up!()) },
    }
}
