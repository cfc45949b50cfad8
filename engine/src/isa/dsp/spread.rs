//! From a tile of inputs to v, for four channels; and copies of pixels.

use core::arch::asm;

/// Where a tile's inputs lie, and where its v goes.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Spread {
    /// The first quadruple of channels of the tile's first pixel.
    pub input: *const i8,
    /// From a row to the next, in bytes.
    pub row: usize,
    /// From a pixel to the next, in bytes.
    pub pixel: usize,
    /// Of the first quadruple: `[2 pairs][positions][2 tiles]` of words.
    pub output: *mut u32,
}

/// v of a tile of 4×4 inputs, on `quads` quadruples of channels.
///
/// # Safety
/// The pointers lead to as much as that, and `quads` > 0.
#[inline(never)]
pub(super) unsafe fn tile(spread: &Spread, quads: usize) {
    // Columns first, each onto the stack as `[row][column][2 pairs]`; then rows.
    //
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r0-r11, lr}}",
            "sub sp, sp, #128",
            "ldm r0, {{r0-r3}}",
            "add r12, r1, r1, lsl #1",
            "20:",
            "str r0, [sp, #128]",
            ".irp column, 0, 1, 2, 3",
            "ldr r4, [r0]",
            "ldr r5, [r0, r1]",
            "ldr r6, [r0, r1, lsl #1]",
            "ldr r7, [r0, r12]",
            "add r0, r0, r2",
            "sxtb16 r8, r5",
            "sxtb16 r9, r5, ror #8",
            "sxtb16 r10, r6",
            "sxtb16 r11, r6, ror #8",
            "sxtb16 r5, r4",
            "sxtb16 r6, r4, ror #8",
            "ssub16 r5, r5, r10",
            "ssub16 r6, r6, r11",
            "strd r5, r6, [sp, #(64 + 8 * \\column)]",
            "sxtb16 r5, r7",
            "sxtb16 r6, r7, ror #8",
            "ssub16 r5, r5, r8",
            "ssub16 r6, r6, r9",
            "strd r5, r6, [sp, #(96 + 8 * \\column)]",
            "sadd16 r5, r8, r10",
            "sadd16 r6, r9, r11",
            "ssub16 r8, r10, r8",
            "ssub16 r9, r11, r9",
            "strd r5, r6, [sp, #(8 * \\column)]",
            "strd r8, r9, [sp, #(32 + 8 * \\column)]",
            ".endr",
            "mov r0, sp",
            ".irp row, 0, 1, 2, 3",
            "ldm r0!, {{r4-r11}}",
            "sadd16 lr, r6, r8",
            "str lr, [r3, #(32 * \\row)]",
            "ssub16 lr, r8, r6",
            "str lr, [r3, #(32 * \\row + 8)]",
            "ssub16 r4, r4, r8",
            "str r4, [r3, #(32 * \\row + 16)]",
            "ssub16 r10, r10, r6",
            "str r10, [r3, #(32 * \\row + 24)]",
            "sadd16 lr, r7, r9",
            "str lr, [r3, #(128 + 32 * \\row)]",
            "ssub16 lr, r9, r7",
            "str lr, [r3, #(128 + 32 * \\row + 8)]",
            "ssub16 r5, r5, r9",
            "str r5, [r3, #(128 + 32 * \\row + 16)]",
            "ssub16 r11, r11, r7",
            "str r11, [r3, #(128 + 32 * \\row + 24)]",
            ".endr",
            "ldrd r0, r4, [sp, #128]",
            "add r0, r0, #4",
            "add r3, r3, #256",
            "subs r4, r4, #1",
            "str r4, [sp, #132]",
            "bne.w 20b",
            "add sp, sp, #128",
            "pop {{r0-r11, lr}}",
            in("r0") spread,
            in("r1") quads,
            out("r12") _,
        );
    }
}

/// v of two neighbouring tiles, 4×6 inputs, on `quads` quadruples of channels.
///
/// # Safety
/// The pointers lead to as much as that, and `quads` > 0.
#[inline(never)]
pub(super) unsafe fn pair(spread: &Spread, quads: usize) {
    // As for one, but onto the stack as `[2 pairs][row][column]`.
    //
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r0-r11, lr}}",
            "sub sp, sp, #192",
            "ldm r0, {{r0-r3}}",
            "add r12, r1, r1, lsl #1",
            "20:",
            "str r0, [sp, #192]",
            ".irp column, 0, 1, 2, 3, 4, 5",
            "ldr r4, [r0]",
            "ldr r5, [r0, r1]",
            "ldr r6, [r0, r1, lsl #1]",
            "ldr r7, [r0, r12]",
            "add r0, r0, r2",
            "sxtb16 r8, r5",
            "sxtb16 r9, r5, ror #8",
            "sxtb16 r10, r6",
            "sxtb16 r11, r6, ror #8",
            "sxtb16 r5, r4",
            "sxtb16 r6, r4, ror #8",
            "ssub16 r5, r5, r10",
            "ssub16 r6, r6, r11",
            "str r5, [sp, #(48 + 4 * \\column)]",
            "str r6, [sp, #(144 + 4 * \\column)]",
            "sxtb16 r5, r7",
            "sxtb16 r6, r7, ror #8",
            "ssub16 r5, r5, r8",
            "ssub16 r6, r6, r9",
            "str r5, [sp, #(72 + 4 * \\column)]",
            "str r6, [sp, #(168 + 4 * \\column)]",
            "sadd16 r5, r8, r10",
            "sadd16 r6, r9, r11",
            "ssub16 r8, r10, r8",
            "ssub16 r9, r11, r9",
            "str r5, [sp, #(4 * \\column)]",
            "str r6, [sp, #(96 + 4 * \\column)]",
            "str r8, [sp, #(24 + 4 * \\column)]",
            "str r9, [sp, #(120 + 4 * \\column)]",
            ".endr",
            "mov r0, sp",
            ".irp row, 0, 1, 2, 3, 4, 5, 6, 7",
            "ldm r0!, {{r4-r9}}",
            "sadd16 r10, r5, r6",
            "sadd16 r11, r7, r8",
            "strd r10, r11, [r3, #(32 * \\row)]",
            "ssub16 r10, r6, r5",
            "ssub16 r11, r8, r7",
            "strd r10, r11, [r3, #(32 * \\row + 8)]",
            "ssub16 r10, r4, r6",
            "ssub16 r11, r6, r8",
            "strd r10, r11, [r3, #(32 * \\row + 16)]",
            "ssub16 r10, r7, r5",
            "ssub16 r11, r9, r7",
            "strd r10, r11, [r3, #(32 * \\row + 24)]",
            ".endr",
            "ldrd r0, r4, [sp, #192]",
            "add r0, r0, #4",
            "add r3, r3, #256",
            "subs r4, r4, #1",
            "str r4, [sp, #196]",
            "bne.w 20b",
            "add sp, sp, #192",
            "pop {{r0-r11, lr}}",
            in("r0") spread,
            in("r1") quads,
            out("r12") _,
        );
    }
}

/// v of a tile of 3×3 inputs that stands for an enlarged one, on `quads` quadruples of channels.
///
/// # Safety
/// The pointers lead to as much as that, and `quads` > 0.
#[inline(never)]
pub(super) unsafe fn enlarged_tile(spread: &Spread, quads: usize) {
    // As above.
    //
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r0-r11, lr}}",
            "sub sp, sp, #72",
            "ldm r0, {{r0-r3}}",
            "20:",
            "str r0, [sp, #72]",
            ".irp column, 0, 1, 2",
            "ldr r4, [r0]",
            "ldr r5, [r0, r1]",
            "ldr r6, [r0, r1, lsl #1]",
            "add r0, r0, r2",
            "sxtb16 r8, r5",
            "sxtb16 r9, r5, ror #8",
            "strd r8, r9, [sp, #(8 * \\column)]",
            "sxtb16 r10, r4",
            "sxtb16 r11, r4, ror #8",
            "ssub16 r10, r10, r8",
            "ssub16 r11, r11, r9",
            "strd r10, r11, [sp, #(24 + 8 * \\column)]",
            "sxtb16 r10, r6",
            "sxtb16 r11, r6, ror #8",
            "ssub16 r10, r10, r8",
            "ssub16 r11, r11, r9",
            "strd r10, r11, [sp, #(48 + 8 * \\column)]",
            ".endr",
            "mov r0, sp",
            ".irp row, 0, 1, 2",
            "ldm r0!, {{r4-r9}}",
            "str r6, [r3, #(24 * \\row)]",
            "ssub16 r4, r4, r6",
            "str r4, [r3, #(24 * \\row + 8)]",
            "ssub16 r8, r8, r6",
            "str r8, [r3, #(24 * \\row + 16)]",
            "str r7, [r3, #(72 + 24 * \\row)]",
            "ssub16 r5, r5, r7",
            "str r5, [r3, #(72 + 24 * \\row + 8)]",
            "ssub16 r9, r9, r7",
            "str r9, [r3, #(72 + 24 * \\row + 16)]",
            ".endr",
            "ldrd r0, r4, [sp, #72]",
            "add r0, r0, #4",
            "add r3, r3, #144",
            "subs r4, r4, #1",
            "str r4, [sp, #76]",
            "bne.w 20b",
            "add sp, sp, #72",
            "pop {{r0-r11, lr}}",
            in("r0") spread,
            in("r1") quads,
            out("r12") _,
        );
    }
}

/// Copies `bytes` bytes of each of `pixels` pixels, which lie `steps` bytes apart where they are and where they go.
///
/// # Safety
/// The pointers lead to as much as that; neither `bytes` nor `pixels` is 0.
#[inline(never)]
pub(super) unsafe fn copy(from: *const i8, to: *mut i8, bytes: usize, pixels: usize, steps: [usize; 2]) {
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r4-r11}}",
            "mov r10, r4",
            "mov r11, r5",
            "20:",
            "mov r8, r0",
            "mov r9, r1",
            "subs r12, r2, #16",
            "blt 22f",
            "21:",
            // Words may lie anywhere.
            ".irp word, r4, r5, r6, r7",
            "ldr \\word, [r8], #4",
            ".endr",
            ".irp word, r4, r5, r6, r7",
            "str \\word, [r9], #4",
            ".endr",
            "subs r12, r12, #16",
            "bge 21b",
            "22:",
            "adds r12, r12, #12",
            "blt 24f",
            "23:",
            "ldr r4, [r8], #4",
            "str r4, [r9], #4",
            "subs r12, r12, #4",
            "bge 23b",
            "24:",
            "adds r12, r12, #4",
            "beq 26f",
            "25:",
            "ldrb r4, [r8], #1",
            "strb r4, [r9], #1",
            "subs r12, r12, #1",
            "bne 25b",
            "26:",
            "add r0, r0, r10",
            "add r1, r1, r11",
            "subs r3, r3, #1",
            "bne 20b",
            "pop {{r4-r11}}",
            inout("r0") from => _,
            inout("r1") to => _,
            in("r2") bytes,
            inout("r3") pixels => _,
            in("r4") steps[0],
            in("r5") steps[1],
            out("r12") _,
        );
    }
}
