//! Products of transformed weights and maps, and the half of the way back that runs along rows.

use core::arch::asm;

/// The most pairs of input channels.
pub(super) const MAX_PAIRS: usize = 32;

/// What the products of a block of four channels and two tiles are made of.
#[repr(C)]
pub(super) struct Products {
    /// The block's weights, `[positions][pairs][4 channels]` of words.
    pub weights: *const i16,
    /// The tiles' v, `[pairs][positions][2 tiles]` of words.
    pub columns: *const i16,
    /// Pairs of input channels, 1 to [`MAX_PAIRS`].
    pub pairs: usize,
    /// What is added to the block's results, in their units.
    pub bias: *const i32,
    /// `[rows][left, right][2 tiles][4 channels]`: a row's two results.
    pub rows: *mut i32,
}

/// One position's products, added to r4 to r11. They share one body, entered where the number of pairs says.
macro_rules! position {
    ($offset:literal) => {
        concat!(
            "adr.w r2, 24f + 1\nstr r2, [sp]\nldr r1, [sp, #12]\nadd r1, r1, #",
            $offset,
            "\nldr pc, [sp, #4]\n.p2align 2\n24:\n"
        )
    };
}

/// Stores r4 to r11 as the next row's result.
macro_rules! result {
    () => {
        "ldr r2, [sp, #8]\nstm r2!, {{r4-r11}}\nstr r2, [sp, #8]\n"
    };
}

macro_rules! keep {
    () => {
        "add r2, sp, #16\nstm r2, {{r4-r11}}\n"
    };
}

macro_rules! recall {
    () => {
        "add r2, sp, #16\nldm r2, {{r4-r11}}\n"
    };
}

/// Keeps 2·kept − (r4 to r11).
macro_rules! reflect {
    () => {
        concat!(
            "ldrd r2, r3, [sp, #16]\nrsb r2, r4, r2, lsl #1\nrsb r3, r5, r3, lsl #1\nstrd r2, r3, [sp, #16]\n",
            "ldrd r2, r3, [sp, #24]\nrsb r2, r6, r2, lsl #1\nrsb r3, r7, r3, lsl #1\nstrd r2, r3, [sp, #24]\n",
            "ldrd r2, r3, [sp, #32]\nrsb r2, r8, r2, lsl #1\nrsb r3, r9, r3, lsl #1\nstrd r2, r3, [sp, #32]\n",
            "ldrd r2, r3, [sp, #40]\nrsb r2, r10, r2, lsl #1\nrsb r3, r11, r3, lsl #1\nstrd r2, r3, [sp, #40]\n",
        )
    };
}

macro_rules! clear {
    () => {
        "mov r4, #0\nmov r5, #0\nmov r6, #0\nmov r7, #0\nmov r8, #0\nmov r9, #0\nmov r10, #0\nmov r11, #0\n"
    };
}

/// n0 → A; A + n1 → B, 2·A − B; B + n2 → left; 2·A − B + n3 → right.
macro_rules! row {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            position!($a),
            keep!(),
            position!($b),
            reflect!(),
            position!($c),
            result!(),
            recall!(),
            position!($d),
            result!(),
        )
    };
}

/// n0 → A; A + n1 → left; A + n2 → right.
macro_rules! enlarged_row {
    ($a:literal, $b:literal, $c:literal) => {
        concat!(position!($a), keep!(), position!($b), result!(), recall!(), position!($c), result!())
    };
}

/// All rows of a block.
macro_rules! block {
    ($products:expr, $stride:literal, $rows:expr) => {
        asm!(
            ".arch armv7e-m",
            "push {{r4-r11, lr}}",
            "sub sp, sp, #52",
            "ldr r12, [r0, #8]",
            "rsb r12, r12, #32",
            "mov r2, #44",
            "mul r12, r12, r2",
            "adr.w r2, 25f",
            "add r12, r12, r2",
            "add r12, r12, #1",
            "ldr r2, [r0, #16]",
            "str r12, [sp, #4]",
            "str r2, [sp, #8]",
            "ldr r2, [r0, #12]",
            "ldm r2, {{r4-r7}}",
            "mov r8, r4",
            "mov r9, r5",
            "mov r10, r6",
            "mov r11, r7",
            "ldrd r0, r1, [r0]",
            "str r1, [sp, #12]",
            $rows,
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
            "ldr pc, [sp]",
            "26:",
            "add sp, sp, #52",
            "pop {{r4-r11, lr}}",
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
#[inline(always)]
pub(super) unsafe fn block(products: &Products) {
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        block!(
            products,
            "128",
            concat!(
                row!("0", "8", "16", "24"),
                clear!(),
                row!("32", "40", "48", "56"),
                clear!(),
                row!("64", "72", "80", "88"),
                clear!(),
                row!("96", "104", "112", "120")
            )
        );
    }
}

/// Three rows of three positions.
///
/// # Safety
/// The pointers lead to what they say.
#[inline(always)]
pub(super) unsafe fn enlarged_block(products: &Products) {
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        block!(
            products,
            "72",
            concat!(
                enlarged_row!("0", "8", "16"),
                clear!(),
                enlarged_row!("24", "32", "40"),
                clear!(),
                enlarged_row!("48", "56", "64")
            )
        );
    }
}
