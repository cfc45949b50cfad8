//! Products of int8 weights and int16 columns.

use core::arch::asm;

/// Adds the products of a block of two channels and four pixels to `sums`, `[4 pixels][2 channels]`.
///
/// # Safety
/// `pairs` > 0 pairs of taps lie at `weights`, as words, and at `columns`, as four words each.
#[inline(always)]
pub(super) unsafe fn two_by_four(weights: *const i8, columns: *const i16, pairs: usize, sums: &mut [i32; 8]) {
    // Thirteen instructions for 16 products. All registers are in use: the end of the columns is on the stack, and the
    // first of the passes, of eight pairs each, begins where its number of pairs says.
    //
    // SAFETY: reads what the caller vouches for and the sums, writes the sums, and restores what it pushes.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r3-r11, lr}}",
            "add r12, r1, r2, lsl #4",
            "push {{r12}}",
            "rsb r2, r2, #0",
            "and r2, r2, #7",
            "mov r12, #52",
            "mul r2, r2, r12",
            "adr.w r12, 21f",
            "add r12, r12, r2",
            "add r12, r12, #1",
            "ldm r3, {{r4-r11}}",
            "bx r12",
            ".p2align 2",
            "21:",
            ".rept 8",
            "ldr.w r3, [r0], #4",
            "ldrd r12, lr, [r1], #8",
            "sxtb16 r2, r3",
            "sxtb16 r3, r3, ror #8",
            "smlad r4, r2, r12, r4",
            "smlad r5, r3, r12, r5",
            "smlad r6, r2, lr, r6",
            "smlad r7, r3, lr, r7",
            "ldrd r12, lr, [r1], #8",
            "smlad r8, r2, r12, r8",
            "smlad r9, r3, r12, r9",
            "smlad r10, r2, lr, r10",
            "smlad r11, r3, lr, r11",
            ".endr",
            "ldr.w r12, [sp]",
            "cmp r1, r12",
            "bne.w 21b",
            "ldr r3, [sp, #4]",
            "stm r3, {{r4-r11}}",
            "add sp, sp, #4",
            "pop {{r3-r11, lr}}",
            inout("r0") weights => _,
            inout("r1") columns => _,
            inout("r2") pairs => _,
            in("r3") sums.as_mut_ptr(),
            out("r12") _,
        );
    }
}

/// Adds the products of a block of two channels and one pixel to `sums`, one a channel.
///
/// # Safety
/// `pairs` > 0 pairs of taps lie at `weights` and at `columns`, as words.
#[inline(always)]
pub(super) unsafe fn two_by_one(weights: *const i8, columns: *const i16, pairs: usize, sums: &mut [i32; 2]) {
    // Eighteen instructions for 16 products. The odd pairs come first.
    //
    // SAFETY: reads what the caller vouches for and the sums, writes the sums, and restores what it pushes.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r3-r11, lr}}",
            "add r12, r1, r2, lsl #2",
            "push {{r12}}",
            "ldrd r4, r5, [r3]",
            "ands r8, r2, #7",
            "beq 22f",
            "21:",
            "ldr r6, [r0], #4",
            "ldr r10, [r1], #4",
            "sxtb16 r2, r6",
            "sxtb16 r3, r6, ror #8",
            "smlad r4, r2, r10, r4",
            "smlad r5, r3, r10, r5",
            "subs r8, r8, #1",
            "bne 21b",
            "b 23f",
            "22:",
            ".rept 2",
            "ldm r0!, {{r6-r9}}",
            "ldm r1!, {{r10-r12, lr}}",
            "sxtb16 r2, r6",
            "sxtb16 r3, r6, ror #8",
            "smlad r4, r2, r10, r4",
            "smlad r5, r3, r10, r5",
            "sxtb16 r2, r7",
            "sxtb16 r3, r7, ror #8",
            "smlad r4, r2, r11, r4",
            "smlad r5, r3, r11, r5",
            "sxtb16 r2, r8",
            "sxtb16 r3, r8, ror #8",
            "smlad r4, r2, r12, r4",
            "smlad r5, r3, r12, r5",
            "sxtb16 r2, r9",
            "sxtb16 r3, r9, ror #8",
            "smlad r4, r2, lr, r4",
            "smlad r5, r3, lr, r5",
            ".endr",
            "23:",
            "ldr r12, [sp]",
            "cmp r1, r12",
            "bne 22b",
            "ldr r3, [sp, #4]",
            "strd r4, r5, [r3]",
            "add sp, sp, #4",
            "pop {{r3-r11, lr}}",
            inout("r0") weights => _,
            inout("r1") columns => _,
            inout("r2") pairs => _,
            in("r3") sums.as_mut_ptr(),
            out("r12") _,
        );
    }
}
