//! Depthwise convolutions of kernels up to 9×9: a channel at a time, the lanes of a vector of bytes being taps.
//!
//! Eight channels of a part of the map are laid out as planes: for a row of the output the columns under its kernels, one
//! behind the other, each of as many bytes as the kernel has rows. So the taps of an output are bytes in sequence, and the
//! next output's begin a constant step behind them. A channel's weights stay in registers, sixteen taps in each.

use core::arch::asm;
use core::mem::MaybeUninit;

use super::copy;
use crate::conditioning::at;
use crate::geometry::Geometry;
use crate::isa::depthwise::{
    MOST_SIDE, PLANES as CHANNELS, PLANES_BYTES as BYTES, TAP_VECTORS as VECTORS, TAPS as LANES, helium_part,
};
use crate::isa::{Depthwise, Isa, ToInt8};
use crate::requantize::TABLE_LEN;
use crate::residual::Residual;

/// A channel's weights, `[k_w][k_h]`, and zeros behind them.
#[repr(align(4))]
struct Taps([i8; VECTORS * LANES]);

/// Outputs that share planes.
#[derive(Clone, Copy)]
struct Part {
    /// The first one's row and column.
    start: [usize; 2],
    /// How many rows and columns.
    size: [usize; 2],
    /// Columns of the map under a row.
    width: usize,
}

/// What all parts share.
struct Layer<'a> {
    depthwise: &'a Depthwise<'a>,
    finish: &'a ToInt8<'a>,
    output: *mut i8,
    /// From the output to the residual, if there is one.
    residual: Option<usize>,
    /// Where a channel's weights lie from its first on, in the order of [`Taps`].
    offsets: [u32; MOST_SIDE * MOST_SIDE],
    taps: Taps,
}

/// See [`crate::isa::Isa::depthwise`], for [`crate::isa::DepthwiseLoop::AnyKernel`].
#[allow(clippy::extra_unused_type_parameters, reason = "compiled where it is called, see `dsp`")]
#[inline(never)]
pub(super) fn run<I: Isa>(depthwise: &Depthwise<'_>, finish: &ToInt8<'_>, output: &mut [i8]) {
    let Geometry { output: shape, kernel: [k_h, k_w], stride: [_, stride], .. } = *depthwise.geometry;
    let residual = match finish.residual {
        _ if finish.epilogue.residual_multipliers.is_empty() => None,
        Residual::None => None,
        Residual::InOutput => Some(0),
        Residual::From(map) => Some((map.as_ptr() as usize).wrapping_sub(output.as_ptr() as usize)),
    };
    let mut offsets = [0; MOST_SIDE * MOST_SIDE];
    let places = (0..k_w).flat_map(|column| (0..k_h).map(move |row| (row * k_w + column) * shape.channels));
    offsets.iter_mut().zip(places).for_each(|(offset, place)| *offset = place as u32);
    let output = output.as_mut_ptr();
    let mut layer = Layer { depthwise, finish, output, residual, offsets, taps: Taps([0; VECTORS * LANES]) };
    // What is read past the planes meets weights of 0.
    let mut planes = MaybeUninit::<[u32; BYTES / 4]>::uninit();
    let planes = planes.as_mut_ptr().cast::<i8>();
    let most = helium_part(depthwise.geometry);
    for y in (0..shape.height).step_by(most[0].max(1)) {
        for x in (0..shape.width).step_by(most[1].max(1)) {
            let size = [most[0].min(shape.height - y), most[1].min(shape.width - x)];
            let part = Part { start: [y, x], size, width: (size[1] - 1) * stride + k_w };
            layer.run(&part, planes);
        }
    }
}

impl Layer<'_> {
    /// A part of the output, all channels.
    #[inline]
    fn run(&mut self, part: &Part, planes: *mut i8) {
        let Depthwise { geometry, biases: [steps, classes], weights, zero_point, .. } = *self.depthwise;
        let Geometry { output: shape, kernel: [k_h, k_w], stride: [_, right], .. } = *geometry;
        let epilogue = self.finish.epilogue;
        let channels = shape.channels;
        let [rows, columns] = part.size;
        let pitch = part.width * k_h;
        let plane = rows * pitch;
        // Padding stays what it is.
        // SAFETY: so many bytes are there.
        unsafe { copy::fill(planes, CHANNELS * plane, zero_point as i8) };
        let output = self.output.wrapping_add((part.start[0] * shape.width + part.start[1]) * channels);
        let (table, zero) = match epilogue.table {
            Some(table) => (table.as_ptr(), TABLE_LEN as i32 / 2),
            None => (core::ptr::null(), 0),
        };
        for first in (0..channels).step_by(CHANNELS) {
            let lanes = (channels - first).min(CHANNELS);
            self.lay_out(part, planes, [first, lanes], plane);
            for lane in 0..lanes {
                let channel = first + lane;
                let mut rows = Rows {
                    weights: weights.as_ptr().wrapping_add(channel),
                    offsets: self.offsets.as_ptr(),
                    count: k_h * k_w,
                    taps: self.taps.0.as_mut_ptr(),
                    values: planes.cast_const().wrapping_add(lane * plane),
                    rows,
                    pitch,
                    columns,
                    step: right * k_h,
                    output: output.wrapping_add(channel),
                    advance: 4 * channels,
                    next: shape.width * channels,
                    bias: at(steps, channel).wrapping_add(at(classes, channel)),
                    shift: epilogue.requantize.shift,
                    half_multiplier: at(epilogue.requantize.multipliers, channel) / 2,
                    zero_point: epilogue.requantize.zero_point + zero,
                    residual: self.residual.unwrap_or_default(),
                    residual_multiplier: at(epilogue.residual_multipliers, channel),
                    table,
                    vpr: 0,
                    places: [0, 1, 2, 3].map(|pixel| pixel * channels as u32),
                };
                // SAFETY: planes, weights and maps are as long as the shapes say.
                unsafe { self.run_rows(&mut rows) };
            }
        }
    }

    /// The loop for the layer.
    ///
    /// # Safety
    /// As [`run_rows`].
    #[inline(always)]
    unsafe fn run_rows(&self, rows: &mut Rows) {
        let residual = self.residual.is_some();
        let table = self.finish.epilogue.table.is_some();
        match (rows.count.div_ceil(LANES), residual || table) {
            // SAFETY: as the caller promises.
            (1, false) => unsafe { run_rows::<1, false>(rows, residual, table) },
            // SAFETY: see above.
            (1, true) => unsafe { run_rows::<1, true>(rows, residual, table) },
            // SAFETY: see above.
            (2, false) => unsafe { run_rows::<2, false>(rows, residual, table) },
            // SAFETY: see above.
            (2, true) => unsafe { run_rows::<2, true>(rows, residual, table) },
            // SAFETY: see above.
            (3, _) => unsafe { run_rows::<3, true>(rows, residual, table) },
            // SAFETY: see above.
            (4, _) => unsafe { run_rows::<4, true>(rows, residual, table) },
            // SAFETY: see above.
            (5, _) => unsafe { run_rows::<5, true>(rows, residual, table) },
            // SAFETY: see above.
            _ => unsafe { run_rows::<6, true>(rows, residual, table) },
        }
    }

    /// Lays out `lanes` channels from `first` on, `plane` bytes each.
    #[inline]
    fn lay_out(&self, part: &Part, planes: *mut i8, [first, lanes]: [usize; 2], plane: usize) {
        let Depthwise { geometry, input, .. } = *self.depthwise;
        let Geometry { input: shape, kernel: [k_h, _], stride: [down, right], padding, upsample, .. } = *geometry;
        let pitch = part.width * k_h;
        let rows = part.size[0];
        let start = part.start[1] * right;
        let before = padding[1].saturating_sub(start).min(part.width);
        let column = (start + before).saturating_sub(padding[1]);
        let shown = (shape.width * upsample[1]).saturating_sub(column).min(part.width - before);
        let first_input = input.as_ptr().wrapping_add(first);
        for row in 0..(rows - 1) * down + k_h {
            let Some(source) = geometry.tap(0, part.start[0], row, shape.height) else { continue };
            // The rows of the output whose kernels meet it.
            let from_row = (row + 1).saturating_sub(k_h).div_ceil(down.max(1));
            let to_row = (row.checked_div(down).unwrap_or_default() + 1).min(rows);
            if from_row >= to_row || shown == 0 {
                continue;
            }
            let place = from_row * pitch + before * k_h + row - from_row * down;
            let pixel = |column: usize| first_input.wrapping_add((source * shape.width + column) * shape.channels);
            let mut copies = Copies {
                from: pixel(column),
                pixel: shape.channels,
                to: planes.wrapping_add(place),
                step: k_h,
                columns: shown,
                lanes,
                next: pitch.wrapping_sub(down),
                plane,
            };
            if upsample[1] == 1 {
                // SAFETY: so many columns of the row are on the map, with as many channels, and have their places.
                unsafe { copies.run(to_row - from_row) };
                continue;
            }
            copies.columns = 1;
            let to = copies.to;
            for index in 0..shown {
                copies.from = pixel((column + index).checked_div(upsample[1]).unwrap_or_default());
                copies.to = to.wrapping_add(index * k_h);
                // SAFETY: see above.
                unsafe { copies.run(to_row - from_row) };
            }
        }
    }
}

/// Copies of a row of pixels, a channel into each plane.
#[derive(Clone, Copy)]
struct Copies {
    from: *const i8,
    /// From a pixel to the next, in bytes.
    pixel: usize,
    to: *mut i8,
    /// The same in the planes.
    step: usize,
    /// At least 1.
    columns: usize,
    /// Channels, eight at most.
    lanes: usize,
    /// From one copy to the next.
    next: usize,
    /// From a plane to the next.
    plane: usize,
}

impl Copies {
    /// So many copies, at least one.
    ///
    /// # Safety
    /// All that may be read and written.
    #[inline(always)]
    unsafe fn run(&self, copies: usize) {
        let mut rest = Self { ..*self };
        for _ in 0..copies / 3 {
            // SAFETY: as the caller promises.
            unsafe { rest.pass::<3>() };
            rest.to = rest.to.wrapping_add(3 * self.next);
        }
        match copies % 3 {
            // SAFETY: see above.
            1 => unsafe { rest.pass::<1>() },
            // SAFETY: see above.
            2 => unsafe { rest.pass::<2>() },
            _ => {}
        }
    }

    /// `N` copies, three at most. Instructions: 5 + `N` a pixel.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[inline(always)]
    unsafe fn pass<const N: usize>(&self) {
        // SAFETY: reads and writes what the caller promises: other lanes are switched off.
        unsafe {
            asm!(
                ".cpu cortex-m55",
                "vidup.u16 q1, r2, #1",
                "vmul.i16 q1, q1, {plane}",
                ".if {N} > 1",
                "vadd.i16 q2, q1, {next}",
                ".endif",
                ".if {N} > 2",
                "vadd.i16 q3, q2, {next}",
                ".endif",
                "vmrs r2, p0",
                "vctp.16 {lanes}",
                "dls lr, {columns}",
                "3:",
                ".if {N} == 1",
                "vpstt",
                "vldrbt.u16 q0, [r0]",
                "vstrbt.16 q0, [{to}, q1]",
                ".elseif {N} == 2",
                "vpsttt",
                "vldrbt.u16 q0, [r0]",
                "vstrbt.16 q0, [{to}, q1]",
                "vstrbt.16 q0, [{to}, q2]",
                ".else",
                "vpstttt",
                "vldrbt.u16 q0, [r0]",
                "vstrbt.16 q0, [{to}, q1]",
                "vstrbt.16 q0, [{to}, q2]",
                "vstrbt.16 q0, [{to}, q3]",
                ".endif",
                "add r0, r0, {pixel}",
                "add {to}, {to}, {step}",
                "le lr, 3b",
                "vmsr p0, r2",
                N = const N,
                inout("r2") 0 => _, lanes = in(reg) self.lanes, plane = in(reg) self.plane,
                inout("r0") self.from => _, to = inout(reg) self.to => _,
                columns = in(reg) self.columns, pixel = in(reg) self.pixel, step = in(reg) self.step,
                next = in(reg) self.next,
                out("lr") _, out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
                out("d6") _, out("d7") _,
            );
        }
    }
}

/// Rows of one channel.
#[repr(C)]
struct Rows {
    /// The channel's first weight.
    weights: *const i8,
    offsets: *const u32,
    /// Taps.
    count: usize,
    taps: *mut i8,
    /// The first output's first tap.
    values: *const i8,
    rows: usize,
    /// From a row's values to the next, in bytes.
    pitch: usize,
    columns: usize,
    /// From an output's values to the next one's.
    step: usize,
    output: *mut i8,
    /// From an output to the fourth after it, in bytes.
    advance: usize,
    /// From a row of the output to the next.
    next: usize,
    bias: i32,
    shift: u32,
    half_multiplier: i32,
    /// Of the output, or the table's entry for 0.
    zero_point: i32,
    /// From the output to the residual.
    residual: usize,
    residual_multiplier: i32,
    table: *const i8,
    /// What the predicate was.
    vpr: u32,
    /// Where four outputs lie.
    places: [u32; 4],
}

/// A vector of taps of an output, where there are more than `$vector`; its sum is in `$sum`.
macro_rules! more_taps {
    ($vector:literal, $weights:literal, $sum:literal) => {
        concat!(
            ".if {N} > ",
            $vector,
            "\nvldrb.u8 q0, [r1, #(16 * ",
            $vector,
            ")]\nvmladava.s8 ",
            $sum,
            ", q0, ",
            $weights,
            "\n.endif\n"
        )
    };
}

/// The sum of an output.
macro_rules! sum {
    ($sum:literal) => {
        concat!(
            "vldrb.u8 q0, [r1]\nvmladav.s8 ",
            $sum,
            ", q0, q1\n",
            more_taps!("1", "q2", $sum),
            more_taps!("2", "q3", $sum),
            more_taps!("3", "q4", $sum),
            more_taps!("4", "q5", $sum),
            more_taps!("5", "q6", $sum),
            "add r1, r1, r3\n"
        )
    };
}

/// The last vector of taps, where it has no register of its own.
macro_rules! weights {
    ($vector:literal, $register:literal) => {
        concat!(".if {N} > ", $vector, "\nvldrw.u32 ", $register, ", [r0, #(16 * ", $vector, ")]\n.endif\n")
    };
}

/// Four outputs at a time of `N` vectors of taps. Instructions for four outputs: 8 · N + 17, and 2 more with `EXTRAS`, a
/// residual 5 and a table 2 more; 13 a row.
///
/// # Safety
/// The pointers lead to all that is read and written; no count is 0. Only with `EXTRAS` is there a residual or a table.
#[inline(never)]
unsafe fn run_rows<const N: usize, const EXTRAS: bool>(rows: &mut Rows, residual: bool, table: bool) {
    let [residual, table] = [residual, table].map(usize::from);
    // SAFETY: reads and writes what the caller promises; r6 and r7, which the compiler keeps for itself, are put back.
    unsafe {
        asm!(
            ".cpu cortex-m55",
            "push {{r6, r7}}",
            "push {{r0, r2}}",
            "vmrs r0, p0",
            "str r0, [r5, #76]",
            "ldrd r0, r1, [r5]",
            "ldrd r2, r3, [r5, #8]",
            "dlstp.32 lr, r2",
            "2:",
            "vldrw.u32 q0, [r1], #16",
            "vldrb.u32 q1, [r0, q0]",
            "vstrb.32 q1, [r3], #4",
            "letp lr, 2b",
            "ldr r0, [r5, #12]",
            "vldrw.u32 q1, [r0]",
            weights!("1", "q2"),
            weights!("2", "q3"),
            weights!("3", "q4"),
            weights!("4", "q5"),
            "vldrw.u32 q7, [r5, #80]",
            "ldr r3, [r5, #32]",
            "ldr r6, [r5, #40]",
            "ldrd lr, r12, [r5, #48]",
            "ldrd r7, r11, [r5, #56]",
            "30:",
            "ldr r1, [r5, #16]",
            "ldr r9, [r5, #36]",
            "ldr r10, [r5, #28]",
            "20:",
            ".if {N} > 5",
            "ldr r0, [r5, #12]",
            "vldrw.u32 q6, [r0, #80]",
            ".endif",
            sum!("r0"), sum!("r2"), sum!("r4"), sum!("r8"),
            "vmov q6[2], q6[0], r0, r4",
            "vmov q6[3], q6[1], r2, r8",
            "vctp.32 r10",
            ".if {EXTRAS}",
            "ldrd r2, r4, [sp]",
            "cbz r2, 21f",
            "ldrd r0, r2, [r5, #64]",
            "add r0, r0, r9",
            "vpst",
            "vldrbt.s32 q0, [r0, q7]",
            "vmla.i32 q6, q0, r2",
            "21:",
            ".endif",
            "vadd.i32 q6, q6, lr",
            "vshl.s32 q6, r12",
            "vqrdmulh.s32 q6, q6, r7",
            "vadd.i32 q6, q6, r11",
            ".if {EXTRAS}",
            "cbz r4, 22f",
            "ldr r0, [r5, #72]",
            "vqshlu.s32 q0, q6, #22",
            "vshr.u32 q0, q0, #22",
            "vldrb.u32 q6, [r0, q0]",
            "b 23f",
            "22:",
            ".endif",
            "vqmovnb.s32 q6, q6",
            "vqmovnb.s16 q6, q6",
            "23:",
            "vpst",
            "vstrbt.32 q6, [r9, q7]",
            "add r9, r9, r6",
            "subs r10, r10, #4",
            "bgt.w 20b",
            "ldrd r0, r1, [r5, #16]",
            "ldr r2, [r5, #24]",
            "add r0, r0, r2",
            "subs r1, r1, #1",
            "strd r0, r1, [r5, #16]",
            "ldr r0, [r5, #36]",
            "ldr r2, [r5, #44]",
            "add r0, r0, r2",
            "str r0, [r5, #36]",
            "bne.w 30b",
            "ldr r0, [r5, #76]",
            "vmsr p0, r0",
            "add sp, sp, #8",
            "pop {{r6, r7}}",
            N = const N, EXTRAS = const EXTRAS as u8,
            inout("r0") residual => _, inout("r2") table => _, in("r5") rows,
            out("r1") _, out("r3") _, out("r4") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _,
            out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d8") _, out("d9") _, out("d10") _, out("d11") _, out("d12") _, out("d13") _, out("d14") _,
            out("d15") _,
        );
    }
}
