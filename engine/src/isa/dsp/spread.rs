//! From a tile of inputs to v, for four channels; and copies of pixels.

use core::arch::asm;

/// Where a tile's inputs lie, and where its v goes.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Spread {
    /// The first quadruple of channels of the tile's first pixel, int8 or int16.
    pub input: *const i8,
    /// From a row to the next, in bytes.
    pub row: usize,
    /// From a pixel to the next, in bytes.
    pub pixel: usize,
    /// Of the first quadruple: `[2 pairs][positions][2 tiles]` of words.
    pub output: *mut u32,
}

/// v of a column of four pixels along that column alone, of four channels of int8; `$put` keeps a row's two pairs.
macro_rules! bytes {
    ($put:ident) => {
        concat!(
            "ldr r4, [r0]\nldr r5, [r0, r1]\nldr r6, [r0, r1, lsl #1]\nldr r7, [r0, r12]\nadd r0, r0, r2\n",
            "sxtb16 r8, r5\nsxtb16 r9, r5, ror #8\nsxtb16 r10, r6\nsxtb16 r11, r6, ror #8\n",
            "sxtb16 r5, r4\nsxtb16 r6, r4, ror #8\nssub16 r5, r5, r10\nssub16 r6, r6, r11\n",
            $put!("2", "r5", "r6"),
            "sxtb16 r5, r7\nsxtb16 r6, r7, ror #8\nssub16 r5, r5, r8\nssub16 r6, r6, r9\n",
            $put!("3", "r5", "r6"),
            "sadd16 r5, r8, r10\nsadd16 r6, r9, r11\nssub16 r8, r10, r8\nssub16 r9, r11, r9\n",
            $put!("0", "r5", "r6"),
            $put!("1", "r8", "r9"),
        )
    };
}

/// The same of int16.
macro_rules! codes {
    ($put:ident) => {
        concat!(
            "ldr r4, [r0]\nldr r5, [r0, #4]\nadd r12, r0, r1\nldr r6, [r12]\nldr r7, [r12, #4]\nadd r12, r12, r1\n",
            "ldr r8, [r12]\nldr r9, [r12, #4]\nadd r12, r12, r1\nldr r10, [r12]\nldr r11, [r12, #4]\nadd r0, r0, r2\n",
            "pkhbt lr, r4, r5, lsl #16\npkhtb r5, r5, r4, asr #16\n",
            "pkhbt r4, r6, r7, lsl #16\npkhtb r7, r7, r6, asr #16\n",
            "pkhbt r6, r8, r9, lsl #16\npkhtb r9, r9, r8, asr #16\n",
            "pkhbt r8, r10, r11, lsl #16\npkhtb r11, r11, r10, asr #16\n",
            "ssub16 lr, lr, r6\nssub16 r5, r5, r9\n",
            $put!("2", "lr", "r5"),
            "ssub16 r8, r8, r4\nssub16 r11, r11, r7\n",
            $put!("3", "r8", "r11"),
            "sadd16 r10, r4, r6\nsadd16 r12, r7, r9\nssub16 r6, r6, r4\nssub16 r9, r9, r7\n",
            $put!("0", "r10", "r12"),
            $put!("1", "r6", "r9"),
        )
    };
}

/// The same of a column of three pixels, which stands for an enlarged one.
macro_rules! enlarged_bytes {
    ($put:ident) => {
        concat!(
            "ldr r4, [r0]\nldr r5, [r0, r1]\nldr r6, [r0, r1, lsl #1]\nadd r0, r0, r2\n",
            "sxtb16 r8, r5\nsxtb16 r9, r5, ror #8\n",
            $put!("0", "r8", "r9"),
            "sxtb16 r10, r4\nsxtb16 r11, r4, ror #8\nssub16 r10, r10, r8\nssub16 r11, r11, r9\n",
            $put!("1", "r10", "r11"),
            "sxtb16 r10, r6\nsxtb16 r11, r6, ror #8\nssub16 r10, r10, r8\nssub16 r11, r11, r9\n",
            $put!("2", "r10", "r11"),
        )
    };
}

/// The same of int16.
macro_rules! enlarged_codes {
    ($put:ident) => {
        concat!(
            "ldr r4, [r0]\nldr r5, [r0, #4]\nadd r10, r0, r1\nldr r6, [r10]\nldr r7, [r10, #4]\nadd r10, r10, r1\n",
            "ldr r8, [r10]\nldr r9, [r10, #4]\nadd r0, r0, r2\n",
            "pkhbt r10, r4, r5, lsl #16\npkhtb r11, r5, r4, asr #16\n",
            "pkhbt r4, r6, r7, lsl #16\npkhtb r5, r7, r6, asr #16\n",
            "pkhbt r6, r8, r9, lsl #16\npkhtb r7, r9, r8, asr #16\n",
            $put!("0", "r4", "r5"),
            "ssub16 r10, r10, r4\nssub16 r11, r11, r5\nssub16 r6, r6, r4\nssub16 r7, r7, r5\n",
            $put!("1", "r10", "r11"),
            $put!("2", "r6", "r7"),
        )
    };
}

/// Keeps `[row][column][2 pairs]` of four columns on the stack, `[2 pairs][row][column]` of six, and
/// `[row][column][2 pairs]` of three.
macro_rules! put_tile {
    ($row:literal, $first:literal, $second:literal) => {
        concat!("strd ", $first, ", ", $second, ", [sp, #(32 * ", $row, " + 8 * \\column)]\n")
    };
}

macro_rules! put_pair {
    ($row:literal, $first:literal, $second:literal) => {
        concat!(
            "str ",
            $first,
            ", [sp, #(24 * ",
            $row,
            " + 4 * \\column)]\nstr ",
            $second,
            ", [sp, #(96 + 24 * ",
            $row,
            " + 4 * \\column)]\n"
        )
    };
}

macro_rules! put_enlarged {
    ($row:literal, $first:literal, $second:literal) => {
        concat!("strd ", $first, ", ", $second, ", [sp, #(24 * ", $row, " + 8 * \\column)]\n")
    };
}

macro_rules! tile {
    ($spread:expr, $quads:expr, $columns:expr, $quad_bytes:literal) => {
        // Columns first, onto the stack; then rows.
        asm!(
            ".arch armv7e-m",
            "push {{r0-r11, lr}}",
            "sub sp, sp, #128",
            "ldm r0, {{r0-r3}}",
            "20:",
            "str r0, [sp, #128]",
            "add r12, r1, r1, lsl #1",
            ".irp column, 0, 1, 2, 3",
            $columns,
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
            concat!("add r0, r0, #", $quad_bytes),
            "add r3, r3, #256",
            "subs r4, r4, #1",
            "str r4, [sp, #132]",
            "bne.w 20b",
            "add sp, sp, #128",
            "pop {{r0-r11, lr}}",
            in("r0") $spread,
            in("r1") $quads,
            out("r12") _,
        )
    };
}

/// v of a tile of 4×4 inputs, on `quads` quadruples of channels, of int16 if they are `FINE`.
///
/// # Safety
/// The pointers lead to as much as that, and `quads` > 0.
#[inline(never)]
pub(super) unsafe fn tile<const FINE: bool>(spread: &Spread, quads: usize) {
    // Both read and write what the caller vouches for, and restore what they push.
    if FINE {
        // SAFETY: see above.
        unsafe { tile!(spread, quads, codes!(put_tile), "8") }
    } else {
        // SAFETY: see above.
        unsafe { tile!(spread, quads, bytes!(put_tile), "4") }
    }
}

macro_rules! pair {
    ($spread:expr, $quads:expr, $columns:expr, $quad_bytes:literal) => {
        asm!(
            ".arch armv7e-m",
            "push {{r0-r11, lr}}",
            "sub sp, sp, #192",
            "ldm r0, {{r0-r3}}",
            "20:",
            "str r0, [sp, #192]",
            "add r12, r1, r1, lsl #1",
            ".irp column, 0, 1, 2, 3, 4, 5",
            $columns,
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
            concat!("add r0, r0, #", $quad_bytes),
            "add r3, r3, #256",
            "subs r4, r4, #1",
            "str r4, [sp, #196]",
            "bne.w 20b",
            "add sp, sp, #192",
            "pop {{r0-r11, lr}}",
            in("r0") $spread,
            in("r1") $quads,
            out("r12") _,
        )
    };
}

/// v of two neighbouring tiles, 4×6 inputs, on `quads` quadruples of channels, of int16 if they are `FINE`.
///
/// # Safety
/// The pointers lead to as much as that, and `quads` > 0.
#[inline(never)]
pub(super) unsafe fn pair<const FINE: bool>(spread: &Spread, quads: usize) {
    // As for one.
    if FINE {
        // SAFETY: see above.
        unsafe { pair!(spread, quads, codes!(put_pair), "8") }
    } else {
        // SAFETY: see above.
        unsafe { pair!(spread, quads, bytes!(put_pair), "4") }
    }
}

macro_rules! enlarged_tile {
    ($spread:expr, $quads:expr, $columns:expr, $quad_bytes:literal) => {
        asm!(
            ".arch armv7e-m",
            "push {{r0-r11, lr}}",
            "sub sp, sp, #72",
            "ldm r0, {{r0-r3}}",
            "20:",
            "str r0, [sp, #72]",
            ".irp column, 0, 1, 2",
            $columns,
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
            concat!("add r0, r0, #", $quad_bytes),
            "add r3, r3, #144",
            "subs r4, r4, #1",
            "str r4, [sp, #76]",
            "bne.w 20b",
            "add sp, sp, #72",
            "pop {{r0-r11, lr}}",
            in("r0") $spread,
            in("r1") $quads,
            out("r12") _,
        )
    };
}

/// v of a tile of 3×3 inputs that stands for an enlarged one, on `quads` quadruples of channels, of int16 if they are
/// `FINE`.
///
/// # Safety
/// The pointers lead to as much as that, and `quads` > 0.
#[inline(never)]
pub(super) unsafe fn enlarged_tile<const FINE: bool>(spread: &Spread, quads: usize) {
    // As above.
    if FINE {
        // SAFETY: see above.
        unsafe { enlarged_tile!(spread, quads, enlarged_codes!(put_enlarged), "8") }
    } else {
        // SAFETY: see above.
        unsafe { enlarged_tile!(spread, quads, enlarged_bytes!(put_enlarged), "4") }
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
