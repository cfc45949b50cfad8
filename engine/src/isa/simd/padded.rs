//! A convolution's input, enlarged and padded, so that a patch's row is one piece of memory.

use core::ops::Range;

use super::DEPTH;
use super::elements::{Elements, Reals};
use crate::geometry::Geometry;
use crate::maps::Maps;
use crate::real::Real;

/// Where elements lie: `[row][column][channel]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Padded {
    rows: usize,
    /// Elements of a row.
    pub line: usize,
    /// Elements of a patch's row.
    pub run: usize,
    /// Elements between neighbouring outputs' patches, above each other and side by side.
    steps: [usize; 2],
}

impl Padded {
    pub const fn new(geometry: &Geometry) -> Self {
        let Geometry { input, output, kernel, stride, .. } = *geometry;
        let rows = (output.height - 1) * stride[0] + kernel[0];
        let columns = (output.width - 1) * stride[1] + kernel[1];
        let line = columns * input.channels;
        Self { rows, line, run: kernel[1] * input.channels, steps: [stride[0] * line, stride[1] * input.channels] }
    }

    /// Elements of the whole map.
    pub const fn len(&self) -> usize {
        self.rows * self.line
    }

    /// Where the patches of all outputs start, row by row.
    #[inline(always)]
    pub fn starts(&self, [height, width]: [usize; 2]) -> impl Iterator<Item = usize> + use<> {
        let [down, right] = self.steps;
        (0..height).flat_map(move |y| (0..width).map(move |x| y * down + x * right))
    }

    /// The map, which is the input itself where that is all there is to it, else a copy in `scratch`; `None` where
    /// that is too short.
    #[inline(always)]
    pub fn of<'a, X: Real>(
        &self,
        geometry: &Geometry,
        input: &Maps<'a, X>,
        scratch: &'a mut [f32],
    ) -> Option<&'a [f32]> {
        let scratch = scratch.get_mut(..self.len())?;
        let row_len = geometry.input.width * geometry.input.channels;
        let same = geometry.padding == [0; 2] && geometry.upsample == [1; 2];
        let same = same && input.channels[1] == 0 && row_len == self.line && geometry.input.height >= self.rows;
        if same && let Some(map) = X::floats(input.maps[0]) {
            return Some(map);
        }
        self.fill::<Reals<X>>(geometry, input, [0.0; 2], scratch);
        Some(scratch)
    }

    /// Where the patch of output `(y, x)` starts.
    #[inline(always)]
    pub fn start(&self, (y, x): (usize, usize)) -> usize {
        y * self.steps[0] + x * self.steps[1]
    }

    /// Elements between neighbouring outputs' patches.
    #[inline(always)]
    pub fn apart(&self) -> usize {
        self.steps[1]
    }

    /// Where each of a patch's quadruples lies, counted in quadruples from its start.
    pub fn offsets(&self, offsets: &mut [u32]) {
        let [line, run] = [self.line, self.run].map(|len| len / DEPTH);
        for (row, offsets) in offsets.chunks_mut(run.max(1)).enumerate() {
            offsets.iter_mut().zip(row * line..).for_each(|(offset, place)| *offset = place as u32);
        }
    }

    /// Copies the maps, values as `E` says; what is outside is filled with `padding`.
    #[inline(always)]
    pub fn fill<E: Elements>(
        &self,
        geometry: &Geometry,
        input: &Maps<'_, E::Value>,
        padding: [E::Element; 2],
        map: &mut [E::Element],
    ) {
        self.fill_rows::<E>(geometry, input, padding, 0..self.rows, map);
    }

    /// The same for some rows.
    #[inline(always)]
    pub fn fill_rows<E: Elements>(
        &self,
        geometry: &Geometry,
        input: &Maps<'_, E::Value>,
        padding: [E::Element; 2],
        rows: Range<usize>,
        map: &mut [E::Element],
    ) {
        let (width, channels) = (geometry.input.width, geometry.input.channels.max(1));
        let [first_len, second_len] = input.channels;
        let pad = |line: &mut [E::Element]| {
            if second_len == 0 {
                return line.fill(padding[0]);
            }
            for pixel in line.chunks_exact_mut(channels) {
                let (first, second) = pixel.split_at_mut(first_len.min(channels));
                first.fill(padding[0]);
                second.fill(padding[1]);
            }
        };
        let lines = map.chunks_exact_mut(self.line.max(1)).enumerate().take(rows.end).skip(rows.start);
        for (row, line) in lines {
            let Some(source) = geometry.tap(0, 0, row, geometry.input.height) else {
                pad(line);
                continue;
            };
            let [first, second] = [0, 1].map(|index| {
                let len = width * input.channels[index];
                input.maps[index].get(source * len..(source + 1) * len).unwrap_or_default()
            });
            let (left, line) = line.split_at_mut((geometry.padding[1] * channels).min(line.len()));
            let (middle, right) = line.split_at_mut((width * geometry.upsample[1] * channels).min(line.len()));
            pad(left);
            pad(right);
            if second_len == 0 && geometry.upsample[1] == 1 {
                E::copy(first.get(..middle.len()).unwrap_or_default(), middle);
                continue;
            }
            for (index, values) in [first, second].into_iter().enumerate() {
                let pixels = Pixels { values, len: input.channels[index], channels, upsample: geometry.upsample[1] };
                let middle = middle.get_mut(index * first_len..).unwrap_or_default();
                match pixels.len {
                    0 => {}
                    16 => pixels.copy::<16, E>(middle),
                    32 => pixels.copy::<32, E>(middle),
                    64 => pixels.copy::<64, E>(middle),
                    _ => pixels.copy::<0, E>(middle),
                }
            }
        }
    }
}

/// One map's part of a row.
struct Pixels<'a, X> {
    /// `[width][len]`.
    values: &'a [X],
    len: usize,
    /// Of both maps.
    channels: usize,
    upsample: usize,
}

impl<X: Copy> Pixels<'_, X> {
    /// To the row, which begins with the first pixel's place for them. N is their number a pixel where that is known, else 0.
    #[inline(always)]
    fn copy<const N: usize, E: Elements<Value = X>>(&self, row: &mut [E::Element]) {
        let len = if N > 0 { N } else { self.len };
        let mut places = row.chunks_mut(self.channels);
        if self.upsample == 1 {
            for (place, values) in places.zip(self.values.chunks_exact(len)) {
                let Some(place) = place.get_mut(..len) else { return };
                E::copy(values, place);
            }
            return;
        }
        for values in self.values.chunks_exact(len) {
            for _ in 0..self.upsample {
                let Some(place) = places.next().and_then(|place| place.get_mut(..len)) else { return };
                E::copy(values, place);
            }
        }
    }
}
