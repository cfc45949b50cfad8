//! 3×3 convolutions to a single channel: four neighbouring pixels share the columns that they read.

use core::arch::asm;

use super::Dsp;
use super::layout::{GROUP as PIXELS, SIDE, STEP};
use super::op::{smlad, sxtb16};
use super::requantize::apply;
use crate::conditioning::at;
use crate::epilogue::Epilogue;
use crate::geometry::Geometry;
use crate::isa::{Convolution, Finish};
use crate::maps::Code;
use crate::residual::Residual;

/// Runs a convolution that [`DspLoop::OneOutput`](super::layout::DspLoop) is for; none where its scratch is too short.
#[inline(always)]
pub(super) fn run<X: Code, F: Finish>(
    convolution: &Convolution<'_, X>,
    finish: &F,
    scratch: &mut [i32],
    output: &mut [F::Element],
) -> Option<()> {
    let Convolution { geometry, weights, input, .. } = *convolution;
    let zero_point = input.zero_points[0].into();
    let mut rows = Rows::new(geometry, X::bytes(input.maps[0])?, [zero_point, convolution.bias(0)], weights, scratch)?;
    let plain = finish.to_int8().filter(|finish| matches!(finish.residual, Residual::None));
    for (y, outs) in output.chunks_exact_mut(geometry.output.width.max(1)).enumerate() {
        if let (Some(finish), Some(outs)) = (plain, F::bytes(outs)) {
            let multiplier = at(finish.epilogue.requantize.multipliers, 0);
            requantize(finish.epilogue, multiplier, rows.sums(y), outs);
            continue;
        }
        for (x, (sum, out)) in rows.sums(y).iter().zip(outs).enumerate() {
            let index = y * geometry.output.width + x;
            finish.finish::<Dsp>(core::slice::from_ref(sum), 0, index, core::slice::from_mut(out));
        }
    }
    Some(())
}

/// See [`Isa::requantize`]; of a single channel.
#[inline(never)]
fn requantize(epilogue: &Epilogue<'_>, multiplier: i32, sums: &[i32], output: &mut [i8]) {
    sums.iter().zip(output).for_each(|(sum, out)| *out = apply(epilogue, *sum, multiplier));
}

/// What rows of sums are made of.
struct Rows<'a> {
    geometry: &'a Geometry,
    map: &'a [i8],
    weights: &'a [i8],
    zero_point: i32,
    bias: i32,
    /// Where the sums of the first pixel, of the last one and of those between them start.
    starts: [i32; 3],
    /// The last of `starts`, once a pixel, then the steps; see [`groups`].
    table: &'a mut [i32],
    sums: &'a mut [i32],
}

impl<'a> Rows<'a> {
    /// None where scratch is too short.
    #[inline(never)]
    fn new(
        geometry: &'a Geometry,
        map: &'a [i8],
        [zero_point, bias]: [i32; 2],
        weights: &'a [i8],
        scratch: &'a mut [i32],
    ) -> Option<Self> {
        let input = geometry.input;
        let (table, rest) = scratch.split_at_mut_checked(PIXELS + SIDE * input.channels / 4 * STEP)?;
        let sums = rest.get_mut(..input.width)?;
        Some(Self { geometry, map, weights, zero_point, bias, starts: [0; 3], table, sums })
    }

    /// The sums of row `y`.
    #[inline(never)]
    fn sums(&mut self, y: usize) -> &[i32] {
        // Rows of the kernel that are not on the map.
        let (above, below) = (usize::from(y == 0), usize::from(y + 1 == self.geometry.input.height));
        if y < 2 || below > 0 {
            self.fill(above, SIDE - below);
        }
        let row = (y + above).saturating_sub(1) * self.geometry.input.width * self.geometry.input.channels;
        let row = self.map.as_ptr().wrapping_add(row);
        match self.geometry.input.channels {
            16 => self.row::<16>(row),
            _ => self.row::<32>(row),
        }
        self.sums
    }

    /// A row's sums from its first pixel of the map's rows that the table meets.
    #[inline(always)]
    fn row<const C: usize>(&mut self, row: *const i8) {
        let (width, table, sums) = (self.geometry.input.width, self.table.as_ptr(), self.sums.as_mut_ptr());
        // Every walk starts a group before its first column.
        let column = |x: usize| row.wrapping_add(x * C).wrapping_sub(PIXELS * C);
        let whole = (width - 2) / PIXELS;
        // The last group ends before the last pixel, and may overlap.
        let last = width - 1 - PIXELS;
        let [left, right, _] = self.starts;
        // SAFETY: the columns from 0 to `PIXELS · whole + 1` are on the map, and `whole` is not 0, as the loop is for rows of six
        // pixels and more.
        unsafe { groups::<C>(column(0), table, sums.wrapping_add(1), whole) };
        // SAFETY: so are the last `PIXELS + 2`.
        unsafe { groups::<C>(column(last - 1), table, sums.wrapping_add(last), 1) };
        // SAFETY: and the first two.
        let left = unsafe { border::<C, 1>(column(0), table, left) };
        // SAFETY: and the last two.
        let right = unsafe { border::<C, 0>(column(width - 2), table, right) };
        if let [first, .., last] = &mut *self.sums {
            (*first, *last) = (left, right);
        }
    }

    #[inline(never)]
    /// Makes the table of the kernel's rows from `first` to before `last`.
    fn fill(&mut self, first: usize, last: usize) {
        let channels = self.geometry.input.channels;
        let quads = channels / 4;
        let word = |row: usize, column: usize, quad: usize, odd: usize| {
            let place = (((row * SIDE + column) * quads + quad) * 2 + odd) * 4;
            let bytes = self.weights.get(place..).and_then(<[i8]>::first_chunk::<4>);
            // Of two channels that alternate, this is the first; the other is no channel.
            sxtb16(u32::from_le_bytes(bytes.map_or([0; 4], |bytes| bytes.map(|byte| byte as u8))))
        };
        self.starts = [self.bias; 3];
        for (row, column) in (0..SIDE).flat_map(|row| (0..SIDE).map(move |column| (row, column))) {
            let words = (0..quads).flat_map(|quad| [word(row, column, quad, 0), word(row, column, quad, 1)]);
            let sum = words.fold(0, |sum, word| smlad(word, 0x1_0001, sum)) as i32;
            let outside = row < first || row >= last;
            for (start, missing) in self.starts.iter_mut().zip([0, SIDE - 1, SIDE]) {
                if outside || column == missing {
                    *start = start.wrapping_add(sum.wrapping_mul(self.zero_point));
                }
            }
        }
        let (starts, steps) = self.table.split_at_mut(PIXELS.min(self.table.len()));
        starts.fill(self.starts[2]);
        let place = |row: usize, quad: usize| (row * self.geometry.input.width * channels + quad * 4) as i32;
        let order = (0..last - first).flat_map(|row| (0..quads).map(move |quad| (row, quad)));
        let mut before = -((PIXELS * channels) as i32);
        // The first step comes last, so that the way back to it is the only one that is negative.
        for (step, (row, quad)) in steps.chunks_exact_mut(STEP).zip(order.clone().skip(1).chain(order.take(1))) {
            for (at, out) in step.iter_mut().enumerate() {
                *out = match at {
                    ..6 => word(first + row, at / 2, quad, at % 2) as i32,
                    _ => place(row, quad) - before,
                };
            }
            before = place(row, quad);
        }
    }
}

/// The products of both words of a column, `c`, with the weights of a place of the kernel.
macro_rules! products {
    ($sum:literal, $even:literal, $odd:literal) => {
        concat!("smlad ", $sum, ", r12, ", $even, ", ", $sum, "\nsmlad ", $sum, ", lr, ", $odd, ", ", $sum, "\n")
    };
}

/// Four channels of the column `$x` columns further, as words.
macro_rules! column {
    ($x:literal) => {
        concat!("ldr lr, [r0, #(", $x, " * {C})]\nsxtb16 r12, lr\nsxtb16 lr, lr, ror #8\n")
    };
}

/// The sums of `count` groups of neighbouring pixels.
///
/// `table` holds where the sums of a group start, and the steps: `[3 columns of the kernel][2]` words of weights and
/// the way from the place of the step before, in bytes. All are forward but the last. `from` is as far before the first
/// group's columns as a group is from the next. Instructions: 45 a step, and 7 more.
///
/// # Safety
/// The inputs of the groups are there, so is room for the sums; `count` is not 0.
#[inline(never)]
unsafe fn groups<const C: usize>(from: *const i8, table: *const i32, sums: *mut i32, count: usize) {
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r4-r11, lr}}",
            "add r3, r2, r3, lsl #4",
            "push {{r1-r3}}",
            "20:",
            "ldr r1, [sp]",
            "ldm r1!, {{r8-r11}}",
            "21:",
            "ldm r1!, {{r2-r7, r12}}",
            // Carries when it is back at the first step; nothing below changes that.
            "adds r0, r0, r12",
            column!("0"),
            products!("r8", "r2", "r3"),
            column!("1"),
            products!("r8", "r4", "r5"),
            products!("r9", "r2", "r3"),
            column!("2"),
            products!("r8", "r6", "r7"),
            products!("r9", "r4", "r5"),
            products!("r10", "r2", "r3"),
            column!("3"),
            products!("r9", "r6", "r7"),
            products!("r10", "r4", "r5"),
            products!("r11", "r2", "r3"),
            column!("4"),
            products!("r10", "r6", "r7"),
            products!("r11", "r4", "r5"),
            column!("5"),
            products!("r11", "r6", "r7"),
            "bcc 21b",
            "ldrd r2, r3, [sp, #4]",
            "stm r2!, {{r8-r11}}",
            "str r2, [sp, #4]",
            "cmp r2, r3",
            "bne 20b",
            "add sp, sp, #12",
            "pop {{r4-r11, lr}}",
            C = const C,
            inout("r0") from => _,
            inout("r1") table => _,
            inout("r2") sums => _,
            inout("r3") count => _,
            out("r12") _,
        );
    }
}

/// The sum of a pixel at the left or right border: two columns, the first meeting the kernel's column `K`. Instructions:
/// 13 a step.
///
/// # Safety
/// As [`groups`].
#[inline(never)]
unsafe fn border<const C: usize, const K: usize>(from: *const i8, table: *const i32, start: i32) -> i32 {
    let sum;
    // SAFETY: reads what the caller vouches for, and restores what it pushes.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r4-r8, lr}}",
            "add r1, r1, #16",
            "mov r8, r2",
            "21:",
            "ldm r1!, {{r2-r7, r12}}",
            "adds r0, r0, r12",
            column!("0"),
            ".if {K} == 0",
            products!("r8", "r2", "r3"),
            ".else",
            products!("r8", "r4", "r5"),
            ".endif",
            column!("1"),
            ".if {K} == 0",
            products!("r8", "r4", "r5"),
            ".else",
            products!("r8", "r6", "r7"),
            ".endif",
            "bcc 21b",
            "mov r2, r8",
            "pop {{r4-r8, lr}}",
            C = const C,
            K = const K,
            inout("r0") from => _,
            inout("r1") table => _,
            inout("r2") start => sum,
            out("r3") _,
            out("r12") _,
        );
    }
    sum
}
