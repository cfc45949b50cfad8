//! Products of int8 weights and the columns of a single pixel: see [`super::dot`].

use core::arch::asm;

use super::dot::{PART_PAIRS, Tile, enter, factors, leave};

/// A requantised sum.
macro_rules! one_sum {
    ($sum:literal, $factor:literal, $bits:literal) => {
        concat!(
            "lsl ",
            $sum,
            ", ",
            $sum,
            ", r12\nsmmlar ",
            $sum,
            ", ",
            $sum,
            ", ",
            $factor,
            ", lr\nssat ",
            $sum,
            ", #",
            $bits,
            ", ",
            $sum,
            "\n"
        )
    };
}

/// Keeps the second channel's sum for a part that ends at r3.
macro_rules! next_part {
    () => {
        "str r3, [sp, #12]\nstr r5, [sp, #72]\nmov r5, r4\n"
    };
}

/// One pixel.
///
/// # Safety
/// The pointers lead to what they say.
#[inline(always)]
pub(super) unsafe fn one_pixel(tile: &Tile) {
    // Fourteen instructions for 16 products, 28 where they are exact; the body's pairs are a fourth of a pass each.
    //
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        asm!(
            enter!(concat!(
                "cmp r0, #0\nbne 18f\n",
                "and r12, r12, #15\nrsb r12, r12, #16\nmov r1, #20\nmul r12, r12, r1\nadr.w r0, 21f + 1\nadd r0, r0, r12\nb 17f\n",
                "18:\nrsb r12, r12, #0\nand r12, r12, #3\nmov r1, #28\nmul r12, r12, r1\nadr.w r0, 31f + 1\nadd r0, r0, r12\n17:\n",
            )),
            "ldr r0, [sp, #4]",
            "20:",
            "ldr r1, [sp, #8]",
            "ldr r3, [sp, #16]",
            "ldrd r4, r5, [r3], #32",
            "str r3, [sp, #16]",
            "ldr pc, [sp]",
            ".p2align 2",
            // The first pass, pair by pair.
            "21:",
            ".rept 16",
            "ldr.w r6, [r0], #4",
            "ldr.w r10, [r1], #4",
            "sxtb16 r2, r6",
            "smlad r4, r2, r10, r4",
            "smlad r5, r6, r10, r5",
            ".endr",
            "b 30f",
            // The others, four pairs at once.
            "28:",
            ".rept 4",
            "ldm r0!, {{r6-r9}}",
            "ldm r1!, {{r10-r12, lr}}",
            "sxtb16 r2, r6",
            "smlad r4, r2, r10, r4",
            "smlad r5, r6, r10, r5",
            "sxtb16 r2, r7",
            "smlad r4, r2, r11, r4",
            "smlad r5, r7, r11, r5",
            "sxtb16 r2, r8",
            "smlad r4, r2, r12, r4",
            "smlad r5, r8, r12, r5",
            "sxtb16 r2, r9",
            "smlad r4, r2, lr, r4",
            "smlad r5, r9, lr, r5",
            ".endr",
            "30:",
            "ldr r12, [sp, #12]",
            "cmp r1, r12",
            "bne.w 28b",
            "sub r5, r5, r4",
            "asr r5, r5, #8",
            "ldr pc, [sp, #48]",
            ".p2align 2",
            "31:",
            ".rept 4",
            "ldr.w r6, [r0], #4",
            "ldr.w r10, [r1], #4",
            "sxtb16 r2, r6",
            "ssub16 r3, r6, r2",
            "sxtb16 r3, r3, ror #8",
            "smlad r4, r2, r10, r4",
            "smlad r5, r3, r10, r5",
            ".endr",
            "ldr r12, [sp, #12]",
            "cmp r1, r12",
            "bne.w 31b",
            "ldr pc, [sp, #48]",
            ".p2align 2",
            "22:",
            factors!(),
            one_sum!("r4", "r2", "8"),
            one_sum!("r5", "r3", "8"),
            "25:",
            "ldr r2, [sp, #24]",
            "strb r4, [r2], #1",
            "strb r5, [r2], #1",
            "str r2, [sp, #24]",
            leave!(""),
            "b 27f",
            ".p2align 2",
            "23:",
            factors!(),
            one_sum!("r4", "r2", "10"),
            one_sum!("r5", "r3", "10"),
            "ldr r12, [sp, #40]",
            "ldrb r4, [r12, r4]",
            "ldrb r5, [r12, r5]",
            "b 25b",
            ".p2align 2",
            "24:",
            "ldr r12, [sp, #24]",
            "strd r4, r5, [r12]",
            "b 26b",
            ".p2align 2",
            "29:",
            "ldrd r2, r12, [sp, #56]",
            "ldrd r6, r7, [r12], #8",
            "ldrsb r8, [r2], #1",
            "ldrsb r9, [r2], #1",
            "strd r2, r12, [sp, #56]",
            "mla r4, r8, r6, r4",
            "mla r5, r9, r7, r5",
            "ldr pc, [sp, #52]",
            ".p2align 2",
            // A part has been made.
            "35:",
            "ldr r12, [sp, #72]",
            "add r5, r5, r12",
            "ldr r12, [sp, #96]",
            "cmp r1, r12",
            "it eq",
            "ldreq pc, [sp, #92]",
            "add r3, r1, #{PART_BYTES}",
            next_part!(),
            "b.w 28b",
            ".p2align 2",
            // The first begins.
            "36:",
            "ldr r3, [sp, #100]",
            next_part!(),
            "ldr pc, [sp, #88]",
            "27:",
            PART_BYTES = const PART_PAIRS * 4,
            inout("r0") tile => _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r12") _,
        );
    }
}
