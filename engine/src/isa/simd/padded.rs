//! A convolution's input, enlarged and padded, so that a patch's row is one piece of memory.

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
        self.fill(geometry, input, [0.0; 2], X::to_f32, scratch);
        Some(scratch)
    }

    /// Copies the maps, each value through `element`; what is outside is filled with `padding`.
    #[inline(always)]
    pub fn fill<X: Copy, E: Copy>(
        &self,
        geometry: &Geometry,
        input: &Maps<'_, X>,
        padding: [E; 2],
        element: impl Fn(X) -> E + Copy,
        map: &mut [E],
    ) {
        let (width, channels) = (geometry.input.width, geometry.input.channels);
        let one_map = input.channels[1] == 0;
        for (row, line) in map.chunks_exact_mut(self.line).enumerate() {
            let source = geometry.tap(0, 0, row, geometry.input.height).map(|source| source * width);
            if one_map && source.is_none() {
                line.fill(padding[0]);
                continue;
            }
            if let Some(start) = source.filter(|_| one_map && geometry.upsample[1] == 1) {
                let (left, line) = line.split_at_mut((geometry.padding[1] * channels).min(line.len()));
                let (middle, right) = line.split_at_mut((width * channels).min(line.len()));
                let values = input.maps[0].get(start * channels..).unwrap_or_default();
                left.fill(padding[0]);
                middle.iter_mut().zip(values).for_each(|(to, from)| *to = element(*from));
                right.fill(padding[0]);
                continue;
            }
            for (column, pixel) in line.chunks_exact_mut(channels).enumerate() {
                let (to_first, to_second) = pixel.split_at_mut(input.channels[0].min(channels));
                let Some((start, column)) = source.zip(geometry.tap(1, 0, column, width)) else {
                    to_first.fill(padding[0]);
                    to_second.fill(padding[1]);
                    continue;
                };
                let [first, second] = input.pixel(start + column);
                to_first.iter_mut().zip(first).for_each(|(to, from)| *to = element(*from));
                to_second.iter_mut().zip(second).for_each(|(to, from)| *to = element(*from));
            }
        }
    }
}
