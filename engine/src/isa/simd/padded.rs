//! A convolution's input in f32, enlarged and padded, so that a patch's row is one piece of memory.

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
    pub fn new(geometry: &Geometry) -> Self {
        let Geometry { input, output, kernel, stride, .. } = *geometry;
        let [rows, columns] =
            [(output.height, 0), (output.width, 1)].map(|(len, axis)| (len - 1) * stride[axis] + kernel[axis]);
        let line = columns * input.channels;
        Self { rows, line, run: kernel[1] * input.channels, steps: [stride[0] * line, stride[1] * input.channels] }
    }

    /// Elements of the whole map.
    pub fn len(&self) -> usize {
        self.rows * self.line
    }

    /// Where the patch of an output starts.
    #[inline(always)]
    pub fn start(&self, (y, x): (usize, usize)) -> usize {
        y * self.steps[0] + x * self.steps[1]
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
        self.fill(geometry, input, scratch);
        Some(scratch)
    }

    #[inline(always)]
    fn fill<X: Real>(&self, geometry: &Geometry, input: &Maps<'_, X>, map: &mut [f32]) {
        let (width, channels) = (geometry.input.width, geometry.input.channels);
        let together = geometry.upsample[1] == 1 && input.channels[1] == 0;
        for (row, line) in map.chunks_exact_mut(self.line).enumerate() {
            let source = geometry.tap(0, 0, row, geometry.input.height);
            let Some(start) = source.map(|source| source * width) else {
                line.fill(0.0);
                continue;
            };
            if together {
                let (left, line) = line.split_at_mut((geometry.padding[1] * channels).min(line.len()));
                let (middle, right) = line.split_at_mut((width * channels).min(line.len()));
                let values = input.maps[0].get(start * channels..).unwrap_or_default();
                left.fill(0.0);
                middle.iter_mut().zip(values).for_each(|(to, from)| *to = from.to_f32());
                right.fill(0.0);
                continue;
            }
            for (column, pixel) in line.chunks_exact_mut(channels).enumerate() {
                let Some(column) = geometry.tap(1, 0, column, width) else {
                    pixel.fill(0.0);
                    continue;
                };
                let [first, second] = input.pixel(start + column);
                let (to_first, to_second) = pixel.split_at_mut(first.len().min(pixel.len()));
                to_first.iter_mut().zip(first).for_each(|(to, from)| *to = from.to_f32());
                to_second.iter_mut().zip(second).for_each(|(to, from)| *to = from.to_f32());
            }
        }
    }
}
