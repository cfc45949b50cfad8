//! Rows of a convolution's input with their padding: enlarged, and both maps side by side.

use super::copy;
use super::layout::{Layout, STEP};
use crate::geometry::Geometry;
use crate::maps::{Code, Maps};

/// The rows under a few rows of the output.
#[derive(Debug)]
pub(super) struct Halo<'a, X> {
    geometry: &'a Geometry,
    input: Maps<'a, X>,
    /// Columns.
    width: usize,
    /// Rows.
    rows: usize,
    /// [`Self::shown`] in the first two phases.
    shown: [usize; 2],
    elements: &'a mut [X],
}

impl<'a, X: Code> Halo<'a, X> {
    /// Of so many rows in a buffer; none if that is too short.
    pub fn new(geometry: &'a Geometry, input: Maps<'a, X>, rows: usize, buffer: &'a mut [i32]) -> Option<Self> {
        let width = Layout::of(geometry).halo_width();
        let elements = bytemuck::try_cast_slice_mut(buffer)
            .unwrap_or_default()
            .get_mut(..rows * width * geometry.input.channels)?;
        let halo = Self { geometry, input, width, rows, shown: [0; 2], elements };
        Some(Self { shown: [halo.shown(0), halo.shown(1)], ..halo })
    }

    /// Its first element.
    pub fn start(&self) -> *const X {
        self.elements.as_ptr()
    }

    /// The map's row that row `row` of the enlarged and padded map shows; none in the padding.
    fn source(&self, row: usize) -> Option<usize> {
        let row = row.checked_sub(self.geometry.padding[0])? / self.geometry.upsample[0].max(1);
        (row < self.geometry.input.height).then_some(row)
    }

    /// How many of the map's columns show in column `padding + phase` and every `upsample`th after it.
    fn shown(&self, phase: usize) -> usize {
        let columns = self.width.saturating_sub(self.geometry.padding[1] + phase);
        columns.div_ceil(self.geometry.upsample[1].max(1)).min(self.geometry.input.width)
    }

    /// Rows from row `first` of the padded map on, `[rows][width][in_c]`. The padding's columns are written where
    /// `borders` asks for it: the first time.
    pub fn fill_rows(&mut self, first: usize, borders: bool) {
        let (in_c, [channels, second]) = (self.geometry.input.channels, self.input.channels);
        let (up, padding) = (self.geometry.upsample[1], self.geometry.padding[1]);
        for index in 0..self.rows {
            let source = self.source(first + index);
            let len = self.width * in_c;
            let Some(row) = self.elements.get_mut(index * len..(index + 1) * len) else { return };
            if borders || source.is_none() {
                for pixel in row.chunks_exact_mut(in_c.max(1)) {
                    for (channel, value) in pixel.iter_mut().enumerate() {
                        let [first, second] = self.input.zero_points;
                        *value = X::from_zero_point(if channel < channels { first } else { second });
                    }
                }
            }
            let Some(source) = source else { continue };
            let row = row.as_mut_ptr();
            let to = |column: usize| row.wrapping_add(column * in_c).cast();
            let from = |column: usize| self.input.pixel(source * self.geometry.input.width + column);
            for phase in 0..up {
                let shown = self.shown(phase);
                if up == 1 && second == 0 && shown > 0 {
                    let [from, _] = from(0);
                    // SAFETY: so many columns of one map lie side by side, and so they do in the halo.
                    unsafe { copy::copy(from.as_ptr().cast(), to(padding), shown * in_c * size_of::<X>()) };
                    continue;
                }
                for column in 0..shown {
                    let mut to: *mut i8 = to(padding + column * up + phase);
                    for part in from(column) {
                        // SAFETY: the halo shows this column, all channels of both maps.
                        unsafe { copy::copy(part.as_ptr().cast(), to, size_of_val(part)) };
                        to = to.wrapping_add(size_of_val(part));
                    }
                }
            }
        }
    }
}

impl Halo<'_, i8> {
    /// Rows from row `first` of the padded map on, `[in_c / 16][width][ROWS][16]`; borders as in [`Self::fill_rows`].
    pub fn fill_planes<const ROWS: usize>(&mut self, first: usize, borders: bool) {
        let plane = self.width * ROWS * STEP;
        let start = self.elements.as_mut_ptr();
        let whole = self.input.channels[0].is_multiple_of(STEP) && self.geometry.upsample[1] <= 2;
        let groups = self.geometry.input.channels / STEP;
        for group in 0..if borders { groups } else { 0 } {
            self.fill_padding(group * STEP, start.wrapping_add(group * plane), self.width * ROWS, 1);
        }
        for row in 0..ROWS {
            let mut to = start.wrapping_add(row * STEP);
            let Some(source) = self.source(first + row) else {
                for group in 0..groups {
                    self.fill_padding(group * STEP, to.wrapping_add(group * plane), self.width, ROWS);
                }
                continue;
            };
            if !whole {
                self.fill_split_row::<ROWS>(source, to);
                continue;
            }
            to = to.wrapping_add(self.geometry.padding[1] * ROWS * STEP);
            for (map, channels) in self.input.maps.iter().zip(self.input.channels) {
                let mut from = map.as_ptr().wrapping_add(source * self.geometry.input.width * channels);
                for _ in 0..channels / STEP {
                    if self.geometry.upsample[1] == 1 {
                        // SAFETY: so many columns of the row lie in the map, and so do they in the plane.
                        unsafe { copy::copy_columns::<ROWS, 1>((from, channels), to, self.shown[0]) };
                    } else {
                        // SAFETY: the same, every other column of the plane.
                        unsafe { copy::copy_columns::<ROWS, 2>((from, channels), to, self.shown[0]) };
                        let to = to.wrapping_add(ROWS * STEP);
                        // SAFETY: the columns between.
                        unsafe { copy::copy_columns::<ROWS, 2>((from, channels), to, self.shown[1]) };
                    }
                    (from, to) = (from.wrapping_add(STEP), to.wrapping_add(plane));
                }
            }
        }
    }

    /// Under `rows` rows of the output from row `y` on, `[in_c / 16][rows][width][k_h][16]`, of fewer channels in the last
    /// slab. The padding's columns are written the first time.
    pub fn fill_slabs(&mut self, rows: usize, y: usize) {
        let Geometry { input, kernel: [k_h, _], stride: [down, _], padding: [_, padding], upsample: [_, up], .. } =
            *self.geometry;
        let in_c = input.channels;
        let mut slab = self.elements.as_mut_ptr();
        for first in (0..in_c).step_by(STEP) {
            let channels = (in_c - first).min(STEP);
            let column = k_h * channels;
            if y == 0 {
                self.fill_zeros(first, channels, slab, [rows * self.width * k_h, channels]);
            }
            for row in 0..rows {
                let row_start = slab.wrapping_add(row * self.width * column);
                for tap in 0..k_h {
                    let to = row_start.wrapping_add(tap * channels);
                    let Some(source) = self.source((y + row) * down + tap) else {
                        self.fill_zeros(first, channels, to, [self.width, column]);
                        continue;
                    };
                    let mut start = 0;
                    for (map, of_map) in self.input.maps.iter().zip(self.input.channels) {
                        // The slab's channels that are this map's.
                        let from = first.max(start);
                        let len = (first + channels).min(start + of_map).saturating_sub(from);
                        if len > 0 {
                            let pixel = map.as_ptr().wrapping_add(source * input.width * of_map + from - start);
                            for phase in 0..up {
                                let to = to.wrapping_add((padding + phase) * column + from - first);
                                let shown = self.shown(phase);
                                // SAFETY: so many columns of the row lie in the map, and so do they in the slab.
                                unsafe { copy::copy_pieces((pixel, of_map), (to, column * up), shown, len) };
                            }
                        }
                        start += of_map;
                    }
                }
            }
            slab = slab.wrapping_add(rows * self.width * column);
        }
    }

    /// `count` pieces, `stride` bytes apart, of the zero points of so many channels from `channel` on.
    fn fill_zeros(&self, channel: usize, channels: usize, to: *mut i8, [count, stride]: [usize; 2]) {
        let [first, second] = self.input.zero_points.map(i8::from_zero_point);
        let mut zeros = [second; STEP];
        let own = self.input.channels[0].saturating_sub(channel);
        zeros.iter_mut().take(own).for_each(|zero| *zero = first);
        // SAFETY: the same bytes again and again, into `count` pieces.
        unsafe { copy::copy_pieces((zeros.as_ptr(), 0), (to, stride), count, channels) };
    }

    /// The map's row `source`, where sixteen channels may belong to both maps.
    fn fill_split_row<const ROWS: usize>(&self, source: usize, to: *mut i8) {
        let [first, second] = self.input.channels;
        let pixel = source * self.geometry.input.width;
        let [a, b] = self.input.maps.map(<[i8]>::as_ptr);
        let stride = self.geometry.upsample[1] * ROWS * STEP;
        for (group, channel) in (0..self.geometry.input.channels).step_by(STEP).enumerate() {
            // The first map's share of the sixteen, and where the second one's starts in it.
            let share = first.saturating_sub(channel).min(STEP);
            let start = channel.saturating_sub(first);
            let (a, b) = (a.wrapping_add(pixel * first + channel), b.wrapping_add(pixel * second + start));
            for phase in 0..self.geometry.upsample[1] {
                let column = group * self.width + self.geometry.padding[1] + phase;
                let (to, shown) = (to.wrapping_add(column * ROWS * STEP), self.shown(phase));
                // SAFETY: the first map's share of these columns.
                unsafe { copy::copy_pieces((a, first), (to, stride), shown, share) };
                // SAFETY: the second map's.
                unsafe { copy::copy_pieces((b, second), (to.wrapping_add(share), stride), shown, STEP - share) };
            }
        }
    }

    /// `count` columns, or every one of them that is `every` pieces behind the one before, of the zero points of
    /// sixteen channels.
    fn fill_padding(&self, channel: usize, to: *mut i8, count: usize, every: usize) {
        let [first, second] = self.input.zero_points.map(i8::from_zero_point);
        let mut zeros = [if channel < self.input.channels[0] { first } else { second }; STEP];
        // Channels of both maps: the second's follow.
        let own = self.input.channels[0].saturating_sub(channel);
        if own > 0 {
            zeros.iter_mut().skip(own).for_each(|zero| *zero = second);
        }
        // SAFETY: the same sixteen bytes again and again, into `count` pieces of the plane.
        unsafe { copy::copy_pieces((zeros.as_ptr(), 0), (to, every * STEP), count, STEP) };
    }
}
