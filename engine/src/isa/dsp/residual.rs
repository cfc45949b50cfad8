//! A residual on Winograd's way back.

use core::arch::asm;

use super::gather::{Corners, next_tile};

/// Results along rows, and what is added to them.
#[repr(C)]
pub(super) struct Residuals {
    /// A factor a channel.
    pub factors: *const i32,
    /// Of the rows that either output of a column alone is made of, the upper output's first:
    /// `[2 rows][left, right][2 tiles][4 channels]`.
    pub rows: *mut i32,
    /// Where one or two tiles' residuals are; the last is none.
    pub corners: [Corners; 3],
}

/// The residuals at `$place`, added to the sums at `$rows`.
macro_rules! corner {
    ($place:literal, $rows:literal) => {
        concat!(
            "ldr r5, ",
            $place,
            "\nldrd r10, r11, [r0, #",
            $rows,
            "]\nldrd r12, lr, [r0, #(",
            $rows,
            " + 8)]\n",
            "sxtb r1, r5\nmla r10, r1, r6, r10\nsxtb r1, r5, ror #8\nmla r11, r1, r7, r11\n",
            "sxtb r1, r5, ror #16\nmla r12, r1, r8, r12\nasr r1, r5, #24\nmla lr, r1, r9, lr\n",
            "strd r10, r11, [r0, #",
            $rows,
            "]\nstrd r12, lr, [r0, #(",
            $rows,
            " + 8)]\n"
        )
    };
}

/// Adds four channels of the corners of the tiles, in units of the sums: factors are shifted up by `SHIFT`.
///
/// # Safety
/// The pointers lead to what they say.
#[inline(never)]
pub(super) unsafe fn add<const SHIFT: u32>(residuals: &mut Residuals) {
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r4-r11, lr}}",
            "ldm r0!, {{r1, r12}}",
            "ldm r1, {{r6-r9}}",
            ".if {SHIFT}",
            ".irp factor, r6, r7, r8, r9",
            "lsl \\factor, \\factor, #{SHIFT}",
            ".endr",
            ".endif",
            "ldm r0!, {{r2-r4}}",
            "push {{r0}}",
            "mov r0, r12",
            "20:",
            corner!("[r2]", "0"),
            corner!("[r2, r4]", "32"),
            corner!("[r3]", "64"),
            corner!("[r3, r4]", "96"),
            "add r0, r0, #16",
            "add r2, r2, #4",
            "add r3, r3, #4",
            next_tile!(),
            "add sp, sp, #4",
            "pop {{r4-r11, lr}}",
            SHIFT = const SHIFT,
            inout("r0") &raw mut *residuals => _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r12") _,
        );
    }
}
