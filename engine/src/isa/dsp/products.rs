//! Products of transformed weights and maps, and the half of the way back that runs along rows.

use core::arch::asm;

/// Pairs of input channels that the body is made for; more take it several times.
const BODY_PAIRS: usize = 32;

/// What the products of a block of four channels and two tiles are made of.
#[repr(C)]
pub(super) struct Products {
    /// The block's weights, `[positions][pairs][4 channels]` of words.
    pub weights: *const i16,
    /// The tiles' v, `[pairs][positions][2 tiles]` of words.
    pub columns: *const i16,
    /// See [`Entry::skip`].
    pub skip: usize,
    /// `[rows][left, right][2 tiles][4 channels]`: a row's two results.
    pub rows: *mut i32,
    /// What is added to the block's results, in their units.
    pub bias: *const i32,
    /// 1 where the last row is wanted, of which lower outputs alone are made; else 0.
    pub last: usize,
    /// See [`Entry::passes`].
    pub passes: usize,
    /// See [`Entry::first`].
    pub first: usize,
}

/// Bytes of a pair's instructions.
const PAIR_BYTES: usize = 44;

/// Where a number of pairs of input channels enters the body, in bytes from its start, and 1 because its code is Thumb.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// Into the body; or behind it, where [`BODY_PAIRS`] are too few.
    pub skip: usize,
    /// Whole passes of the body after the first one, which is entered at `first`; 0 where `skip` leads into the body.
    pub passes: usize,
    /// Where the first of several passes enters.
    pub first: usize,
}

impl Entry {
    /// Of so many pairs, at least 1.
    pub(super) const fn of(pairs: usize) -> Self {
        let of_first = pairs.saturating_sub(1) % BODY_PAIRS + 1;
        let (first, passes) = ((BODY_PAIRS - of_first) * PAIR_BYTES + 1, pairs.saturating_sub(of_first) / BODY_PAIRS);
        // Behind the body and the instruction that leaves it.
        let skip = if passes > 0 { BODY_PAIRS * PAIR_BYTES + 4 + 1 } else { first };
        Self { skip, passes, first }
    }
}

/// The way to position `$offset`, and where to come back.
macro_rules! position {
    ($offset:literal) => {
        concat!("adr.w r2, 24f + 1\nstr r2, [sp]\nldr r1, [sp, #4]\nadd r1, r1, #", $offset, "\n")
    };
}

/// One position's products, added to r4 to r11. They share one body, entered where the number of pairs says.
macro_rules! add {
    ($offset:literal) => {
        concat!(position!($offset), "ldr pc, [sp, #8]\n.p2align 2\n24:\n")
    };
}

/// One position's products in r4 to r11: those of the first pair start the sums.
macro_rules! start {
    ($offset:literal, $stride:literal) => {
        concat!(
            position!($offset),
            "ldrd r12, lr, [r1], #",
            $stride,
            "\nldrd r2, r3, [r0], #8\n",
            "smuad r4, r2, r12\nsmuad r5, r3, r12\nsmuad r8, r2, lr\nsmuad r9, r3, lr\n",
            "ldrd r2, r3, [r0], #8\n",
            "smuad r6, r2, r12\nsmuad r7, r3, r12\nsmuad r10, r2, lr\nsmuad r11, r3, lr\n",
            "ldr pc, [sp, #16]\n.p2align 2\n24:\n"
        )
    };
}

/// Stores r4 to r11 as the next row's result.
macro_rules! result {
    () => {
        "ldr r2, [sp, #12]\nstm r2!, {{r4-r11}}\nstr r2, [sp, #12]\n"
    };
}

macro_rules! keep {
    () => {
        "add r2, sp, #24\nstm r2, {{r4-r11}}\n"
    };
}

macro_rules! recall {
    () => {
        "add r2, sp, #24\nldm r2, {{r4-r11}}\n"
    };
}

/// Keeps 2·kept − (r4 to r11).
macro_rules! reflect {
    () => {
        concat!(
            "add r2, sp, #24\n",
            "ldm r2, {{r1, r3, r12, lr}}\n",
            "rsb r1, r4, r1, lsl #1\nrsb r3, r5, r3, lsl #1\nrsb r12, r6, r12, lsl #1\nrsb lr, r7, lr, lsl #1\n",
            "stm r2!, {{r1, r3, r12, lr}}\n",
            "ldm r2, {{r1, r3, r12, lr}}\n",
            "rsb r1, r8, r1, lsl #1\nrsb r3, r9, r3, lsl #1\nrsb r12, r10, r12, lsl #1\nrsb lr, r11, lr, lsl #1\n",
            "stm r2, {{r1, r3, r12, lr}}\n",
        )
    };
}

/// n0 → A; A + n1 → B, 2·A − B; B + n2 → left; 2·A − B + n3 → right.
macro_rules! row {
    ($first:expr, $b:literal, $c:literal, $d:literal) => {
        concat!($first, keep!(), add!($b), reflect!(), add!($c), result!(), recall!(), add!($d), result!())
    };
}

/// n0 → A; A + n1 → left; A + n2 → right.
macro_rules! enlarged_row {
    ($first:expr, $b:literal, $c:literal) => {
        concat!($first, keep!(), add!($b), result!(), recall!(), add!($c), result!())
    };
}

/// All rows of a block.
macro_rules! block {
    ($products:expr, $stride:literal, $rows:expr, $last:expr) => {
        asm!(
            ".arch armv7e-m",
            "push {{r0, r4-r11, lr}}",
            "sub sp, sp, #64",
            "ldm r0, {{r0-r3, r12, lr}}",
            "ldm r12, {{r4-r7}}",
            "mov r8, r4",
            "mov r9, r5",
            "mov r10, r6",
            "mov r11, r7",
            "adr.w r12, 25f",
            "add r2, r2, r12",
            "add r12, r2, #{PAIR_BYTES}",
            "strd r1, r2, [sp, #4]",
            "strd r3, r12, [sp, #12]",
            "str lr, [sp, #20]",
            $rows,
            "ldr r2, [sp, #20]",
            "cmp r2, #0",
            "beq.w 26f",
            $last,
            "b 26f",
            // Eleven instructions for 16 products.
            ".p2align 2",
            "25:",
            ".rept 32",
            concat!("ldrd r12, lr, [r1], #", $stride),
            "ldrd r2, r3, [r0], #8",
            "smlad r4, r2, r12, r4",
            "smlad r5, r3, r12, r5",
            "smlad r8, r2, lr, r8",
            "smlad r9, r3, lr, r9",
            "ldrd r2, r3, [r0], #8",
            "smlad r6, r2, r12, r6",
            "smlad r7, r3, r12, r7",
            "smlad r10, r2, lr, r10",
            "smlad r11, r3, lr, r11",
            ".endr",
            "ldr.w pc, [sp]",
            // Several passes: sums that begin with what there is, and, as far behind as one pair is from the next, those
            // that the first pair has started.
            "ldr.w r3, [sp, #64]",
            "ldr.w r2, [r3, #24]",
            "ldr.w r3, [r3, #28]",
            "b.w 27f",
            ".rept 7",
            "nop.w",
            ".endr",
            "ldr.w r3, [sp, #64]",
            "ldr.w r2, [r3, #24]",
            "ldr.w r3, [r3, #28]",
            "add.w r3, r3, #{PAIR_BYTES}",
            "27:",
            // The passes that are left, and the way back, which each of them would take.
            "str r2, [sp, #56]",
            "ldr r2, [sp]",
            "str r2, [sp, #60]",
            "adr.w r2, 28f + 1",
            "str r2, [sp]",
            "adr.w r2, 25b",
            "add r3, r3, r2",
            "bx r3",
            ".p2align 2",
            "28:",
            "ldr r2, [sp, #56]",
            "subs r2, r2, #1",
            "str r2, [sp, #56]",
            "bpl.w 25b",
            "ldr pc, [sp, #60]",
            "26:",
            "add sp, sp, #68",
            "pop {{r4-r11, lr}}",
            PAIR_BYTES = const PAIR_BYTES,
            inout("r0") $products => _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r12") _,
        )
    };
}

/// Four rows of four positions.
///
/// # Safety
/// The pointers lead to what they say.
#[inline(never)]
pub(super) unsafe fn block(products: &Products) {
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        block!(
            products,
            "128",
            concat!(
                row!(add!("0"), "8", "16", "24"),
                row!(start!("32", "128"), "40", "48", "56"),
                row!(start!("64", "128"), "72", "80", "88"),
            ),
            row!(start!("96", "128"), "104", "112", "120")
        );
    }
}

/// Three rows of three positions.
///
/// # Safety
/// The pointers lead to what they say.
#[inline(never)]
pub(super) unsafe fn enlarged_block(products: &Products) {
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        block!(
            products,
            "72",
            concat!(enlarged_row!(add!("0"), "8", "16"), enlarged_row!(start!("24", "72"), "32", "40")),
            enlarged_row!(start!("48", "72"), "56", "64")
        );
    }
}
