//! Patches of the input, widened into a tile's columns.

use super::halo::Halo;
use super::widen::{spread_codes, widen, widen_pixels};
use super::{Dsp, Isa};
use crate::geometry::{Geometry, Piece};
use crate::maps::{Code, Maps};
use crate::shape::Shape;

/// Pixels of a tile.
const PIXELS: usize = Dsp::PACKING.pixels;

/// Where a convolution's patches come from.
pub(super) struct Patches<'a, X> {
    geometry: &'a Geometry,
    input: &'a Maps<'a, X>,
    /// Rows of the input, where patches are taken from there.
    halo: Option<Halo<'a>>,
    /// The map, where there is one, of int8, whole and not enlarged, and of whole quadruples of channels.
    quads: Option<&'a [i8]>,
    /// The map, where there is one, of int8 and whole, and patches are its pixels, of four values or more.
    pixels: Option<&'a [i8]>,
}

impl<'a, X: Code> Patches<'a, X> {
    /// `halo` is room for it; none where that is too little.
    pub(super) fn of(geometry: &'a Geometry, input: &'a Maps<'a, X>, halo: &'a mut [i32]) -> Option<Self> {
        let plain = input.channels[1] == 0 && geometry.upsample == [1, 1];
        let map = X::bytes(input.maps[0]).filter(|_| plain);
        let same = [geometry.kernel, geometry.stride] == [[1; 2]; 2] && geometry.padding == [0; 2];
        let pixels = map.filter(|_| same && geometry.output.width == geometry.input.width && input.channels[0] >= 4);
        let quads = map.filter(|_| input.channels[0].is_multiple_of(4));
        let halo = Halo::of(geometry, input, halo);
        let whole = halo.is_some() || !Dsp::PACKING.has_rows(geometry);
        whole.then_some(Self { geometry, input, halo, quads, pixels })
    }

    /// Whether the next patches may be those of so many pixels that have been; it is asked once.
    pub(super) fn back(&mut self, pixels: usize) -> bool {
        self.halo.as_mut().is_none_or(|halo| halo.back(pixels))
    }

    /// Writes the patches under `pixels` output pixels, from pixel `first` on, into the columns.
    #[inline(always)]
    pub(super) fn place(&mut self, first: usize, pixels: usize, columns: &mut [u32]) {
        let channels = self.geometry.input.channels;
        let start = first * channels;
        let values = self.pixels.and_then(|map| map.get(start..start + pixels * channels));
        if let Some(values) = values.filter(|_| columns.len() >= channels.div_ceil(2) * PIXELS) {
            // SAFETY: values and columns have just been found to be long enough; `of` asks for four channels.
            unsafe { widen_pixels(values.as_ptr(), columns.as_mut_ptr(), channels, pixels) };
        } else if let Some(halo) = &mut self.halo {
            halo.place(pixels, columns);
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
        // Known when this is compiled, so that the other type's branches are left out.
        let is_int8 = X::bytes(&[]).is_some();
        for pixel in 0..pixels {
            match self.quads.filter(|_| is_int8) {
                Some(map) => self.quads(map, (y, x), columns, pixel),
                None => self.others((y, x), columns, pixel),
            }
            x += 1;
            if x == width {
                (y, x) = (y + 1, 0);
            }
        }
    }

    /// Of two maps or an enlarged one, or of int16.
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

    /// Of one map of int8 and of whole quadruples of channels.
    #[inline(always)]
    fn quads(&self, map: &[i8], position: (usize, usize), columns: &mut [u32], pixel: usize) {
        let pairs = self.geometry.patch_len() / 2;
        let Some(words) = columns.get_mut(pixel..).filter(|words| words.len() + PIXELS > pairs * PIXELS) else {
            return;
        };
        let mut next = words.as_mut_ptr();
        let Some(start) = self.inside(position) else {
            // SAFETY: there are words for the patch.
            return unsafe { self.edge(map, position, next) };
        };
        let Geometry { input: Shape { width, channels, .. }, kernel: [k_h, k_w], .. } = *self.geometry;
        let (mut input, len) = (map.as_ptr().wrapping_add(start), k_w * channels);
        for _ in 0..k_h {
            // SAFETY: the patch is on the map, which is whole, see `Isa`; there are words for all of it.
            unsafe { widen(input, next, len / 4) };
            next = next.wrapping_add(len / 2 * PIXELS);
            input = input.wrapping_add(width * channels);
        }
    }

    /// The same where a part of the patch is outside the map.
    ///
    /// # Safety
    /// From `next` on there are columns for the patch.
    #[inline(never)]
    unsafe fn edge(&self, map: &[i8], position: (usize, usize), mut next: *mut u32) {
        let nothing = u32::from(self.input.zero_points[0] as u16) * 0x1_0001;
        self.rows(position, |len, start| {
            match start {
                // SAFETY: the row's columns are on the map, which is whole, see `Isa`; else see below.
                Some(start) => unsafe { widen(map.as_ptr().wrapping_add(start), next, len / 4) },
                None => {
                    for pair in 0..len / 2 {
                        // SAFETY: the pieces make up the patch, for which there is room.
                        unsafe { next.wrapping_add(pair * PIXELS).write(nothing) };
                    }
                }
            }
            next = next.wrapping_add(len / 2 * PIXELS);
        });
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
            (tap..quads_start).zip(values).for_each(|(tap, value)| one(columns, tap, (*value).into()));
            let quads = (quads_end - quads_start) / 4;
            let first = quads_start / 2 * PIXELS + pixel;
            if quads > 0 && first + (2 * quads - 1) * PIXELS < columns.len() {
                let (input, output) =
                    (values.as_ptr().wrapping_add(quads_start - tap), columns.as_mut_ptr().wrapping_add(first));
                if X::bytes(values).is_some() {
                    // SAFETY: the piece has whole quadruples from `quads_start` to `quads_end`, and the last word has just
                    // been found to lie within the columns.
                    unsafe { widen(input.cast(), output, quads) };
                } else {
                    // SAFETY: see above; what is no int8 is int16.
                    unsafe { spread_codes(input.cast(), output, quads) };
                }
            }
            let rest = values.get(quads_end - tap..).unwrap_or_default();
            (quads_end..end).zip(rest).for_each(|(tap, value)| one(columns, tap, (*value).into()));
        }
    }
}
