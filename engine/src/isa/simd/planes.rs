//! A convolution's input, enlarged, padded, and with neighbouring columns side by side, so that a tap of neighbouring
//! pixels is one piece of memory.

use bytemuck::Pod;

use super::DEPTH;
use crate::geometry::Geometry;
use crate::maps::Maps;

/// Where elements lie: `[row][group of channels][column % stride][column / stride][channel of the group]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planes {
    /// Channels that lie side by side: [`DEPTH`] where every map's are whole groups, else 1.
    pub group: usize,
    groups: usize,
    rows: usize,
    line: usize,
    stride: [usize; 2],
    kernel: [usize; 2],
}

impl Planes {
    /// For tiles of `pixels` neighbouring outputs, the last of which may reach past the map.
    pub fn new(geometry: &Geometry, channels: [usize; 2], pixels: usize) -> Self {
        let group = if channels[0].is_multiple_of(DEPTH) && channels[1].is_multiple_of(DEPTH) { DEPTH } else { 1 };
        let Geometry { output, kernel, stride, .. } = *geometry;
        Self {
            group,
            groups: geometry.input.channels / group,
            rows: (output.height - 1) * stride[0] + kernel[0],
            line: output.width.next_multiple_of(pixels) + (kernel[1] - 1) / stride[1],
            stride,
            kernel,
        }
    }

    /// Elements of all planes.
    pub fn len(&self) -> usize {
        self.rows * self.groups * self.stride[1] * self.line * self.group
    }

    /// Groups of a patch.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.groups
    }

    /// Where the taps of the first of some neighbouring outputs start, in groups.
    #[inline(always)]
    pub fn start(&self, (y, x): (usize, usize)) -> usize {
        y * self.stride[0] * self.groups * self.stride[1] * self.line + x
    }

    /// Where each of a patch's groups lies, counted from [`Self::start`], in the order `[k_h][k_w][groups]`.
    pub fn offsets(&self, offsets: &mut [u32]) {
        let [_, k_w] = self.kernel;
        for (tap, offset) in offsets.iter_mut().enumerate() {
            let (pixel, group) = (tap / self.groups, tap % self.groups);
            let (ky, kx) = (pixel / k_w, pixel % k_w);
            let line = (ky * self.groups + group) * self.stride[1] + kx % self.stride[1];
            *offset = (line * self.line + kx / self.stride[1]) as u32;
        }
    }

    /// Copies the maps, each value through `element`; taps outside meet the zero points.
    #[inline(always)]
    pub fn fill<X: Copy, E: Pod>(
        &self,
        geometry: &Geometry,
        input: &Maps<'_, X>,
        padding: [E; 2],
        element: impl Fn(X) -> E + Copy,
        planes: &mut [E],
    ) {
        let mut lines = planes.chunks_exact_mut((self.line * self.group).max(1));
        for row in 0..self.rows {
            let row = geometry.tap(0, 0, row, geometry.input.height);
            for ((map, channels), padding) in input.maps.iter().zip(input.channels).zip(padding) {
                let row_len = geometry.input.width * channels;
                let row = row.and_then(|row| map.get(row * row_len..(row + 1) * row_len));
                for first in (0..channels).step_by(self.group) {
                    for phase in 0..self.stride[1] {
                        let Some(line) = lines.next() else { return };
                        line.fill(padding);
                        let Some(row) = row else { continue };
                        match self.group {
                            DEPTH => self.line::<DEPTH, X, E>(geometry, row, [channels, first, phase], element, line),
                            _ => self.line::<1, X, E>(geometry, row, [channels, first, phase], element, line),
                        }
                    }
                }
            }
        }
    }

    /// One line of groups of `G` channels, of a row whose pixels are `channels` wide.
    #[inline(always)]
    fn line<const G: usize, X: Copy, E: Copy>(
        &self,
        geometry: &Geometry,
        row: &[X],
        [channels, first, phase]: [usize; 3],
        element: impl Fn(X) -> E,
        line: &mut [E],
    ) {
        let (words, _) = line.as_chunks_mut::<G>();
        let [padding, stride, upsample] = [geometry.padding[1], self.stride[1], geometry.upsample[1]];
        let skipped = padding.saturating_sub(phase).div_ceil(stride);
        let start = skipped * stride + phase - padding;
        let words = words.get_mut(skipped..).unwrap_or_default();
        let copy = |word: &mut [E; G], pixel: Option<&[X]>| {
            if let Some(group) = pixel.and_then(|pixel| pixel.get(first..)).and_then(<[X]>::first_chunk::<G>) {
                word.iter_mut().zip(group).for_each(|(to, from)| *to = element(*from));
            }
        };
        if stride == 1 && upsample == 1 {
            for (word, pixel) in words.iter_mut().zip(row.chunks_exact(channels).skip(start)) {
                copy(word, Some(pixel));
            }
        } else {
            for (index, word) in words.iter_mut().enumerate() {
                let column = (start + index * stride) / upsample;
                copy(word, row.get(column * channels..(column + 1) * channels));
            }
        }
    }
}
