//! From int8 weights to u, for the input channels of an output channel.

use core::arch::asm;

/// A column of the kernel, of both pairs of a quadruple, onto the stack as `[row][2 pairs][3 columns]`.
macro_rules! column {
    ($column:literal, $pair:literal, $rotation:literal) => {
        concat!(
            "sxtb16 r7, r4",
            $rotation,
            "\nsxtb16 r8, r5",
            $rotation,
            "\nsxtb16 r9, r6",
            $rotation,
            "\nsadd16 r10, r7, r9\nsadd16 r11, r10, r8\nstr r11, [sp, #(12 * ",
            $pair,
            " + 4 * ",
            $column,
            ")]\n.if {ENLARGED}\nstr r7, [sp, #(24 + 12 * ",
            $pair,
            " + 4 * ",
            $column,
            ")]\nstr r9, [sp, #(48 + 12 * ",
            $pair,
            " + 4 * ",
            $column,
            ")]\n.else\nssub16 r10, r10, r8\nsadd16 r7, r7, r7\nsadd16 r9, r9, r9\nstr r10, [sp, #(24 + 12 * ",
            $pair,
            " + 4 * ",
            $column,
            ")]\nstr r7, [sp, #(48 + 12 * ",
            $pair,
            " + 4 * ",
            $column,
            ")]\nstr r9, [sp, #(72 + 12 * ",
            $pair,
            " + 4 * ",
            $column,
            ")]\n.endif\n"
        )
    };
}

/// Both pairs' next position.
macro_rules! store {
    ($first:literal, $second:literal) => {
        concat!("str ", $first, ", [lr]\nstr ", $second, ", [lr, #16]\nadd lr, lr, r2\n")
    };
}

/// u of `quads` quadruples of input channels, `plain` being `[quads][9 taps][4]`: words of pairs of channels, `[quads][2]`,
/// 16 bytes apart, and a position every `position_bytes`.
///
/// # Safety
/// There are so many, and places for all positions; `quads` is not 0.
#[inline(never)]
pub(super) unsafe fn channel<const ENLARGED: bool>(
    plain: *const i8,
    transformed: *mut u32,
    position_bytes: usize,
    quads: usize,
) {
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r4-r11, lr}}",
            "sub sp, sp, #96",
            "20:",
            ".irp column, 0, 1, 2",
            "ldr r4, [r0, #(4 * \\column)]",
            "ldr r5, [r0, #(12 + 4 * \\column)]",
            "ldr r6, [r0, #(24 + 4 * \\column)]",
            column!("\\column", "0", ""),
            column!("\\column", "1", ", ror #8"),
            ".endr",
            "mov lr, r1",
            ".irp row, 0, 1, 2, 3",
            ".if \\row < 4 - {ENLARGED}",
            "add r12, sp, #(24 * \\row)",
            "ldm r12, {{r4-r9}}",
            "sadd16 r10, r4, r6",
            "sadd16 r11, r7, r9",
            "sadd16 r12, r10, r5",
            "str r12, [lr]",
            "sadd16 r12, r11, r8",
            "str r12, [lr, #16]",
            "add lr, lr, r2",
            ".if {ENLARGED} == 0",
            "ssub16 r10, r10, r5",
            "ssub16 r11, r11, r8",
            store!("r10", "r11"),
            ".irp tap, r4, r7, r6, r9",
            "sadd16 \\tap, \\tap, \\tap",
            ".endr",
            ".endif",
            store!("r4", "r7"),
            store!("r6", "r9"),
            ".endif",
            ".endr",
            "add r0, r0, #36",
            "add r1, r1, #32",
            "subs r3, r3, #1",
            "bne.w 20b",
            "add sp, sp, #96",
            "pop {{r4-r11, lr}}",
            ENLARGED = const ENLARGED as u8,
            inout("r0") plain => _,
            inout("r1") transformed => _,
            in("r2") position_bytes,
            inout("r3") quads => _,
            out("r12") _,
        );
    }
}
