//! The loop over windows of the halo: sums of two channels × four pixels, over all pairs of channels.
//!
//! This loop, as those of [`super::columns`], reads a tile's sums so far (at first the biases), adds the products of a group of steps, and writes the
//! sums, `[pairs][4 pixels][2 channels]`; weights stream by once. r0, r2 … r12, lr hold the sums; LDM and STM move all
//! eight. That takes the link register, so the loops count in r9.

use core::arch::asm;

use super::layout::{CHANNELS, PIXELS, STEP, TILE};
use super::weights;

/// A row of [`super::layout::Method::Windows`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// `[groups][pairs][9][2][16]`; at stride 1 every other pair's rows lie the other way round, see [`super::layout`].
    pub weights: *const i8,
    /// Its first pixel's place in the halo's first group.
    pub columns: *const i8,
    /// From one group's halo to the next one's, in bytes.
    pub plane: usize,
    /// Sixteen input channels each.
    pub groups: usize,
    /// `[pairs][4][2]`; right behind them the row's sums, `[pixels / 4][pairs][4][2]`.
    pub biases: *mut i32,
    /// Pairs of channels, at least 1.
    pub pairs: usize,
    /// Pixels.
    pub pixels: usize,
}

/// Sums of a row.
///
/// # Safety
/// Weights, biases and sums are so many; the halo holds `[groups][columns][ROWS][16]`, on a word, three rows and all
/// columns under the row's windows from `columns` on.
#[inline(never)]
pub(super) unsafe fn row<const STRIDE: usize, const ROWS: usize>(row: &Row) {
    let (tiles, rest) = (row.pixels / PIXELS, row.pixels % PIXELS);
    let tile = row.pairs * TILE;
    for group in 0..row.groups {
        let columns = row.columns.wrapping_add(group * row.plane);
        let weights = row.weights.wrapping_add(group * row.pairs * 9 * CHANNELS * STEP);
        // The first group starts from the biases, the others from the sums.
        let (before, back) = if group == 0 { (row.biases, tile * 4) } else { (row.biases.wrapping_add(tile), 0) };
        if tiles > 0 {
            // SAFETY: as the caller promises, of whole tiles.
            unsafe { windows::<4, STRIDE, ROWS>(columns, tiles, weights, row.pairs, before, back) };
        }
        let columns = columns.wrapping_add(tiles * PIXELS * STRIDE * ROWS * STEP);
        let after = row.biases.wrapping_add((tiles + 1) * tile);
        let (before, back) = if group == 0 { (row.biases, (tiles + 1) * tile * 4) } else { (after, 0) };
        match rest {
            // SAFETY: as the caller promises, of the last tile.
            3 => unsafe { windows::<3, STRIDE, ROWS>(columns, 1, weights, row.pairs, before, back) },
            // SAFETY: as the caller promises, of the last tile.
            2 => unsafe { windows::<2, STRIDE, ROWS>(columns, 1, weights, row.pairs, before, back) },
            // SAFETY: as the caller promises, of the last tile.
            1 => unsafe { windows::<1, STRIDE, ROWS>(columns, 1, weights, row.pairs, before, back) },
            _ => {}
        }
    }
}

/// One VMLADAVA, where the tile has more than `$guard` pixels.
macro_rules! product {
    ($guard:literal, $sum:literal, $column:literal, $weight:literal) => {
        concat!(".if {P} > ", $guard, "\nvmladava.s8 ", $sum, ", ", $column, ", ", $weight, "\n.endif\n")
    };
}

/// Loads column `$x` of row `$row` of the halo, where the tile has more than `$guard` pixels.
macro_rules! column {
    ($guard:literal, $register:literal, $x:literal, $row:literal) => {
        concat!(
            ".if {P} > ",
            $guard,
            "\nvldrw.u32 ",
            $register,
            ", [r1, #(",
            $x,
            " * {R} + ",
            $row,
            ") * 16]\n.endif\n"
        )
    };
}

/// One row of the kernel at stride 1. Columns 0 to 5 are in q6, q7, q2, q3, q0, q1, and are loaded on the way where `$load`
/// is 1.
macro_rules! row_of_stride_1 {
    ($row:literal, $load:literal) => {
        concat!(
            next_column!($load, "0", "q6", "0", $row),
            next_column!($load, "0", "q7", "1", $row),
            weights!("q4"),
            product!("0", "r0", "q6", "q4"),
            next_column!($load, "0", "q2", "2", $row),
            product!("1", "r4", "q7", "q4"),
            weights!("q5"),
            product!("2", "r8", "q2", "q4"),
            next_column!($load, "1", "q3", "3", $row),
            product!("0", "r2", "q6", "q5"),
            product!("3", "r12", "q3", "q4"),
            product!("1", "r6", "q7", "q5"),
            product!("2", "r10", "q2", "q5"),
            weights!("q4"),
            product!("3", "lr", "q3", "q5"),
            next_column!($load, "2", "q0", "4", $row),
            product!("0", "r0", "q7", "q4"),
            weights!("q5"),
            product!("1", "r4", "q2", "q4"),
            product!("0", "r2", "q7", "q5"),
            product!("2", "r8", "q3", "q4"),
            next_column!($load, "3", "q1", "5", $row),
            product!("3", "r12", "q0", "q4"),
            product!("1", "r6", "q2", "q5"),
            weights!("q4"),
            product!("2", "r10", "q3", "q5"),
            product!("0", "r0", "q2", "q4"),
            product!("3", "lr", "q0", "q5"),
            weights!("q5"),
            product!("1", "r4", "q3", "q4"),
            product!("2", "r8", "q0", "q4"),
            product!("3", "r12", "q1", "q4"),
            product!("0", "r2", "q2", "q5"),
            product!("1", "r6", "q3", "q5"),
            product!("2", "r10", "q0", "q5"),
            product!("3", "lr", "q1", "q5"),
        )
    };
}

/// [`column!`], where `$load` is 1.
macro_rules! next_column {
    ($load:literal, $guard:literal, $register:literal, $x:literal, $row:literal) => {
        concat!(".if ", $load, "\n", column!($guard, $register, $x, $row), ".endif\n")
    };
}

/// One row of the kernel at stride 2: even columns stay for the kernel's third place.
macro_rules! row_of_stride_2 {
    ($row:literal) => {
        concat!(
            column!("0", "q0", "0", $row),
            weights!("q4"),
            column!("0", "q1", "2", $row),
            product!("0", "r0", "q0", "q4"),
            weights!("q5"),
            product!("1", "r4", "q1", "q4"),
            column!("1", "q2", "4", $row),
            product!("0", "r2", "q0", "q5"),
            product!("1", "r6", "q1", "q5"),
            column!("2", "q3", "6", $row),
            product!("2", "r8", "q2", "q4"),
            product!("2", "r10", "q2", "q5"),
            column!("3", "q0", "8", $row),
            product!("3", "r12", "q3", "q4"),
            product!("3", "lr", "q3", "q5"),
            column!("0", "q6", "1", $row),
            weights!("q4"),
            weights!("q5"),
            product!("0", "r0", "q6", "q4"),
            column!("1", "q7", "3", $row),
            product!("0", "r2", "q6", "q5"),
            product!("1", "r4", "q7", "q4"),
            column!("2", "q6", "5", $row),
            product!("1", "r6", "q7", "q5"),
            product!("2", "r8", "q6", "q4"),
            column!("3", "q7", "7", $row),
            product!("2", "r10", "q6", "q5"),
            product!("3", "r12", "q7", "q4"),
            weights!("q4"),
            product!("3", "lr", "q7", "q5"),
            weights!("q5"),
            product!("0", "r0", "q1", "q4"),
            product!("1", "r4", "q2", "q4"),
            product!("2", "r8", "q3", "q4"),
            product!("3", "r12", "q0", "q4"),
            product!("0", "r2", "q1", "q5"),
            product!("1", "r6", "q2", "q5"),
            product!("2", "r10", "q3", "q5"),
            product!("3", "lr", "q0", "q5"),
        )
    };
}

/// Sixteen input channels of a 3×3 convolution: `tiles` tiles of `P` neighbouring pixels at stride `STRIDE`.
///
/// Sums start from `before`, which steps back by `back` bytes after every tile, and go `back` bytes behind it.
/// Instructions for a tile and pair of channels at stride 1: 106 with four pixels, 86, 66 or 49 with fewer; at stride 2
/// 121 with four; 13 more for a tile, 7 at stride 2.
///
/// # Safety
/// Reads weights `[pairs][9][2][16]` as [`Row::weights`] lie; reads and writes `[tiles][pairs][4][2]` sums; reads a halo,
/// on a word, of the columns under these windows and three rows from `columns` on.
#[inline(always)]
unsafe fn windows<const P: usize, const STRIDE: usize, const ROWS: usize>(
    columns: *const i8,
    tiles: usize,
    weights: *const i8,
    pairs: usize,
    before: *mut i32,
    back: usize,
) {
    // SAFETY: reads and writes what the caller promises; r6 and r7, which the compiler keeps for itself, are put back.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "push {{r0, r3, r4, r6, r7}}",
            "add r11, r5, r0",
            "mov r7, r2",
            "2:",
            "ldrd r3, r9, [sp, #4]",
            ".if {STRIDE} == 1",
            column!("0", "q6", "0", "0"),
            column!("0", "q7", "1", "0"),
            column!("0", "q2", "2", "0"),
            column!("1", "q3", "3", "0"),
            column!("2", "q0", "4", "0"),
            column!("3", "q1", "5", "0"),
            ".endif",
            "3:",
            "ldm r5!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            ".if {STRIDE} == 1",
            row_of_stride_1!("0", "0"),
            row_of_stride_1!("1", "1"),
            row_of_stride_1!("2", "1"),
            "stm r11!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            "subs r9, r9, #1",
            "beq.w 4f",
            // The next pair's weights are the other way round: it starts with the row whose columns are loaded.
            "ldm r5!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            row_of_stride_1!("2", "0"),
            row_of_stride_1!("1", "1"),
            row_of_stride_1!("0", "1"),
            ".else",
            row_of_stride_2!("0"),
            row_of_stride_2!("1"),
            row_of_stride_2!("2"),
            ".endif",
            "stm r11!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
            "subs r9, r9, #1",
            "bne.w 3b",
            "4:",
            "ldr r0, [sp]",
            "sub r5, r5, r0",
            "add r1, r1, #({P} * {STRIDE} * {R} * 16)",
            "subs r7, r7, #1",
            "bne.w 2b",
            "pop {{r0, r3, r4, r6, r7}}",
            P = const P, STRIDE = const STRIDE, R = const ROWS,
            inout("r0") back => _, inout("r1") columns => _, inout("r2") tiles => _, inout("r3") weights => _,
            inout("r4") pairs => _, inout("r5") before => _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d8") _, out("d9") _, out("d10") _, out("d11") _, out("d12") _, out("d13") _, out("d14") _, out("d15") _,
        );
    }
}
