//! The rows of the input under one row of the output, as int16 and with their padding: patches meet no border, and each
//! value is widened once.

use core::arch::asm;

use super::layout::halo_row;
use super::{Dsp, Isa};
use crate::geometry::Geometry;
use crate::maps::{Code, Maps};

/// Pixels of a tile.
const PIXELS: usize = Dsp::PACKING.pixels;

/// Elements of a map.
#[derive(Clone, Copy)]
enum Elements<'a> {
    Int8(&'a [i8]),
    Int16(&'a [i16]),
}

impl<'a> Elements<'a> {
    fn of<X: Code>(map: &'a [X]) -> Self {
        X::bytes(map).map_or_else(|| Self::Int16(bytemuck::try_cast_slice(map).unwrap_or_default()), Self::Int8)
    }

    /// Those from `start` on, as many as there is room for.
    #[inline(never)]
    fn copy(self, start: usize, out: &mut [i16]) {
        match self {
            Self::Int8(map) => widen(map.get(start..).unwrap_or_default(), out),
            Self::Int16(map) => {
                let values = map.get(start..).unwrap_or_default();
                out.iter_mut().zip(values).for_each(|(out, value)| *out = *value);
            }
        }
    }
}

/// Rows of one map, or of two side by side, enlarged.
pub(super) struct Halo<'a> {
    geometry: &'a Geometry,
    maps: [Elements<'a>; 2],
    channels: [usize; 2],
    zero_points: [i16; 2],
    /// `[k_h][columns][in_c]`, and one element more; row r of the enlarged and padded map is in slot r % k_h.
    rows: &'a mut [i16],
    /// Elements of a row.
    len: usize,
    /// The first row that has not been here.
    next: usize,
    /// Those of the next pixel, but for where they are.
    windows: Windows,
    /// The next pixel's row and column.
    position: (usize, usize),
    /// Where its window starts.
    start: usize,
}

impl<'a> Halo<'a> {
    /// In a buffer; none where the convolution has no use for it or the buffer is too short.
    #[inline(always)]
    pub(super) fn of<X: Code>(geometry: &'a Geometry, input: &Maps<'a, X>, buffer: &'a mut [i32]) -> Option<Self> {
        let Maps { maps, channels, zero_points } = *input;
        Self::new(geometry, maps.map(Elements::of), channels, zero_points, buffer)
    }

    #[inline(never)]
    fn new(
        geometry: &'a Geometry,
        maps: [Elements<'a>; 2],
        channels: [usize; 2],
        zero_points: [i16; 2],
        buffer: &'a mut [i32],
    ) -> Option<Self> {
        let Geometry { input, kernel: [k_h, k_w], stride, .. } = *geometry;
        let (len, pairs) = (halo_row(geometry), (k_w * input.channels).div_ceil(2));
        let rows: &mut [i16] = bytemuck::must_cast_slice_mut(buffer);
        let rows = rows.get_mut(..k_h * len + 1).filter(|_| Dsp::PACKING.has_rows(geometry) && k_h * pairs > 0)?;
        let windows = Windows {
            values: core::ptr::null(),
            columns: core::ptr::null_mut(),
            pixels: 0,
            step: 2 * stride[1] * input.channels,
            pairs,
            rows: k_h,
            row: 2 * len,
            end: core::ptr::null(),
            all: 2 * k_h * len,
        };
        Some(Self { geometry, maps, channels, zero_points, rows, len, next: 0, windows, position: (0, 0), start: 0 })
    }

    /// Goes back so many pixels, if they are of the same row and it is not over, or the last.
    pub(super) fn back(&mut self, pixels: usize) -> bool {
        let (y, x) = self.position;
        let Geometry { output, .. } = self.geometry;
        let is_over = x == 0 && y == output.height;
        let (y, x) = if is_over { (y.wrapping_sub(1), output.width) } else { (y, x) };
        let fits = pixels < x;
        if fits {
            self.position = (y, x - pixels);
            self.start -= pixels * self.windows.step / 2;
        }
        fits
    }

    /// Fetches the rows under row `y` of the output.
    #[inline(never)]
    fn fetch(&mut self, y: usize) {
        let Geometry { input: shape, kernel: [k_h, _], padding, upsample, stride, .. } = *self.geometry;
        let [zero_point, other_zero_point] = self.zero_points;
        let ([first, second], [map, other]) = (self.channels, self.maps);
        let top = y * stride[0];
        let plain = upsample[1] == 1 && second == 0;
        let slot = |row: usize| row.checked_rem(k_h).unwrap_or_default() * self.len;
        self.start = slot(top);
        for row in self.next.max(top)..top + k_h {
            let start = slot(row);
            let out = self.rows.get_mut(start..start + self.len).unwrap_or_default();
            let source = self.geometry.tap(0, 0, row, shape.height);
            if source.is_none() && second == 0 {
                out.fill(zero_point);
                continue;
            }
            if let Some(source) = source.filter(|_| plain) {
                let width = shape.width * first;
                let (left, out) = out.split_at_mut(out.len().min(padding[1] * first));
                let (on, right) = out.split_at_mut(out.len().min(width));
                if row < k_h {
                    // The slot is new, and its padding stays.
                    left.fill(zero_point);
                    right.fill(zero_point);
                }
                map.copy(source * width, on);
                continue;
            }
            for (column, out) in out.chunks_exact_mut((first + second).max(1)).enumerate() {
                let (out, others) = out.split_at_mut(out.len().min(first));
                let column = self.geometry.tap(1, 0, column, shape.width);
                if let Some((row, column)) = source.zip(column) {
                    let pixel = row * shape.width + column;
                    map.copy(pixel * first, out);
                    other.copy(pixel * second, others);
                } else {
                    out.fill(zero_point);
                    others.fill(other_zero_point);
                }
            }
        }
        self.next = top + k_h;
    }

    /// Writes the patches under the next `pixels` output pixels into a tile's columns.
    #[inline(never)]
    pub(super) fn place(&mut self, pixels: usize, columns: &mut [u32]) {
        let mut left = pixels.min(PIXELS);
        if columns.len() < self.windows.rows * self.windows.pairs * PIXELS {
            return;
        }
        self.windows.columns = columns.as_mut_ptr();
        while left > 0 && self.position.0 < self.geometry.output.height {
            let (y, x) = self.position;
            if x == 0 {
                self.fetch(y);
            }
            let count = (self.geometry.output.width - x).min(left);
            let values = self.rows.as_ptr();
            self.windows.values = values.wrapping_add(self.start);
            self.windows.end = values.wrapping_byte_add(self.windows.all);
            self.windows.pixels = count;
            // SAFETY: there are columns for `pairs` of up to four pixels, and a row of the output has its windows in a row
            // of the halo, see `halo_row`.
            unsafe { spread(&self.windows) };
            self.windows.columns = self.windows.columns.wrapping_add(count);
            self.start += count * self.windows.step / 2;
            left -= count;
            self.position = if x + count == self.geometry.output.width { (y + 1, 0) } else { (y, x + count) };
        }
    }
}

/// Windows on the rows of a halo, and where they go.
#[repr(C)]
struct Windows {
    /// The first pixel's in the first row.
    values: *const i16,
    /// The first pixel's, `[rows][pairs][4 pixels]`.
    columns: *mut u32,
    pixels: usize,
    /// From a pixel to the next, in bytes.
    step: usize,
    /// Of a row of a window; at the end one value more may be read.
    pairs: usize,
    rows: usize,
    /// From a row to the next, in bytes.
    row: usize,
    /// Of the last row; there the first one follows.
    end: *const i16,
    /// Bytes of all rows.
    all: usize,
}

/// Spreads windows on columns. Instructions: 2 a pair, 6 a row of each pixel.
///
/// # Safety
/// The pointers lead to what they say, and nothing is 0.
#[inline(never)]
unsafe fn spread(windows: &Windows) {
    // SAFETY: reads and writes what the caller vouches for, and restores what it pushes.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "push {{r4-r11, lr}}",
            "mov r11, r0",
            "ldm r11!, {{r0, r1}}",
            "ldrd r9, r12, [r11, #4]",
            // From the end of a window's row to the next window, and from the end of a column to the next column.
            "sub r9, r9, r12, lsl #2",
            "lsl r10, r12, #4",
            "sub r10, r10, #4",
            // Passes of sixteen pairs; in r12, where the first begins, in lr, what follows each.
            "add r8, r12, #15",
            "lsr r8, r8, #4",
            "rsb r12, r12, r8, lsl #4",
            "adr.w r7, 21f + 1",
            "add r12, r7, r12, lsl #3",
            "adr.w lr, 23f + 1",
            "adr.w r7, 22f + 1",
            "cmp r8, #1",
            "it hi",
            "movhi lr, r7",
            "mov r2, r8",
            "ldr r7, [r11, #12]",
            "19:",
            "ldr r3, [r11]",
            "mov r5, r0",
            "mov r4, r1",
            "20:",
            "bx r12",
            ".p2align 2",
            "21:",
            ".rept 16",
            "ldr.w r6, [r5], #4",
            "str.w r6, [r4], #16",
            ".endr",
            "bx lr",
            ".p2align 2",
            "22:",
            "subs r2, r2, #1",
            "bne.w 21b",
            "mov r2, r8",
            ".p2align 2",
            "23:",
            "add r5, r5, r9",
            "sub r4, r4, r10",
            "subs r3, r3, #1",
            "bne.w 20b",
            // The next row, in the first slot after the last.
            "ldr r3, [r11, #8]",
            "add r1, r1, r3, lsl #4",
            "ldrd r3, r4, [r11, #16]",
            "add r0, r0, r3",
            "cmp r0, r4",
            "itt hs",
            "ldrhs r3, [r11, #24]",
            "subhs r0, r0, r3",
            "subs r7, r7, #1",
            "bne.w 19b",
            "pop {{r4-r11, lr}}",
            inout("r0") windows => _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r12") _,
        );
    }
}

/// Widens as many values as there are of both.
#[inline(never)]
fn widen(values: &[i8], output: &mut [i16]) {
    let len = values.len().min(output.len());
    // SAFETY: so many are there of both; reads and writes no more.
    unsafe {
        asm!(
            ".arch armv7e-m",
            "subs {len}, {len}, #4",
            "blt 21f",
            "20:",
            "ldr {a}, [{from}], #4",
            "sxtb16 {b}, {a}, ror #8",
            "sxtb16 {a}, {a}",
            "pkhbt {c}, {a}, {b}, lsl #16",
            "pkhtb {b}, {b}, {a}, asr #16",
            "str {c}, [{to}], #4",
            "str {b}, [{to}], #4",
            "subs {len}, {len}, #4",
            "bge 20b",
            "21:",
            "adds {len}, {len}, #4",
            "beq 23f",
            "22:",
            "ldrsb {a}, [{from}], #1",
            "strh {a}, [{to}], #2",
            "subs {len}, {len}, #1",
            "bne 22b",
            "23:",
            len = inout(reg) len => _,
            from = inout(reg) values.as_ptr() => _,
            to = inout(reg) output.as_mut_ptr() => _,
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            options(nostack),
        );
    }
}
