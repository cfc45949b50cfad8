//! Patches of the input, widened into a tile's columns.

use super::dot::widen;
use super::op::{pkhbt, pkhtb};
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
pub(super) type Few = [u32; FEW / 2];

/// Where a convolution's patches come from.
pub(super) struct Patches<'a, X> {
    geometry: &'a Geometry,
    input: &'a Maps<'a, X>,
    /// Whether there is one map, whole and not enlarged.
    plain: bool,
    /// That map, where it is of int8 and has whole quadruples of channels.
    quads: Option<&'a [i8]>,
}

impl<'a, X: Code> Patches<'a, X> {
    pub(super) fn of(geometry: &'a Geometry, input: &'a Maps<'a, X>) -> Self {
        let whole = input.maps[0].len() >= geometry.input.len();
        let plain = whole && input.channels[1] == 0 && geometry.upsample == [1, 1];
        let quads = X::bytes(input.maps[0]).filter(|_| plain && geometry.input.channels.is_multiple_of(4));
        Self { geometry, input, plain, quads }
    }

    /// Writes the patch under an output pixel into the columns of pixel `pixel`.
    #[inline(never)]
    pub(super) fn place(&self, position: (usize, usize), few: &mut Few, columns: &mut [u32], pixel: usize) {
        let taps = self.geometry.patch_len();
        match self.quads {
            Some(map) => self.quads(map, position, columns, pixel),
            None if self.plain && taps <= FEW => self.few(position, few, columns, pixel),
            None => {
                self.geometry.pieces(position, self.input, |tap, piece| put(piece, columns, pixel, tap, taps));
            }
        }
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
            if row < height {
                let start = (row * width + first) * channels;
                let pieces = [(left, None), (on, Some(start)), (k_w - left - on, None)];
                pieces.into_iter().filter(|(columns, _)| *columns > 0).for_each(|(n, at)| take(n * channels, at));
            } else {
                take(k_w * channels, None);
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

    /// Four values at a time.
    #[inline(always)]
    fn quads(&self, map: &[i8], position: (usize, usize), columns: &mut [u32], pixel: usize) {
        let Some(mut words) = columns.get_mut(pixel..) else { return };
        if words.len() + PIXELS <= self.geometry.patch_len() / 2 * PIXELS {
            return;
        }
        if let Some(start) = self.inside(position) {
            let Geometry { input: Shape { width, channels, .. }, kernel: [k_h, k_w], .. } = *self.geometry;
            let (mut input, mut output) = (map.as_ptr().wrapping_add(start), words.as_mut_ptr());
            for _ in 0..k_h {
                // SAFETY: the patch is on the map, which `of` has found to be whole; there are words for all of it.
                unsafe { widen(input, output, k_w * channels / 4) };
                input = input.wrapping_add(width * channels);
                output = output.wrapping_add(k_w * channels / 2 * PIXELS);
            }
            return;
        }
        let nothing = u32::from(self.input.zero_points[0] as u16) * 0x1_0001;
        self.rows(position, |len, start| {
            match start {
                None => words.iter_mut().step_by(PIXELS).take(len / 2).for_each(|word| *word = nothing),
                // SAFETY: the row's columns are on the map, which `of` has found to be whole; there are words for the
                // whole patch.
                Some(start) => unsafe { widen(map.as_ptr().wrapping_add(start), words.as_mut_ptr(), len / 4) },
            }
            words = core::mem::take(&mut words).get_mut(len / 2 * PIXELS..).unwrap_or_default();
        });
    }

    /// Value by value, and then into pairs.
    #[inline(always)]
    fn few(&self, position: (usize, usize), few: &mut Few, columns: &mut [u32], pixel: usize) {
        let taps = self.geometry.patch_len();
        let flat: &mut [i16] = bytemuck::must_cast_slice_mut(few);
        let mut flat = flat.iter_mut();
        let nothing = self.input.zero_points[0];
        self.rows(position, |len, start| match start {
            None => flat.by_ref().take(len).for_each(|out| *out = nothing),
            Some(start) => {
                let values = self.input.maps[0].get(start..start + len).unwrap_or_default();
                values.iter().zip(flat.by_ref()).for_each(|(value, out)| *out = (*value).into());
            }
        });
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
