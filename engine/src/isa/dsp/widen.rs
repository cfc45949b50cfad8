//! From inputs to the columns of a tile of four pixels.

use core::arch::asm;

/// Widens quadruples of int8 into the columns of one pixel of four.
///
/// # Safety
/// `quads` > 0 quadruples are at `input`; twice as many words, every fourth, at `output`.
#[inline(always)]
pub(super) unsafe fn widen(input: *const i8, output: *mut u32, quads: usize) {
    // SAFETY: reads and writes what the caller vouches for.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "ands {rest}, {quads}, #3",
            "beq 21f",
            "20:",
            "ldr {even}, [{input}], #4",
            "sxtb16 {odd}, {even}, ror #8",
            "sxtb16 {even}, {even}",
            "str {even}, [{output}], #{step}",
            "str {odd}, [{output}], #{step}",
            "subs {rest}, {rest}, #1",
            "bne 20b",
            "21:",
            "lsrs {quads}, {quads}, #2",
            "beq 23f",
            "22:",
            ".rept 4",
            "ldr {even}, [{input}], #4",
            "sxtb16 {odd}, {even}, ror #8",
            "sxtb16 {even}, {even}",
            "str {even}, [{output}], #{step}",
            "str {odd}, [{output}], #{step}",
            ".endr",
            "subs {quads}, {quads}, #1",
            "bne 22b",
            "23:",
            input = inout(reg) input => _,
            output = inout(reg) output => _,
            quads = inout(reg) quads => _,
            even = out(reg) _,
            odd = out(reg) _,
            rest = out(reg) _,
            step = const 16,
            options(nostack),
        );
    }
}

/// Widens `len` values of each of `pixels` pixels, which follow each other, into columns of four pixels.
///
/// # Safety
/// They are there, and so are columns for them; `len` is at least 4, `pixels` 1 to 4.
#[inline(always)]
pub(super) unsafe fn widen_pixels(input: *const i8, columns: *mut u32, len: usize, pixels: usize) {
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r4-r9}}",
            // What is left of the last four values.
            "and r9, r2, #3",
            "rsb r8, r9, #4",
            "lsl r8, r8, #3",
            "20:",
            "mov r4, r1",
            "subs r5, r2, #16",
            "blt 22f",
            "21:",
            ".rept 4",
            "ldr r6, [r0], #4",
            "sxtb16 r7, r6, ror #8",
            "sxtb16 r6, r6",
            "str r6, [r4], #16",
            "str r7, [r4], #16",
            ".endr",
            "subs r5, r5, #16",
            "bge 21b",
            "22:",
            "adds r5, r5, #12",
            "blt 24f",
            "23:",
            "ldr r6, [r0], #4",
            "sxtb16 r7, r6, ror #8",
            "sxtb16 r6, r6",
            "str r6, [r4], #16",
            "str r7, [r4], #16",
            "subs r5, r5, #4",
            "bge 23b",
            "24:",
            "cmp r9, #0",
            "beq 25f",
            "add r0, r0, r9",
            "ldr r6, [r0, #-4]",
            "lsr r6, r6, r8",
            "sxtb16 r7, r6, ror #8",
            "sxtb16 r6, r6",
            "pkhbt r5, r6, r7, lsl #16",
            "str r5, [r4]",
            "cmp r9, #3",
            "itt eq",
            "pkhtbeq r5, r7, r6, asr #16",
            "streq r5, [r4, #16]",
            "25:",
            "add r1, r1, #4",
            "subs r3, r3, #1",
            "bne 20b",
            "pop {{r4-r9}}",
            inout("r0") input => _,
            inout("r1") columns => _,
            in("r2") len,
            inout("r3") pixels => _,
        );
    }
}

/// Moves quadruples of int16 into the columns of one pixel of four, even taps first.
///
/// # Safety
/// `quads` > 0 quadruples are at `input`; twice as many words, every fourth, at `output`.
#[inline(always)]
pub(super) unsafe fn spread_codes(input: *const i16, output: *mut u32, quads: usize) {
    // SAFETY: reads and writes what the caller vouches for.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "20:",
            "ldr {first}, [{input}], #4",
            "ldr {second}, [{input}], #4",
            "pkhbt {even}, {first}, {second}, lsl #16",
            "pkhtb {second}, {second}, {first}, asr #16",
            "str {even}, [{output}], #{step}",
            "str {second}, [{output}], #{step}",
            "subs {quads}, {quads}, #1",
            "bne 20b",
            input = inout(reg) input => _,
            output = inout(reg) output => _,
            quads = inout(reg) quads => _,
            first = out(reg) _,
            second = out(reg) _,
            even = out(reg) _,
            step = const 16,
            options(nostack),
        );
    }
}
