//! Depthwise convolutions of kernels up to 9×9: four channels of two neighbouring outputs at a time.
//!
//! The rows of the map under some rows of the output are widened once, with their padding: a pixel's four channels become
//! the words (0, 2) and (1, 3), as its weights are. So every tap is a load at a constant offset, whatever kernel, stride
//! and padding are.

use core::arch::asm;
use core::mem::MaybeUninit;

use crate::geometry::Geometry;
use crate::isa::depthwise::{DSP_CHANNELS as CHANNELS, DSP_PIXELS, MOST_SIDE, dsp_part};
use crate::isa::{Depthwise, Isa, ToInt8};
use crate::requantize::TABLE_LEN;
use crate::residual::Residual;

/// What a block's second output reads past the widened rows.
const SLACK: usize = 2;
/// From a row of weights to the next, in taps: the code for a row is entered late where the kernel has fewer.
const ROW: usize = MOST_SIDE;

/// A pixel's, or a tap's, four channels in halves.
type Quad = [u32; 2];

/// Outputs that share widened rows.
#[derive(Clone, Copy)]
struct Part {
    /// The first one's row and column.
    start: [usize; 2],
    /// How many rows and columns.
    size: [usize; 2],
    /// Rows and columns of the map under them.
    halo: [usize; 2],
}

/// See [`crate::isa::Isa::depthwise`], for [`crate::isa::DepthwiseLoop::AnyKernel`].
#[inline(never)]
pub(super) fn run<I: Isa>(depthwise: &Depthwise<'_>, finish: &ToInt8<'_>, output: &mut [i8]) {
    let geometry = depthwise.geometry;
    let Geometry { output: shape, kernel, stride, .. } = *geometry;
    let mut halo = MaybeUninit::<[Quad; DSP_PIXELS + SLACK]>::uninit();
    let mut taps = MaybeUninit::<[Quad; ROW * MOST_SIDE]>::uninit();
    let buffers = [halo.as_mut_ptr().cast::<Quad>(), taps.as_mut_ptr().cast()];
    let most = dsp_part(geometry);
    for y in (0..shape.height).step_by(most[0].max(1)) {
        for x in (0..shape.width).step_by(most[1].max(1)) {
            let size = [most[0].min(shape.height - y), most[1].min(shape.width - x)];
            let extent = [0, 1].map(|axis| (size[axis] - 1) * stride[axis] + kernel[axis]);
            let part = Part { start: [y, x], size, halo: extent };
            run_part::<I>(depthwise, finish, &part, buffers, output.as_mut_ptr());
        }
    }
}

/// A part of the output, four channels at a time; buffers for its widened rows and for taps.
fn run_part<I: Isa>(
    depthwise: &Depthwise<'_>,
    finish: &ToInt8<'_>,
    part: &Part,
    [halo, taps]: [*mut Quad; 2],
    output: *mut i8,
) {
    let Depthwise { geometry, biases: [steps, classes], weights, zero_point, .. } = *depthwise;
    let Geometry { output: shape, kernel: [k_h, k_w], stride: [down, right], .. } = *geometry;
    let epilogue = finish.epilogue;
    let residual = match finish.residual {
        _ if epilogue.residual_multipliers.is_empty() => None,
        Residual::None => None,
        Residual::InOutput => Some(0),
        Residual::From(map) => Some((map.as_ptr() as usize).wrapping_sub(output as usize)),
    };
    let channels = shape.channels;
    // Outputs of a block.
    let together = if right <= 2 { 2 } else { 1 };
    let [y, x] = part.start;
    let [rows, pixels] = part.size;
    let blocks = pixels.div_ceil(together);
    let pitch = part.halo[1] * size_of::<Quad>();
    let step = together * right * size_of::<Quad>();
    let advance = together * channels;
    let mut rows = Rows {
        starts: [0; CHANNELS],
        multipliers: [0; CHANNELS],
        residual_multipliers: [0; CHANNELS],
        shift: epilogue.requantize.shift,
        zero_point: epilogue.requantize.zero_point as u32,
        pitch,
        weights_end: taps.cast_const().wrapping_add(k_h * ROW),
        columns: k_w,
        weights: taps,
        halo,
        step,
        output,
        pixel: channels,
        residual: residual.unwrap_or_default(),
        has_residual: residual.is_some().into(),
        table: epilogue.table.map_or(core::ptr::null(), |table| table.as_ptr().wrapping_add(TABLE_LEN / 2)),
        has_table: epilogue.table.is_some().into(),
        done: 0,
        left: pixels,
        next_halo: (down * pitch).wrapping_sub(blocks * step),
        next_output: (shape.width * channels).wrapping_sub(blocks * advance),
        pixels,
        rows,
        advance,
        spare: [0; 3],
    };
    let output = output.wrapping_add((y * shape.width + x) * channels);
    // Padding stays what it is.
    for index in 0..part.halo[0] * part.halo[1] {
        // SAFETY: so many pixels are there.
        unsafe { halo.wrapping_add(index).write([u32::from(zero_point as u16) * 0x1_0001; 2]) };
    }
    let source = Source::of(geometry, part);
    for block in 0..channels.div_ceil(CHANNELS) {
        // The last block may begin in the one before: what that has stored stays.
        let first = (block * CHANNELS).min(channels - CHANNELS);
        let plan = Widen {
            from: weights.as_ptr().wrapping_add(first),
            pixel: channels,
            columns: k_w,
            rows: k_h,
            from_skip: 0,
            to_skip: (ROW - k_w) * size_of::<Quad>(),
        };
        // SAFETY: so many taps are there, of four channels each, and as many places for them.
        unsafe { widen::<I>(&plan, taps) };
        source.widen::<I>(depthwise, part, first, halo);
        let of = |values: &[i32]| {
            values.get(first..).and_then(<[i32]>::first_chunk::<CHANNELS>).copied().unwrap_or_default()
        };
        rows.starts = of(steps);
        rows.starts.iter_mut().zip(of(classes)).for_each(|(start, more)| *start = start.wrapping_add(more));
        rows.multipliers = of(epilogue.requantize.multipliers);
        rows.residual_multipliers = of(epilogue.residual_multipliers);
        rows.output = output.wrapping_add(first);
        rows.done = block * CHANNELS - first;
        match right {
            // SAFETY: weights, widened rows and maps are as long as the shapes say.
            1 => unsafe { run_rows::<1>(&rows) },
            // SAFETY: see above.
            2 => unsafe { run_rows::<2>(&rows) },
            // SAFETY: see above.
            _ => unsafe { run_rows::<0>(&rows) },
        }
    }
}

/// Which of the widened rows and columns show the map.
#[derive(Clone, Copy)]
struct Source {
    /// The first row and column, of the widened ones.
    first: [usize; 2],
    /// How many.
    size: [usize; 2],
    /// The first one's row and column of the map.
    place: [usize; 2],
}

impl Source {
    /// Under a part of the output.
    fn of(geometry: &Geometry, part: &Part) -> Self {
        let mut source = Self { first: [0; 2], size: [0; 2], place: [0; 2] };
        for (axis, len) in [geometry.input.height, geometry.input.width].into_iter().enumerate() {
            let start = part.start[axis] * geometry.stride[axis];
            let before = geometry.padding[axis].saturating_sub(start).min(part.halo[axis]);
            let place = (start + before).saturating_sub(geometry.padding[axis]);
            source.first[axis] = before;
            source.place[axis] = place;
            let shown = (len * geometry.upsample[axis]).saturating_sub(place);
            source.size[axis] = shown.min(part.halo[axis] - before);
        }
        source
    }

    /// Widens them, four channels from `channel` on.
    fn widen<I: Isa>(&self, depthwise: &Depthwise<'_>, part: &Part, channel: usize, halo: *mut Quad) {
        let Geometry { input: shape, upsample, .. } = *depthwise.geometry;
        let [rows, columns] = self.size;
        let pitch = part.halo[1];
        if rows == 0 || columns == 0 {
            return;
        }
        let to = halo.wrapping_add(self.first[0] * pitch + self.first[1]);
        let plan = Widen {
            from: depthwise.input.as_ptr().wrapping_add(channel),
            pixel: shape.channels,
            columns,
            rows,
            from_skip: (shape.width - columns.min(shape.width)) * shape.channels,
            to_skip: (pitch - columns) * size_of::<Quad>(),
        };
        let pixel = |[y, x]: [usize; 2]| plan.from.wrapping_add((y * shape.width + x) * shape.channels);
        if upsample == [1; 2] {
            // SAFETY: so many rows and columns are on the map, of four channels each, and have their places.
            return unsafe { widen::<I>(&Widen { from: pixel(self.place), ..plan }, to) };
        }
        for row in 0..rows {
            for column in 0..columns {
                let from =
                    pixel([(self.place[0] + row) / upsample[0].max(1), (self.place[1] + column) / upsample[1].max(1)]);
                let to = to.wrapping_add(row * pitch + column);
                // SAFETY: see above.
                unsafe { widen::<I>(&Widen { from, columns: 1, rows: 1, ..plan }, to) };
            }
        }
    }
}

/// What is widened: four bytes each of rows of pixels.
struct Widen {
    from: *const i8,
    /// From a pixel to the next, in bytes.
    pixel: usize,
    /// At least 1.
    columns: usize,
    /// At least 1.
    rows: usize,
    /// From behind a row's last pixel to the next row's first, in bytes.
    from_skip: usize,
    /// The same in what is written.
    to_skip: usize,
}

/// Instructions: 10 for two pixels, 6 a row.
///
/// # Safety
/// So much may be read and written.
#[allow(clippy::extra_unused_type_parameters, reason = "compiled where it is called, see `dsp`")]
#[inline(never)]
unsafe fn widen<I: Isa>(plan: &Widen, to: *mut Quad) {
    // SAFETY: reads and writes what the caller promises; an odd pixel comes first.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "20:",
            "lsrs {count}, {columns}, #1",
            "bcc 21f",
            "ldr {a}, [{from}]",
            "add {from}, {from}, {pixel}",
            "sxtb16 {b}, {a}, ror #8",
            "sxtb16 {a}, {a}",
            "strd {a}, {b}, [{to}], #8",
            "21:",
            "beq 23f",
            "22:",
            "ldr {a}, [{from}]",
            "ldr {b}, [{from}, {pixel}]",
            "add {from}, {from}, {pixel}, lsl #1",
            "sxtb16 {c}, {a}, ror #8",
            "sxtb16 {a}, {a}",
            "strd {a}, {c}, [{to}], #8",
            "sxtb16 {c}, {b}, ror #8",
            "sxtb16 {b}, {b}",
            "strd {b}, {c}, [{to}], #8",
            "subs {count}, {count}, #1",
            "bne 22b",
            "23:",
            "add {from}, {from}, {from_skip}",
            "add {to}, {to}, {to_skip}",
            "subs {rows}, {rows}, #1",
            "bne 20b",
            count = out(reg) _, columns = in(reg) plan.columns, rows = inout(reg) plan.rows => _,
            from = inout(reg) plan.from => _, to = inout(reg) to => _, pixel = in(reg) plan.pixel,
            from_skip = in(reg) plan.from_skip, to_skip = in(reg) plan.to_skip,
            a = out(reg) _, b = out(reg) _, c = out(reg) _,
        );
    }
}

/// Rows of blocks of four channels.
#[repr(C)]
struct Rows {
    starts: [i32; CHANNELS],
    multipliers: [i32; CHANNELS],
    residual_multipliers: [i32; CHANNELS],
    /// See [`crate::requantize::requantize`].
    shift: u32,
    /// Of the output, or of the table's index.
    zero_point: u32,
    /// From a widened row to the next, in bytes.
    pitch: usize,
    /// Where the kernel's rows end.
    weights_end: *const Quad,
    /// The kernel's.
    columns: usize,
    /// Rows of [`ROW`] taps.
    weights: *const Quad,
    /// The first tap's value for the first output.
    halo: *const Quad,
    /// From there to the next block's, in bytes.
    step: usize,
    /// The first output.
    output: *mut i8,
    /// From a pixel to the next, in bytes.
    pixel: usize,
    /// From the output to the residual.
    residual: usize,
    /// 1 where there is one, else 0.
    has_residual: usize,
    /// Its middle, or null.
    table: *const i8,
    /// 1 where there is one, else 0.
    has_table: usize,
    /// Channels of the block that are not stored: its first ones, fewer than four.
    done: usize,
    /// Pixels of a row that are left.
    left: usize,
    /// From behind a row's last block to the next row, in the widened rows.
    next_halo: usize,
    /// The same in the output.
    next_output: usize,
    /// Of a row.
    pixels: usize,
    rows: usize,
    /// From a block's output to the next one's, in bytes.
    advance: usize,
    spare: [u32; 3],
}

/// The products of tap `$kx` of a row of the kernel, for both outputs or for one.
macro_rules! tap {
    ($kx:literal) => {
        concat!(
            "ldrd r2, r3, [r1, #(",
            $kx,
            " * 8)]\nldrd r12, lr, [r0, #(",
            $kx,
            " * 8)]\nsmlabb r4, r12, r2, r4\nsmlabb r5, lr, r3, r5\nsmlatt r6, r12, r2, r6\nsmlatt r7, lr, r3, r7\n",
            ".if {S}\nldrd r12, lr, [r0, #((",
            $kx,
            " + {S}) * 8)]\nsmlabb r8, r12, r2, r8\nsmlabb r9, lr, r3, r9\nsmlatt r10, r12, r2, r10\n",
            "smlatt r11, lr, r3, r11\n.endif\n",
        )
    };
}

/// Adds the residual of channel `$channel`.
macro_rules! residual {
    ($channel:literal, $left:literal, $right:literal) => {
        concat!(
            "ldr lr, [sp, #(32 + 4 * ",
            $channel,
            ")]\nldrsb r12, [r2, #",
            $channel,
            "]\nmla ",
            $left,
            ", r12, lr, ",
            $left,
            "\n.if {S}\nldrsb r12, [r3, #",
            $channel,
            "]\nmla ",
            $right,
            ", r12, lr, ",
            $right,
            "\n.endif\n"
        )
    };
}

/// `$each` for the sums of a block.
macro_rules! sums {
    ($each:literal) => {
        concat!(
            ".irp sum, r4, r5, r6, r7\n",
            $each,
            "\n.endr\n.if {S}\n.irp sum, r8, r9, r10, r11\n",
            $each,
            "\n.endr\n.endif\n"
        )
    };
}

/// A channel's sums, scaled.
macro_rules! scale {
    ($left:literal, $right:literal, $multiplier:literal) => {
        concat!(
            "smmlar ",
            $left,
            ", ",
            $left,
            ", ",
            $multiplier,
            ", lr\n.if {S}\nsmmlar ",
            $right,
            ", ",
            $right,
            ", ",
            $multiplier,
            ", lr\n.endif\n"
        )
    };
}

/// Stores a channel, of the second output first: where there is none, its place is the first one's.
macro_rules! store {
    ($channel:literal, $left:literal, $right:literal) => {
        concat!(".if {S}\nstrb ", $right, ", [r1, #", $channel, "]\n.endif\nstrb ", $left, ", [r0, #", $channel, "]\n")
    };
}

/// Where the second output of a block is, in r1, and the first one, in r0; r2: pixels that are left of the row.
macro_rules! places {
    () => {
        concat!(
            "ldrd r0, r1, [sp, #80]\nldr r2, [sp, #108]\n",
            ".if {S}\ncmp r2, #1\nit eq\nmoveq r1, #0\nadd r1, r1, r0\n.endif\n"
        )
    };
}

/// Blocks of two outputs `S` columns of the map apart, or of one where `S` is 0. Instructions: 11 a tap for eight
/// products, or 6 for four; 6 a row of the kernel; 54 a block, a residual 25 more, a table 9.
///
/// # Safety
/// The pointers lead to all that is read and written; no count is 0.
#[inline(never)]
unsafe fn run_rows<const S: usize>(rows: &Rows) {
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r4-r11, lr}}",
            "sub sp, sp, #144",
            "mov lr, sp",
            ".rept 3",
            "ldm r0!, {{r1-r12}}",
            "stm lr!, {{r1-r12}}",
            ".endr",
            // Where the row's code is entered, what follows the sums, and what follows scaling.
            "ldr r0, [sp, #64]",
            "adr.w r1, 24f + 1",
            ".if {S}",
            "mov r2, #44",
            ".else",
            "mov r2, #24",
            ".endif",
            "mls r0, r0, r2, r1",
            "str r0, [sp, #64]",
            "ldr r0, [sp, #92]",
            "adr.w r1, 26f + 1",
            "adr.w r2, 25f + 1",
            "cmp r0, #0",
            "it ne",
            "movne r1, r2",
            "str r1, [sp, #92]",
            "ldr r0, [sp, #100]",
            "adr.w r1, 28f + 1",
            "adr.w r2, 27f + 1",
            "cmp r0, #0",
            "it ne",
            "movne r1, r2",
            "str r1, [sp, #100]",
            "20:",
            "ldm sp, {{r4-r7}}",
            ".if {S}",
            "ldm sp, {{r8-r11}}",
            ".endif",
            "ldrd r1, r0, [sp, #68]",
            "ldr pc, [sp, #64]",
            ".p2align 2",
            "23:",
            tap!("8"), tap!("7"), tap!("6"), tap!("5"), tap!("4"), tap!("3"), tap!("2"), tap!("1"), tap!("0"),
            "24:",
            "ldrd r2, r3, [sp, #56]",
            "add r1, r1, #72",
            "add r0, r0, r2",
            "cmp r1, r3",
            "it ne",
            "ldrne pc, [sp, #64]",
            "ldr pc, [sp, #92]",
            ".p2align 2",
            "25:",
            places!(),
            "ldr r3, [sp, #88]",
            "add r2, r0, r3",
            ".if {S}",
            "add r3, r1, r3",
            ".endif",
            residual!("0", "r4", "r8"),
            residual!("1", "r5", "r9"),
            residual!("2", "r6", "r10"),
            residual!("3", "r7", "r11"),
            ".p2align 2",
            "26:",
            "add r0, sp, #16",
            "ldm r0, {{r0-r3}}",
            "ldrd r12, lr, [sp, #48]",
            // Mostly there is no shift.
            "cmp r12, #0",
            "beq 29f",
            sums!("lsl \\sum, \\sum, r12"),
            "29:",
            scale!("r4", "r8", "r0"),
            scale!("r5", "r9", "r1"),
            scale!("r6", "r10", "r2"),
            scale!("r7", "r11", "r3"),
            "ldr pc, [sp, #100]",
            ".p2align 2",
            "27:",
            "ldr r12, [sp, #96]",
            sums!("ssat \\sum, #10, \\sum\nldrb \\sum, [r12, \\sum]"),
            "b 30f",
            ".p2align 2",
            "28:",
            sums!("ssat \\sum, #8, \\sum"),
            "30:",
            places!(),
            "ldr r3, [sp, #104]",
            "cbnz r3, 31f",
            store!("0", "r4", "r8"),
            store!("1", "r5", "r9"),
            store!("2", "r6", "r10"),
            store!("3", "r7", "r11"),
            "b 32f",
            "31:",
            "cmp r3, #2",
            store!("3", "r7", "r11"),
            "bhi 32f",
            store!("2", "r6", "r10"),
            "beq 32f",
            store!("1", "r5", "r9"),
            "32:",
            "ldr r1, [sp, #128]",
            "add r0, r0, r1",
            "str r0, [sp, #80]",
            "ldrd r0, r1, [sp, #72]",
            "add r0, r0, r1",
            "str r0, [sp, #72]",
            ".if {S}",
            "subs r2, r2, #2",
            ".else",
            "subs r2, r2, #1",
            ".endif",
            "str r2, [sp, #108]",
            "bgt.w 20b",
            // The next row.
            "ldrd r1, r2, [sp, #112]",
            "add r0, r0, r1",
            "str r0, [sp, #72]",
            "ldr r0, [sp, #80]",
            "add r0, r0, r2",
            "str r0, [sp, #80]",
            "ldrd r0, r1, [sp, #120]",
            "str r0, [sp, #108]",
            "subs r1, r1, #1",
            "str r1, [sp, #124]",
            "bne.w 20b",
            "add sp, sp, #144",
            "pop {{r4-r11, lr}}",
            S = const S,
            inout("r0") rows => _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r12") _,
        );
    }
}
