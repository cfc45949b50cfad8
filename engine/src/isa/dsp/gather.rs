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
    /// See [`crate::requantize::requantize`].
    pub shift: u32,
    /// Of the output, or of the table's index.
    pub zero_point: u32,
    /// The middle of the table, or null.
    pub table: *const i8,
}

/// What becomes of r5 and r6, and where: results without a place of their own come first, and are overwritten.
macro_rules! outputs {
    ($last:literal, $below:literal, $above:literal) => {
        concat!(
            "lsl r5, r5, r8\nlsl r6, r6, r8\nsmmlar r5, r5, lr, r9\nsmmlar r6, r6, lr, r9\n",
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

macro_rules! gather {
    ($gather:expr, $count:expr, $left:expr, $right:expr, $last:literal) => {
        asm!(
            ".arch armv7e-m",
            "push {{r4-r11, lr}}",
            "push {{r0, r1}}",
            "ldr r7, [r0, #28]",
            "ldrd r8, r9, [r0, #20]",
            "ldm r0, {{r1-r4, r10}}",
            "mov r0, r4",
            "mov r4, r10",
            "20:",
            "ldr lr, [r1], #4",
            $right,
            outputs!($last, "[r3, r4]", "[r2, r4]"),
            $left,
            outputs!($last, "[r3], #1", "[r2], #1"),
            "ldr r10, [sp, #4]",
            "subs r10, r10, #1",
            "str r10, [sp, #4]",
            "bne 20b",
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
#[inline(always)]
pub(super) unsafe fn tile<const ENLARGED: bool, const TABLE: bool>(gather: &mut Gather, count: usize) {
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        match (ENLARGED, TABLE) {
            (false, false) => gather!(
                gather,
                count,
                side!("ldr r6, [r0], #4\n", "64", "128", "192"),
                side!("ldr r6, [r0, #32]\n", "96", "160", "224"),
                "ssat r5, #8, r5\nssat r6, #8, r6\n"
            ),
            (false, true) => gather!(
                gather,
                count,
                side!("ldr r6, [r0], #4\n", "64", "128", "192"),
                side!("ldr r6, [r0, #32]\n", "96", "160", "224"),
                "ssat r5, #10, r5\nssat r6, #10, r6\nldrb r5, [r7, r5]\nldrb r6, [r7, r6]\n"
            ),
            (true, false) => gather!(
                gather,
                count,
                enlarged_side!("ldr r6, [r0], #4\n", "64", "128"),
                enlarged_side!("ldr r6, [r0, #32]\n", "96", "160"),
                "ssat r5, #8, r5\nssat r6, #8, r6\n"
            ),
            (true, true) => gather!(
                gather,
                count,
                enlarged_side!("ldr r6, [r0], #4\n", "64", "128"),
                enlarged_side!("ldr r6, [r0, #32]\n", "96", "160"),
                "ssat r5, #10, r5\nssat r6, #10, r6\nldrb r5, [r7, r5]\nldrb r6, [r7, r6]\n"
            ),
        }
    }
}
