//! Depthwise 3×3: sixteen channels of a pixel at a time.

use core::arch::asm;

use super::copy;
use crate::conditioning::at;
use crate::isa::{Depthwise, ToInt8};
use crate::requantize::TABLE_LEN;
use crate::residual::Residual;
use crate::shape::Shape;

/// Channels of a block: the lanes of a vector of bytes.
const LANES: usize = 16;
/// Rows and columns of the kernel.
const SIDE: usize = 3;
/// Most pixels of a row that share a halo.
const PIXELS: usize = 16;
/// From a column of the halo to the next, in bytes.
const COLUMN: usize = SIDE * LANES;

/// The rows under a row of pixels with their padding, `[columns][3 rows][16 channels]`.
#[repr(align(4))]
struct Halo([i8; (PIXELS + SIDE - 1) * COLUMN]);

/// Parameters of sixteen channels. The lanes of sums are in the order in which products are widened: 0 4 8 12, 2 6 10 14,
/// 1 5 9 13, 3 7 11 15.
#[repr(C)]
struct Block {
    weights: [[i8; LANES]; SIDE * SIDE],
    starts: [[i32; 4]; 4],
    multipliers: [[i32; 4]; 4],
    shift: u32,
    /// Of the output, or the table's entry for 0.
    zero_point: i32,
    table: *const i8,
    /// Channels that there are.
    channels: usize,
    /// From a pixel of the output to the next, in bytes.
    pixel: usize,
}

/// See [`crate::isa::Isa::depthwise`]; none where the loop is not made for the shape.
#[inline]
pub(super) fn run(depthwise: &Depthwise<'_>, finish: &ToInt8<'_>, output: &mut [i8]) -> Option<()> {
    let Depthwise { geometry, zero_point, weights, biases: [steps, classes], .. } = *depthwise;
    let Shape { height, width, channels } = geometry.input;
    let requantize = &finish.epilogue.requantize;
    if !geometry.is_same_3x3() || !matches!(finish.residual, Residual::None) {
        return None;
    }
    let (table, zero) = match finish.epilogue.table {
        Some(table) => (table.as_ptr(), TABLE_LEN as i32 / 2),
        None => (core::ptr::null(), 0),
    };
    let mut halo = Halo([zero_point as i8; (PIXELS + SIDE - 1) * COLUMN]);
    for first in (0..channels).step_by(LANES) {
        let lanes = |value: &dyn Fn(usize) -> i32| {
            [0, 2, 1, 3].map(|lane| [0, 4, 8, 12].map(|step| value(first + lane + step)))
        };
        let block = Block {
            weights: core::array::from_fn(|tap| {
                let row = weights.get(tap * channels..(tap + 1) * channels).unwrap_or_default();
                core::array::from_fn(|lane| at(row, first + lane))
            }),
            starts: lanes(&|channel| at(steps, channel).wrapping_add(at(classes, channel))),
            multipliers: lanes(&|channel| at(requantize.multipliers, channel)),
            shift: requantize.shift,
            zero_point: requantize.zero_point + zero,
            table,
            channels: (channels - first).min(LANES),
            pixel: channels,
        };
        for start in (0..width).step_by(PIXELS) {
            let pixels = (width - start).min(PIXELS);
            for y in 0..height {
                fill(&mut halo, depthwise, [y, start, first], pixels);
                let place = (y * width + start) * channels + first;
                let output = output.as_mut_ptr().wrapping_add(place);
                let halo = halo.0.as_ptr();
                match finish.epilogue.table {
                    // SAFETY: so many pixels of the map are there, and lie in the halo with their neighbours.
                    None => unsafe { row::<false>(&block, halo, output, pixels) },
                    // SAFETY: see above.
                    Some(_) => unsafe { row::<true>(&block, halo, output, pixels) },
                }
            }
        }
    }
    Some(())
}

/// Fills the halo of `pixels` pixels from column `x` of row `y` on, for sixteen channels from `channel` on.
#[inline(always)]
fn fill(halo: &mut Halo, depthwise: &Depthwise<'_>, [y, x, channel]: [usize; 3], pixels: usize) {
    let Shape { height, width, channels } = depthwise.geometry.input;
    let zeros = [depthwise.zero_point as i8; LANES];
    let len = (channels - channel).min(LANES);
    // Columns of the halo that are on the map.
    let left = usize::from(x == 0);
    let right = (pixels + SIDE - 1).min(width + 1 - x);
    for row in 0..SIDE {
        let to = halo.0.as_mut_ptr().wrapping_add(row * LANES);
        let column = |column: usize| to.wrapping_add(column * COLUMN);
        let Some(source) = (y + row).checked_sub(1).filter(|source| *source < height) else {
            // SAFETY: the same sixteen bytes again and again, into every column.
            unsafe { copy::copy_pieces((zeros.as_ptr(), 0), (to, COLUMN), pixels + SIDE - 1, LANES) };
            continue;
        };
        if width > PIXELS {
            // SAFETY: the same, into the first column, and into the last one.
            unsafe { copy::copy_pieces((zeros.as_ptr(), 0), (to, COLUMN), left, LANES) };
            let past = pixels + SIDE - 1 - right;
            // SAFETY: see above.
            unsafe { copy::copy_pieces((zeros.as_ptr(), 0), (column(right), COLUMN), past, LANES) };
        }
        let from = depthwise.input.as_ptr().wrapping_add((source * width + x + left - 1) * channels + channel);
        if len == LANES {
            // SAFETY: so many columns of the row are on the map, and in the halo.
            unsafe { copy::copy_columns::<SIDE, 1>((from, channels), column(left), right - left) };
        } else {
            // SAFETY: see above; of the last channels, as many as there are.
            unsafe { copy::copy_pieces((from, channels), (column(left), COLUMN), right - left, len) };
        }
    }
}

/// Adds a tap's product to the half of it before, of the even channels or of the odd ones.
macro_rules! half {
    ($tap:literal, $product:literal, $half:literal) => {
        concat!(
            "vldrw.u32 q5, [{block}, #(",
            $tap,
            " * 16)]\n",
            $product,
            " q5, q4, q5\nvadd.i16 ",
            $half,
            ", ",
            $half,
            ", q5\n"
        )
    };
}

/// The products of two taps in 16 bits: they fit, as a weight is no −128. Even channels' are in q6, odd ones' in q7.
macro_rules! first {
    ($tap:literal, $place:literal) => {
        concat!(
            "vldrw.u32 q4, [{halo}, #",
            $place,
            "]\nvldrw.u32 q5, [{block}, #(",
            $tap,
            " * 16)]\n",
            "vmullb.s8 q6, q4, q5\nvmullt.s8 q7, q4, q5\n"
        )
    };
}

macro_rules! second {
    ($tap:literal, $place:literal) => {
        concat!(
            "vldrw.u32 q4, [{halo}, #",
            $place,
            "]\n",
            half!($tap, "vmullb.s8", "q6"),
            half!($tap, "vmullt.s8", "q7")
        )
    };
}

/// Adds them to the sums.
macro_rules! widen {
    () => {
        concat!(
            "vmovlb.s16 q4, q6\nvmovlt.s16 q5, q6\nvadd.i32 q0, q0, q4\nvadd.i32 q1, q1, q5\n",
            "vmovlb.s16 q4, q7\nvmovlt.s16 q5, q7\nvadd.i32 q2, q2, q4\nvadd.i32 q3, q3, q5\n"
        )
    };
}

/// A vector of sums, scaled.
macro_rules! scale {
    ($sums:literal, $place:literal) => {
        concat!(
            "vldrw.u32 q4, [{block}, #",
            $place,
            "]\nvshl.s32 ",
            $sums,
            ", {shift}\nvrmulh.s32 ",
            $sums,
            ", ",
            $sums,
            ", q4\n"
        )
    };
}

/// The table's entries for a vector of int16.
macro_rules! look_up {
    ($index:literal) => {
        concat!("vqshlu.s16 q4, ", $index, ", #6\nvshr.u16 q4, q4, #6\nvldrb.u16 ", $index, ", [{table}, q4]\n")
    };
}

/// A row of pixels. Narrowing to int16 before the zero point is added changes no value that is not clamped. Instructions
/// for sixteen outputs: 117, a table 5 more.
///
/// # Safety
/// The halo has the columns of `pixels` pixels, at least one; the output as many of the block's channels.
#[inline(never)]
unsafe fn row<const TABLE: bool>(block: &Block, halo: *const i8, output: *mut i8, pixels: usize) {
    // SAFETY: reads and writes what the caller promises: channels that there are not are switched off.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "ldrd {shift}, {zero_point}, [{block}, #272]",
            "ldr {table}, [{block}, #280]",
            "ldrd {channels}, {pixel}, [{block}, #284]",
            "vmrs {vpr}, p0",
            "vctp.8 {channels}",
            "dls lr, {pixels}",
            "2:",
            "vldrw.u32 q0, [{block}, #144]",
            "vldrw.u32 q1, [{block}, #160]",
            "vldrw.u32 q2, [{block}, #176]",
            "vldrw.u32 q3, [{block}, #192]",
            first!("0", "0"), second!("1", "48"), widen!(),
            first!("2", "96"), second!("3", "16"), widen!(),
            first!("4", "64"), second!("5", "112"), widen!(),
            first!("6", "32"), second!("7", "80"), widen!(),
            first!("8", "128"), widen!(),
            scale!("q0", "208"), scale!("q1", "224"), scale!("q2", "240"), scale!("q3", "256"),
            "vqmovnb.s32 q0, q0",
            "vqmovnt.s32 q0, q1",
            "vqmovnb.s32 q2, q2",
            "vqmovnt.s32 q2, q3",
            "vqadd.s16 q0, q0, {zero_point}",
            "vqadd.s16 q2, q2, {zero_point}",
            ".if {TABLE}",
            look_up!("q0"), look_up!("q2"),
            "vmovnt.i16 q0, q2",
            ".else",
            "vqmovnb.s16 q0, q0",
            "vqmovnt.s16 q0, q2",
            ".endif",
            "vpst",
            "vstrbt.8 q0, [{output}]",
            "add {output}, {output}, {pixel}",
            "add {halo}, {halo}, #48",
            "le lr, 2b",
            "vmsr p0, {vpr}",
            TABLE = const TABLE as u8,
            block = in(reg) block, halo = inout(reg) halo => _, output = inout(reg) output => _, pixels = in(reg) pixels,
            shift = out(reg) _, zero_point = out(reg) _, table = out(reg) _, channels = out(reg) _, pixel = out(reg) _,
            vpr = out(reg) _,
            out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d8") _, out("d9") _, out("d10") _, out("d11") _, out("d12") _, out("d13") _, out("d14") _,
            out("d15") _,
        );
    }
}
