//! Patches of the input, widened into a tile's columns.

use super::dot::{widen, widen_pixels};
use super::op::{pkhbt, pkhtb, sxtb16, sxtb16_odd};
use super::{Dsp, Isa};
use crate::conditioning::at;
use crate::geometry::{Geometry, Piece};
use crate::maps::{Code, Maps};
use crate::shape::Shape;

/// Pixels of a tile.
const PIXELS: usize = Dsp::PACKING.pixels;

/// Most taps that are gathered one by one.
const FEW: usize = 32;

/// A patch of few taps, two a word; 0 after the last.
type Few = [u32; FEW / 2];

/// Where a convolution's patches come from.
pub(super) struct Patches<'a, X> {
    geometry: &'a Geometry,
    input: &'a Maps<'a, X>,
    /// Whether there is one map, whole and not enlarged.
    plain: bool,
    /// That map, where it is of int8.
    map: Option<&'a [i8]>,
    /// That map, where patches are its pixels, of four values or more.
    pixels: Option<&'a [i8]>,
}

impl<'a, X: Code> Patches<'a, X> {
    pub(super) fn of(geometry: &'a Geometry, input: &'a Maps<'a, X>) -> Self {
        let whole = input.maps[0].len() >= geometry.input.len();
        let plain = whole && input.channels[1] == 0 && geometry.upsample == [1, 1];
        let map = X::bytes(input.maps[0]).filter(|_| plain);
        let same = [geometry.kernel, geometry.stride] == [[1; 2]; 2] && geometry.padding == [0; 2];
        let pixels = map.filter(|_| same && geometry.output.width == geometry.input.width && input.channels[0] >= 4);
        Self { geometry, input, plain, map, pixels }
    }

    /// Writes the patches under `pixels` output pixels, from pixel `first` on, into the columns.
    #[inline(always)]
    pub(super) fn place(&self, first: usize, pixels: usize, columns: &mut [u32]) {
        let channels = self.geometry.input.channels;
        let start = first * channels;
        let values = self.pixels.and_then(|map| map.get(start..start + pixels * channels));
        if let Some(values) = values.filter(|_| columns.len() >= channels.div_ceil(2) * PIXELS) {
            // SAFETY: values and columns have just been found to be long enough; `of` asks for four channels.
            unsafe { widen_pixels(values.as_ptr(), columns.as_mut_ptr(), channels, pixels) };
        } else {
            self.one_by_one(first, pixels, columns);
        }
    }

    /// The same, patch by patch.
    #[inline(never)]
    fn one_by_one(&self, first: usize, pixels: usize, columns: &mut [u32]) {
        let width = self.geometry.output.width;
        let mut y = first.checked_div(width).unwrap_or_default();
        let mut x = first - y * width;
        let mut few = Few::default();
        // Known when this is compiled, so that the other type's branches are left out.
        let is_int8 = X::bytes(&[]).is_some();
        for pixel in 0..pixels {
            match self.map.filter(|_| is_int8) {
                Some(map) => self.bytes(map, (y, x), columns, pixel),
                None if !is_int8 && self.plain && self.geometry.patch_len() <= FEW => {
                    self.few((y, x), &mut few, columns, pixel);
                }
                None => self.others((y, x), columns, pixel),
            }
            x += 1;
            if x == width {
                (y, x) = (y + 1, 0);
            }
        }
    }

    /// Of two maps, an enlarged one or a large patch of int16.
    #[inline(never)]
    fn others(&self, position: (usize, usize), columns: &mut [u32], pixel: usize) {
        let taps = self.geometry.patch_len();
        self.geometry.pieces(position, self.input, |tap, piece| put(piece, columns, pixel, tap, taps));
    }

    /// Calls `take(values, start)` for the patch row by row, in pieces of so many values from `start` on in the map, or
    /// outside it.
    #[inline(always)]
    fn rows(&self, (y, x): (usize, usize), mut take: impl FnMut(usize, Option<usize>)) {
        let Geometry { input: Shape { height, width, channels }, kernel: [k_h, k_w], stride, padding, .. } =
            *self.geometry;
        // Of a row's columns so many are to the left of the map, so many on it.
        let left = padding[1].saturating_sub(x * stride[1]).min(k_w);
        let first = (x * stride[1] + left).wrapping_sub(padding[1]);
        let on = width.saturating_sub(first).min(k_w - left);
        for ky in 0..k_h {
            let row = (y * stride[0] + ky).wrapping_sub(padding[0]);
            let [before, on] = if row < height { [left, on] } else { [k_w, 0] };
            if before > 0 {
                take(before * channels, None);
            }
            if on > 0 {
                take(on * channels, Some((row * width + first) * channels));
            }
            if before + on < k_w {
                take((k_w - before - on) * channels, None);
            }
        }
    }

    /// Where the patch starts in the map, if all of it is there.
    #[inline(always)]
    fn inside(&self, (y, x): (usize, usize)) -> Option<usize> {
        let Geometry { input: Shape { height, width, channels }, kernel: [k_h, k_w], stride, padding, .. } =
            *self.geometry;
        let row = (y * stride[0]).checked_sub(padding[0]).filter(|row| row + k_h <= height)?;
        let column = (x * stride[1]).checked_sub(padding[1]).filter(|column| column + k_w <= width)?;
        Some((row * width + column) * channels)
    }

    /// Of one map of int8, four values at a time.
    #[inline(always)]
    fn bytes(&self, map: &[i8], position: (usize, usize), columns: &mut [u32], pixel: usize) {
        let taps = self.geometry.patch_len();
        let Some(words) = columns.get_mut(pixel..).filter(|words| words.len() + PIXELS > taps.div_ceil(2) * PIXELS)
        else {
            return;
        };
        let mut column = Column { next: words.as_mut_ptr(), waiting: 0, count: 0 };
        let Some(start) = self.inside(position) else {
            // SAFETY: there are words for the patch.
            return unsafe { self.edge(map, position, column) };
        };
        let Geometry { input: Shape { width, channels, .. }, kernel: [k_h, k_w], .. } = *self.geometry;
        let (mut input, len) = (map.as_ptr().wrapping_add(start), k_w * channels);
        for _ in 0..k_h {
            if channels.is_multiple_of(4) {
                // SAFETY: the patch is on the map, which `of` has found to be whole; there are words for all of it.
                unsafe { widen(input, column.next, len / 4) };
                column.next = column.next.wrapping_add(len / 2 * PIXELS);
            } else {
                // SAFETY: see above.
                unsafe { column.take(input, len) };
            }
            input = input.wrapping_add(width * channels);
        }
        // SAFETY: see above.
        unsafe { column.end() };
    }

    /// The same where a part of the patch is outside the map.
    ///
    /// # Safety
    /// The column has room for the patch.
    #[inline(never)]
    unsafe fn edge(&self, map: &[i8], position: (usize, usize), mut column: Column) {
        let nothing = u32::from(self.input.zero_points[0] as u8) * 0x0101_0101;
        self.rows(position, |len, start| match start {
            // SAFETY: the pieces make up the patch, for which there is room.
            None => unsafe { column.fill(nothing, len) },
            // SAFETY: the row's columns are on the map, which `of` has found to be whole; else see above.
            Some(start) => unsafe { column.take(map.as_ptr().wrapping_add(start), len) },
        });
        // SAFETY: see above.
        unsafe { column.end() };
    }

    /// Value by value, and then into pairs.
    #[inline(always)]
    fn few(&self, position: (usize, usize), few: &mut Few, columns: &mut [u32], pixel: usize) {
        let taps = self.geometry.patch_len();
        let flat: &mut [i16] = bytemuck::must_cast_slice_mut(few);
        if let Some(mut start) = self.inside(position) {
            let Geometry { input: Shape { width, channels, .. }, kernel: [_, k_w], .. } = *self.geometry;
            let len = k_w * channels;
            for row in flat.get_mut(..taps).unwrap_or_default().chunks_exact_mut(len.max(1)) {
                let values = self.input.maps[0].get(start..start + len).unwrap_or_default();
                row.iter_mut().zip(values).for_each(|(out, value)| *out = (*value).into());
                start += width * channels;
            }
        } else {
            let mut flat = flat.iter_mut();
            let nothing = self.input.zero_points[0];
            self.rows(position, |len, start| match start {
                None => flat.by_ref().take(len).for_each(|out| *out = nothing),
                Some(start) => {
                    let values = self.input.maps[0].get(start..start + len).unwrap_or_default();
                    values.iter().zip(flat.by_ref()).for_each(|(value, out)| *out = (*value).into());
                }
            });
        }
        let mut words = columns.get_mut(pixel..).unwrap_or_default().iter_mut().step_by(PIXELS);
        let pairs = few.get(..taps.div_ceil(2)).unwrap_or_default();
        let (quads, rest) = pairs.split_at(pairs.len().min(taps / 4 * 2));
        for quad in quads.chunks_exact(2) {
            let [first, second] = [at(quad, 0), at(quad, 1)];
            if let Some(word) = words.next() {
                *word = pkhbt(first, second);
            }
            if let Some(word) = words.next() {
                *word = pkhtb(second, first);
            }
        }
        words.zip(rest).for_each(|(word, pair)| *word = *pair);
    }
}

/// A pixel's column, to which values are added from the first on.
struct Column {
    /// Where the next quadruple goes.
    next: *mut u32,
    /// Values that are no quadruple yet, the others being 0.
    waiting: u32,
    /// How many.
    count: usize,
}

impl Column {
    /// Adds a quadruple.
    ///
    /// # Safety
    /// There is a place for it.
    #[inline(always)]
    unsafe fn push(&mut self, quad: u32) {
        // SAFETY: as the caller says.
        unsafe { self.next.write(sxtb16(quad)) };
        // SAFETY: as the caller says.
        unsafe { self.next.wrapping_add(PIXELS).write(sxtb16_odd(quad)) };
        self.next = self.next.wrapping_add(2 * PIXELS);
    }

    /// Adds up to three values, the other bytes of `values` being 0.
    ///
    /// # Safety
    /// There is a place for them.
    #[inline(always)]
    unsafe fn few(&mut self, values: u32, len: usize) {
        let bits = 8 * self.count as u32;
        self.waiting |= values << bits;
        self.count += len;
        if self.count >= 4 {
            // SAFETY: as the caller says.
            unsafe { self.push(self.waiting) };
            (self.waiting, self.count) = (values >> (32 - bits), self.count - 4);
        }
    }

    /// Adds `len` > 0 values.
    ///
    /// # Safety
    /// They are there, and there is a place for them.
    #[inline(always)]
    unsafe fn take(&mut self, mut from: *const i8, mut len: usize) {
        if len < 4 {
            let mut values = 0;
            for value in 0..len {
                // SAFETY: as the caller says.
                values |= u32::from(unsafe { from.wrapping_add(value).read() } as u8) << (8 * value);
            }
            // SAFETY: as the caller says.
            return unsafe { self.few(values, len) };
        }
        if self.count > 0 {
            // SAFETY: as the caller says; there are at least four.
            let first = unsafe { from.cast::<u32>().read_unaligned() };
            // SAFETY: as the caller says.
            unsafe { self.push(self.waiting | first << (8 * self.count)) };
            (from, len) = (from.wrapping_add(4 - self.count), len + self.count - 4);
        }
        let (quads, rest) = (len / 4, len % 4);
        if quads > 0 {
            // SAFETY: as the caller says.
            unsafe { widen(from, self.next, quads) };
            self.next = self.next.wrapping_add(2 * PIXELS * quads);
        }
        (self.waiting, self.count) = (0, rest);
        if rest > 0 {
            let last = from.wrapping_add(len).wrapping_sub(4).cast::<u32>();
            // SAFETY: there were at least four values.
            self.waiting = unsafe { last.read_unaligned() } >> (32 - 8 * rest);
        }
    }

    /// Adds `len` times the value of which `nothing` are four.
    ///
    /// # Safety
    /// There is a place for them.
    #[inline(always)]
    unsafe fn fill(&mut self, nothing: u32, len: usize) {
        self.waiting |= nothing << (8 * self.count);
        self.count += len;
        while self.count >= 4 {
            // SAFETY: as the caller says.
            unsafe { self.push(self.waiting) };
            (self.waiting, self.count) = (nothing, self.count - 4);
        }
        self.waiting &= !(u32::MAX << (8 * self.count));
    }

    /// Adds what waits, which is no quadruple and keeps its order.
    ///
    /// # Safety
    /// There is a place for it.
    #[inline(always)]
    unsafe fn end(self) {
        let [even, odd] = [sxtb16(self.waiting), sxtb16_odd(self.waiting)];
        if self.count > 0 {
            // SAFETY: as the caller says.
            unsafe { self.next.write(pkhbt(even, odd)) };
        }
        if self.count > 2 {
            // SAFETY: as the caller says.
            unsafe { self.next.wrapping_add(PIXELS).write(pkhtb(odd, even)) };
        }
    }
}

/// Writes a piece into the columns of a tile, a word at a time where it can.
#[inline(always)]
fn put<X: Code>(piece: Piece<'_, X>, columns: &mut [u32], pixel: usize, tap: usize, taps: usize) {
    let one = |columns: &mut [u32], tap: usize, value: i16| {
        let place = Dsp::PACKING.order(taps, tap);
        let columns: &mut [i16] = bytemuck::must_cast_slice_mut(columns);
        if let Some(column) = columns.get_mut((place / 2 * PIXELS + pixel) * 2 + place % 2) {
            *column = value;
        }
    };
    let len = match piece {
        Piece::Padding(_, len) => len,
        Piece::Values(values) => values.len(),
    };
    let end = (tap + len).min(taps);
    let quads_start = tap.next_multiple_of(4).min(end);
    let quads_end = (end & !3).max(quads_start);
    match piece {
        Piece::Padding(value, _) => {
            (tap..quads_start).for_each(|tap| one(columns, tap, value));
            let word = u32::from(value as u16) * 0x1_0001;
            let words = columns.get_mut(quads_start / 2 * PIXELS + pixel..).unwrap_or_default();
            words.iter_mut().step_by(PIXELS).take((quads_end - quads_start) / 2).for_each(|column| *column = word);
            (quads_end..end).for_each(|tap| one(columns, tap, value));
        }
        Piece::Values(values) => {
            let Some(bytes) = X::bytes(values) else {
                (tap..end).zip(values).for_each(|(tap, value)| one(columns, tap, (*value).into()));
                return;
            };
            (tap..quads_start).zip(bytes).for_each(|(tap, value)| one(columns, tap, (*value).into()));
            let quads = (quads_end - quads_start) / 4;
            let first = quads_start / 2 * PIXELS + pixel;
            if quads > 0 && first + (2 * quads - 1) * PIXELS < columns.len() {
                let input = bytes.as_ptr().wrapping_add(quads_start - tap);
                // SAFETY: the piece has whole quadruples from `quads_start` to `quads_end`, and the last word has just
                // been found to lie within the columns.
                unsafe { widen(input, columns.as_mut_ptr().wrapping_add(first), quads) };
            }
            let rest = bytes.get(quads_end - tap..).unwrap_or_default();
            (quads_end..end).zip(rest).for_each(|(tap, value)| one(columns, tap, (*value).into()));
        }
    }
}
