//! Depthwise 3×3: four channels of two neighbouring pixels at a time.

use core::arch::asm;

use super::op::{sadd16, smlabb, smlatt, sxtb16, sxtb16_odd};
use crate::conditioning::at;
use crate::isa::depthwise::DSP_CHANNELS as CHANNELS;
use crate::isa::{Depthwise, ToInt8};
use crate::requantize::TABLE_LEN;
use crate::shape::Shape;

/// Rows and columns of the kernel.
const SIDE: usize = 3;
/// Pixels of a block.
const PIXELS: usize = 2;

/// Weights of four channels, the even ones' and the odd ones' in halves.
type Weights = [[u32; 2]; SIDE * SIDE];

/// See [`crate::isa::Isa::depthwise`], for [`crate::isa::DepthwiseLoop::ThreeByThree`].
#[inline(always)]
pub(super) fn run(depthwise: &Depthwise<'_>, finish: &ToInt8<'_>, output: &mut [i8]) {
    let geometry = depthwise.geometry;
    let Shape { height, width, channels } = geometry.input;
    let requantize = &finish.epilogue.requantize;
    let (input, output) = (depthwise.input.as_ptr(), output.as_mut_ptr());
    let table = finish.epilogue.table.map_or(core::ptr::null(), |table| table.as_ptr().wrapping_add(TABLE_LEN / 2));
    for first in (0..channels).step_by(CHANNELS) {
        let weights = core::array::from_fn(|tap| {
            let bytes = depthwise.weights.get(tap * channels + first..).and_then(<[i8]>::first_chunk::<CHANNELS>);
            let word = u32::from_le_bytes(bytes.map_or([0; CHANNELS], |bytes| bytes.map(|byte| byte as u8)));
            [sxtb16(word), sxtb16_odd(word)]
        });
        let bias = core::array::from_fn(|channel| {
            let [steps, classes] = depthwise.biases;
            at(steps, first + channel).wrapping_add(at(classes, first + channel)) as u32
        });
        let multipliers = core::array::from_fn(|channel| at(requantize.multipliers, first + channel));
        // The first row, those that have neighbours on both sides, and the last.
        let mut y = 0;
        while y < height {
            let (above, below) = (y == 0, y + 1 == height);
            // At odd widths the last block overlaps the one before, and goes by itself.
            let odd = !width.is_multiple_of(PIXELS);
            let rows = if above || below || odd { 1 } else { height - 1 - y };
            let start = (y + usize::from(above)).wrapping_sub(1).wrapping_mul(width).wrapping_sub(1);
            let blocks = width / PIXELS;
            let block_rows = Rows {
                weights,
                starts: starts(&weights, bias, depthwise.zero_point, [above, below]),
                multipliers,
                shift: requantize.shift,
                zero_point: requantize.zero_point as u32,
                input: input.wrapping_add(start.wrapping_mul(channels)).wrapping_add(first),
                pixel: channels,
                way: (output as usize)
                    .wrapping_sub(input as usize)
                    .wrapping_add((y * width).wrapping_sub(start).wrapping_mul(channels)),
                row: (width - 1) * channels,
                table,
                above: above.into(),
                below: below.into(),
                left: blocks,
                last: usize::from(!odd),
                blocks,
                flags: LEFT,
                start: 0,
                rows,
            };
            // SAFETY: as the shapes say, all that is read and written is there.
            unsafe { run_blocks(&block_rows) };
            if odd {
                let last = Rows {
                    input: block_rows.input.wrapping_add((width - PIXELS) * channels),
                    left: 1,
                    blocks: 1,
                    flags: RIGHT,
                    start: 2 * size_of::<[u32; CHANNELS]>(),
                    ..block_rows
                };
                // SAFETY: see above.
                unsafe { run_blocks(&last) };
            }
            y += rows;
        }
    }
}

/// Where the sums of a pixel start: at the left border, between the borders twice, and at the right border. Taps outside
/// the map are in it: the rows above and below, where they are.
#[inline(never)]
fn starts(
    weights: &Weights,
    bias: [u32; CHANNELS],
    zero_point: i16,
    [above, below]: [bool; 2],
) -> [[u32; CHANNELS]; 4] {
    let zero_point = u32::from(zero_point as u16) * 0x1_0001;
    let add = |[a, b]: [u32; 2], [c, d]: [u32; 2]| [sadd16(a, c), sadd16(b, d)];
    let [mut left, mut middle, mut right] = [[0; 2]; 3];
    for ([a, b, c], outside) in weights.as_chunks::<SIDE>().0.iter().zip([above, false, below]) {
        let row = if outside { add(add(*a, *b), *c) } else { [0; 2] };
        left = add(left, if outside { row } else { *a });
        middle = add(middle, row);
        right = add(right, if outside { row } else { *c });
    }
    [left, middle, middle, right].map(|[even, odd]| {
        let [a, b, c, d] = bias;
        [
            smlabb(even, zero_point, a),
            smlabb(odd, zero_point, b),
            smlatt(even, zero_point, c),
            smlatt(odd, zero_point, d),
        ]
    })
}

/// Flags of the processor at a row's first block: N, where its first column is outside the map, and Z, where its last is.
const LEFT: u32 = 1 << 31;
/// See [`LEFT`].
const RIGHT: u32 = 1 << 30;

/// Rows of blocks of four channels and two pixels.
#[repr(C)]
struct Rows {
    weights: Weights,
    /// See [`starts`].
    starts: [[u32; CHANNELS]; 4],
    multipliers: [i32; CHANNELS],
    /// See [`crate::requantize::requantize`].
    shift: u32,
    /// Of the output, or of the table's index.
    zero_point: u32,
    /// The column before the first block in the first row of the kernel that is on the map.
    input: *const i8,
    /// From a pixel to the next, in bytes.
    pixel: usize,
    /// From there to the block's first output.
    way: usize,
    /// From a row's second column to the next row's first, in bytes.
    row: usize,
    /// Its middle, or null.
    table: *const i8,
    /// 1 where the kernel's first row is outside the map, else 0.
    above: usize,
    /// The same for its last row.
    below: usize,
    /// Of a row, as far as they are left.
    left: usize,
    /// 1 where the last block of a row is at the right border, else 0.
    last: usize,
    /// Of a row.
    blocks: usize,
    /// Of a row's first block.
    flags: u32,
    /// Where in `starts` that block's two pixels are.
    start: usize,
    rows: usize,
}

/// `sxtb16` of the word at an address: even channels in r12, odd ones in lr.
macro_rules! load {
    ($address:literal) => {
        concat!("ldr r12, ", $address, "\nsxtb16 lr, r12, ror #8\nsxtb16 r12, r12\n")
    };
}

/// A tap's products, weights in r2 and r3.
macro_rules! products {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "smlabb ",
            $a,
            ", r12, r2, ",
            $a,
            "\nsmlabb ",
            $b,
            ", lr, r3, ",
            $b,
            "\nsmlatt ",
            $c,
            ", r12, r2, ",
            $c,
            "\nsmlatt ",
            $d,
            ", lr, r3, ",
            $d,
            "\n"
        )
    };
}

macro_rules! left {
    () => {
        products!("r4", "r5", "r6", "r7")
    };
}

macro_rules! right {
    () => {
        products!("r8", "r9", "r10", "r11")
    };
}

/// A row of the kernel, whose weights are at `$weights`.
macro_rules! row {
    ($weights:literal) => {
        concat!(
            "ldrd r2, r3, [sp, #",
            $weights,
            "]\nbmi 28f\n",
            load!("[r0]"),
            left!(),
            "28:\nadd r0, r0, r1\n",
            load!("[r0]"),
            right!(),
            "ldrd r2, r3, [sp, #(",
            $weights,
            " + 8)]\n",
            left!(),
            load!("[r0, r1]"),
            right!(),
            "ldrd r2, r3, [sp, #(",
            $weights,
            " + 16)]\n",
            left!(),
            "beq 29f\n",
            load!("[r0, r1, lsl #1]"),
            right!(),
            "29:\n",
        )
    };
}

/// To the next row.
macro_rules! next_row {
    () => {
        "ldr r12, [sp, #172]\nadd r0, r0, r12\n"
    };
}

/// Two sums of a channel, shifted and scaled.
macro_rules! requantize {
    ($left:literal, $right:literal, $multiplier:literal) => {
        concat!(
            "lsl ",
            $left,
            ", ",
            $left,
            ", r12\nlsl ",
            $right,
            ", ",
            $right,
            ", r12\nsmmlar ",
            $left,
            ", ",
            $left,
            ", ",
            $multiplier,
            ", lr\nsmmlar ",
            $right,
            ", ",
            $right,
            ", ",
            $multiplier,
            ", lr\n"
        )
    };
}

/// Instructions: 185 a block of eight outputs, fewer at borders; a table 9 more.
///
/// # Safety
/// The pointers lead to all that is read and written; no count is 0.
#[inline(never)]
unsafe fn run_blocks(rows: &Rows) {
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r4-r11, lr}}",
            "sub sp, sp, #220",
            "mov lr, sp",
            ".rept 4",
            "ldm r0!, {{r1-r12}}",
            "stm lr!, {{r1-r12}}",
            ".endr",
            "ldm r0, {{r1-r5}}",
            "stm lr, {{r1-r5}}",
            // Where a block begins, where it goes on after its second row, and how it ends.
            "ldrd r4, r5, [sp, #180]",
            "ldr r6, [sp, #176]",
            "adr.w r0, 31f + 1",
            "adr.w r1, 32f + 1",
            "cmp r4, #0",
            "it ne",
            "movne r0, r1",
            "adr.w r1, 33f + 1",
            "adr.w r2, 34f + 1",
            "cmp r5, #0",
            "it ne",
            "movne r1, r2",
            "strd r0, r1, [sp, #180]",
            "adr.w r0, 35f + 1",
            "adr.w r1, 36f + 1",
            "cmp r6, #0",
            "it ne",
            "movne r0, r1",
            "str r0, [sp, #212]",
            // A row.
            "30:",
            "ldrd r3, r2, [sp, #200]",
            "add r2, r2, sp",
            "add r2, r2, #72",
            "msr APSR_nzcvq, r3",
            "b 21f",
            // A block that is not its first.
            "20:",
            "ldrd r2, r3, [sp, #188]",
            "cmp r2, r3",
            "add r2, sp, #88",
            "it eq",
            "addeq r2, r2, #16",
            "21:",
            "ldm r2, {{r4-r11}}",
            "ldrd r0, r1, [sp, #160]",
            "ldr pc, [sp, #180]",
            ".p2align 2",
            "31:",
            row!("0"),
            next_row!(),
            "32:",
            row!("24"),
            "ldr pc, [sp, #184]",
            ".p2align 2",
            "33:",
            next_row!(),
            row!("48"),
            "34:",
            "add r0, sp, #136",
            "ldm r0, {{r0-r3}}",
            "ldrd r12, lr, [sp, #152]",
            requantize!("r4", "r8", "r0"),
            requantize!("r5", "r9", "r1"),
            requantize!("r6", "r10", "r2"),
            requantize!("r7", "r11", "r3"),
            "ldr pc, [sp, #212]",
            ".p2align 2",
            "36:",
            "ldr r12, [sp, #176]",
            ".irp sum, r4, r5, r6, r7, r8, r9, r10, r11",
            "ssat \\sum, #10, \\sum",
            "ldrb \\sum, [r12, \\sum]",
            ".endr",
            "b 37f",
            ".p2align 2",
            "35:",
            ".irp sum, r4, r5, r6, r7, r8, r9, r10, r11",
            "ssat \\sum, #8, \\sum",
            ".endr",
            "37:",
            "ldrd r0, r1, [sp, #160]",
            "ldr r2, [sp, #168]",
            "add r2, r2, r0",
            "add r3, r2, r1",
            "strb r4, [r2]",
            "strb r5, [r2, #1]",
            "strb r6, [r2, #2]",
            "strb r7, [r2, #3]",
            "strb r8, [r3]",
            "strb r9, [r3, #1]",
            "strb r10, [r3, #2]",
            "strb r11, [r3, #3]",
            "add r0, r0, r1, lsl #1",
            "str r0, [sp, #160]",
            "ldr r3, [sp, #188]",
            "subs r3, r3, #1",
            "str r3, [sp, #188]",
            "bne.w 20b",
            "ldr r2, [sp, #208]",
            "subs r2, r2, #1",
            "str r2, [sp, #208]",
            "ldr r3, [sp, #196]",
            "str r3, [sp, #188]",
            "bne.w 30b",
            "add sp, sp, #220",
            "pop {{r4-r11, lr}}",
            inout("r0") rows => _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r12") _,
        );
    }
}
