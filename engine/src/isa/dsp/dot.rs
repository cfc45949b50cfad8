//! Products of int8 weights and int16 columns, and what becomes of them.

use core::arch::asm;

/// What happens to sums.
#[derive(Clone, Copy)]
#[repr(usize)]
pub(super) enum Last {
    /// They are requantised and saturate.
    Saturate,
    /// They are requantised and looked up.
    LookUp,
    /// They are stored: a block's alone.
    Store,
}

/// Blocks of two channels of a tile of four pixels, or of one.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Tile {
    /// `[blocks][pairs of taps]` of words: the bytes of two channels alternate, see [`super::weights`].
    pub weights: *const i8,
    /// `[pairs of taps][pixels]` of words.
    pub columns: *const u32,
    /// Their end.
    pub end: *const u32,
    /// Where sums start, `[blocks][4 pixels][2 channels]`; the second channel's as 256·B + A, but for `exact` and in parts.
    pub start: *const i32,
    /// Factors, two a block.
    pub multipliers: *const i32,
    /// The first pixel's first channel; or eight sums, `[4 pixels][2 channels]`.
    pub output: *mut i8,
    /// From a pixel to the next, in bytes.
    pub pixel: usize,
    /// See [`crate::requantize::requantize`].
    pub shift: u32,
    /// Of the output, or of the table's index.
    pub zero_point: u32,
    /// The middle of the table.
    pub table: *const i8,
    /// Where the last block's weights end; there is at least one block.
    pub weights_end: *const i8,
    /// Pairs of taps, at least 1.
    pub pairs: usize,
    /// What becomes of the sums.
    pub last: Last,
    /// 1 where 256·B may leave int32 within a part, as of inputs of int16, else 0.
    pub exact: usize,
    /// What is added to the sums, places as in the output; null where there is nothing.
    pub residual: *const i8,
    /// Its factors, two a block.
    pub residual_factors: *const i32,
    /// 1 where one more channel follows the blocks of four pixels, to which no residual is added, else 0. It lies in a block
    /// whose other weights are 0, so that pairs of bytes are its own weights as int16.
    pub odd: usize,
    /// Bytes of the first part's columns where 256·B may leave int32 over all taps, else 0: B is then made of parts of
    /// [`PART_PAIRS`] pairs, the first of which is shorter.
    pub part: usize,
}

/// Pairs of taps of a part: 512 · 127 · 128 is below 2²³.
pub(super) const PART_PAIRS: usize = 256;

/// Moves the tile onto the stack, from [`Tile::weights`] at 4 to [`Tile::weights_end`] at 44. At 0 is where a block begins,
/// so many bytes before the end of the body that the number of its passes is whole; at 48 what becomes of the sums; at 52
/// the same where a residual is added before; at 56 the residual, at 60 its factors, at 64 whether a channel follows, at 68
/// the first part. In parts, the second channel's sums so far are at 72, and what else is where a block begins, what becomes
/// of the sums and the end of the columns at 88, 92 and 96; at 100 is the first part's end.
macro_rules! enter {
    ($passes:expr) => {
        concat!(
            ".arch armv7e-m\npush {{r4-r11, lr}}\nsub sp, sp, #32\nldrd r1, r2, [r0, #56]\nldrd r3, r4, [r0, #64]\n",
            "push {{r1-r4}}\nsub sp, sp, #8\n",
            "ldr lr, [r0, #48]\nldm r0, {{r1-r12}}\n",
            "ldr r0, [r0, #52]\npush {{r1-r11}}\nsub sp, sp, #4\n",
            $passes,
            "str r0, [sp]\n",
            "adr.w r0, 22f + 1\nadr.w r1, 23f + 1\nadr.w r2, 24f + 1\n",
            "cmp lr, #1\nit eq\nmoveq r0, r1\nit hi\nmovhi r0, r2\nstr r0, [sp, #48]\n",
            // Mostly there is neither a residual nor a part.
            "ldr r1, [sp, #56]\nldr r2, [sp, #68]\norrs r2, r2, r1\nbeq 19f\n",
            "cmp r1, #0\nadr.w r1, 29f + 1\nitt ne\nstrne r0, [sp, #52]\nstrne r1, [sp, #48]\n",
            "ldr r0, [sp, #68]\ncmp r0, #0\nbeq 19f\n",
            "ldrd r1, r2, [sp, #8]\nadd r1, r1, r0\nstr r2, [sp, #96]\nstr r1, [sp, #100]\n",
            "ldr r1, [sp]\nldr r2, [sp, #48]\nstrd r1, r2, [sp, #88]\n",
            "adr.w r1, 36f + 1\nadr.w r2, 35f + 1\nstr r1, [sp]\nstr r2, [sp, #48]\n19:\n",
        )
    };
}
pub(super) use enter;

/// The next block, if there is one, the weights being read; what is done after the last one; and the end.
macro_rules! leave {
    ($last:expr) => {
        concat!("ldr r2, [sp, #44]\ncmp r0, r2\nbne.w 20b\n", $last, "26:\nadd sp, sp, #104\npop {{r4-r11, lr}}\n")
    };
}
pub(super) use leave;

/// One more channel of four pixels, if there is one. Instructions: 6 a pair, the weights needing no widening.
macro_rules! odd_channel {
    () => {
        concat!(
            "ldr r1, [sp, #64]\ncmp r1, #0\nbeq.w 26f\nldrd r1, r12, [sp, #8]\nldr r3, [sp, #16]\nldr r4, [r3]\n",
            "mov r6, r4\nmov r8, r4\nmov r10, r4\n",
            // So many bytes before the end that the number of passes is whole.
            "sub r2, r1, r12\nand r2, r2, #48\nadd r2, r2, r2, lsl #1\nadr.w r3, 32f + 1\nadd r2, r3, r2, lsr #1\n",
            "bx r2\n.p2align 2\n32:\n.rept 4\n",
            "ldr.w r3, [r0], #4\nldm.w r1!, {{r5, r7, r9, r11}}\nsmlad r4, r3, r5, r4\nsmlad r6, r3, r7, r6\n",
            "smlad r8, r3, r9, r8\nsmlad r10, r3, r11, r10\n.endr\ncmp r1, r12\nbne.w 32b\n",
            "ldr r1, [sp, #20]\nldr r1, [r1]\nldrd r12, lr, [sp, #32]\nldr r5, [sp, #40]\n",
            ".irp sum, r4, r6, r8, r10\nlsl \\sum, \\sum, r12\nsmmlar \\sum, \\sum, r1, lr\n.endr\ncmp r5, #0\nbeq 33f\n",
            ".irp sum, r4, r6, r8, r10\nssat \\sum, #10, \\sum\nldrb \\sum, [r5, \\sum]\n.endr\nb 34f\n33:\n",
            ".irp sum, r4, r6, r8, r10\nssat \\sum, #8, \\sum\n.endr\n34:\nldrd r2, r3, [sp, #24]\n",
            "add r1, r2, r3, lsl #1\nstrb r4, [r2]\nstrb r6, [r2, r3]\nstrb r8, [r1]\nstrb r10, [r1, r3]\n",
        )
    };
}

/// The next two factors, for r2 and r3; shift and zero point are in r12 and lr.
macro_rules! factors {
    () => {
        "ldr r1, [sp, #20]\nldrd r2, r3, [r1], #8\nstr r1, [sp, #20]\nldrd r12, lr, [sp, #32]\n"
    };
}
pub(super) use factors;

/// The tile's requantised sums.
macro_rules! requantize {
    ($last:literal) => {
        concat!(
            factors!(),
            // Mostly there is no shift.
            "cmp r12, #0\nbeq 28f\n.irp sum, r4, r5, r6, r7, r8, r9, r10, r11\nlsl \\sum, \\sum, r12\n.endr\n28:\n",
            ".irp sum, r4, r6, r8, r10\nsmmlar \\sum, \\sum, r2, lr\n",
            $last,
            "\n.endr\n.irp sum, r5, r7, r9, r11\nsmmlar \\sum, \\sum, r3, lr\n",
            $last,
            "\n.endr\n",
        )
    };
}

/// Four pixels' products with a pair of taps of both channels, from r2 and r3.
macro_rules! products {
    () => {
        concat!(
            "smlad r4, r2, r12, r4\nsmlad r5, r3, r12, r5\nsmlad r6, r2, lr, r6\nsmlad r7, r3, lr, r7\n",
            "ldrd r12, lr, [r1], #8\n",
            "smlad r8, r2, r12, r8\nsmlad r9, r3, r12, r9\nsmlad r10, r2, lr, r10\nsmlad r11, r3, lr, r11\n",
        )
    };
}

/// Adds the residual of two channels of the pixel that r2 leads to, with the factors in r0 and r1.
macro_rules! residual {
    ($first:literal, $second:literal) => {
        concat!(
            "ldrsb r12, [r2]\nldrsb lr, [r2, #1]\nadd r2, r2, r3\nmla ",
            $first,
            ", r12, r0, ",
            $first,
            "\nmla ",
            $second,
            ", lr, r1, ",
            $second,
            "\n"
        )
    };
}

/// Keeps the second channel's sums of four pixels for a part that ends at r3.
macro_rules! next_part {
    () => {
        concat!(
            "str r3, [sp, #12]\nadd r12, sp, #72\nstm r12, {{r5, r7, r9, r11}}\n",
            "mov r5, r4\nmov r7, r6\nmov r9, r8\nmov r11, r10\n",
        )
    };
}

/// Four pixels.
///
/// # Safety
/// The pointers lead to what they say.
#[inline(always)]
pub(super) unsafe fn four_pixels(tile: &Tile) {
    // Twelve instructions for 16 products; fourteen where they are exact.
    //
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        asm!(
            enter!(concat!(
                "rsb r12, r12, #0\ncmp r0, #0\nitete eq\nandeq r12, r12, #31\nandne r12, r12, #7\n",
                "moveq r1, #48\nmovne r1, #56\nmul r12, r12, r1\n",
                "adr.w r1, 21f + 1\nadr.w r2, 31f + 1\nite eq\naddeq r0, r1, r12\naddne r0, r2, r12\n",
            )),
            "ldr r0, [sp, #4]",
            "20:",
            "ldr r1, [sp, #8]",
            "ldr r3, [sp, #16]",
            "ldm r3!, {{r4-r11}}",
            "str r3, [sp, #16]",
            "ldr pc, [sp]",
            ".p2align 2",
            "21:",
            ".rept 32",
            "ldr.w r3, [r0], #4",
            "ldrd r12, lr, [r1], #8",
            "sxtb16 r2, r3",
            products!(),
            ".endr",
            "ldr r12, [sp, #12]",
            "cmp r1, r12",
            "bne.w 21b",
            "sub r5, r5, r4",
            "sub r7, r7, r6",
            "sub r9, r9, r8",
            "sub r11, r11, r10",
            ".irp sum, r5, r7, r9, r11",
            "asr \\sum, \\sum, #8",
            ".endr",
            "ldr pc, [sp, #48]",
            ".p2align 2",
            "31:",
            ".rept 8",
            "ldr.w r3, [r0], #4",
            "ldrd r12, lr, [r1], #8",
            "sxtb16 r2, r3",
            "ssub16 r3, r3, r2",
            "sxtb16 r3, r3, ror #8",
            products!(),
            ".endr",
            "ldr r12, [sp, #12]",
            "cmp r1, r12",
            "bne.w 31b",
            "ldr pc, [sp, #48]",
            ".p2align 2",
            "22:",
            requantize!("ssat \\sum, #8, \\sum"),
            "25:",
            "ldrd r2, r3, [sp, #24]",
            "add r1, r2, r3, lsl #1",
            "strb r6, [r2, r3]",
            "strb r4, [r2], #1",
            "strb r7, [r2, r3]",
            "strb r5, [r2], #1",
            "strb r10, [r1, r3]",
            "strb r8, [r1], #1",
            "strb r11, [r1, r3]",
            "strb r9, [r1]",
            "str r2, [sp, #24]",
            leave!(odd_channel!()),
            "b 27f",
            ".p2align 2",
            "23:",
            requantize!("ssat \\sum, #10, \\sum"),
            "ldr r12, [sp, #40]",
            ".irp sum, r4, r5, r6, r7, r8, r9, r10, r11",
            "ldrb \\sum, [r12, \\sum]",
            ".endr",
            "b 25b",
            ".p2align 2",
            "24:",
            "ldr r12, [sp, #24]",
            "stm r12, {{r4-r11}}",
            "b 26b",
            ".p2align 2",
            "29:",
            "str r0, [sp, #4]",
            "ldrd r2, r12, [sp, #56]",
            "ldrd r0, r1, [r12], #8",
            "add r3, r2, #2",
            "strd r3, r12, [sp, #56]",
            "ldr r3, [sp, #28]",
            residual!("r4", "r5"),
            residual!("r6", "r7"),
            residual!("r8", "r9"),
            residual!("r10", "r11"),
            "ldr r0, [sp, #4]",
            "ldr pc, [sp, #52]",
            ".p2align 2",
            // A part has been made.
            "35:",
            "add r12, sp, #72",
            "ldm r12, {{r2, r3, r12, lr}}",
            "add r5, r5, r2",
            "add r7, r7, r3",
            "add r9, r9, r12",
            "add r11, r11, lr",
            "ldr r12, [sp, #96]",
            "cmp r1, r12",
            "it eq",
            "ldreq pc, [sp, #92]",
            "add r3, r1, #{PART_BYTES}",
            next_part!(),
            "b.w 21b",
            ".p2align 2",
            // The first begins.
            "36:",
            "ldr r3, [sp, #100]",
            next_part!(),
            "ldr pc, [sp, #88]",
            "27:",
            PART_BYTES = const PART_PAIRS * 16,
            inout("r0") tile => _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r12") _,
        );
    }
}
