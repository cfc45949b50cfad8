//! The other half of Winograd's way back, along columns, and the outputs of two tiles.

use core::arch::asm;

/// Where a tile's outputs go, four channels at a time.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Corners {
    /// The first channel of the upper left pixel, or null where there is no tile; moves on.
    pub above: *mut i8,
    /// And of the lower left one, the same as `above` where there is none; moves on.
    pub below: *mut i8,
    /// From a pixel to the next, in bytes; 0 where there is none.
    pub pixel: usize,
}

impl Corners {
    /// No tile.
    pub(super) const NONE: Self = Self { above: core::ptr::null_mut(), below: core::ptr::null_mut(), pixel: 0 };
}

/// The corners of this tile are kept, the next one's loaded; the loop's end where there is none. At the top of the stack is
/// the place of the next corners.
macro_rules! next_tile {
    () => {
        "ldr r5, [sp]\nstrd r2, r3, [r5, #-12]\nldm r5!, {{r2-r4}}\nstr r5, [sp]\ncmp r2, #0\nbne.w 20b\n"
    };
}
pub(super) use next_tile;

/// Results along rows, and their outputs.
#[repr(C)]
pub(super) struct Gather {
    /// A factor a channel.
    pub multipliers: *const i32,
    /// The middle of the table, or null.
    pub table: *const i8,
    /// By how much sums are shifted, up or down; see [`crate::requantize::requantize`].
    pub shift: u32,
    /// Of the output, or of the table's index.
    pub zero_point: u32,
    /// `[rows][left, right][2 tiles][4 channels]`.
    pub rows: *const i32,
    /// Of one or two tiles; the last is none.
    pub corners: [Corners; 3],
}

/// Two channels' sums of a side, upper ones in r5 and r6, lower ones in r12 and lr.
macro_rules! side {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "ldrd r10, r11, [r0, #",
            $b,
            "]\nldrd r5, r6, [r0",
            $a,
            "\nsub r12, r5, r10\nsub lr, r6, r11\nadd r5, r5, r10\nadd r6, r6, r11\nldrd r10, r11, [r0, #",
            $c,
            "]\nadd r5, r5, r10\nadd r6, r6, r11\nldrd r10, r11, [r0, #",
            $d,
            "]\nadd r12, r12, r10\nadd lr, lr, r11\n"
        )
    };
}

macro_rules! enlarged_side {
    ($a:literal, $b:literal, $c:literal) => {
        concat!(
            "ldrd r10, r11, [r0, #",
            $c,
            "]\nldrd r5, r6, [r0",
            $a,
            "\nadd r12, r5, r10\nadd lr, r6, r11\nldrd r10, r11, [r0, #",
            $b,
            "]\nadd r5, r5, r10\nadd r6, r6, r11\n"
        )
    };
}

/// The sides of a tile of 16 positions, and of one of 9.
macro_rules! left {
    () => {
        side!("], #8", "64", "120", "184")
    };
}

macro_rules! right {
    () => {
        side!(", #32]", "96", "160", "224")
    };
}

macro_rules! enlarged_left {
    () => {
        enlarged_side!("], #8", "56", "128")
    };
}

macro_rules! enlarged_right {
    () => {
        enlarged_side!(", #32]", "96", "160")
    };
}

/// What becomes of a side's sums, and where: results without a place of their own come first, and are overwritten.
macro_rules! outputs {
    ($shift:literal, $multipliers:literal, $last:expr, $below:literal, $above:literal) => {
        concat!(
            "ldrd r10, r11, [r1]",
            $multipliers,
            "\n.irp sum, r5, r6, r12, lr\n",
            $shift,
            " \\sum, \\sum, r8\n.endr\n",
            "smmlar r5, r5, r10, r9\nsmmlar r6, r6, r11, r9\nsmmlar r12, r12, r10, r9\nsmmlar lr, lr, r11, r9\n",
            $last,
            "bfi r12, lr, #8, #8\nstrh r12, ",
            $below,
            "\nbfi r5, r6, #8, #8\nstrh r5, ",
            $above,
            "\n"
        )
    };
}

macro_rules! saturate {
    () => {
        ".irp sum, r5, r6, r12, lr\nssat \\sum, #8, \\sum\n.endr\n"
    };
}

macro_rules! look_up {
    () => {
        ".irp sum, r5, r6, r12, lr\nssat \\sum, #10, \\sum\n.endr\n.irp sum, r5, r6, r12, lr\nldrb \\sum, [r7, \\sum]\n.endr\n"
    };
}

macro_rules! gather {
    ($gather:expr, $shift:literal, $left:expr, $right:expr, $last:expr) => {
        asm!(
            ".arch armv7e-m",
            "push {{r4-r11, lr}}",
            "ldm r0!, {{r1, r7-r10}}",
            "ldm r0!, {{r2-r4}}",
            "push {{r0}}",
            "mov r0, r10",
            "20:",
            // Two channels, twice.
            ".rept 2",
            $right,
            outputs!($shift, "", $last, "[r3, r4]", "[r2, r4]"),
            $left,
            outputs!($shift, ", #8", $last, "[r3], #2", "[r2], #2"),
            ".endr",
            // The second tile's rows follow, the factors are the same.
            "sub r1, r1, #16",
            next_tile!(),
            "add sp, sp, #4",
            "pop {{r4-r11, lr}}",
            inout("r0") &raw mut *$gather => _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r12") _,
        )
    };
}

/// `out = saturate(…)`, or through the table, for four channels of the corners of the tiles.
///
/// # Safety
/// The pointers lead to what they say.
#[inline(never)]
pub(super) unsafe fn tiles<const ENLARGED: bool, const DOWN: bool, const TABLE: bool>(gather: &mut Gather) {
    // All of them read and write what the caller vouches for, and restore what they push.
    match (ENLARGED, DOWN, TABLE) {
        // SAFETY: see above.
        (false, false, false) => unsafe { gather!(gather, "lsl", left!(), right!(), saturate!()) },
        // SAFETY: see above.
        (false, false, true) => unsafe { gather!(gather, "lsl", left!(), right!(), look_up!()) },
        // SAFETY: see above.
        (false, true, false) => unsafe { gather!(gather, "asr", left!(), right!(), saturate!()) },
        // SAFETY: see above.
        (false, true, true) => unsafe { gather!(gather, "asr", left!(), right!(), look_up!()) },
        // SAFETY: see above.
        (true, _, false) => unsafe { gather!(gather, "lsl", enlarged_left!(), enlarged_right!(), saturate!()) },
        // SAFETY: see above.
        (true, _, true) => unsafe { gather!(gather, "lsl", enlarged_left!(), enlarged_right!(), look_up!()) },
    }
}
